package kube_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/kubetest"
)

const aGatewayTarget = "targetRefs: [{group: networking.istio.io, kind: Gateway, name: front}]"

func testDefinition(t *testing.T, c *kubetest.Cluster) {
	tried := 0
	for name, test := range map[string]struct {
		spec    string
		refused string // what the API server says; empty: it accepts
	}{
		"a target is enough":                  {aGatewayTarget, ""},
		"everything that a Gateway may have":  {aGatewayTarget + `, promote: [{field: target, header: target}, {field: username, header: x-user}], maxBody: 128Ki, idleTimeout: 1m30s, withoutKey: Reject, loadBoundPercent: 150, drainDeadline: 0s, sessionHeader: x-session, key: {cookie: user}`, ""},
		"maxBody as a number":                 {aGatewayTarget + `, maxBody: 65536`, ""},
		"a Service, and a ServiceEntry":       {`targetRefs: [{kind: Service, name: cart}, {group: networking.istio.io, kind: ServiceEntry, name: db}], idleTimeout: 720h`, ""},
		"a Service whose group is written":    {`targetRefs: [{group: "", kind: Service, name: cart}]`, ""},
		"a Gateway of the Gateway API":        {`targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]`, ""},
		"the key is the client's address":     {aGatewayTarget + `, key: {sourceIP: true}`, ""},
		"no target":                           {`targetRefs: []`, "spec.targetRefs in body should have at least 1 items"},
		"no target refs":                      {`idleTimeout: 60s`, "spec.targetRefs: Required value"},
		"17 targets":                          {`targetRefs: [` + strings.Repeat(`{kind: Service, name: a}, `, 17) + `]`, "spec.targetRefs: Too many: 17: must have at most 16 items"},
		"a target of another kind":            {`targetRefs: [{kind: Deployment, name: a}]`, "targets are Gateway and ServiceEntry (group networking.istio.io)"},
		"a Service with a group":              {`targetRefs: [{group: apps, kind: Service, name: a}]`, "targets are Gateway and ServiceEntry"},
		"a Gateway without its group":         {`targetRefs: [{kind: Gateway, name: a}]`, "targets are Gateway and ServiceEntry"},
		"a target without a name":             {`targetRefs: [{kind: Service}]`, "spec.targetRefs[0].name: Required value"},
		"an unknown field":                    {aGatewayTarget + `, idleTimout: 60s`, ".spec.idleTimout: field not declared in schema"},
		"promote for a Service":               {`targetRefs: [{kind: Service, name: a}], promote: [{field: a, header: b}]`, "spec.promote: Invalid value: promote is for Gateways only"},
		"maxBody for a Service":               {`targetRefs: [{kind: Service, name: a}], maxBody: 4Ki`, "spec.maxBody: Invalid value: maxBody is for Gateways only"},
		"nine promotions":                     {aGatewayTarget + `, promote: [` + promotions(9) + `]`, "spec.promote: Too many: 9: must have at most 8 items"},
		"a field twice":                       {aGatewayTarget + `, promote: [{field: user, header: a}, {field: USER, header: b}]`, "a field is promoted twice"},
		"a header twice":                      {aGatewayTarget + `, promote: [{field: a, header: x-user}, {field: b, header: X-User}]`, "two fields are promoted to one header"},
		"a promotion to host":                 {aGatewayTarget + `, promote: [{field: a, header: Host}]`, `spec.promote[0].header: Invalid value: "Host": the header belongs to the message or the connection`},
		"a header with a space":               {aGatewayTarget + `, promote: [{field: a, header: "x user"}]`, "spec.promote[0].header in body should match"},
		"a session header that frames":        {aGatewayTarget + `, sessionHeader: transfer-encoding`, `spec.sessionHeader: Invalid value: "transfer-encoding": the header belongs to the message`},
		"an idle time under a second":         {aGatewayTarget + `, idleTimeout: 500ms`, `spec.idleTimeout: Invalid value: "500ms": the value is not in 1s to 720h`},
		"an idle time over 720 hours":         {aGatewayTarget + `, idleTimeout: 721h`, "the value is not in 1s to 720h"},
		"an idle time without a unit":         {aGatewayTarget + `, idleTimeout: "60"`, "spec.idleTimeout in body should match"},
		"an idle time as a number":            {aGatewayTarget + `, idleTimeout: 60`, ".spec.idleTimeout: expected string"},
		"a negative idle time":                {aGatewayTarget + `, idleTimeout: -5s`, "spec.idleTimeout in body should match"},
		"a drain deadline over a day":         {aGatewayTarget + `, drainDeadline: 25h`, "the value is not in 0s to 24h"},
		"a body limit of 100 bytes":           {aGatewayTarget + `, maxBody: 100`, "the value is not in 1Ki to 1Mi"},
		"a body limit of 2 MiB":               {aGatewayTarget + `, maxBody: 2Mi`, "the value is not in 1Ki to 1Mi"},
		"a load bound of 100 percent":         {aGatewayTarget + `, loadBoundPercent: 100`, "spec.loadBoundPercent in body should be greater than or equal to 101"},
		"an unknown word for withoutKey":      {aGatewayTarget + `, withoutKey: Refuse`, `spec.withoutKey: Unsupported value: "Refuse": supported values: "Balance", "Reject"`},
		"a key in two places":                 {aGatewayTarget + `, key: {header: a, cookie: b}`, "spec.key: Invalid value: write exactly one of header, cookie, queryParameter and sourceIP: true"},
		"a key nowhere":                       {aGatewayTarget + `, key: {}`, "write exactly one of header"},
		"a key that is not the client's":      {aGatewayTarget + `, key: {sourceIP: false}`, "write exactly one of header"},
		"a cookie whose name has a semicolon": {aGatewayTarget + `, key: {cookie: "a;b"}`, "spec.key.cookie in body should match"},
	} {
		t.Run(name, func(t *testing.T) {
			tried++ // each is a new object: what is applied is merged with what was there
			err := c.TryApply("apiVersion: remora.dev/v1alpha1\nkind: AffinityPolicy\nmetadata: {namespace: kube-public, name: policy-" + strconv.Itoa(tried) + "}\nspec: {" + test.spec + "}\n")
			switch {
			case test.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.refused != "" && err == nil:
				t.Error("accepted")
			case test.refused != "" && !strings.Contains(err.Error(), test.refused):
				t.Errorf("the API server says\n%v\nwant\n%s", err, test.refused)
			}
		})
	}
}

func promotions(n int) string {
	var all []string
	for i := range n {
		letter := string(rune('a' + i))
		all = append(all, "{field: "+letter+", header: x-"+letter+"}")
	}
	return strings.Join(all, ", ")
}

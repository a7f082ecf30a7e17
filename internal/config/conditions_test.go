package config

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// policyAt is the policy "p" of uid "u", as an API server gives it.
func policyAt(generation int, spec string) string {
	return fmt.Sprintf(`
apiVersion: remora.dev/v1alpha1
kind: AffinityPolicy
metadata: {name: p, namespace: shop, uid: u, generation: %d, creationTimestamp: "2026-03-01T00:00:00Z"}
spec: {%s}
`, generation, spec)
}

const (
	onGateway = `targetRefs: [{group: networking.istio.io, kind: Gateway, name: front}]`
	onCart    = `targetRefs: [{kind: Service, name: cart}]`
	aService  = `
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop}
spec: {ports: [{port: 80}]}
`
)

func serviceNamed(name string) string { return strings.ReplaceAll(aService, "NAME", name) }

func TestTheConditionsOfAPolicy(t *testing.T) {
	const (
		accepted   = "Accepted True Accepted: the policy is valid"
		resolved   = "ResolvedRefs True ResolvedRefs: all targets are there"
		programmed = "Programmed True Programmed: requests are decided by it"
	)
	base := []string{aGateway, virtualService("a", "a.com"), serviceNamed("cart")}
	with := func(policies ...string) []string { return append(policies, base...) }
	type step struct {
		what    string
		objects []string
		refused string // the error about no object with which nothing is made of the objects
		want    string // the conditions, one a line
	}
	for name, steps := range map[string][]step{
		"a policy on a Gateway, valid from the start": {
			{"", with(policyAt(1, onGateway)), "", accepted + "\n" + resolved + "\n" + programmed},
		},
		"a policy on a Service that a route leads to": {
			{"", with(policyAt(1, onCart)), "", accepted + "\n" + resolved + "\n" + programmed},
		},
		"an error is told with its field and remedy, and the last valid version stays": {
			{"valid", with(policyAt(1, onGateway+`, idleTimeout: 30s`)), "", accepted + "\n" + resolved + "\n" + programmed},
			{"invalid", with(policyAt(2, onGateway+`, idleTimeout: 1ms`)), "", "Accepted False Invalid: spec.idleTimeout: the value is not in 1s to 720h; until then its last valid version is used\n" + resolved +
				"\nProgrammed False EarlierVersion: generation 1 of the policy is in force: see the condition Accepted"},
			{"mended", with(policyAt(3, onGateway+`, idleTimeout: 1s`)), "", accepted + "\n" + resolved + "\n" + programmed},
		},
		"a policy that has never been valid is left out": {
			{"", with(policyAt(1, onGateway+`, idleTimeout: 1ms`)), "", "Accepted False Invalid: spec.idleTimeout: the value is not in 1s to 720h; until then the object is left out\n" + resolved +
				"\nProgrammed False Invalid: no version of the policy is in force: see the condition Accepted"},
		},
		"of a policy that cannot be read nothing is known of its targets": {
			{"", with(policyAt(1, onGateway+`, idel: 1s`)), "", `Accepted False Invalid: spec.idel: unknown field "idel"; known are drainDeadline, idleTimeout, key, loadBoundPercent, maxBody, promote, sessionHeader, targetRefs, withoutKey; until then the object is left out
ResolvedRefs Unknown Invalid: the policy cannot be read: see the condition Accepted
Programmed False Invalid: no version of the policy is in force: see the condition Accepted`},
		},
		"a field that an older policy sets for the same target": {
			{"", with(policyAt(1, onGateway+`, idleTimeout: 30s`), policy("old", "2026-01-01T00:00:00Z", "20s")), "", "Accepted False Conflicted: spec.idleTimeout: AffinityPolicy shop/old sets it for Gateway shop/front already (AffinityPolicy shop/old); set each field in one of the policies of a target; until then the object is left out\n" +
				resolved + "\nProgrammed False Invalid: no version of the policy is in force: see the condition Accepted"},
		},
		"a target that is not there, until it is": {
			{"not there", with(policyAt(1, `targetRefs: [{kind: Service, name: stock}]`)), "", accepted + "\n" +
				"ResolvedRefs False TargetNotFound: spec.targetRefs[0]: there is no Service shop/stock: the policy has no effect on it; targets are in the policy's own namespace\n" +
				"Programmed False TargetNotFound: none of its targets is there: see the condition ResolvedRefs"},
			{"there, but nothing leads to it", with(policyAt(1, `targetRefs: [{kind: Service, name: stock}]`), serviceNamed("stock")), "", accepted + "\n" + resolved + "\n" +
				"Programmed False NoRoute: spec.targetRefs[0]: no route leads to Service shop/stock; let a route of a Gateway lead to it"},
			{
				"routed to", with(policyAt(1, `targetRefs: [{kind: Service, name: stock}]`), serviceNamed("stock"), strings.ReplaceAll(virtualService("b", "b.com"), "host: cart", "host: stock")), "",
				accepted + "\n" + resolved + "\n" + programmed,
			},
		},
		"one target of two is enough to be programmed": {
			{"the other is not there", with(policyAt(1, `targetRefs: [{kind: Service, name: stock}, {kind: Service, name: cart}]`)), "", accepted + "\n" +
				"ResolvedRefs False TargetNotFound: spec.targetRefs[0]: there is no Service shop/stock: the policy has no effect on it; targets are in the policy's own namespace\n" + programmed},
			{"the other gets no requests", with(policyAt(1, `targetRefs: [{kind: Service, name: stock}, {kind: Service, name: cart}]`), serviceNamed("stock")), "", accepted + "\n" + resolved + "\n" +
				programmed + "; spec.targetRefs[0]: no route leads to Service shop/stock; let a route of a Gateway lead to it"},
		},
		"where nothing can be made of the objects, what is new is not in force, and what is old is": {
			{"valid", with(policyAt(1, onGateway)), "", accepted + "\n" + resolved + "\n" + programmed},
			{"the same", with(policyAt(1, onGateway)), "too many hosts", accepted + "\n" + resolved + "\n" + programmed},
			{"changed", with(policyAt(2, onGateway+`, idleTimeout: 20s`)), "too many hosts", accepted + "\n" + resolved + "\n" +
				"Programmed False ConfigurationRefused: the configuration is as it was before: too many hosts"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var tolerant Tolerant
			var inForce *resource.Set
			var compiled *affinity.Config
			for _, s := range steps {
				set, found := decodeAll(t, s.objects...)
				if s.refused != "" {
					found.Add(diag.Diagnostic{Severity: diag.Error, What: s.refused})
				}
				result, _ := tolerant.Compile(set, found, Options{})
				if result.Compiled != nil {
					inForce, compiled = result.Set, &result.Compiled.Config
				}
				o := Outcome{Set: set, Errors: result.Errors, InForce: inForce, Config: compiled}
				if got := conditionsOf(t, &o); got != s.want {
					t.Errorf("%s: the conditions are\n%s\nwant\n%s", s.what, got, s.want)
				}
			}
		})
	}
}

// conditionsOf writes the conditions of the policy "p".
func conditionsOf(t *testing.T, o *Outcome) string {
	t.Helper()
	conditions, generation := o.Conditions("shop", "p", "u", 1)
	for _, p := range o.Set.AffinityPolicies {
		if p.Value.UID == "u" && p.Value.Generation != generation {
			t.Errorf("they are about generation %d, want %d", generation, p.Value.Generation)
		}
	}
	var lines []string
	for _, c := range conditions {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(lines, "\n")
}

func TestEveryBrokenPolicyIsToldOfHoweverManyThereAre(t *testing.T) {
	objects := []string{aGateway, virtualService("a", "a.com"), serviceNamed("cart")}
	const broken = 3 * MaxDiagnostics
	for i := range broken {
		text := strings.Replace(policyAt(1, onGateway+`, idleTimeout: 1ms`), "name: p,", fmt.Sprintf("name: p-%d,", i), 1)
		objects = append(objects, strings.Replace(text, "uid: u,", fmt.Sprintf("uid: u-%d,", i), 1))
	}
	set, found := decodeAll(t, objects...)
	var tolerant Tolerant
	result, _ := tolerant.Compile(set, found, Options{})
	o := Outcome{Set: set, Errors: result.Errors, InForce: result.Set, Config: &result.Compiled.Config}
	for i := range broken {
		conditions, _ := o.Conditions("shop", fmt.Sprintf("p-%d", i), types.UID(fmt.Sprintf("u-%d", i)), 1)
		if c := conditions[0]; c.Reason != "Invalid" || !strings.Contains(c.Message, "1s to 720h") {
			t.Fatalf("policy %d: %s %s: %s", i, c.Type, c.Reason, c.Message)
		}
	}
}

func TestAMessageIsBounded(t *testing.T) {
	var many diag.List
	for i := range 20 {
		many.Add(diag.Diagnostic{Field: fmt.Sprintf("spec.field%d", i), What: "wrong"})
	}
	if got := message(many); strings.Count(got, "\n") != maxMessageFindings || !strings.HasSuffix(got, "\nand 12 more") {
		t.Errorf("20 findings are told as\n%s", got)
	}
	if got := message(diag.List{{What: strings.Repeat("ü", maxMessage)}}); len(got) > maxMessage || !strings.HasSuffix(got, "ü…") {
		t.Errorf("a long finding is told in %d bytes, the last of which are %q", len(got), got[len(got)-5:])
	}
}

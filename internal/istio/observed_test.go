package istio_test

import (
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/route"
)

// observation is one set of objects with what an ingress gateway replied to requests.
type observation struct {
	Case     string
	Objects  string
	Observed []struct {
		Request struct {
			Method, Path string
			Headers      observedHeaders
		}
		Reply struct {
			Status        int
			Backend, Path string
		}
	}
}

// observedHeaders is an object, or a list of pairs where a field was sent several times.
type observedHeaders [][2]string

func (h *observedHeaders) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, (*[][2]string)(h))
	}
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for name, value := range m {
		*h = append(*h, [2]string{name, value})
	}
	return nil
}

// backends are the services that the observed objects route to.
var backends = func() string {
	var b strings.Builder
	for _, name := range []string{"backend-1", "backend-2", "backend-3"} {
		b.WriteString(strings.ReplaceAll(`---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {ports: [{port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [127.0.1.1]}]
`, "NAME", name))
	}
	return b.String()
}()

// weighted is the destination that has a weight.
func weighted(list []route.Destination) route.Destination {
	for _, d := range list {
		if d.Weight > 0 {
			return d
		}
	}
	return list[0]
}

// TestRoutingIsAsObserved replays what a real istiod (1.32 line) with Envoy 1.40.0 replied: testdata/observed has the objects,
// the requests and the replies.
func TestRoutingIsAsObserved(t *testing.T) {
	data, err := os.ReadFile("testdata/observed/istiod-1.32-envoy-1.40.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []observation
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	replayed := 0
	for _, o := range cases {
		t.Run(o.Case, func(t *testing.T) {
			set := load(t, o.Objects+"\n"+backends)
			c, diags := istio.Compile(set, istio.Options{})
			if strings.Contains(o.Objects, "rewrite:") {
				if !strings.Contains(said(diags), "spec.http[0].rewrite: rewrite is not supported") {
					t.Errorf("rewrite is not refused: %v", said(diags))
				}
				return
			}
			if err := diags.Err(); err != nil {
				t.Fatal(err)
			}
			table, err := route.New(c.Routes)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range o.Observed {
				req := route.Request{Port: 80, Scheme: "http", Method: e.Request.Method, Authority: "127.0.0.1:8080"}
				req.Path, req.Query, _ = strings.Cut(e.Request.Path, "?")
				for _, h := range e.Request.Headers {
					name, value := strings.ToLower(h[0]), strings.TrimSpace(h[1])
					if name == "host" {
						req.Authority = value
						continue
					}
					req.Headers = append(req.Headers, route.Header{Name: name, Value: value})
				}
				var res route.Result
				status, backend, path := 404, "", ""
				if table.Lookup(&req, &res) {
					service := c.Services[weighted(res.Rule.Destinations).Service]
					if service.Missing != "" {
						status = 503
					} else {
						status = 200
						backend, _, _ = strings.Cut(service.Host, ".")
						path, _ = url.PathUnescape(res.Path) // the backend told the path decoded
					}
				}
				if status != e.Reply.Status || backend != e.Reply.Backend || path != e.Reply.Path {
					t.Errorf("%+v: got %d %s %s, observed %+v", e.Request, status, backend, path, e.Reply)
				}
				replayed++
			}
		})
	}
	if replayed < 75 {
		t.Errorf("only %d requests were replayed", replayed)
	}
}

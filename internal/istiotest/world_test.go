package istiotest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/istio"
)

// world is the use case on replicas that run: a gateway, a processor, and the replicas of backend-1 to backend-3.
type world struct {
	t        *testing.T
	remora   *remora
	gateway  *Gateway
	options  generate.IstioOptions
	replicas map[string]string // name → ip:port
	stop     map[string]func() // by the replicas' names
	labelled bool              // the Services have the label for draining
}

// newWorld starts it. change changes the options.
func newWorld(t *testing.T, labelled bool, change func(*generate.IstioOptions)) *world {
	w := &world{t: t, remora: newRemora(t), options: options(change), replicas: map[string]string{}, stop: map[string]func(){}, labelled: labelled}
	for service := 1; service <= 3; service++ {
		for _, letter := range []string{"a", "b", "c"} {
			w.start(fmt.Sprintf("%d%s", service, letter))
		}
	}
	both := w.objects("a", "b")
	w.decide(both)
	w.gateway = Start(t, w.mesh(both, true))
	return w
}

// start runs a replica, which says who it is and what it was told of the session.
func (w *world) start(name string) {
	w.replicas[name], w.stop[name] = replica(w.t, func(rw http.ResponseWriter, r *http.Request) {
		for header := range r.Header {
			rw.Header().Add("saw", strings.ToLower(header))
		}
		fmt.Fprintf(rw, "%s %s", name, r.Header.Get("x-remora-session"))
	})
}

// objects is the users' objects with these replicas of each service.
func (w *world) objects(letters ...string) string {
	var text strings.Builder
	use, err := os.ReadFile("testdata/use-case.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(use), "---\napiVersion: discovery.k8s.io/v1")
	if w.labelled {
		for i := 1; i <= 3; i++ {
			name := fmt.Sprintf("kind: Service\nmetadata: {name: backend-%d, namespace: default", i)
			before = strings.Replace(before, name, name+", labels: {"+istio.DrainingLabel+": remora}", 1)
		}
	}
	text.WriteString(before)
	for service := 1; service <= 3; service++ {
		for _, letter := range letters {
			text.WriteString(sliceOf(fmt.Sprintf("backend-%d", service), "ready: true", w.replicas[fmt.Sprintf("%d%s", service, letter)]))
		}
	}
	return text.String()
}

// mesh is what istiod knows with these objects.
func (w *world) mesh(objects string, processor bool) *Mesh {
	set, c := load(w.t, objects)
	m := &Mesh{Set: set, Generated: write(w.t, set, c, w.options)}
	if processor {
		m.Processors = []string{w.remora.addr}
	}
	return m
}

// decide makes Remora decide by objects.
func (w *world) decide(objects string) {
	w.t.Helper()
	set, _ := load(w.t, objects)
	w.remora.apply(w.t, set)
}

// answer is what came back: a replica's word of itself and of what it was told, or an answer of somebody else's.
type answer struct {
	status           int
	replica, session string
	header           http.Header // of the response
	text             string
}

// ask sends a request as one user for one service, with headers ("name: value").
func (w *world) ask(body string, headers ...string) answer {
	w.t.Helper()
	return w.askFor("/", body, headers...)
}

// askFor is ask with a path.
func (w *world) askFor(path, body string, headers ...string) answer {
	w.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.gateway.Addr+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header[name] = []string{value}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if resp.StatusCode == http.StatusOK {
		a.replica, a.session, _ = strings.Cut(a.text, " ")
	}
	return a
}

// body is the body of a request of a user for a service.
func body(user, service string) string {
	return fmt.Sprintf(`{"username":%q,"target":%q}`, user, service)
}

// expect asks and compares the answer's replica ("" where any will do) and session.
func (w *world) expect(when, user, replica, session string) string {
	w.t.Helper()
	a := w.ask(body(user, "backend-1"))
	if a.status != http.StatusOK || replica != "" && a.replica != replica || a.session != session {
		w.t.Errorf("%s: got %d %s %q, want %s %q", when, a.status, a.replica, a.session, replica, session)
	}
	return a.replica
}

package istiotest

import (
	"net/http"
	"strings"
	"testing"
)

// answering is rules that Envoy answers by itself, to go before those of the use case.
const answering = `  - match: [{headers: {target: {exact: old}}}]
    redirect: {uri: /new}
  - match: [{uri: {exact: /robots.txt}}]
    directResponse: {status: 200, body: {string: "User-agent: *"}}
  - match: [{uri: {prefix: /closed}}]
    directResponse: {status: 503, body: {string: closed}}
`

// TestEnvoyAnswersByItself has rules with redirect and directResponse next to ordinary ones: Envoy carries them out, whatever sent the
// request there, and the ordinary ones stick.
func TestEnvoyAnswersByItself(t *testing.T) {
	w := newWorld(t, false, nil)
	const first = "  http:\n"
	before := w.objects("a", "b")
	objects := strings.Replace(before, first, first+answering, 1)
	if objects == before {
		t.Fatal("the use case has no rules")
	}
	w.decide(objects)
	w.gateway.Apply(t, w.mesh(objects, true))
	at := w.expect("before", "ann", "", "new")
	for _, c := range []struct {
		name, path, body string
		headers          []string
		status           int
		location, text   string
	}{
		{"a redirect by a header", "/", "", []string{"Target: old"}, http.StatusMovedPermanently, "/new", ""},
		{"a redirect by the body", "/", body("ann", "old"), nil, http.StatusMovedPermanently, "/new", ""},
		{"a directResponse", "/robots.txt", "", nil, http.StatusOK, "", "User-agent: *"},
		{"a directResponse that looks like Envoy's failure", "/closed/x", body("ann", "backend-1"), nil, http.StatusServiceUnavailable, "", "closed"},
		{"forged headers change nothing", "/robots.txt", "", append([]string{"X-User: ann"}, forged...), http.StatusOK, "", "User-agent: *"},
		{"a path that becomes one of them", "/a/../robots.txt", "", nil, http.StatusOK, "", "User-agent: *"},
	} {
		a := w.askFor(c.path, c.body, c.headers...)
		if location := a.header.Get("Location"); a.status != c.status || !strings.HasSuffix(location, c.location) || (location == "") != (c.location == "") || a.text != c.text {
			t.Errorf("%s: got %d, location %q, %q", c.name, a.status, location, a.text)
		}
		expectUnforged(t, a, false)
	}
	for range 3 {
		w.expect("afterwards", "ann", at, "existing")
	}
	if st := w.remora.engine.Stats(); st.Passed != 6 || st.Sessions != 1 {
		t.Errorf("counted %d passed and %d sessions, want 6 and 1", st.Passed, st.Sessions)
	}
}

// TestEnvoyStillHasARouteWhereRemoraHasARedirect is what happens when Remora is ahead of istiod: Envoy uses its route, and chooses itself.
func TestEnvoyStillHasARouteWhereRemoraHasARedirect(t *testing.T) {
	w := newWorld(t, false, nil)
	const first = "  http:\n"
	w.decide(strings.Replace(w.objects("a", "b"), first, first+answering, 1))
	a := w.askFor("/robots.txt", body("ann", "backend-2"))
	if a.status != http.StatusOK || !strings.HasPrefix(a.replica, "2") || a.session != "" {
		t.Errorf("got %d %q", a.status, a.text)
	}
	expectUnforged(t, a, false)
}

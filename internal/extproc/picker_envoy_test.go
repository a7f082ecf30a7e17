package extproc_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/session"
)

// poolExample is the Envoy of the manual that stands as a gateway with an InferencePool.
func poolExample(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../examples/inference-pool/envoy/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheInferencePoolsExampleIsAcceptedByEnvoy(t *testing.T) {
	envoytest.Validate(t, poolExample(t))
}

// newPool is the example of an InferencePool: Envoy, Remora as its endpoint picker, and three replicas that say who they are.
func newPool(t *testing.T, change ...string) (d *door, addrs []string) {
	t.Helper()
	return newPoolOf(t, func(_ int, h http.Handler) string { return replica(t, h.ServeHTTP) }, change...)
}

// newPoolOf is newPool with replicas that the test starts.
func newPoolOf(t *testing.T, start func(i int, h http.Handler) (addr string), change ...string) (d *door, addrs []string) {
	t.Helper()
	for i := range 3 {
		addrs = append(addrs, start(i, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s %s %s %d of %d", addrs[i], r.Header.Get("X-User"), r.Header.Get("X-Remora-Session"), n, r.ContentLength)
		})))
	}
	set, _, list := (&config.Loader{Paths: []string{"../../examples/inference-pool"}}).Load()
	if list.HasErrors() {
		t.Fatal(list)
	}
	compiled, list := config.Compile(set, config.Options{})
	if list.HasErrors() {
		t.Fatal(list)
	}
	c := compiled.Config
	text := strings.NewReplacer(change...).Replace(poolExample(t))
	for i := range addrs {
		_, port, err := net.SplitHostPort(addrs[i])
		if err != nil {
			t.Fatal(err)
		}
		c.Services[0].Endpoints[i].Addr = addrs[i]
		text = strings.Replace(text, fmt.Sprintf("{address: 127.0.1.%d, port_value: 8000}", i+1), "{address: 127.0.0.1, port_value: "+port+"}", 1)
	}
	d = &door{engine: affinity.New(affinity.Options{Store: session.NewTable(session.Options{})})}
	d.clock.Store(int64(session.InstantOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	d.apply(t, c)
	_, port, err := net.SplitHostPort(serve(t, extproc.Config{Engine: d.engine, Now: d.now}))
	if err != nil {
		t.Fatal(err)
	}
	ports := strings.NewReplacer("port_value: 8080}", "port_value: 0}", "port_value: 9002}", "port_value: "+port+"}")
	d.envoy = envoytest.Start(t, ports.Replace(text))
	d.addr = d.envoy.Addr
	return d, addrs
}

// reply is what a replica of the pool said.
type reply struct {
	status int
	addr   string
	user   string
	told   string
	body   string // "n of content-length"; or the problem
}

// prompt asks as a user, with a header more where name is not empty.
func (d *door) prompt(t *testing.T, user, name, value string) reply {
	t.Helper()
	body := fmt.Sprintf(`{"model":"small","user":%q,"messages":[{"role":"user","content":%q}]}`, user, strings.Repeat("why? ", 40_000))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if name != "" {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	d.waitInFlight(t, 0)
	if resp.StatusCode != http.StatusOK {
		return reply{status: resp.StatusCode, body: string(text)}
	}
	r := reply{status: resp.StatusCode}
	if _, err := fmt.Sscan(string(text), &r.addr, &r.user, &r.told); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if want := fmt.Sprintf(" %d of %d", len(body), len(body)); !strings.HasSuffix(string(text), want) {
		t.Fatalf("the replica got%s bytes of a body of another length: %q", want, text)
	}
	return r
}

func TestAPoolsSessions(t *testing.T) {
	d, _ := newPool(t)
	where, users := map[string]string{}, map[string]int{}
	for _, told := range []string{"new", "existing", "existing"} {
		for i := range 30 {
			user := fmt.Sprint("user-", i)
			got := d.prompt(t, user, "x-gateway-destination-endpoint", "127.0.0.1:1") // which a client may not say
			if got.told != told || got.user != user || where[user] != "" && where[user] != got.addr {
				t.Fatalf("%s got %+v, want %s at %s", user, got, told, where[user])
			}
			if where[user] == "" {
				users[got.addr]++
			}
			where[user] = got.addr
		}
	}
	if len(users) != 3 {
		t.Errorf("the users are at %v, want all three replicas", users)
	}
	d.pass(time.Minute)
	if got := d.prompt(t, "user-1", "", ""); got.told != "new" {
		t.Errorf("after a minute got %+v, want a new session", got)
	}
}

// withHint makes a request's header x-subset the subset hint, as a gateway's own configuration would.
var withHint = []string{"          http_filters:\n", `          http_filters:
          - name: hint
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
              request_rules:
              - header: x-subset
                on_header_present: {metadata_namespace: envoy.lb.subset_hint, key: x-gateway-destination-endpoint-subset}
`}

func TestAPoolsSubsetHint(t *testing.T) {
	d, addrs := newPool(t, withHint...)
	if got := d.prompt(t, "ann", "x-subset", "127.0.0.1:1,"+addrs[1]); got.addr != addrs[1] || got.told != "new" {
		t.Errorf("restricted to one replica got %+v", got)
	}
	if got := d.prompt(t, "ann", "", ""); got.addr != addrs[1] || got.told != "existing" {
		t.Errorf("then unrestricted got %+v", got)
	}
	if got := d.prompt(t, "ann", "x-subset", addrs[2]); got.addr != addrs[2] || got.told != "moved" {
		t.Errorf("then restricted to another got %+v", got)
	}
	if got := d.prompt(t, "ann", "", ""); got.addr != addrs[1] || got.told != "existing" {
		t.Errorf("then unrestricted again got %+v", got)
	}
	if got := d.prompt(t, "ann", "x-subset", "127.0.0.1:1"); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, `"no_endpoint"`) {
		t.Errorf("restricted to nobody got %+v", got)
	}
}

// TestAPoolsReplicaThatDiesFailsNoRequest has a replica that is gone while its address is still among those of the pool.
func TestAPoolsReplicaThatDiesFailsNoRequest(t *testing.T) {
	var stop [3]func()
	d, addrs := newPoolOf(t, func(i int, handler http.Handler) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		stop[i] = server.Close
		return server.Listener.Addr().String()
	})
	at := map[string][]string{}
	for i := range 30 {
		user := fmt.Sprint("user-", i)
		got := d.prompt(t, user, "", "")
		at[got.addr] = append(at[got.addr], user)
	}
	dead := addrs[0]
	stop[0]()
	if len(at[dead]) == 0 {
		t.Fatalf("nobody is at %s: %v", dead, at)
	}
	for _, user := range at[dead] {
		first := d.prompt(t, user, "", "")
		if first.status != http.StatusOK || first.addr == dead {
			t.Fatalf("%s got %+v, want another replica's answer", user, first)
		}
		for _, told := range []string{"moved", "existing"} {
			if next := d.prompt(t, user, "", ""); next.addr != first.addr || next.told != told {
				t.Errorf("%s then got %+v, want %s at %s", user, next, told, first.addr)
			}
		}
	}
	if n := d.diverted(affinity.Fallback, affinity.Followed); n != uint64(len(at[dead])) {
		t.Errorf("%d requests were counted, want %d", n, len(at[dead]))
	}
	for _, user := range append(at[addrs[1]], at[addrs[2]]...) {
		if got := d.prompt(t, user, "", ""); got.told != "existing" {
			t.Errorf("%s, who was at another replica, got %+v", user, got)
		}
	}
}

// TestAPoolsSessionFollowsWhatWasServed has a replica that Envoy does not know.
func TestAPoolsSessionFollowsWhatWasServed(t *testing.T) {
	d, addrs := newPool(t, "        - endpoint: {address: {socket_address: {address: 127.0.1.3, port_value: 8000}}}\n", "")
	for _, ep := range addrs[:2] {
		d.engine.Drain(ep, true, d.now())
	}
	got := d.prompt(t, "ann", "", "")
	if got.addr != addrs[0] && got.addr != addrs[1] || got.told != "new" {
		t.Fatalf("got %+v, want one of those that Envoy knows", got)
	}
	if n := d.diverted(affinity.Fallback, affinity.Followed); n != 1 {
		t.Errorf("%d requests were counted, want 1", n)
	}
	for range 3 {
		if again := d.prompt(t, "ann", "", ""); again.addr != got.addr || again.told != "existing" {
			t.Errorf("then got %+v, want the session where it was served", again)
		}
	}
}

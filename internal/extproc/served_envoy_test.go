package extproc_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/session"
)

// fleet is replicas that can be stopped and started again, on an address that nobody else listens on, so that nobody is there meanwhile. Each says in its responses who it is and what it was told.
type fleet struct {
	addrs   []string
	servers map[string]*http.Server
	header  map[string]string // of the responses of all of them
}

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{servers: map[string]*http.Server{}, header: map[string]string{}}
	for range n {
		ln, err := net.Listen("tcp", "127.0.10.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f.addrs = append(f.addrs, ln.Addr().String())
		f.serve(ln)
	}
	t.Cleanup(func() {
		for _, s := range f.servers {
			s.Close()
		}
	})
	return f
}

func (f *fleet) serve(ln net.Listener) {
	addr := ln.Addr().String()
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			echo(w, r)
			return
		}
		for name, value := range f.header {
			w.Header().Set(name, value)
		}
		fmt.Fprintf(w, "%s %s", addr, r.Header.Get("X-Remora-Session"))
	})}
	f.servers[addr] = s
	go s.Serve(ln)
}

func (f *fleet) stop(addr string) { f.servers[addr].Close() }

func (f *fleet) start(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f.serve(ln)
}

// answer is what became of a request: who served it and what it was told, or the status and body of an answer that is no replica's.
type answer struct {
	addr, told string
	status     int
	body       string
	header     http.Header // of an answer that is no replica's
}

func (a answer) String() string { return fmt.Sprintf("%d %q from %q", a.status, a.told+a.body, a.addr) }

// ask makes a request, and waits until it has been released.
func (d *door) ask(t *testing.T, user string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/",
		strings.NewReader(fmt.Sprintf(`{"target":"backend-1","username":%q}`, user)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
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
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Remora") {
			t.Errorf("the client saw %s", name)
		}
	}
	d.waitInFlight(t, 0)
	if resp.StatusCode != http.StatusOK {
		return answer{status: resp.StatusCode, body: string(text), header: resp.Header}
	}
	addr, told, _ := strings.Cut(string(text), " ")
	return answer{addr: addr, told: told, status: resp.StatusCode}
}

// expect asks and compares.
func (d *door) expect(t *testing.T, user, addr, told string) {
	t.Helper()
	if got := d.ask(t, user); got.status != http.StatusOK || got.addr != addr || got.told != told {
		t.Fatalf("%s got %v, want %q from %s", user, got, told, addr)
	}
}

// diverted is how often requests of a kind were counted.
func (d *door) diverted(why affinity.Diversion, then affinity.Sequel) (n uint64) {
	for _, svc := range d.engine.Stats().Services {
		for _, s := range svc.Diverted {
			if s.Why == why && s.Then == then {
				n += s.N
			}
		}
	}
	return n
}

// other is the one of two replicas that is not addr.
func (f *fleet) other(addr string) string {
	if f.addrs[0] == addr {
		return f.addrs[1]
	}
	return f.addrs[0]
}

func TestASessionFollowsTheReplicaThatStoodIn(t *testing.T) {
	f := newFleet(t, 2)
	d := newDoor(t, doortest.Config(f.addrs))
	first := d.ask(t, "ann")
	if first.told != "new" {
		t.Fatalf("got %v", first)
	}
	dead, refuge := first.addr, f.other(first.addr)
	f.stop(dead)
	d.expect(t, "ann", refuge, "moved") // as Envoy's second attempt says it
	if n := d.diverted(affinity.Retry, affinity.Followed); n != 1 {
		t.Errorf("%d requests were counted, want 1", n)
	}
	view, err := d.engine.Session("backend-1", "ann", d.now())
	if err != nil || view.Endpoint != refuge || view.Diverted == nil || view.Diverted.From != dead || view.Diverted.Why != "retry" {
		t.Errorf("the session is shown as %+v, %+v, %v", view, view.Diverted, err)
	}
	d.expect(t, "ann", refuge, "existing")

	for i := range 10 {
		d.expect(t, fmt.Sprintf("later-%d", i), refuge, "new")
	}
	if n := d.diverted(affinity.Retry, affinity.Followed); n != 1 {
		t.Errorf("%d requests were counted, want none more: the dead replica gets no new session for a second", n)
	}
	f.start(t, dead)
	d.expect(t, "ann", refuge, "existing")
	d.pass(time.Second)
	back := false
	for i := range 10 {
		back = d.ask(t, fmt.Sprintf("latest-%d", i)).addr == dead || back
	}
	if !back {
		t.Error("a second later the replica that is back gets no new session")
	}
}

func TestAWebSocketHoldsItsSessionAtTheReplicaThatStoodIn(t *testing.T) {
	f := newFleet(t, 2)
	d := newDoor(t, doortest.Config(f.addrs))
	dead := d.ask(t, "ann").addr
	f.stop(dead)
	conn, r := d.dial(t)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: door\r\nConnection: Upgrade\r\nUpgrade: websocket\r\ntarget: backend-1\r\nx-user: ann\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	d.pass(5 * time.Minute)
	if view, err := d.engine.Session("backend-1", "ann", d.now()); err != nil || view.Endpoint != f.other(dead) || view.Holds != 1 {
		t.Errorf("the session is shown as %+v, %v", view, err)
	}
	conn.Close()
	d.waitInFlight(t, 0)
	d.expect(t, "ann", f.other(dead), "existing") // the handshake has told it that the session moved
}

// TestAClientCannotHaveItsRequestTriedAgain is about clients that Envoy takes for internal ones, and whose word on retries it would obey.
func TestAClientCannotHaveItsRequestTriedAgain(t *testing.T) {
	var addrs []string
	for range 2 {
		addrs = append(addrs, replica(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	}
	const remote = "use_remote_address: true"
	d := newDoor(t, doortest.Config(addrs), remote, "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}\n          "+remote)
	d.ask(t, "ann")
	before, err := d.engine.Session("backend-1", "ann", d.now())
	if err != nil {
		t.Fatal(err)
	}
	d.ask(t, "ann", "X-Envoy-Retry-On", "5xx", "X-Envoy-Max-Retries", "5")
	after, err := d.engine.Session("backend-1", "ann", d.now())
	if err != nil || after.Endpoint != before.Endpoint || after.Diverted != nil {
		t.Errorf("the session was at %s, and is shown as %+v, %v", before.Endpoint, after, err)
	}
}

// TestFaultInjectionIsSwitchedOff has an Envoy whose runtime does so: requests without a decision still get 503.
func TestFaultInjectionIsSwitchedOff(t *testing.T) {
	f := newFleet(t, 1)
	d := newDoor(t, doortest.Config(f.addrs), "overload_manager:", `layered_runtime:
  layers:
  - name: faults
    static_layer: {fault.http.abort.abort_percent: 0, fault.http.abort.http_status: 200, fault.http.max_active_faults: 0}
overload_manager:`, "allow_mode_override: true", "allow_mode_override: false")
	if got := d.ask(t, "ann"); got.status != http.StatusServiceUnavailable {
		t.Errorf("a request whose body was not read got %v", got)
	}
}

// TestWithoutADecisionTheClientIsToldSo has an Envoy whose processor nobody can connect to.
func TestWithoutADecisionTheClientIsToldSo(t *testing.T) {
	nobody := listen(t)
	addr := nobody.Addr().String()
	nobody.Close()
	f := newFleet(t, 1)
	c := doortest.Config(f.addrs)
	d := &door{engine: affinity.New(affinity.Options{Store: session.NewTable(session.Options{})}), addr: envoytest.Start(t, configure(t, &c, addr)).Addr}
	for _, headers := range [][]string{nil, {"Target", "backend-1", "X-User", "ann"}} {
		got := d.ask(t, "ann", headers...)
		var said struct{ Code, Type, Detail string }
		if err := json.Unmarshal([]byte(got.body), &said); err != nil || got.status != http.StatusServiceUnavailable || said.Code != "undecided" ||
			said.Type != problem.TypeBase+"undecided" || said.Detail == "" {
			t.Errorf("got %v, %v", got, err)
		}
		if got.header.Get("Content-Type") != problem.ContentType || got.header.Get("Retry-After") != "1" {
			t.Errorf("the answer's headers are %v", got.header)
		}
	}
}

func TestASessionThatBeginsOnADeadReplicaBeginsOnItsSubstitute(t *testing.T) {
	f := newFleet(t, 2)
	d := newDoor(t, doortest.Config(f.addrs))
	f.stop(f.addrs[0])
	for i := range 10 {
		user := fmt.Sprintf("user-%d", i)
		d.expect(t, user, f.addrs[1], "new")
		d.expect(t, user, f.addrs[1], "existing")
	}
	if n := d.diverted(affinity.Retry, affinity.Followed); n != 1 {
		t.Errorf("%d requests were counted, want 1: after it the dead replica gets no new session for a second", n)
	}
}

func TestAHostThatEnvoyDoesNotKnow(t *testing.T) {
	f := newFleet(t, 2)
	d := newDoor(t, doortest.Config(f.addrs), inEnvoy(t, f.addrs[0]), "")
	for i := range 20 {
		user := fmt.Sprintf("user-%d", i)
		d.expect(t, user, f.addrs[1], "new")
		d.expect(t, user, f.addrs[1], "existing")
	}
	if n := d.diverted(affinity.Fallback, affinity.Followed); n != 1 {
		t.Errorf("%d requests were counted, want 1: after it the host gets no new session for a second", n)
	}
}

func TestAHostThatIsNoReplicaOfTheService(t *testing.T) {
	f := newFleet(t, 2)
	c := doortest.Config(f.addrs[:1])
	d := newDoor(t, c, inEnvoy(t, f.addrs[0]), inEnvoy(t, f.addrs[1]))
	for range 2 {
		d.expect(t, "ann", f.addrs[1], "new") // the session's own replica has not heard of it
	}
	view, err := d.engine.Session("backend-1", "ann", d.now())
	if err != nil || view.Endpoint != f.addrs[0] || view.Diverted != nil {
		t.Errorf("the session is shown as %+v, %v", view, err)
	}
	if n := d.diverted(affinity.Fallback, affinity.Foreign); n != 2 {
		t.Errorf("%d requests were counted, want 2", n)
	}
}

func TestNoReplicaCanBeReached(t *testing.T) {
	f := newFleet(t, 2)
	d := newDoor(t, doortest.Config(f.addrs))
	f.stop(f.addrs[0])
	f.stop(f.addrs[1])
	for range 2 {
		if got := d.ask(t, "ann"); got.status != http.StatusServiceUnavailable {
			t.Fatalf("got %v, want 503", got)
		}
	}
	if n := d.diverted(affinity.Unserved, affinity.Stayed); n != 2 {
		t.Errorf("%d requests were counted, want 2", n)
	}
	if view, err := d.engine.Session("backend-1", "ann", d.now()); err != nil || view.State != affinity.Unhealthy.String() {
		t.Errorf("the session is shown as %+v, %v", view, err)
	}
	f.start(t, f.addrs[0])
	d.pass(time.Second)
	d.expect(t, "ann", f.addrs[0], "new") // no replica has heard of the session yet
	d.expect(t, "ann", f.addrs[0], "existing")
}

// TestAReplicaThatDoesNotAnswerConnections has one whose accept queue is full, so that connecting to it hangs.
func TestAReplicaThatDoesNotAnswerConnections(t *testing.T) {
	f := newFleet(t, 1)
	f.addrs = append(f.addrs, hanging(t))
	c := doortest.Config(f.addrs)
	cluster := "  - name: " + c.Services[0].Name + "\n    type: STATIC\n    connect_timeout: "
	d := newDoor(t, c, cluster+"2s", cluster+"0.25s")
	for i := range 10 {
		d.expect(t, fmt.Sprintf("user-%d", i), f.addrs[0], "new")
	}
	if n := d.diverted(affinity.Retry, affinity.Followed); n != 1 {
		t.Errorf("%d requests were counted, want 1", n)
	}
}

// hanging is an address that takes no connection and refuses none.
func hanging(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	for range 16 {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the accept queue does not fill")
	return ""
}

// TestTwoProcessorsShareAnEnvoy has two engines on one table of sessions. A request's report may come to the one that did not decide it.
func TestTwoProcessorsShareAnEnvoy(t *testing.T) {
	f := newFleet(t, 2)
	c := doortest.Config(f.addrs)
	snapshot, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	store := session.NewTable(session.Options{})
	now := session.InstantOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	var processors []string
	d := &door{}
	d.clock.Store(int64(now))
	for range 2 {
		e := affinity.New(affinity.Options{Store: store, HashKey: [16]byte{1}})
		if err := e.Apply(snapshot, now); err != nil {
			t.Fatal(err)
		}
		d.engine = e
		processors = append(processors, serve(t, extproc.Config{Engine: e, Now: d.now}))
	}
	d.addr = envoytest.Start(t, configure(t, &c, processors...)).Addr
	users := map[string]string{}
	for i := range 20 {
		user := fmt.Sprintf("user-%d", i)
		users[user] = d.ask(t, user).addr
	}
	f.stop(f.addrs[0])
	for user, addr := range users {
		if addr == f.addrs[0] {
			d.expect(t, user, f.addrs[1], "moved")
		}
		if entry, err := d.engine.Session("backend-1", user, d.now()); err != nil || entry.Endpoint != f.addrs[1] {
			t.Errorf("%s is shown at %+v, %v", user, entry, err)
		}
		if got := d.ask(t, user); got.addr != f.addrs[1] {
			t.Errorf("%s got %v", user, got)
		}
	}
}

// TestAReplicaCannotMoveASession: what it writes where Envoy says which host was used is not believed.
func TestAReplicaCannotMoveASession(t *testing.T) {
	f := newFleet(t, 2)
	d := newDoor(t, doortest.Config(f.addrs))
	at := d.ask(t, "ann").addr
	f.header["x-remora-endpoint"] = base64.StdEncoding.EncodeToString([]byte(f.other(at)))
	for range 3 {
		d.expect(t, "ann", at, "existing")
	}
	if got := d.ask(t, "ann", "x-remora-endpoint", f.header["x-remora-endpoint"]); got.addr != at || got.told != "existing" {
		t.Errorf("got %v", got)
	}
}

// TestAReportThatFailsFailsNoResponse lets the reports go to a cluster that does not speak gRPC.
func TestAReportThatFailsFailsNoResponse(t *testing.T) {
	f := newFleet(t, 2)
	c := doortest.Config(f.addrs)
	const reports = "                  \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor\n                  grpc_service:\n                    envoy_grpc: {cluster_name: "
	const limit = " # for so long the response may wait"
	d := newDoor(t, c, reports+"remora}", reports+`"`+c.Services[0].Name+`"}`, "message_timeout: 60s"+limit, "message_timeout: 0.25s"+limit)
	at := d.ask(t, "ann").addr
	f.stop(at)
	for range 2 { // the session does not follow, and each attempt says that it is not at home
		d.expect(t, "ann", f.other(at), "moved")
	}
}

// inEnvoy is the line of an address in the configuration that a door gives its Envoy.
func inEnvoy(t *testing.T, addr string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return "        - endpoint: {address: {socket_address: {address: " + host + ", port_value: " + port + "}}}\n"
}

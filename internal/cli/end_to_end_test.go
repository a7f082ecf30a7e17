package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/programtest"
)

// replicas is one service's replicas: running processes, or servers of the test.
type replicas struct {
	service   string
	addresses []string
}

// startBackends runs replicas of the sample service.
func startBackends(t *testing.T, service string, n int) replicas {
	t.Helper()
	r := replicas{service: service}
	for i := range n {
		p := start(t, "backend", "--service", service, "--name", fmt.Sprintf("%s-%d", service, i), "--listen", "127.0.0.1:0", "--exit-on-eof")
		_, address, _ := strings.Cut(p.Line("listens on"), " listens on ")
		r.addresses = append(r.addresses, address)
	}
	return r
}

// configure writes the example's routes with these services into a folder.
func configure(t *testing.T, services ...replicas) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for _, name := range []string{"gateway.yaml", "virtualservice.yaml", "destinationrules.yaml", "services.yaml", "affinitypolicy.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../examples/hit-backend", name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(folder, name), text, 0o600))
	}
	var slices strings.Builder
	for _, s := range services {
		for i, address := range s.addresses {
			host, port, err := net.SplitHostPort(address)
			must(t, err)
			fmt.Fprintf(&slices, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: %[1]s-%[2]d
  labels: {kubernetes.io/service-name: %[1]s}
addressType: IPv4
ports: [{port: %[4]s}]
endpoints: [{addresses: [%[3]s], conditions: {ready: true}}]
`, s.service, i, host, port)
		}
	}
	must(t, os.WriteFile(filepath.Join(folder, "endpoints.yaml"), []byte(slices.String()), 0o600))
	return folder
}

// edit changes a file of the configuration as an editor does: a new file takes the old one's name.
func edit(t *testing.T, folder, name, old, new string) {
	t.Helper()
	path := filepath.Join(folder, name)
	text, err := os.ReadFile(path)
	must(t, err)
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q", name, old)
	}
	must(t, os.WriteFile(path+".new", []byte(strings.Replace(string(text), old, new, 1)), 0o600))
	must(t, os.Rename(path+".new", path))
}

const annAt1 = `{"username":"ann","target":"backend-1"}`

func TestBothRulesHoldOnRealProcesses(t *testing.T) {
	t.Parallel()
	g := serve(t, "-f", configure(t, startBackends(t, "backend-1", 2), startBackends(t, "backend-2", 2), startBackends(t, "backend-3", 1)))

	sample := g.hit(`{"username":"user","target":"backend-1"}`, "target", "backend-2", "x-user", "kaleeswaran")
	if sample.Target != "backend-1" || sample.User != "user" || sample.Session != "new" {
		t.Errorf("rule 1, the body over the headers: %+v", sample)
	}
	if r := g.hit(`{}`, "target", "backend-2", "x-user", "kaleeswaran"); r.Target != "backend-2" || r.status != http.StatusOK {
		t.Errorf("rule 1, by header: %+v", r)
	}
	if r := g.hit(`{"username":"user","target":"backend-9"}`); r.status != http.StatusNotFound {
		t.Errorf("an unknown target: %+v", r)
	}
	if r := g.hit(`{"username":"user","target":"backend-1","Target":"backend-2"}`); r.status != http.StatusBadRequest {
		t.Errorf("a target that two readers read differently: %+v", r)
	}

	at := map[string]string{}
	replicas := map[string]bool{}
	for visit := 1; visit <= 3; visit++ {
		for i := range 20 {
			user := fmt.Sprintf("user-%d", i)
			r := g.hit(fmt.Sprintf(`{"username":%q,"target":"backend-2"}`, user))
			if visit == 1 {
				at[user] = r.PodID
				replicas[r.PodID] = true
			}
			if r.PodID != at[user] || r.Visits != visit || (r.Session == "new") != (visit == 1) {
				t.Errorf("rule 2: visit %d of %s to %s, first seen by %s: %+v", visit, user, r.PodID, at[user], r)
			}
		}
	}
	if len(replicas) != 2 {
		t.Errorf("20 users are on %d of 2 replicas", len(replicas))
	}
}

func TestTheToolsAgreeWithTheGateway(t *testing.T) {
	t.Parallel()
	folder := configure(t, startBackends(t, "backend-1", 2))
	g := serve(t, "-f", folder)
	before, err := g.api.Explain(t.Context(), admin.ExplainRequest{Path: "/hit_backend", Text: annAt1})
	must(t, err)
	r := g.hit(annAt1)
	got, err := g.api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"})
	must(t, err)
	if before.Session != "new" || before.Choice != got.Endpoint || r.Session != "new" {
		t.Errorf("explained as %s at %s, answered as %s, bound to %s", before.Session, before.Choice, r.Session, got.Endpoint)
	}
	if !strings.HasPrefix(before.Rule.Source, folder+"/virtualservice.yaml:") {
		t.Errorf("the rule is from %s", before.Rule.Source)
	}
	_, err = g.api.Drain(t.Context(), admin.DrainRequest{Endpoint: got.Endpoint})
	must(t, err)
	if again := g.hit(annAt1); again.PodID != r.PodID || again.Session != "existing" {
		t.Errorf("on a draining replica the session is %+v", again)
	}
	if status, body := g.adminGet("/metrics"); status != http.StatusOK ||
		!strings.Contains(body, `remora_endpoint_state{endpoint="`+got.Endpoint+`",service="backend-1.default.svc.cluster.local:8080",state="draining"} 1`) ||
		!strings.Contains(body, "remora_gateway_requests_total") || !strings.Contains(body, "process_open_fds") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("the metrics are %d\n%s", status, body)
	}
}

func TestTheManualHasEveryMetric(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/operating.md")
	must(t, err)
	g := serve(t, "-f", configure(t, startBackends(t, "backend-1", 1)), "--access-log", "json", "--session-file", filepath.Join(t.TempDir(), "sessions"))
	g.hit(annAt1)
	_, body := g.adminGet("/metrics")
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, "# HELP remora_")
		if name, _, _ := strings.Cut(rest, " "); ok && !strings.Contains(string(manual), "| `remora_"+name+"` |") {
			t.Errorf("docs/operating.md does not have remora_%s", name)
		}
	}
}

func TestABadReloadKeepsTheConfigurationAndSaysWhy(t *testing.T) {
	t.Parallel()
	folder := configure(t, startBackends(t, "backend-1", 1))
	g := serve(t, "-f", folder)
	lastLoad := func() admin.ConfigStatus {
		st, err := g.api.Status(t.Context())
		must(t, err)
		return st.Config
	}
	successful := func(want string) {
		t.Helper()
		if _, body := g.adminGet("/metrics"); !strings.Contains(body, "\nremora_config_last_reload_successful "+want+"\n") {
			t.Errorf("remora_config_last_reload_successful is not %s", want)
		}
	}
	successful("1")

	edit(t, folder, "virtualservice.yaml", "exact: backend-2", "exakt: backend-2")
	finding := g.Logged("invalid configuration", "finding")
	if !strings.Contains(finding, "virtualservice.yaml:") || !strings.Contains(finding, "exakt") {
		t.Errorf("the finding is %q", finding)
	}
	g.Line("the configuration is refused and is as it was before")
	if r := g.hit(annAt1); r.Target != "backend-1" {
		t.Errorf("after the bad reload: %+v", r)
	}
	if st := lastLoad(); st.Generation != 1 || st.LastLoad.Applied || len(st.LastLoad.Diagnostics) == 0 || st.LastLoad.Diagnostics[0].Line == 0 {
		t.Errorf("the status is %+v", st)
	}
	successful("0")

	g.Signal(syscall.SIGHUP)
	if why := g.Logged("loading the configuration", "why"); why != "SIGHUP" {
		t.Errorf("loaded because of %q", why)
	}
	g.Line("the configuration is refused and is as it was before")

	edit(t, folder, "virtualservice.yaml", "exakt: backend-2", "exact: two")
	g.Line(`"msg":"configuration applied"`)
	if r := g.hit(`{"username":"ann","target":"two"}`); r.status != http.StatusServiceUnavailable {
		t.Errorf("after the good reload the new route gives %+v", r) // backend-2 has no replica here
	}
	if r := g.hit(annAt1); r.Session != "existing" || r.Visits != 2 {
		t.Errorf("the session did not outlive the reloads: %+v", r)
	}
	if st := lastLoad(); st.Generation != 2 || !st.LastLoad.Applied {
		t.Errorf("the status is %+v", st)
	}
	successful("1")
}

func TestAReloadOpensAndClosesPorts(t *testing.T) {
	t.Parallel()
	folder := configure(t, startBackends(t, "backend-1", 1))
	g := serve(t, "-f", folder, "--port", "81=0")
	edit(t, folder, "gateway.yaml", "number: 80", "number: 81")
	g.Line(`"msg":"configuration applied"`)
	first := g.url
	g.url = "http://" + g.Logged("listening", "address")
	if r := g.hit(annAt1); r.status != http.StatusOK {
		t.Errorf("through the new port: %+v", r)
	}
	if _, err := tryHit(first, annAt1); err == nil {
		t.Error("the port that is gone still answers")
	}

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer busy.Close()
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	edit(t, folder, "gateway.yaml", "number: 81", "number: "+port)
	if reason := g.Logged("the configuration is refused and is as it was before", "error"); !strings.Contains(reason, busy.Addr().String()+" is in use") {
		t.Errorf("refused because of %q", reason)
	}
	if r := g.hit(annAt1); r.status != http.StatusOK {
		t.Errorf("after a reload whose port is busy: %+v", r)
	}
}

// slowReplica is a replica that answers when it is told to.
func slowReplica(t *testing.T) (r replicas, arrived, release chan struct{}) {
	t.Helper()
	arrived, release = make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client leaves
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, `{"target":"slow"}`)
	}))
	t.Cleanup(server.Close)
	return replicas{service: "backend-1", addresses: []string{server.Listener.Addr().String()}}, arrived, release
}

type result struct {
	reply reply
	err   error
}

func TestAStopFinishesRequestsInFlight(t *testing.T) {
	t.Parallel()
	replica, arrived, release := slowReplica(t)
	g := serve(t, "-f", configure(t, replica))
	answer := make(chan result, 1)
	go func() {
		r, err := tryHit(g.url, annAt1)
		answer <- result{r, err}
	}()
	<-arrived
	g.Signal(syscall.SIGTERM)
	g.Line(`"msg":"stopping"`)
	if status, body := g.adminGet("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("/readyz gives %d %q while the gateway stops", status, body)
	}
	close(release)
	if r := <-answer; r.err != nil || r.reply.Target != "slow" {
		t.Errorf("the request in flight got %+v, %v", r.reply, r.err)
	}
	g.Ends(0)
}

func TestASecondSignalCutsOffRequestsInFlight(t *testing.T) {
	t.Parallel()
	replica, arrived, _ := slowReplica(t)
	g := serve(t, "-f", configure(t, replica), "--shutdown-timeout", "1h")
	answer := make(chan result, 1)
	go func() {
		r, err := tryHit(g.url, annAt1)
		answer <- result{r, err}
	}()
	<-arrived
	g.Signal(syscall.SIGTERM)
	g.Line(`"msg":"stopping"`)
	g.Signal(syscall.SIGINT)
	g.Ends(1)
	g.Line("requests in flight were cut off")
	if r := <-answer; r.err == nil {
		t.Errorf("the request in flight got %+v", r.reply)
	}
}

func TestTheGatewayEndsWithTheProgramThatStartedIt(t *testing.T) {
	t.Parallel()
	folder := configure(t, startBackends(t, "backend-1", 1))
	path := programtest.Remora(t)
	// A shell that is killed cannot tell its children anything: only the kernel closes its end of the pipe.
	for _, args := range [][]string{
		{"serve", "-f", folder, "--port", "80=0", "--admin", "off", "--exit-on-eof"},
		{"backend", "--service", "backend-1", "--listen", "127.0.0.1:0", "--exit-on-eof"},
	} {
		reader, writer, err := os.Pipe()
		must(t, err)
		defer reader.Close()
		cmd := exec.Command(path, args...)
		cmd.Stdin = reader
		p := programtest.Run(t, cmd)
		p.Line("isten")
		must(t, writer.Close())
		p.Ends(0)
	}
}

func TestSessionsOutlastAStop(t *testing.T) {
	t.Parallel()
	folder, file := configure(t, startBackends(t, "backend-1", 2)), filepath.Join(t.TempDir(), "sessions")
	g := serve(t, "-f", folder, "--session-file", file)
	first := g.hit(annAt1)
	g.Stop()
	g = serve(t, "-f", folder, "--session-file", file)
	if r := g.hit(annAt1); r.PodID != first.PodID || r.Session != "existing" || r.Visits != 2 {
		t.Errorf("after the restart: %+v, before: %+v", r, first)
	}
	text, err := os.ReadFile(file)
	must(t, err)
	if strings.Contains(string(text), "ann") {
		t.Error("the file has the user's name")
	}
}

func TestSessionsOfTheLastSaveOutlastAKill(t *testing.T) {
	t.Parallel()
	folder, file := configure(t, startBackends(t, "backend-1", 2)), filepath.Join(t.TempDir(), "sessions")
	g := serve(t, "-f", folder, "--session-file", file, "--session-save-interval", "1s")
	at := map[string]string{}
	for i := range 30 {
		user := fmt.Sprintf("user-%d", i)
		at[user] = g.hit(fmt.Sprintf(`{"username":%q,"target":"backend-1"}`, user)).PodID
	}
	g.Line(`"msg":"sessions saved"`) // may have begun before the last request
	g.Line(`"msg":"sessions saved"`)
	g.Kill()
	g = serve(t, "-f", folder, "--session-file", file)
	for user, pod := range at {
		if r := g.hit(fmt.Sprintf(`{"username":%q,"target":"backend-1"}`, user)); r.PodID != pod || r.Session != "existing" {
			t.Errorf("after the kill %s is at %s (%s), was at %s", user, r.PodID, r.Session, pod)
		}
	}
}

func TestATornSessionFileIsSaidAndKeptAside(t *testing.T) {
	t.Parallel()
	folder, file := configure(t, startBackends(t, "backend-1", 1)), filepath.Join(t.TempDir(), "sessions")
	g := serve(t, "-f", folder, "--session-file", file)
	g.hit(annAt1)
	g.Stop()
	whole, err := os.ReadFile(file)
	must(t, err)
	for name, bad := range map[string]string{
		"torn":    string(whole[:len(whole)-1]),
		"flipped": string(whole[:len(whole)/2]) + string([]byte{whole[len(whole)/2] ^ 1}) + string(whole[len(whole)/2+1:]),
		"longer":  string(whole) + "x",
		"foreign": "root:x:0:0\n",
		"empty":   "",
	} {
		must(t, os.WriteFile(file, []byte(bad), 0o600))
		g := serveLogged(t, "starting without sessions", "-f", folder, "--session-file", file)
		if r := g.hit(annAt1); r.Session != "new" {
			t.Errorf("%s: the session is %s", name, r.Session)
		}
		if aside, err := os.ReadFile(file + ".corrupt"); string(aside) != bad {
			t.Errorf("%s: kept aside are %d bytes, %v", name, len(aside), err)
		}
		g.Stop()
	}
}

func TestASaveThatFailsIsSaidAndTheExitStatusTells(t *testing.T) {
	t.Parallel()
	folder, dir := configure(t, startBackends(t, "backend-1", 1)), filepath.Join(t.TempDir(), "gone")
	must(t, os.Mkdir(dir, 0o700))
	g := serve(t, "-f", folder, "--session-file", filepath.Join(dir, "sessions"), "--session-save-interval", "1s")
	g.Line(`"msg":"sessions saved"`)
	must(t, os.RemoveAll(dir))
	g.Line(`"msg":"the sessions were not saved"`)
	if r := g.hit(annAt1); r.status != http.StatusOK {
		t.Errorf("while saves fail: %+v", r)
	}
	st, err := g.api.Status(t.Context())
	must(t, err)
	if st.Sessions.SaveError == "" || st.Sessions.SavedAt == nil || st.Sessions.Stored != 1 {
		t.Errorf("the status is %+v", st.Sessions)
	}
	g.Signal(syscall.SIGTERM)
	g.Ends(1)
}

func TestTheAccessLogHasEachRequestAndNoUsersName(t *testing.T) {
	t.Parallel()
	g := serve(t, "-f", configure(t, startBackends(t, "backend-1", 1)), "--access-log", "json")
	g.hit(`{"username":"private-name","target":"backend-1"}`)
	g.hit(`{"username":"private-name","target":"backend-9"}`)
	g.Stop()
	lines := strings.Split(strings.TrimSpace(g.stdout.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"status":200`) || !strings.Contains(lines[0], `"session":"new"`) ||
		!strings.Contains(lines[1], `"problem":"no_route"`) {
		t.Errorf("the access log is\n%s", g.stdout.String())
	}
	if all := g.stdout.String() + g.Log(); strings.Contains(all, "private-name") {
		t.Errorf("a log has the user's name:\n%s", all)
	}
}

func TestAClientCannotHaveAHeaderTakenAwayThatDecidedItsRoute(t *testing.T) {
	t.Parallel()
	g := serve(t, "-f", configure(t, startBackends(t, "backend-1", 1)))
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	must(t, err)
	defer conn.Close()
	// By RFC 9110, section 7.6.1, a proxy takes away what Connection names.
	fmt.Fprint(conn, "GET /hit_backend HTTP/1.1\r\nHost: a\r\ntarget: backend-1\r\nx-user: ann\r\nConnection: close, x-user\r\n\r\n")
	answer, err := io.ReadAll(conn)
	must(t, err)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "protected_connection_option") {
		t.Errorf("the answer is\n%s", answer)
	}
}

func TestHeadersThatAReloadMakesDecisiveAreProtectedFromThenOn(t *testing.T) {
	t.Parallel()
	folder := configure(t, startBackends(t, "backend-1", 1))
	g := serve(t, "-f", folder)
	ask := func() string {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		must(t, err)
		defer conn.Close()
		fmt.Fprint(conn, "GET /hit_backend HTTP/1.1\r\nHost: a\r\ntarget: backend-1\r\nx-user: ann\r\nx-tier: gold\r\nConnection: close, x-tier\r\n\r\n")
		answer, err := io.ReadAll(conn)
		must(t, err)
		return string(answer)
	}
	if answer := ask(); strings.Contains(answer, "protected_connection_option") {
		t.Errorf("before the reload x-tier decides nothing, and the answer is\n%s", answer)
	}
	edit(t, folder, "virtualservice.yaml", "exact: backend-1\n", "exact: backend-1\n        x-tier:\n          exact: gold\n")
	g.Line(`"msg":"configuration applied"`)
	if answer := ask(); !strings.Contains(answer, "protected_connection_option") {
		t.Errorf("after the reload x-tier decides, and the answer is\n%s", answer)
	}
}

func TestOnlyPortsThatWereOpenedAreSaidToBeListenedOn(t *testing.T) {
	t.Parallel()
	folder := configure(t, startBackends(t, "backend-1", 1))
	g := serve(t, "-f", folder)
	edit(t, folder, "virtualservice.yaml", "exact: backend-2", "exact: two")
	g.Line(`"msg":"configuration applied"`)
	g.Stop()
	if n := strings.Count(g.Log(), `"msg":"listening"`); n != 1 {
		t.Errorf("one port was opened, and that was said %d times", n)
	}
}

func TestSessionsCannotBeUsedWithAnotherHashKey(t *testing.T) {
	t.Parallel()
	folder, dir := configure(t, startBackends(t, "backend-1", 1)), t.TempDir()
	file, key := filepath.Join(dir, "sessions"), filepath.Join(dir, "key")
	must(t, os.WriteFile(key, []byte("000102030405060708090a0b0c0d0e0f\n"), 0o600))
	g := serve(t, "-f", folder, "--session-file", file, "--hash-key-file", key)
	g.hit(annAt1)
	g.Stop()
	must(t, os.WriteFile(key, []byte("ff0102030405060708090a0b0c0d0e0f\n"), 0o600))
	g = serveLogged(t, "starting without sessions", "-f", folder, "--session-file", file, "--hash-key-file", key)
	if r := g.hit(annAt1); r.Session != "new" {
		t.Errorf("the session is %s", r.Session)
	}
}

func TestAnAdminAddressThatOthersReachIsWarnedOf(t *testing.T) {
	t.Parallel()
	folder := configure(t, replicas{service: "backend-1", addresses: []string{"127.0.0.1:1"}})
	p := start(t, "serve", "-f", folder, "--port", "80=0", "--admin", "192.0.2.1:9901", "--log-format", "json") // TEST-NET, RFC 5737
	p.Line(`"level":"WARN"`, "the admin API has no passwords")
	p.Ends(1) // no machine has that address
}

func TestMonitoringHasAnAddressWithoutTheAdminAPI(t *testing.T) {
	t.Parallel()
	folder := configure(t, startBackends(t, "backend-1", 1))
	g := serve(t, "-f", folder, "--metrics", "127.0.0.1:0")
	g.hit(annAt1)
	st, err := g.api.Status(t.Context())
	must(t, err)
	last := st.Listeners[len(st.Listeners)-1]
	if last.Door != "metrics" || last.Port != 0 {
		t.Fatalf("the listeners are %+v", st.Listeners)
	}
	monitoring := &served{t: t, admin: "http://" + last.Address}
	for path, want := range map[string]int{"/metrics": 200, "/readyz": 200, "/healthz": 200, admin.PathStatus: 404, admin.PathEndpoints: 404} {
		if status, body := monitoring.adminGet(path); status != want || path == "/metrics" && !strings.Contains(body, "remora_sessions_stored 1\n") {
			t.Errorf("%s gives %d\n%s", path, status, body)
		}
	}
	g.Stop()
}

func TestAddressesForMonitoringThatCannotBeAreUsageErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ metrics, says string }{
		{"9090", "neither ip:port nor off; give one like 0.0.0.0:9090"},
		{"127.0.0.1:9901", "is the address of --admin, which has the metrics as well"},
	} {
		p := start(t, "extproc", "-f", "nothing", "--metrics", c.metrics)
		p.Line("--metrics", c.metrics, c.says)
		p.Ends(exitUsage)
	}
}

func TestABusyPortEndsTheStartAndNamesTheFlag(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer busy.Close()
	address := busy.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	folder := configure(t, replicas{service: "backend-1", addresses: []string{"127.0.0.1:1"}})
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"serve", "-f", folder, "--admin", "off", "--port", "80=" + port}, []string{address + " is in use by another process", "--port 80=PORT"}},
		{[]string{"serve", "-f", folder, "--port", "80=0", "--admin", address}, []string{address, "admin API", "in use", "--admin off"}},
		{[]string{"serve", "-f", folder, "--port", "80=0", "--admin", "off", "--metrics", address}, []string{address, "the metrics", "in use", "--metrics off"}},
		{[]string{"backend", "--service", "backend-1", "--listen", address}, []string{address, "address already in use", "--listen"}},
	} {
		p := start(t, c.args...)
		p.Line(c.words...)
		p.Ends(1)
	}
}

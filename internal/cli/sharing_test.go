package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/redistest"
)

// The tests in this file run gateways that share their sessions in a real Redis. The store's answers are waited for longer than by default:
// a machine under load is no failure of the store.

// shares are the flags of a gateway that shares its sessions.
func shares(store *redistest.Server, folder string, more ...string) []string {
	return append([]string{"-f", folder, "--store", store.URL(), "--store-timeout", "1s"}, more...)
}

// eventually waits until f gives no error.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
	}
}

// user is a request of a user to backend-1.
func user(i int) string { return fmt.Sprintf(`{"username":"user-%d","target":"backend-1"}`, i) }

// stateOf is the state that a gateway gives a replica.
func (g *served) stateOf(address string) string {
	g.t.Helper()
	eps, err := g.api.Endpoints(g.t.Context(), "")
	must(g.t, err)
	i := slices.IndexFunc(eps.Endpoints, func(ep affinity.EndpointView) bool { return ep.Addr == address })
	if i < 0 {
		g.t.Fatalf("there is no %s: %+v", address, eps)
	}
	return eps.Endpoints[i].State
}

func TestUsersOfSeveralGatewaysStayOnTheirReplicas(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	folder := configure(t, startBackends(t, "backend-1", 3))
	first, second := serve(t, shares(store, folder)...), serve(t, shares(store, folder)...)
	const users = 40
	var at [users]string
	for i := range users { // half of them come to the one first, half to the other
		a, b := first, second
		if i%2 == 1 {
			a, b = second, first
		}
		began, went := a.hit(user(i)), b.hit(user(i))
		at[i] = began.PodID
		if began.Session != "new" || went.Session != "existing" || went.PodID != began.PodID || went.Visits != 2 {
			t.Errorf("user-%d: %+v, then at the other gateway %+v", i, began, went)
		}
	}
	for name, g := range map[string]*served{"first": first, "second": second} {
		eventually(t, "the "+name+" gateway counts the sessions of both", func() error {
			eps, err := g.api.Endpoints(t.Context(), "backend-1")
			must(t, err)
			n := 0
			for _, ep := range eps.Endpoints {
				n += ep.Live
			}
			st, err := g.api.Status(t.Context())
			must(t, err)
			if live := st.Store.Sessions; n != users || live == nil || *live != users {
				return fmt.Errorf("it has %d; of the store it says %+v", n, st.Store)
			}
			return nil
		})
	}
	first.Kill()
	for i := range users {
		if r := second.hit(user(i)); r.PodID != at[i] || r.Session != "existing" {
			t.Errorf("when the first gateway was killed, user-%d: %+v, was at %s", i, r, at[i])
		}
	}
	later := serve(t, shares(store, folder)...)
	for i := range users {
		if r := later.hit(user(i)); r.PodID != at[i] || r.Session != "existing" {
			t.Errorf("at a gateway that was started later, user-%d: %+v, was at %s", i, r, at[i])
		}
	}
}

func TestASessionOfAnotherGatewayIsFoundAndMovedByOperators(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	backends := startBackends(t, "backend-1", 2)
	folder := configure(t, backends)
	first, second := serve(t, shares(store, folder)...), serve(t, shares(store, folder)...)
	before := first.hit(annAt1)
	found, err := second.api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"})
	must(t, err)
	to := backends.addresses[1-slices.Index(backends.addresses, found.Endpoint)]
	moved, err := second.api.Move(t.Context(), admin.MoveRequest{Service: "backend-1", User: "ann", To: to})
	must(t, err)
	if moved.Endpoint != to {
		t.Errorf("moved to %s, want %s", moved.Endpoint, to)
	}
	eventually(t, "the gateway that has the session hears of the move", func() error {
		if at, err := first.api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"}); err != nil || at.Endpoint != to {
			return fmt.Errorf("%+v, %w", at, err)
		}
		return nil
	})
	if r := first.hit(annAt1); r.PodID == before.PodID {
		t.Errorf("after the move: %+v", r)
	}
}

func TestADrainAtOneGatewayIsADrainAtAll(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	backends := startBackends(t, "backend-1", 2)
	folder := configure(t, backends)
	first, second := serve(t, shares(store, folder)...), serve(t, shares(store, folder)...)
	all := []*served{first, second}
	is := func(state string) {
		t.Helper()
		for i, g := range all {
			eventually(t, fmt.Sprintf("the replica is %s at gateway %d", state, i), func() error {
				if got := g.stateOf(backends.addresses[0]); got != state {
					return fmt.Errorf("it is %s", got)
				}
				return nil
			})
		}
	}
	_, err := first.api.Drain(t.Context(), admin.DrainRequest{Endpoint: backends.addresses[0]})
	must(t, err)
	is("draining")
	all = append(all, serve(t, shares(store, folder)...))
	if got := all[2].stateOf(backends.addresses[0]); got != "draining" {
		t.Errorf("at a gateway that was started later it is %s", got)
	}
	store.Restart()
	for _, g := range all {
		g.Line("the store has been told all live sessions")
	}
	all = append(all, serve(t, shares(store, folder)...))
	is("draining")
	_, err = second.api.Drain(t.Context(), admin.DrainRequest{Endpoint: backends.addresses[0], Undo: true})
	must(t, err)
	is("ready")
}

func TestRequestsGoOnWithoutTheStoreAndWithItAgain(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	backends := startBackends(t, "backend-1", 3)
	folder := configure(t, backends)
	key := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(key, []byte("00112233445566778899aabbccddeeff\n"), 0o600))
	first, second := serve(t, shares(store, folder, "--hash-key-file", key)...), serve(t, shares(store, folder, "--hash-key-file", key)...)
	ann := first.hit(annAt1)

	store.Stop()
	first.Line("the store does not answer")
	second.Line("the store does not answer")
	if r := first.hit(annAt1); r.PodID != ann.PodID || r.Session != "existing" {
		t.Errorf("without the store a known user: %+v, was at %s", r, ann.PodID)
	}
	var at [20]string
	for i := range at {
		one, other := first.hit(user(i)), second.hit(user(i))
		if one.status != http.StatusOK || other.PodID != one.PodID {
			t.Errorf("without the store user-%d: %+v, and at the other gateway %+v", i, one, other)
		}
		at[i] = one.PodID
	}
	if status, body := first.adminGet("/readyz"); status != http.StatusOK || !strings.HasPrefix(body, "ready, degraded: the store has not answered for ") {
		t.Errorf("without the store it is %d %s", status, body)
	}
	st, err := first.api.Status(t.Context())
	must(t, err)
	if !st.Ready || st.Store.Answers || st.Store.Error == "" || st.Store.Since.IsZero() || st.Store.Undecided == 0 || !strings.Contains(st.Degraded, "did not answer within 1s") {
		t.Errorf("without the store the status is %+v, %+v", st, st.Store)
	}
	if _, body := first.adminGet("/metrics"); !strings.Contains(body, "\nremora_store_up 0\n") {
		t.Error("without the store remora_store_up is not 0")
	}
	var stdout, stderr bytes.Buffer
	env := Env{Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }, Notify: func(...os.Signal) <-chan os.Signal { return nil }}
	if code := Main("test", []string{"status", "--gateway", first.admin}, env); code != exitOK || !strings.Contains(stdout.String(), "the store has not answered for ") {
		t.Errorf("remora status ends with %d\n%s%s", code, stdout.String(), stderr.String())
	}
	stdout.Reset()
	if code := Main("test", []string{"status", "--gateway", first.admin, "--gateway", second.admin, "--gateway", first.admin}, env); code != exitOK || !strings.Contains(stdout.String(), "0 of 2 gateways") {
		t.Errorf("remora status of both gateways ends with %d\n%s%s", code, stdout.String(), stderr.String())
	}
	stderr.Reset()
	if code := Main("test", []string{"sessions", "get", "ann", "--service", "backend-1", "--gateway", second.admin}, env); code != exitFailed || !strings.Contains(stderr.String(), "the store does not answer") {
		t.Errorf("remora sessions get at a gateway that does not have the session ends with %d\n%s", code, stderr.String())
	}
	drained, err := first.api.Drain(t.Context(), admin.DrainRequest{Endpoint: backends.addresses[0]})
	must(t, err)
	if drained.Untold == "" {
		t.Error("nothing says that the other gateway has not heard of the drain")
	}

	annIs, err := first.api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"})
	must(t, err)
	to := backends.addresses[3-max(1, slices.Index(backends.addresses, annIs.Endpoint))] // not the drained one
	stderr.Reset()
	code := Main("test", []string{"sessions", "move", "ann", "--service", "backend-1", "--to", to, "--gateway", first.admin}, env)
	if code != exitOK || !strings.Contains(stderr.String(), "the other gateways have not heard of it yet") {
		t.Errorf("remora sessions move ends with %d\n%s", code, stderr.String())
	}

	store.Continue()
	for _, g := range []*served{first, second} {
		g.Line("the store answers again")
		g.Line("the store has been told all live sessions")
	}
	eventually(t, "the other gateway hears of the drain", func() error {
		if got := second.stateOf(backends.addresses[0]); got != "draining" {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
	third := serve(t, shares(store, folder, "--hash-key-file", key)...)
	for i := range at {
		if r := third.hit(user(i)); r.PodID != at[i] || r.Session != "existing" {
			t.Errorf("at a third gateway user-%d, who began without the store: %+v, was at %s", i, r, at[i])
		}
	}
	if status, body := first.adminGet("/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("with the store again it is %d %s", status, body)
	}
}

func TestAGatewayStartsWithoutTheStoreAndJoinsTheOthers(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	folder := configure(t, startBackends(t, "backend-1", 3))
	other := serve(t, shares(store, folder)...)
	store.Kill()
	other.Line("the store does not answer")
	ann := other.hit(annAt1)
	g := serveLogged(t, "starting alone", shares(store, folder)...)
	if r := g.hit(annAt1); r.status != http.StatusOK {
		t.Errorf("a gateway that was started without the store: %+v", r)
	}
	st, err := g.api.Status(t.Context())
	must(t, err)
	if _, body := g.adminGet("/metrics"); st.Store.Sessions != nil || strings.Contains(body, "remora_store_sessions") {
		t.Errorf("before they are counted, there are %v sessions in the store; %s", st.Store.Sessions, body)
	}
	store.Restart()
	other.Line("the store has been told all live sessions")
	g.Line("the store has been told all live sessions")
	if r := g.hit(annAt1); r.PodID != ann.PodID {
		t.Errorf("a gateway that was started without the store has its user at %+v, the others at %s", r, ann.PodID)
	}
}

func TestAStoreThatIsEmptiedByHandIsToldEverythingAgain(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	backends := startBackends(t, "backend-1", 3)
	folder := configure(t, backends)
	first, second := serve(t, shares(store, folder)...), serve(t, shares(store, folder)...)
	const users = 20
	var at [users]string
	for i := range users {
		at[i] = first.hit(user(i)).PodID
	}
	_, err := second.api.Drain(t.Context(), admin.DrainRequest{Endpoint: backends.addresses[0]})
	must(t, err)
	store.Do("FLUSHALL")
	for _, g := range []*served{first, second} {
		g.Line("the store may have lost sessions")
	}
	first.Line("the store has been told all live sessions")
	later := serve(t, shares(store, folder)...)
	for i := range users {
		if r := later.hit(user(i)); r.PodID != at[i] || r.Session != "existing" {
			t.Errorf("user-%d: %+v, was at %s", i, r, at[i])
		}
	}
	for i, g := range []*served{first, second, later} {
		eventually(t, fmt.Sprintf("the replica is draining at gateway %d", i), func() error {
			if got := g.stateOf(backends.addresses[0]); got != "draining" {
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
	}
}

// A gateway that starts at a store that has just come back empty makes a hash key, and gives it up when it hears of the one that the others have.
func TestAGatewayThatStartsAtAnEmptyStoreTakesTheOthersHashKey(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	folder := configure(t, startBackends(t, "backend-1", 3))
	first := serve(t, shares(store, folder)...)
	ann := first.hit(annAt1)
	first.Signal(syscall.SIGSTOP)
	store.Do("FLUSHALL")
	second := serve(t, shares(store, folder)...)
	second.hit(user(1))
	first.Signal(syscall.SIGCONT)
	second.Line("the users of this gateway begin new sessions")
	first.Line("the store has been told all live sessions")
	eventually(t, "the second gateway knows the first one's user", func() error {
		if r := second.hit(annAt1); r.PodID != ann.PodID {
			return fmt.Errorf("%+v, was at %s", r, ann.PodID)
		}
		return nil
	})
	if r := first.hit(annAt1); r.PodID != ann.PodID || r.Session != "existing" {
		t.Errorf("at the first gateway %+v, was at %s", r, ann.PodID)
	}
}

func TestAGatewayThatMustNotShareDoesNotStart(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{Password: "secret"})
	folder := configure(t, startBackends(t, "backend-1", 1))
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
		return path
	}
	url := "redis://" + store.Addr
	let := url + "?password-file=" + file("secret")
	serve(t, "-f", folder, "--store", let, "--store-timeout", "1s", "--hash-key-file", file("00112233445566778899aabbccddeeff"))
	for name, test := range map[string]struct {
		flags []string
		says  []string
	}{
		"no password":             {[]string{"--store", url}, []string{"--store: the store cannot be used as it is configured: " + url, "NOAUTH"}},
		"a wrong password":        {[]string{"--store", url + "?password-file=" + file("sesame")}, []string{"--store: the store cannot be used as it is configured: " + url, "WRONGPASS"}},
		"a database too many":     {[]string{"--store", url + "/99?password-file=" + file("secret")}, []string{"--store: the store cannot be used as it is configured: " + url + "/99: ", "the server has no database 99"}},
		"TLS, and it has none":    {[]string{"--store", "rediss://" + store.Addr}, []string{"--store: the store cannot be used as it is configured: ", "begin the URL with redis://"}},
		"another hash key":        {[]string{"--store", let, "--hash-key-file", file("ffeeddccbbaa99887766554433221100")}, []string{"--store: the gateways have different hash keys: ", "give all the same"}},
		"no hash key":             {[]string{"--store", let}, []string{"--store: the gateways have different hash keys: ", "this one was not; give it the same one"}},
		"another prefix has none": {[]string{"--store", let, "--store-prefix", "shop"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"serve", "-f", folder, "--port", "80=0", "--admin", "off", "--log-format", "json", "--exit-on-eof"}, test.flags...)
			p := start(t, args...)
			if test.says == nil {
				p.Line(`"msg":"ready"`)
				return
			}
			line := p.Line("remora: --store: ")
			for _, want := range test.says {
				if !strings.Contains(line, want) {
					t.Errorf("it says %s\nwant %s", line, want)
				}
			}
			if status := p.ExitCode(); status != exitFailed || strings.Contains(line, "secret") || strings.Contains(line, "sesame") {
				t.Errorf("the exit status is %d, and it says %s", status, line)
			}
		})
	}
}

func TestTheURLOfAStoreMayComeFromTheEnvironment(t *testing.T) {
	store := redistest.Start(t, redistest.Options{Password: "secret"})
	t.Setenv(storeVariable, store.URL())
	g := serve(t, "-f", configure(t, startBackends(t, "backend-1", 1)), "--store-timeout", "1s")
	st, err := g.api.Status(t.Context())
	must(t, err)
	if st.Store == nil || !st.Store.Answers || st.Store.URL != "redis://"+store.Addr {
		t.Errorf("the status is %+v", st.Store)
	}
	_, metrics := g.adminGet("/metrics")
	g.documented(metrics)
}

func TestAGatewayThatStopsTellsWhatItHas(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	folder := configure(t, startBackends(t, "backend-1", 2))
	first, second := serve(t, shares(store, folder, "--store-interval", "10s")...), serve(t, shares(store, folder, "--store-interval", "10s")...)
	first.hit(annAt1)
	between := time.Now()
	first.hit(annAt1) // of which the store would hear within 10 s
	first.Stop()
	found, err := second.api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"})
	must(t, err)
	if found.LastSeen.Before(between.Truncate(time.Millisecond)) {
		t.Errorf("the session was last seen at %v, and used after %v", found.LastSeen, between)
	}
}

func TestTheSessionFileIsComparedWithTheStore(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	backends := startBackends(t, "backend-1", 2)
	folder := configure(t, backends)
	file := filepath.Join(t.TempDir(), "sessions")
	first, second := serve(t, shares(store, folder, "--session-file", file)...), serve(t, shares(store, folder)...)
	first.hit(annAt1)
	bob := first.hit(user(1))
	first.Stop()
	found, err := second.api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"})
	must(t, err)
	to := backends.addresses[1-slices.Index(backends.addresses, found.Endpoint)]
	_, err = second.api.Move(t.Context(), admin.MoveRequest{Service: "backend-1", User: "ann", To: to})
	must(t, err)
	moved := second.hit(annAt1)

	first = serve(t, shares(store, folder, "--session-file", file)...)
	if r := first.hit(annAt1); r.PodID != moved.PodID {
		t.Errorf("a session that was moved while its gateway was away: %+v, was moved to %s", r, moved.PodID)
	}
	store.Restart()
	for _, g := range []*served{first, second} {
		g.Line("the store has been told all live sessions")
	}
	if r := second.hit(user(1)); r.PodID != bob.PodID || r.Session != "existing" {
		t.Errorf("a session that a restarted store was told by the other gateway: %+v, was at %s", r, bob.PodID)
	}
}

func TestAProcessorSharesWithAGateway(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	folder := configure(t, startBackends(t, "backend-1", 2))
	g := serve(t, shares(store, folder)...)
	p, _ := processor(t, shares(store, folder, "--listen", "127.0.0.1:0")...)
	g.hit(annAt1)
	api, err := admin.NewClient(p.admin)
	must(t, err)
	if st, err := api.Status(t.Context()); err != nil || st.Store == nil || !st.Store.Answers || st.Store.URL != store.URL() {
		t.Errorf("the processor's status is %+v, %v", st.Store, err)
	}
	if _, err := api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"}); err != nil {
		t.Errorf("the processor does not find the gateway's session: %v", err)
	}
}

var aclLine = regexp.MustCompile(`(?m)^ACL SETUSER (\S+) .*$`)

// TestTheRightsOfTheManualAreEnough lets a gateway into a store with the rights that docs/sharing.md has and no others.
func TestTheRightsOfTheManualAreEnough(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/sharing.md")
	must(t, err)
	line := aclLine.FindString(string(page))
	store := redistest.Start(t, redistest.Options{})
	store.Do(strings.Fields(strings.ReplaceAll(line, "PASSWORD", "secret"))...)
	password := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte("secret\n"), 0o600))
	backends := startBackends(t, "backend-1", 2)
	url := "redis://" + aclLine.FindStringSubmatch(line)[1] + "@" + store.Addr + "?password-file=" + password
	flags := []string{"-f", configure(t, backends), "--store", url, "--store-timeout", "1s"}
	first, second := serve(t, flags...), serve(t, flags...)
	ann := first.hit(annAt1)
	if r := second.hit(annAt1); r.PodID != ann.PodID || r.Session != "existing" {
		t.Errorf("at the other gateway %+v, was %+v", r, ann)
	}
	drained, err := first.api.Drain(t.Context(), admin.DrainRequest{Endpoint: backends.addresses[0]})
	must(t, err)
	if drained.Untold != "" {
		t.Errorf("the store was not told of the drain: %s", drained.Untold)
	}
	eventually(t, "the session is counted and the drain is heard of", func() error {
		st, err := second.api.Status(t.Context())
		must(t, err)
		if is := second.stateOf(backends.addresses[0]); st.Store.Sessions == nil || *st.Store.Sessions != 1 || is != "draining" {
			return fmt.Errorf("the session is not counted (%+v), or the replica is not draining: %s", st.Store, is)
		}
		return nil
	})
	if denied := store.Do("ACL", "LOG"); denied != "" {
		t.Errorf("it was denied:\n%s", denied)
	}
	if _, body := second.adminGet("/metrics"); strings.Contains(body, "remora_store_errors_total{") {
		t.Error("calls of the store have failed")
	}
}

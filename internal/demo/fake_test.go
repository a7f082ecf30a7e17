package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/samplebackend"
)

// fault is a way in which a front door or a replica breaks the rules.
type fault int

const (
	none fault = iota
	ignoresBody
	prefersHeader
	tellsNothing
	forgetsSessions
	placesAllOnOne
	miscounts
	hashesOnly
	refusesReload
	newcomersToDraining
	drainingMovesUsers
	deathMovesAll
	movesInSilence
	movesTwice
	movesBack
	restartForgets
	neverExpires
	expiresInUse
	answersLateOnce
	replicaForgets
	scaleInMovesUsers
	scaleInGetsNewcomers
	countsTheWrongWayRound
	hidesLiveSessions
)

// fake is a front door that keeps both rules in the plainest way, but for one fault. It follows the configuration's folder
// and has as much of the admin API as the tour uses.
type fake struct {
	fault      fault
	dir        string
	front, api *httptest.Server

	mu         sync.Mutex
	loaded     string
	generation int
	lastLoad   admin.LoadStatus
	endpoints  []affinity.EndpointView
	idle       time.Duration
	sessions   map[seat]*fakeSession
	requests   int
}

type fakeSession struct {
	addr        string
	began, seen time.Time
	moves       int
}

func newFake(t *testing.T, fault fault, dir string) *fake {
	f := &fake{fault: fault, dir: dir, sessions: map[seat]*fakeSession{}}
	f.front = httptest.NewServer(http.HandlerFunc(f.serve))
	api := http.NewServeMux()
	api.HandleFunc(admin.PathStatus, f.status)
	api.HandleFunc(admin.PathEndpoints, f.list)
	api.HandleFunc(admin.PathDrain, f.drain)
	api.HandleFunc(admin.PathSessionGet, f.session)
	f.api = httptest.NewServer(api)
	t.Cleanup(f.front.Close)
	t.Cleanup(f.api.Close)
	f.load()
	return f
}

func (f *fake) Start(context.Context) error { return nil }

func (f *fake) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == restartForgets {
		clear(f.sessions)
	}
}

func (f *fake) URL() string { return f.front.URL }

func (f *fake) AdminURL() string { return f.api.URL }

// load reads the files again if they have changed.
func (f *fake) load() {
	endpoints, err1 := os.ReadFile(filepath.Join(f.dir, endpointsFile))
	policy, err2 := os.ReadFile(filepath.Join(f.dir, policyFile))
	now := string(endpoints) + string(policy)
	if err1 != nil || err2 != nil || now == f.loaded {
		return
	}
	f.loaded = now
	if f.fault == refusesReload && f.generation > 0 {
		f.lastLoad = admin.LoadStatus{At: time.Now(), Diagnostics: []admin.Diagnostic{{File: "endpoints.yaml", Line: 7, What: "made up"}}}
		return
	}
	f.generation++
	f.lastLoad = admin.LoadStatus{At: time.Now(), Applied: true}
	c := &configuration{}
	c.endpoints, _ = readYAML(os.DirFS(f.dir), endpointsFile)
	list, _ := c.list()
	old := f.endpoints
	f.endpoints = nil
	for _, e := range list {
		view := affinity.EndpointView{Service: e.service, Addr: e.addr.String(), Name: e.name, State: "ready"}
		if i := slices.IndexFunc(old, func(o affinity.EndpointView) bool { return o.Name == e.name }); i >= 0 {
			view.State = old[i].State
		}
		f.endpoints = append(f.endpoints, view)
	}
	var p struct {
		Spec struct {
			Idle string `yaml:"idleTimeout"`
		}
	}
	_ = yaml.Unmarshal(policy, &p)
	if f.idle, _ = time.ParseDuration(p.Spec.Idle); f.idle == 0 {
		f.idle = time.Minute
	}
	if f.fault == movesBack && f.generation == 3 { // the replica that was killed is replaced
		for _, s := range f.sessions {
			if s.moves > 0 {
				s.addr = f.endpoints[2].Addr
			}
		}
	}
}

// serve decides a request and sends it on.
func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	var body struct{ Username, Target string }
	if f.fault != ignoresBody {
		_ = json.NewDecoder(r.Body).Decode(&body)
	}
	s := seat{body.Username, body.Target}
	if s.user == "" || f.fault == prefersHeader && r.Header.Get("x-user") != "" {
		s = seat{r.Header.Get("x-user"), r.Header.Get("target")}
	}
	for try := range 2 {
		addr, state := f.decide(s, try > 0)
		if f.late(s) {
			<-time.After(f.idle) // a machine that is too busy
		}
		req, _ := http.NewRequestWithContext(r.Context(), r.Method, "http://"+addr+r.URL.RequestURI(), http.NoBody)
		req.Header.Set("x-user", s.user)
		if f.fault != tellsNothing {
			req.Header.Set(samplebackend.SessionHeader, state)
		}
		resp, err := direct.Do(req)
		if err != nil {
			continue
		}
		defer resp.Body.Close()
		var reply samplebackend.Reply
		_ = json.NewDecoder(resp.Body).Decode(&reply)
		if resp.StatusCode == http.StatusOK {
			_ = json.NewEncoder(w).Encode(reply)
			return
		}
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, `{"code":"no_endpoint","detail":"There is none."}`)
}

// late is true once, for the third request since the idle time became short.
func (f *fake) late(s seat) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != answersLateOnce || f.idle >= time.Minute || s.user != "ann" {
		return false
	}
	f.requests++
	return f.requests == 3
}

// decide finds the replica of a session. dead says that the one that was found could not be connected to.
func (f *fake) decide(s seat, dead bool) (addr, state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	have, live := f.sessions[s]
	if live {
		seen := have.seen
		if f.fault == expiresInUse {
			seen = have.began
		}
		live = f.fault == neverExpires || now.Sub(seen) < f.idle
	}
	switch {
	case f.fault == forgetsSessions && live && have.seen != have.began:
		have.addr, state = f.place(s, have.addr), "existing"
	case f.fault == hashesOnly && live:
		have.addr, state = f.hashed(s), "existing"
	case !live:
		have, state = &fakeSession{addr: f.place(s, ""), began: now}, "new"
		f.sessions[s] = have
	case f.fault == scaleInMovesUsers && s.service == backend3 && f.state(have.addr) == "draining":
		f.move(s, have)
		state = "moved"
	case dead, f.fault == movesTwice && have.moves == 1, f.fault == drainingMovesUsers && f.state(have.addr) == "draining":
		f.move(s, have)
		state = "moved"
		if f.fault == movesInSilence {
			state = "existing"
		}
	default:
		state = "existing"
	}
	have.seen = now
	return have.addr, state
}

func (f *fake) move(s seat, have *fakeSession) {
	from := have.addr
	have.moves++
	have.addr = f.place(s, from)
	if f.fault != deathMovesAll {
		return
	}
	for other, session := range f.sessions {
		if other.service == s.service && session != have {
			session.addr = f.place(other, session.addr)
		}
	}
}

// place is the replica with the fewest sessions that may get one.
func (f *fake) place(s seat, avoid string) string {
	load := map[string]int{}
	for _, session := range f.sessions {
		load[session.addr]++
	}
	best := ""
	for _, e := range f.endpoints {
		draining := e.State == "draining"
		switch {
		case e.Service != s.service || e.Addr == avoid:
		case draining && (f.fault == newcomersToDraining || f.fault == scaleInGetsNewcomers && s.service == backend3):
			return e.Addr
		case draining:
		case best == "" || f.fault != placesAllOnOne && load[e.Addr] < load[best]:
			best = e.Addr
		}
	}
	return best
}

// hashed is what a hash modulo the number of replicas gives.
func (f *fake) hashed(s seat) string {
	var all []string
	for _, e := range f.endpoints {
		if e.Service == s.service {
			all = append(all, e.Addr)
		}
	}
	if len(all) == 2 { // where they were: what a hash does wrong shows when their number changes
		return f.sessions[s].addr
	}
	h := fnv.New32a()
	h.Write([]byte(s.user))
	return all[h.Sum32()%uint32(len(all))]
}

func (f *fake) state(addr string) string {
	for _, e := range f.endpoints {
		if e.Addr == addr {
			return e.State
		}
	}
	return ""
}

func (f *fake) status(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	_ = json.NewEncoder(w).Encode(admin.Status{Ready: true, Config: admin.ConfigStatus{
		Generation: f.generation, LastLoad: f.lastLoad, Endpoints: len(f.endpoints),
	}})
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.views(w, func(e affinity.EndpointView) bool { return strings.HasPrefix(e.Service, r.URL.Query().Get("service")) })
}

func (f *fake) views(w http.ResponseWriter, which func(affinity.EndpointView) bool) {
	var out admin.Endpoints
	for _, e := range f.endpoints {
		if !which(e) {
			continue
		}
		for _, s := range f.sessions {
			if s.addr == e.Addr && f.fault != miscounts && time.Since(s.seen) < f.idle {
				e.Live++
			}
		}
		switch {
		case e.Service != backend3 || e.State == "draining" && f.fault != hidesLiveSessions:
		case f.fault == countsTheWrongWayRound:
			e.Live = 100 - e.Live
		case f.fault == hidesLiveSessions:
			e.Live = 0
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (f *fake) drain(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var req admin.DrainRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	for i := range f.endpoints {
		if e := &f.endpoints[i]; e.Addr == req.Endpoint {
			e.State = map[bool]string{false: "draining", true: "ready"}[req.Undo]
		}
	}
	f.views(w, func(e affinity.EndpointView) bool { return e.Addr == req.Endpoint })
}

func (f *fake) session(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var req admin.SessionRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	s := f.sessions[seat{req.User, req.Service}]
	if s == nil || f.fault != neverExpires && time.Since(s.seen) >= f.idle {
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(admin.Problem{Code: noSession, Detail: "no live session"})
		return
	}
	view := affinity.SessionView{Service: req.Service, Endpoint: s.addr, LastSeen: s.seen, Expires: s.seen.Add(f.idle)}
	for _, e := range f.endpoints {
		if e.Addr == s.addr {
			view.Name = e.Name
		}
	}
	_ = json.NewEncoder(w).Encode(view)
}

// inProcess is a replica without a process of its own. It uses as much CPU as it is asked to burn, and only says so.
type inProcess struct {
	server *http.Server
	burnt  atomic.Int64
	end    func()
	done   chan struct{}
}

func (p *inProcess) PID() int                    { return os.Getpid() }
func (p *inProcess) Done() <-chan struct{}       { return p.done }
func (p *inProcess) Failure() string             { return "it has ended" }
func (p *inProcess) Stop()                       { p.Kill() }
func (p *inProcess) Kill()                       { p.end() }
func (p *inProcess) CPU() (time.Duration, error) { return time.Duration(p.burnt.Load()), nil }

// startInProcess starts a replica that may forget its users after each request.
func startInProcess(f fault) func(endpoint) (running, error) {
	return func(e endpoint) (running, error) {
		l, err := net.Listen("tcp", e.addr.String())
		if err != nil {
			return nil, err
		}
		p := &inProcess{done: make(chan struct{})}
		config := samplebackend.Config{Service: e.service, Name: e.name}
		handler := samplebackend.New(config)
		p.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			burn, _ := time.ParseDuration(r.URL.Query().Get("burn"))
			p.burnt.Add(int64(burn))
			r.URL.RawQuery = ""
			if f == replicaForgets {
				samplebackend.New(config).ServeHTTP(w, r)
				return
			}
			handler.ServeHTTP(w, r)
		})}
		p.end = sync.OnceFunc(func() {
			p.server.Close()
			<-p.done
		})
		go func() {
			defer close(p.done)
			_ = p.server.Serve(l)
		}()
		return p, nil
	}
}

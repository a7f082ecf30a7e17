package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// Bounds of the API. It serves a few people and tools, not traffic.
const (
	maxConnections = 256
	maxWaiters     = 64
	maxWait        = 60 * time.Second // of one request for the end of a drain
	maxBody        = 64 << 10         // bytes
	maxExplainBody = 4 << 20          // bytes; holds the largest maxBody of a policy in base64
)

// The paths of what monitoring asks for, by their usual names.
const (
	pathMetrics = "/metrics"
	pathReady   = "/readyz"
	pathHealth  = "/healthz"
)

// Config is what a Server shows and acts on. All but Names, Profiles, Shared and Monitoring is needed.
type Config struct {
	Engine  *affinity.Engine
	Status  func() Status
	Metrics prometheus.Gatherer
	// Swept gives a channel that is closed after the next sweep of the sessions, which is when an endpoint's last session
	// may have gone.
	Swept    func() <-chan struct{}
	Now      func() time.Time
	Names    []string // what the Host header may say besides localhost and IP addresses
	Profiles bool     // serve /debug/pprof/
	// Shared is the store that gateways share their sessions in; nil: there is none.
	Shared *Shared
	// Monitoring leaves only what monitoring asks for, which changes nothing and costs little: its address may be open to a network
	// where the API's may not. Of the rest, only Engine, Status, Metrics, Shared, Now and Names are used then.
	Monitoring bool
}

// Shared is what a Server has to know of a store that gateways share.
type Shared struct {
	Name string // StoreStatus.Name
	// Drain tells the other gateways what an operator has drained here, by address and incarnation, or that it is taken back. The error says
	// why they have not heard of it yet.
	Drain func(marks [][2]string, on bool) error
	// Left is how many sessions all gateways together have at the endpoints of an address or name, by a count that began after `since` and when
	// what was drained before had come to all of them. It does not wait. The error says why that is not known yet: somebody asks again.
	Left func(endpoint string, since session.Instant) (sessions int, err error)
}

// Server serves the API.
type Server struct {
	config  Config
	http    http.Server
	census  *census
	waiters chan struct{}
	stopped context.Context
	stop    context.CancelFunc
}

// New makes a Server. It does nothing until Serve.
func New(c Config) *Server {
	s := &Server{config: c, waiters: make(chan struct{}, maxWaiters)}
	s.census = newCensus(func() []affinity.EndpointView { return c.Engine.Endpoints(s.now()) })
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.http = http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      maxWait + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return s
}

// Serve answers on l until Shutdown. It returns nil after Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// store is the name of the store that gateways share; empty: there is none.
func (s *Server) store() string {
	if s.config.Shared == nil {
		return ""
	}
	return s.config.Shared.Name
}

// Shutdown ends waits, lets other requests finish until ctx is done, and then cuts them off.
func (s *Server) Shutdown(ctx context.Context) {
	s.stop()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
}

// Handler is the API without its listener.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, h http.HandlerFunc) { mux.Handle(path, only(http.MethodGet, h)) }
	get(pathHealth, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	get(pathReady, s.ready)
	get(PathLive, s.live)
	get(pathMetrics, promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}).ServeHTTP)
	if s.config.Monitoring {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			notFound.with("There is no %s; this address has %s, %s, %s and %s alone, the rest is at --admin.",
				r.URL.Path, pathMetrics, pathReady, pathHealth, PathLive).write(w)
		})
	} else {
		s.addAPI(mux, get)
	}
	return s.checkHost(checkOrigin(mux))
}

// addAPI adds what is more than monitoring.
func (s *Server) addAPI(mux *http.ServeMux, get func(string, http.HandlerFunc)) {
	post := func(path string, h http.HandlerFunc) { mux.Handle(path, only(http.MethodPost, h)) }
	get(PathStatus, s.status)
	get(PathEndpoints, s.endpoints)
	get(PathDrainWait, s.drainWait)
	post(PathDrain, s.drain)
	post(PathSessionGet, s.sessionGet)
	post(PathSessionMove, s.sessionMove)
	post(PathExplain, s.explain)
	if s.config.Profiles {
		get("/debug/pprof/", pprof.Index)
		get("/debug/pprof/cmdline", pprof.Cmdline)
		get("/debug/pprof/profile", pprof.Profile)
		get("/debug/pprof/symbol", pprof.Symbol)
		get("/debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		notFound.with("There is no %s; the API is described in docs/operating.md, and %s is a place to start.", r.URL.Path, PathStatus).write(w)
	})
}

// checkOrigin refuses what a browser sends for a page of another origin. That goes for reads as well: the page cannot see the
// answer, but its making costs. What monitoring asks for costs nothing, and is answered to everybody.
func checkOrigin(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asChange := *r
		asChange.Method = http.MethodPost // the methods of reads are let through unlooked at
		open := r.URL.Path == pathMetrics || r.URL.Path == pathHealth || r.URL.Path == pathReady
		if !open && origin.Check(&asChange) != nil {
			crossOrigin.with("A browser sent this for a page of another origin; call the API from a program instead.").write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkHost refuses what a browser may have been led to send here by a name that its owner points at this machine (DNS
// rebinding). Such a request carries that name in Host; an address cannot be pointed elsewhere.
func (s *Server) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		_, err := netip.ParseAddr(host)
		if err != nil && !strings.EqualFold(host, "localhost") && !slices.ContainsFunc(s.config.Names, func(n string) bool { return strings.EqualFold(n, host) }) {
			hostNotAllowed.with("This API answers to IP addresses, to localhost, and to the names given with --admin-host, not to %q.", host).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// only lets one method through, HEAD with GET.
func only(method string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (r.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", method)
			methodNotAllowed.with("%s takes %s, not %s.", r.URL.Path, method, r.Method).write(w)
			return
		}
		next(w, r)
	})
}

// readJSON reads the body of a request into v: one JSON value, no unknown member, at most limit bytes. The content type is
// asked for because a browser may send other types across origins without asking first.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) *Problem {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return notJSON.with("Send the body as JSON, with Content-Type: application/json.")
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.Join(err, errors.New("there is more after the JSON value"))
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return bodyTooLarge.with("The body is over %d bytes.", tooLarge.Limit)
	}
	return badRequest.with("The body is not what this path takes: %v.", err)
}

// Package samplebackend is the stateful service of the use case: an HTTP service whose replicas each remember how often
// every user called, in memory and nowhere else, so that a request on the wrong replica shows. It knows nothing of Remora
// but the name of the request header that tells a backend the session's state.
//
// It answers POST /hit-backend and /hit_backend with a Reply, and GET /healthz. Query parameters of a hit make it work for
// its answer, for tests and load: burn=10ms (spins on the CPU, to MaxBurn), wait=50ms (idles, to MaxWait), stream=5 (sends
// the reply as that many server-sent events, to MaxEvents, wait apart), echo=1 (adds the request as it arrived).
//
// The user is the body's field "username" where the content type is JSON (application/json, text/json, or a +json type; in UTF-8:
// another charset gets 415), and the header X-User otherwise.
package samplebackend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// Limits of what a request can ask for and of what is kept.
const (
	MaxBurn   = time.Second
	MaxWait   = time.Minute
	MaxEvents = 1000
	// MaxBody is how many bytes of a body are held and read for fields. The rest of a longer body is counted and dropped,
	// and the user is taken from the header.
	MaxBody = 1 << 20
	// DefaultMaxUsers bounds the users that are remembered; about 60 bytes each. Beyond it, those that called least
	// recently are forgotten.
	DefaultMaxUsers = 100_000
)

// Names of the request headers that are read.
const (
	SessionHeader = "X-Remora-Session"
	UserHeader    = "X-User"
)

// Config describes one replica. Service is required.
type Config struct {
	Service  string        // the service's name: "backend-1"
	Name     string        // the replica's name; empty: NewReplicaName(Service)
	IP       string        // podIp in replies; empty: the local address of the connection
	MaxUsers int           // 0: DefaultMaxUsers
	Grace    time.Duration // how long Run lets requests in flight finish; 0: 5 s
}

// suffixLetters are those that Kubernetes makes the suffixes of pod names of: no vowels, and nothing that looks alike.
const suffixLetters = "bcdfghjklmnpqrstvwxz2456789"

// NewReplicaName makes a name as a Deployment's pods have: the service, a hyphen and five random characters.
func NewReplicaName(service string) string {
	suffix := make([]byte, 5)
	for i := range suffix {
		suffix[i] = suffixLetters[rand.IntN(len(suffixLetters))]
	}
	return service + "-" + string(suffix)
}

// New returns the handler of one replica, with no user remembered.
func New(c Config) http.Handler {
	if c.Name == "" {
		c.Name = NewReplicaName(c.Service)
	}
	if c.MaxUsers <= 0 {
		c.MaxUsers = DefaultMaxUsers
	}
	c.MaxUsers = min(c.MaxUsers, 1<<30) // visits numbers them in 31 bits
	s := &service{config: c, visits: newVisits(c.MaxUsers)}
	mux := http.NewServeMux()
	mux.HandleFunc("/hit-backend", only(http.MethodPost, s.hit))
	mux.HandleFunc("/hit_backend", only(http.MethodPost, s.hit))
	mux.HandleFunc("/healthz", only(http.MethodGet, s.health))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is nothing at %s; POST to /hit-backend", r.URL.Path)
	})
	return mux
}

// Run serves one replica on l until ctx is done, lets the requests in flight finish for c.Grace, and closes l. The error is
// nil after such a stop, also when a request had to be cut off.
func Run(ctx context.Context, c Config, l net.Listener) error {
	if c.Service == "" {
		l.Close()
		return errors.New("sample backend: no service name was given")
	}
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	server := &http.Server{
		Handler:           New(c),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute, // longer than proxies keep idle connections, so that it is they who close
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("sample backend %s: %w", c.Service, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Grace)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("sample backend %s: %w", c.Service, err)
	}
	return nil
}

// only lets one method (and HEAD where that is GET) through to a handler.
func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
			w.Header().Set("Allow", method)
			fail(w, http.StatusMethodNotAllowed, "%s takes %s, not %s", r.URL.Path, method, r.Method)
			return
		}
		h(w, r)
	}
}

package decisiontest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/session"
)

// scriptPort is the replicas' port in the scripts.
const scriptPort = "8080"

// scriptReplicas are the replicas of the scripts: 127.0.SERVICE.REPLICA.
var scriptReplicas = []string{
	"127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.2.1", "127.0.2.2", "127.0.2.3", "127.0.3.1", "127.0.3.2", "127.0.3.3",
}

// wireDoor is a front door behind an address: requests and responses over the real wire, time from the script.
type wireDoor struct {
	engineDoor
	clock    atomic.Int64
	addr     string
	port     string // the replicas' real one
	replicas map[string]*http.Server
	holds    chan chan struct{} // a request that the replica holds sends the channel that ends it
	client   *http.Client
	held     int
}

// newWireDoor starts the replicas. Where the front door listens is for the caller to set.
func newWireDoor(t *testing.T) *wireDoor {
	d := &wireDoor{
		engineDoor: engineDoor{
			engine: affinity.New(affinity.Options{Store: session.NewTable(session.Options{}), HashKey: [16]byte{1, 2, 3}}),
			epoch:  session.InstantOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		},
		replicas: map[string]*http.Server{}, holds: make(chan chan struct{}), client: &http.Client{Transport: &http.Transport{}},
	}
	d.clock.Store(int64(d.epoch))
	d.startReplicas(t)
	t.Cleanup(func() {
		for _, s := range d.replicas {
			s.Close()
		}
	})
	return d
}

func (d *wireDoor) time() session.Instant { return session.Instant(d.clock.Load()) }

// startReplicas finds a port that is free on all addresses, and starts a replica on each.
func (d *wireDoor) startReplicas(t *testing.T) {
	t.Helper()
	for range 50 {
		listeners := listenOnAll(t)
		if listeners == nil {
			continue
		}
		for ip, ln := range listeners {
			d.serve(ip, ln)
			d.port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
		}
		return
	}
	t.Fatal("no port is free on all addresses")
}

func listenOnAll(t *testing.T) map[string]net.Listener {
	t.Helper()
	listeners := map[string]net.Listener{}
	port := "0"
	for _, ip := range scriptReplicas {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			for _, ln := range listeners {
				ln.Close()
			}
			return nil
		}
		listeners[ip] = ln
		port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	}
	return listeners
}

// serve runs one replica, which says in its response what it was told.
func (d *wireDoor) serve(ip string, ln net.Listener) {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("x-replica", ip)
		w.Header().Set("x-told", r.Header.Get("x-remora-session"))
		w.(http.Flusher).Flush()
		if r.Header.Get("x-hold") != "" {
			end := make(chan struct{})
			d.holds <- end
			<-end
		}
	})}
	d.replicas[ip] = s
	go s.Serve(ln)
}

func (d *wireDoor) Load(t *testing.T, files map[string]string) {
	t.Helper()
	d.engineDoor.Load(t, d.moved(files))
}

// moved is the files with the replicas' real port.
func (d *wireDoor) moved(files map[string]string) map[string]string {
	moved := map[string]string{}
	for name, content := range files {
		moved[name] = strings.ReplaceAll(content, "addressType: IPv4\nports: [{name: http, port: "+scriptPort+"}]",
			"addressType: IPv4\nports: [{name: http, port: "+d.port+"}]")
	}
	return moved
}

func (d *wireDoor) At(t *testing.T, offset time.Duration) {
	t.Helper()
	d.engineDoor.At(t, offset)
	d.clock.Store(int64(d.instant()))
}

func (d *wireDoor) Do(t *testing.T, r decisiontest.Request) decisiontest.Outcome {
	t.Helper()
	resp := d.send(t, r, false)
	o := d.outcome(t, resp)
	d.settle(t)
	return o
}

func (d *wireDoor) Hold(t *testing.T, r decisiontest.Request) (decisiontest.Outcome, func()) {
	t.Helper()
	resp := d.send(t, r, true)
	end := <-d.holds
	d.held++
	o := outcomeOf(resp)
	return o, func() {
		close(end)
		d.outcome(t, resp)
		d.held--
		d.settle(t)
	}
}

func (d *wireDoor) send(t *testing.T, r decisiontest.Request, hold bool) *http.Response {
	t.Helper()
	var body io.Reader
	if r.HasBody {
		body = strings.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(t.Context(), r.Method, "http://"+d.addr+r.Path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = r.Host
	for _, h := range r.Headers {
		req.Header.Add(h[0], h[1])
	}
	if hold {
		req.Header.Set("x-hold", "1")
	}
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// outcome reads a response to its end.
func (d *wireDoor) outcome(t *testing.T, resp *http.Response) decisiontest.Outcome {
	t.Helper()
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	o := outcomeOf(resp)
	if o.Endpoint == "" {
		_, rest, _ := strings.Cut(string(data), `"code":"`)
		o.Problem, _, _ = strings.Cut(rest, `"`)
	}
	return o
}

func outcomeOf(resp *http.Response) decisiontest.Outcome {
	o := decisiontest.Outcome{Status: resp.StatusCode}
	ip := resp.Header.Get("x-replica")
	if ip == "" {
		return o
	}
	o.Endpoint = net.JoinHostPort(ip, scriptPort)
	o.Service = fmt.Sprintf("backend-%s", strings.Split(ip, ".")[2])
	if o.Session = resp.Header.Get("x-told"); o.Session == "" {
		o.Session = affinity.SessionNone.String()
	}
	return o
}

// settle waits until the front door has released all requests but those that are held: the client may be faster than that.
func (d *wireDoor) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		inFlight := 0
		for _, ep := range d.engine.EndpointStats(d.instant()) {
			inFlight += ep.InFlight
		}
		switch {
		case inFlight == d.held:
			return
		case time.Now().After(deadline):
			t.Fatalf("%d requests are in flight, want %d", inFlight, d.held)
		}
	}
}

func (d *wireDoor) real(endpoint string) string {
	return strings.TrimSuffix(endpoint, scriptPort) + d.port
}

func (d *wireDoor) Drain(t *testing.T, endpoint string, on bool) {
	t.Helper()
	d.engineDoor.Drain(t, d.real(endpoint), on)
}

func (d *wireDoor) Down(t *testing.T, endpoint string, down bool) {
	t.Helper()
	ip, _, _ := net.SplitHostPort(endpoint)
	if down {
		d.replicas[ip].Close()
		return
	}
	ln, err := net.Listen("tcp", d.real(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	d.serve(ip, ln)
}

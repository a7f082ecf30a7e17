//go:build linux

package load

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve starts a server and returns its address.
func serve(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return netip.MustParseAddrPort(l.Addr().String())
}

// config is a short run against to.
func config(to netip.AddrPort) Config {
	return Config{
		To: to, Rate: 500, Warmup: 20 * time.Millisecond, Duration: 100 * time.Millisecond, Connections: 4, Seed: 1, CPU: -1,
		Requests:    [][]byte{[]byte("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("GET /b HTTP/1.1\r\nHost: x\r\n\r\n")},
		AfterWarmup: func() {}, AtEnd: func() {},
	}
}

func TestEveryRequestIsSentAndThoseAfterTheWarmupAreCounted(t *testing.T) {
	var a, b atomic.Int64
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" {
			a.Add(1)
		} else {
			b.Add(1)
		}
		fmt.Fprint(w, "done")
	})
	c := config(to)
	var atWarm, atEnd int64
	c.AfterWarmup = func() { atWarm = a.Load() + b.Load() }
	c.AtEnd = func() { atEnd = a.Load() + b.Load() }
	r, err := Run(c)
	if err != nil {
		t.Fatal(err)
	}
	served := a.Load() + b.Load()
	if d := a.Load() - b.Load(); served == 0 || d < 0 || d > 1 {
		t.Errorf("%d requests to /a and %d to /b: want them in turn", a.Load(), b.Load())
	}
	if n := int64(len(r.Latencies)); n == 0 || n >= served || atWarm > atEnd || atEnd != served {
		t.Errorf("%d of %d requests were counted; %d were served at the end of the warm-up and %d at the end", n, served, atWarm, atEnd)
	}
	if r.Percentile(0) <= 0 || r.Percentile(0) > r.Percentile(50) || r.Percentile(50) > r.Percentile(100) {
		t.Errorf("percentiles are %v, %v, %v", r.Percentile(0), r.Percentile(50), r.Percentile(100))
	}
}

func TestTheSameSeedGivesTheSameArrivals(t *testing.T) {
	to := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") })
	var counted [2]int
	for i := range counted {
		r, err := Run(config(to))
		if err != nil {
			t.Fatal(err)
		}
		counted[i] = len(r.Latencies)
	}
	if counted[0] != counted[1] {
		t.Errorf("%d requests in one run and %d in the other", counted[0], counted[1])
	}
}

func TestAStallIsChargedToEveryRequestThatWasDueInIt(t *testing.T) {
	const stall = 100 * time.Millisecond
	var first atomic.Bool
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			select {
			case <-time.After(stall):
			case <-r.Context().Done():
			}
		}
		fmt.Fprint(w, "done")
	})
	c := config(to)
	c.Warmup, c.Rate, c.Connections = 0, 1000, 1
	r, err := Run(c)
	if err != nil {
		t.Fatal(err)
	}
	slow := 0
	for _, l := range r.Latencies {
		if l >= stall/2 {
			slow++
		}
	}
	// About 50 were due in the first half of the stall. One that measures from when it could send would count 1.
	if slow < 20 {
		t.Errorf("%d of %d requests took half the stall or longer", slow, len(r.Latencies))
	}
}

func TestAnswersThatAreNotTheWorkEndTheRun(t *testing.T) {
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		says string
	}{
		{"an error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) }, "the answer is not 200"},
		{"a connection that is closed", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "the server closed a connection"},
		{"a body of unknown length", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "a")
			w.(http.Flusher).Flush()
		}, "no Content-Length"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Run(config(serve(t, c.h))); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %v, want %q", err, c.says)
			}
		})
	}
}

func TestResponseLength(t *testing.T) {
	for _, c := range []struct {
		response string
		want     int
	}{
		{"HTTP/1.1 200 OK\r\nContent-Le", 0},
		{"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", 41},
		{"HTTP/1.1 200 OK\r\nX: y\r\nCONTENT-LENGTH:3\r\n\r\nab", 46},
	} {
		got, err := responseLength([]byte(c.response))
		if err != nil || got != c.want {
			t.Errorf("%q: %d (%v), want %d", c.response, got, err, c.want)
		}
	}
}

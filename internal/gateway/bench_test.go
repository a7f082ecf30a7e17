package gateway

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// benchGateway runs a gateway in front of a replica that answers each request with the same bytes and allocates nothing.
func benchGateway(b *testing.B) (g *Gateway, addr string) {
	b.Helper()
	replica, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { replica.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	go func() {
		for {
			c, err := replica.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	engine := affinity.New(affinity.Options{Store: session.NewTable(session.Options{})})
	snapshot, err := affinity.Compile(configure(services{{replica.Addr().String()}}))
	if err == nil {
		err = engine.Apply(snapshot, session.InstantOf(time.Now()))
	}
	if err != nil {
		b.Fatal(err)
	}
	if g, err = New(Config{Engine: engine, Workers: 1}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.Close() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = g.Add(ln, 80)
	}
	if err != nil {
		b.Fatal(err)
	}
	return g, ln.Addr().String()
}

// BenchmarkRequest is a whole request over the wire, with client and replica in the same process: the time is mostly theirs and the
// kernel's. What counts is that nothing is allocated.
func BenchmarkRequest(b *testing.B) {
	_, addr := benchGateway(b)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request := []byte(strings.ReplaceAll(hit("ann", "backend-1"), "\n", "\r\n"))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("{}")); {
			m, err := c.Read(buf[n:])
			if err != nil {
				b.Fatal(err)
			}
			n += m
		}
	}
}

// BenchmarkIdleConnection is the memory that an idle connection takes that has served a request: the client's end in the test
// included, which is somewhat less than half of it.
func BenchmarkIdleConnection(b *testing.B) {
	const connections = 2000
	g, addr := benchGateway(b)
	request := strings.ReplaceAll(hit("ann", "backend-1"), "\n", "\r\n")
	heap := func(clients int) int64 {
		for {
			if s, err := g.collect(context.Background()); err != nil || s.clients == clients {
				break
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	buf := make([]byte, 100)
	for b.Loop() {
		conns := make([]net.Conn, 0, connections)
		for range connections {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.WriteString(c, request); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
			conns = append(conns, c)
		}
		open := heap(connections)
		for _, c := range conns {
			c.Close()
		}
		clear(conns)
		b.ReportMetric(float64(open-heap(0))/connections, "B/connection")
	}
}

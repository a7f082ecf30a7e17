package histories

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is a gateway's way to the store: it forwards connections, and can cut them, hold them up, and make them slow.
type proxy struct {
	listener net.Listener
	to       string
	serving  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed, and another one, with each change
	closed  bool
	cut     bool          // connections end, and none begins
	held    bool          // nothing is forwarded
	delay   time.Duration // of what is forwarded, each way
	conns   map[net.Conn]bool
}

// chunk bounds what the proxy holds of one direction of a connection.
const chunk = 32 << 10

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.serving.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // ends accept
		p.set(func() { p.closed, p.cut = true, true })
		p.serving.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// set changes what the proxy does.
func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	if p.cut {
		for c := range p.conns {
			_ = c.Close() // whatever it says, it is closed
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *proxy) setCut(cut bool)          { p.set(func() { p.cut = cut }) }
func (p *proxy) setHeld(held bool)        { p.set(func() { p.held = held }) }
func (p *proxy) setDelay(d time.Duration) { p.set(func() { p.delay = d }) }

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.adopt(c) {
			_ = c.Close()
			continue
		}
		p.serving.Go(func() { p.serve(c) })
	}
}

// adopt counts a connection among those that are cut; it reports false when they are.
func (p *proxy) adopt(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.closed {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

func (p *proxy) serve(in net.Conn) {
	defer p.drop(in)
	out, err := net.DialTimeout("tcp", p.to, time.Minute)
	if err != nil {
		return
	}
	if !p.adopt(out) {
		_ = out.Close()
		return
	}
	defer p.drop(out)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			p.forward(way[0], way[1])
			p.drop(in)
			p.drop(out)
		})
	}
	both.Wait()
}

// forward copies until one of the connections ends.
func (p *proxy) forward(from, to net.Conn) {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if !p.pass() {
			return
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// pass waits until something may be forwarded. It reports false when nothing may be any more.
func (p *proxy) pass() bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	late := delay == 0
	for {
		p.mu.Lock()
		cut, held, changed := p.cut, p.held, p.changed
		p.mu.Unlock()
		switch {
		case cut:
			return false
		case late && !held:
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			late = true
		}
	}
}

func TestAProxyCutsHoldsAndGoesOn(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	p := startProxy(t, echo.Addr().String())
	say := func(c net.Conn) error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := dial()
	if err := say(c); err != nil {
		t.Fatal(err)
	}
	p.setHeld(true)
	answered := make(chan error, 1)
	go func() { answered <- say(c) }()
	p.setDelay(time.Millisecond)
	select {
	case err := <-answered:
		t.Fatalf("held up, there is an answer: %v", err)
	default:
	}
	p.setHeld(false)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	p.setCut(true)
	if err := say(c); err == nil {
		t.Error("cut, there is an answer")
	}
	if err := say(dial()); err == nil {
		t.Error("cut, a new connection has an answer")
	}
	p.setCut(false)
	if err := say(dial()); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("healed: %v", err)
	} else if err != nil {
		t.Errorf("healed, it is closed: %v", err)
	}
}

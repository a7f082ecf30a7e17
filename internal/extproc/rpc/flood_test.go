package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// conn is the server's side of its only connection.
func (s *served) conn(t *testing.T) (c *conn) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c = range s.conns {
		return c
	}
	t.Fatal("there is no connection")
	return nil
}

func TestFramesOfALongIdleTimeAreNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.PingAfter = 30 * time.Second
		s, peer := pipe(t, c)
		tick := time.NewTicker(10 * time.Millisecond)
		for range 3 * maxUnproductive {
			peer.WritePriority(1, http2.PriorityParam{StreamDep: 3})
			<-tick.C
		}
		peer.open(1)
		peer.say(1, "hi")
		peer.expect("1 data \x02hi")
		s.Close()
		s.checkEnd(t)
	})
}

// TestWindowsOfALargeAnswerAreNoFlood has a client that takes an answer byte by byte: a window and a ping for each.
func TestWindowsOfALargeAnswerAreNoFlood(t *testing.T) {
	s := start(t, config())
	peer := s.dial(t)
	peer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	peer.open(1)
	const n = maxUnproductive
	peer.say(1, "big 10000")
	for got := range n {
		peer.WriteWindowUpdate(1, 1)
		peer.WritePing(false, [8]byte{})
		if heard := peer.hear(); !strings.HasPrefix(heard, "1 data ") {
			t.Fatalf("after %d bytes: heard %q", got, heard)
		}
	}
}

// TestWhatWaitsForTheConnectionsWindowIsBounded has a client that lets answers wait, and resets their streams.
func TestWhatWaitsForTheConnectionsWindowIsBounded(t *testing.T) {
	s := start(t, config())
	peer := s.dial(t)
	peer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	peer.open(1)
	peer.say(1, "big 100000")
	const n = 2000
	for i := range uint32(n) {
		id := 3 + 2*i
		peer.open(id)
		peer.say(id, "hi")
		peer.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	peer.WritePing(false, [8]byte{'e', 'n', 'd'})
	for isAnswered := false; !isAnswered; {
		f, err := peer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		_, isAnswered = f.(*http2.PingFrame)
	}
	c := s.conn(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.blocked) > 10 || len(c.streams) != 1 {
		t.Errorf("%d streams are noted as waiting, of %d", len(c.blocked), len(c.streams))
	}
}

// sizes is a connection that notes the largest write.
type sizes struct {
	net.Conn
	largest int
}

func (s *sizes) Write(b []byte) (int, error) {
	s.largest = max(s.largest, len(b))
	return s.Conn.Write(b)
}

// TestAWindowThatOpensWideIsFilledStepByStep has answers of many streams wait, and then lets all of them go.
func TestAWindowThatOpensWideIsFilledStepByStep(t *testing.T) {
	for name, open := range map[string]func(*client){
		"of the connection": func(peer *client) { peer.WriteWindowUpdate(0, 1<<30) },
		"of the streams": func(peer *client) {
			peer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			peer.WriteWindowUpdate(0, 1<<30)
			peer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(config())
			here, there := net.Pipe()
			written := &sizes{Conn: there}
			s.begin(written)
			heard := make(chan int64)
			go func() {
				n, _ := io.Copy(io.Discard, here)
				heard <- n
			}()
			peer := newClient(t, here)
			io.WriteString(here, http2.ClientPreface)
			peer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			for i := range uint32(7) {
				peer.open(1 + 2*i)
				peer.say(1+2*i, "big 1000000")
			}
			open(peer)
			s.drainAll(peer)
			here.Close()
			if n := <-heard; n < 7_000_000 {
				t.Errorf("%d bytes were heard", n)
			}
			s.Close()
			s.checkEnd(t)
			if most := flushAt + maxFrame + 1<<10; written.largest > most {
				t.Errorf("%d bytes were written at once, more than %d", written.largest, most)
			}
		})
	}
}

// drainAll waits until the server has done with what was said.
func (s *served) drainAll(peer *client) {
	for i := range uint32(7) {
		peer.WriteRSTStream(1+2*i, http2.ErrCodeCancel)
	}
	for range 2 { // the second is read when the first has been dealt with
		peer.WritePing(true, [8]byte{})
	}
}

// TestAPeerThatDoesNotReadDelaysNoEnd has peers that take nothing, not even the end of the server.
func TestAPeerThatDoesNotReadDelaysNoEnd(t *testing.T) {
	s := start(t, config())
	for range 5 {
		here, there := net.Pipe()
		s.begin(there)
		deaf := newClient(t, here)
		io.WriteString(here, http2.ClientPreface)
		for range 2 { // its settings and its window, and no more: a pipe has no buffer
			if _, err := deaf.ReadFrame(); err != nil {
				t.Fatal(err)
			}
		}
		deaf.WriteSettings()
		defer here.Close()
	}
	peer := s.dial(t)
	peer.open(1)
	peer.say(1, "hi")
	peer.expect("1 data \x02hi")
	peer.WriteRSTStream(1, http2.ErrCodeCancel)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := s.shutdown(ctx)
	peer.expect(allStreams, `ping "drain"`)
	peer.WritePing(true, drainPing)
	peer.expect("goaway 1 NO_ERROR", "closed")
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsHaveALimit(t *testing.T) {
	c := config()
	c.MaxConns = 1
	refused := make(chan error, 1)
	c.Refused = func(_ net.Addr, err error) { refused <- err }
	s := start(t, c)
	first := s.dial(t)
	first.open(1)
	first.say(1, "hi")
	first.expect("1 data \x02hi")
	s.dial(t).expect("closed")
	if err := <-refused; !errors.Is(err, ErrTooManyConns) {
		t.Errorf("got %v", err)
	}
	c1 := s.conn(t)
	first.conn.Close()
	for c1.isServed() { // until the server has noticed
		runtime.Gosched()
	}
	second := s.dial(t)
	second.open(1)
	second.say(1, "hi")
	second.expect("1 data \x02hi")
}

func (c *conn) isServed() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	_, ok := c.s.conns[c]
	return ok
}

func TestAMessageOfAStatusMayBeLong(t *testing.T) {
	s := start(t, config())
	st := newStream(t, connect(t, s.addr), "/"+strings.Repeat("\u00e9", 5000)+"/M")
	err := st.RecvMsg(text(""))
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), strings.Repeat("\u00e9", 5000)) {
		t.Errorf("got %.200v", err)
	}
}

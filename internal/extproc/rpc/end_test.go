package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// shutdown begins one and returns where its error comes.
func (s *served) shutdown(ctx context.Context) chan error {
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	return stopped
}

const allStreams = "goaway 2147483647 NO_ERROR"

func TestShutdownLetsStreamsEnd(t *testing.T) {
	s := start(t, config())
	c := s.dial(t)
	c.open(1)
	c.say(1, "hi")
	c.expect("1 data \x02hi")
	stopped := s.shutdown(context.Background())
	c.expect(allStreams, `ping "drain"`)
	c.open(3) // was on its way
	c.say(3, "ho")
	c.expect("3 data \x02ho")
	c.WritePing(true, drainPing)
	c.expect("goaway 3 NO_ERROR")
	c.open(5) // too late: nobody answers, and the client knows it
	c.say(5, "hi")
	c.WriteWindowUpdate(5, 1)
	c.WriteRSTStream(5, http2.ErrCodeCancel)
	c.say(3, "ha")
	c.expect("3 data \x02ha")
	c.WriteRSTStream(3, http2.ErrCodeCancel)
	c.WriteData(1, true, nil)
	c.expect("1 grpc-status=0", "closed")
	c.conn.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil
}

func TestShutdownEndsAConnectionWithoutStreams(t *testing.T) {
	s := start(t, config())
	c := s.dial(t)
	c.open(1)
	c.WriteData(1, true, nil)
	c.expect("1 grpc-status=0")
	stopped := s.shutdown(context.Background())
	c.expect(allStreams, `ping "drain"`)
	c.WritePing(true, drainPing)
	c.expect("goaway 1 NO_ERROR", "closed")
	c.conn.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsServicesStreams(t *testing.T) {
	s := start(t, config(), register)
	c := s.dial(t)
	c.open(1, ":path", "/test.Slow/Forever")
	for deadline := time.Now().Add(patience); s.running() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the call does not begin")
		}
	}
	stopped := s.shutdown(context.Background())
	for heard := ""; heard != "1 grpc-status=1 grpc-message=context canceled"; {
		if heard = c.hear(); strings.HasPrefix(heard, "error") || heard == "closed" {
			t.Fatalf("heard %s", heard)
		}
		if heard == `ping "drain"` {
			c.WritePing(true, drainPing)
		}
	}
	c.conn.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsOffWhatTakesTooLong(t *testing.T) {
	s := start(t, config())
	c := s.dial(t)
	c.open(1)
	c.say(1, "hi")
	c.expect("1 data \x02hi")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := <-s.shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := s.ended.Load(); n != 1 {
		t.Errorf("%d streams have ended", n)
	}
}

// pipe serves a connection without a network, which a bubble of synctest can wait for. Whatever the server says is read at once.
func pipe(t *testing.T, c Config) (*served, *client) {
	s := newServed(c)
	here, there := net.Pipe()
	s.begin(there)
	said := make(chan byte, 1<<16)
	go func() {
		defer close(said)
		b := make([]byte, 1)
		for {
			if _, err := here.Read(b); err != nil {
				return
			}
			said <- b[0]
		}
	}()
	peer := newClient(t, here)
	peer.Framer = http2.NewFramer(here, listener(said))
	io.WriteString(here, http2.ClientPreface)
	peer.WriteSettings()
	return s, peer
}

// listener reads bytes from a channel.
type listener <-chan byte

func (l listener) Read(b []byte) (int, error) {
	c, ok := <-l
	if !ok {
		return 0, io.EOF
	}
	b[0] = c
	return 1, nil
}

func TestAPeerThatSaysNothingIsAskedAndThenLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.PingAfter, c.PingTimeout = 30*time.Second, 10*time.Second
		s, peer := pipe(t, c)
		begun := time.Now()
		peer.open(1)
		peer.say(1, "silent")
		peer.expect(`ping "alive?"`)
		peer.WritePing(true, [8]byte{'a', 'l', 'i', 'v', 'e', '?', ' ', ' '})
		peer.expect(`ping "alive?"`)
		if s.ended.Load() != 0 {
			t.Error("the stream has ended, though its client is alive")
		}
		peer.expect("closed")
		if d := time.Since(begun); d > 150*time.Second {
			t.Errorf("it took %s", d)
		}
		s.Close()
		s.checkEnd(t)
	})
}

func TestAPeerThatDoesNotReadIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.PingAfter, c.PingTimeout = 30*time.Second, 10*time.Second
		s := newServed(c)
		here, there := net.Pipe()
		s.begin(there)
		peer := newClient(t, here)
		go func() {
			io.WriteString(here, http2.ClientPreface)
			peer.WriteSettings()
			peer.open(1)
			peer.say(1, "hi")
		}()
		for range 2 {
			if _, err := peer.ReadFrame(); err != nil { // its settings and its window, and no more: a pipe has no buffer
				t.Fatal(err)
			}
		}
		s.gone.Wait()
		here.Close()
		s.checkEnd(t)
	})
}

func TestAHandshakeHasATime(t *testing.T) {
	for _, said := range []string{"", http2.ClientPreface[:10], http2.ClientPreface} {
		synctest.Test(t, func(t *testing.T) {
			c := config()
			c.HandshakeTimeout = 10 * time.Second
			s := newServed(c)
			here, there := net.Pipe()
			go io.Copy(io.Discard, here)
			go io.WriteString(here, said)
			begun := time.Now()
			s.begin(there)
			s.gone.Wait()
			if d := time.Since(begun); d != c.HandshakeTimeout {
				t.Errorf("after %q the connection ended in %s", said, d)
			}
			here.Close()
		})
	}
}

func TestAnswersThatNobodyTakesAreBounded(t *testing.T) {
	s := start(t, config())
	peer := s.dial(t)
	peer.open(1)
	for range 6 {
		peer.say(1, "big 1000000") // the windows let 65,535 bytes through
	}
	heard := peer.hear()
	for strings.HasPrefix(heard, "1 data") {
		heard = peer.hear()
	}
	if heard != "1 reset ENHANCE_YOUR_CALM" {
		t.Errorf("heard %q", heard)
	}
	if n := s.held.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}

func TestUnfinishedMessagesAreBounded(t *testing.T) {
	c := config()
	c.MaxHeld = 100_000
	s := start(t, c)
	peer := s.dial(t)
	for i := range uint32(10) {
		id := 1 + 2*i
		peer.open(id)
		peer.WriteData(id, false, append([]byte{0, 0, 15, 0, 0}, make([]byte, 16_000)...))
	}
	peer.expect("13 grpc-status=8 grpc-message=too many bytes of unfinished messages", "13 reset NO_ERROR")
}

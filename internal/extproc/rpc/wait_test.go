package rpc

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const slowMethod = "/test.Echo/Slow"

// patient is echo, but that it waits for the test where a message says "wait".
type patient struct {
	echo
	asked chan *patient
	goOn  chan string
	said  string // what the test answers
	over  <-chan struct{}
}

func (s *patient) Message(m, to []byte) ([]byte, error) {
	if string(m) == "wait" {
		return to, ErrWait
	}
	if strings.HasPrefix(string(m), "silent ") {
		return to, nil
	}
	return s.echo.Message(m, to)
}

func (s *patient) Wait() {
	s.asked <- s
	select {
	case s.said = <-s.goOn:
	case <-s.over: // the test has failed
	}
}

func (s *patient) Resume(to []byte) ([]byte, error) {
	switch s.said {
	case "again":
		return to, ErrWait
	case "fail":
		return to, status.Error(codes.Aborted, "no")
	}
	return s.Message([]byte(s.said), to)
}

// startSlow is start with the method whose streams can wait. Those that do are in the channel.
func startSlow(t *testing.T, c Config) (*served, chan *patient) {
	t.Helper()
	asked := make(chan *patient, 1000)
	var s *served
	var ready sync.WaitGroup
	ready.Add(1)
	s = start(t, c, func(r *Server) {
		r.Handle(slowMethod, func(Call) (Handler, error) {
			ready.Wait()
			s.began.Add(1)
			return &patient{echo: echo{began: &s.began, ended: &s.ended}, asked: asked, goOn: make(chan string), over: t.Context().Done()}, nil
		})
	})
	ready.Done()
	return s, asked
}

func (c *client) openSlow(id uint32) { c.open(id, ":path", slowMethod) }

// waitFor waits until a count has come to be n.
func waitFor(t *testing.T, count *atomic.Int64, n int64) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for count.Load() != n {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("there are %d, want %d", count.Load(), n)
		}
	}
}

func TestAStreamThatWaitsHoldsUpNoOther(t *testing.T) {
	s, asked := startSlow(t, config())
	c := s.dial(t)
	c.openSlow(1)
	c.say(1, "wait")
	waiting := <-asked
	for i := range uint32(20) {
		id := 3 + 2*i
		c.openSlow(id)
		text := fmt.Sprint("message ", id)
		c.say(id, text)
		c.expect(fmt.Sprintf("%d data %c%s", id, len(text), text))
	}
	waiting.goOn <- "at last"
	c.expect("1 data \x07at last")
}

func TestMessagesThatComeWhileTheirStreamWaitsKeepTheirOrder(t *testing.T) {
	s, asked := startSlow(t, config())
	c := s.dial(t)
	c.openSlow(1)
	both := append(prefixed("wait"), prefixed("second")...)
	c.WriteData(1, false, both) // in one frame
	waiting := <-asked
	third := prefixed("third")
	c.WriteData(1, false, third[:3]) // over a frame's end
	c.WriteData(1, false, third[3:])
	c.say(1, "wait")
	c.say(1, "fifth")
	c.WriteData(1, false, prefixed("sixth")[:7])
	c.openSlow(3)
	c.say(3, "other") // by its answer all of this has come
	c.expect("3 data \x05other")
	waiting.goOn <- "first"
	c.expect("1 data \x05first", "1 data \x06second", "1 data \x05third")
	(<-asked).goOn <- "again"
	(<-asked).goOn <- "fourth"
	c.expect("1 data \x06fourth", "1 data \x05fifth")
	c.WriteData(1, false, prefixed("sixth")[7:])
	c.expect("1 data \x05sixth")
}

func TestAStreamMayEndWhileItWaits(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(c *client)
		told string
	}{
		{"by its client's end", func(c *client) { c.WriteData(1, true, nil) }, "1 grpc-status=0"},
		{"by its client's end behind another message", func(c *client) { c.WriteData(1, true, prefixed("more")) }, "1 grpc-status=0"},
		{"by a reset", func(c *client) { c.WriteRSTStream(1, http2.ErrCodeCancel) }, ""},
		{"by the connection's end", func(c *client) { c.conn.Close() }, "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, asked := startSlow(t, config())
			c := s.dial(t)
			c.openSlow(1)
			c.say(1, "wait")
			waiting := <-asked
			test.end(c)
			if test.told != "-" {
				if test.told != "" {
					c.expect(test.told)
				}
				c.openSlow(3)
				c.say(3, "other")
				c.expect("3 data \x05other")
			}
			if n := s.ended.Load(); n != 0 {
				t.Errorf("%d streams have ended, and one waits", n)
			}
			waiting.goOn <- "too late"
			waitFor(t, &s.ended, 1)
		})
	}
}

func TestAnAnswerThatWasWaitedForMayBeAnError(t *testing.T) {
	s, asked := startSlow(t, config())
	c := s.dial(t)
	c.openSlow(1)
	c.say(1, "wait")
	waiting := <-asked
	c.say(1, "never heard")
	waiting.goOn <- "fail"
	c.expect("1 grpc-status=10 grpc-message=no", "1 reset NO_ERROR")
	waitFor(t, &s.ended, 1)
}

func TestWhatAStreamThatWaitsMayBeSentIsBounded(t *testing.T) {
	t.Run("by its window", func(t *testing.T) {
		s, asked := startSlow(t, config())
		c := s.dial(t)
		c.openSlow(1)
		c.say(1, "wait")
		waiting := <-asked
		const frame = 16 << 10
		for range streamWindow / frame { // one byte more than the window, with the first message
			c.WriteData(1, false, make([]byte, frame))
		}
		c.expect("1 reset FLOW_CONTROL_ERROR")
		waiting.goOn <- "too late"
	})
	t.Run("by the bytes that all may hold", func(t *testing.T) {
		small := config()
		small.MaxHeld = 100
		s, asked := startSlow(t, small)
		c := s.dial(t)
		c.openSlow(1)
		c.say(1, "wait")
		waiting := <-asked
		c.say(1, strings.Repeat("x", 100))
		c.expect("1 grpc-status=8 grpc-message=too many bytes of unfinished messages", "1 reset NO_ERROR")
		waiting.goOn <- "too late"
	})
	t.Run("the window is given back when it has waited", func(t *testing.T) {
		s, asked := startSlow(t, config())
		c := s.dial(t)
		c.openSlow(1)
		c.say(1, "wait")
		waiting := <-asked
		for range 4 {
			c.say(1, "silent")
		}
		const frame = 16 << 10
		for range 3 * streamWindow / 4 / frame {
			c.WriteData(1, false, prefixed("silent "+strings.Repeat("s", frame-prefixLen-len("silent "))))
		}
		waiting.goOn <- "silent"
		given := uint32(0)
		for given < streamWindow/2 {
			f, err := c.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if w, ok := f.(*http2.WindowUpdateFrame); ok && w.StreamID == 1 {
				given += w.Increment
			}
		}
	})
}

func TestAServerThatClosesWaitsForThoseThatWait(t *testing.T) {
	s, asked := startSlow(t, config())
	c := s.dial(t)
	c.openSlow(1)
	c.say(1, "wait")
	waiting := <-asked
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.Close()
	}()
	if got := c.hear(); got != "closed" && !strings.HasPrefix(got, "error") {
		t.Errorf("heard %q", got)
	}
	select {
	case <-closed:
		t.Error("the server has closed, and a stream waits")
	default:
	}
	waiting.goOn <- "too late"
	<-closed
	if s.began.Load() != 1 || s.ended.Load() != 1 {
		t.Errorf("%d streams began and %d ended", s.began.Load(), s.ended.Load())
	}
}

func TestAServerThatShutsDownAnswersThoseThatWait(t *testing.T) {
	s, asked := startSlow(t, config())
	c := s.dial(t)
	c.openSlow(1)
	c.say(1, "wait")
	waiting := <-asked
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	c.expect("goaway 2147483647 NO_ERROR", `ping "drain"`)
	c.WritePing(true, drainPing)
	c.expect("goaway 1 NO_ERROR")
	waiting.goOn <- "at last"
	c.expect("1 data \x07at last")
	c.WriteData(1, true, nil)
	c.expect("1 grpc-status=0")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

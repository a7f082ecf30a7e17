package rpc

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	readBuffer      = 32 << 10  // bytes
	flushAt         = 64 << 10  // bytes of output: more are written at once
	maxFrame        = 16 << 10  // bytes of a frame that is received: the smallest limit that HTTP/2 has
	streamWindow    = 256 << 10 // bytes that a peer may send ahead on a stream
	connWindow      = 4 << 20   // and on a connection
	firstWindow     = 65535     // windows before any setting (RFC 9113, 6.9.2)
	tableSize       = 4096      // bytes of HPACK's tables
	maxFragments    = 64        // frames of one header block
	maxUnproductive = 10_000    // frames in a row, within PingAfter, that bring no stream and no message
	lingerTimeout   = time.Second
	frameHeaderLen  = 9
)

// conn is one connection. Its goroutine reads; whoever has something to say holds mu.
type conn struct {
	s    *Server
	nc   net.Conn
	in   *bufio.Reader
	fr   *http2.Framer // reads only
	dec  *hpack.Decoder
	head head // the header block that is being received

	frames atomic.Uint64 // received
	pulse  pulse

	mu      sync.Mutex
	out     []byte // to be written by flush
	scratch []byte // answers of one message
	enc     *hpack.Encoder
	streams map[uint32]*stream
	free    []*stream
	lastID  uint32   // highest stream that the peer has opened
	blocked []uint32 // streams with answers that wait for the connection's window
	ending  []uint32 // streams that the peer has ended, and the server will with the next flush
	running int      // goroutines of services
	state   int

	unproductive int       // frames in a row that have brought nothing
	countedFrom  time.Time // when the first of them came

	recvWindow int // bytes that the peer may send
	recvd      int // bytes that it has not been given back yet
	sendWindow int // bytes that may be sent
	peerWindow int // sendWindow of a new stream
	peerFrame  int // bytes of a frame that may be sent
}

// The states of a connection.
const (
	opening  = iota // the peer has not sent its settings
	open            // streams are taken
	draining        // the peer was told to open no more streams, and may have some on the way
	drained         // no more streams are taken; the connection ends with the last one
	closed
)

func newConn(s *Server, nc net.Conn) *conn {
	if s.c.TLS != nil {
		nc = tls.Server(nc, s.c.TLS)
	}
	c := &conn{
		s: s, nc: nc, streams: map[uint32]*stream{},
		recvWindow: firstWindow, sendWindow: firstWindow, peerWindow: firstWindow, peerFrame: maxFrame,
	}
	c.pulse.timer = time.AfterFunc(math.MaxInt64, c.check)
	c.enc = hpack.NewEncoder((*output)(c))
	c.enc.SetMaxDynamicTableSizeLimit(tableSize)
	c.dec = hpack.NewDecoder(tableSize, c.field)
	c.dec.SetMaxStringLength(int(s.c.MaxMetadata))
	return c
}

// serve is the connection's goroutine.
func (c *conn) serve() {
	defer c.end()
	if c.shake() != nil {
		return
	}
	var err error
	for err == nil {
		if !c.isFrameBuffered() {
			if err = c.flush(); err != nil {
				break
			}
		}
		f, readErr := c.fr.ReadFrame()
		c.frames.Add(1)
		c.mu.Lock()
		err = c.dispatch(f, readErr)
		c.mu.Unlock()
	}
	c.farewell(err)
}

// isFrameBuffered reports whether a whole frame can be read without waiting.
func (c *conn) isFrameBuffered() bool {
	n := c.in.Buffered()
	if n < frameHeaderLen {
		return false
	}
	b, _ := c.in.Peek(3)
	return n >= frameHeaderLen+int(b[0])<<16+int(b[1])<<8+int(b[2])
}

var errDrained = errors.New("the last stream has ended")

// dispatch takes a frame, or the error of reading one. An error ends the connection.
func (c *conn) dispatch(f http2.Frame, err error) error {
	var ofStream http2.StreamError
	switch {
	case errors.As(err, &ofStream): // what was in the frame is not known, and for a header block has to be
		return http2.ConnectionError(ofStream.Code)
	case err == nil:
		if c.state == opening {
			if _, ok := f.(*http2.SettingsFrame); !ok {
				return http2.ConnectionError(http2.ErrCodeProtocol)
			}
			c.state = open
			c.alive()
		}
		err = c.frame(f)
	case errors.Is(err, http2.ErrFrameTooLarge):
		return http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	if errors.As(err, &ofStream) {
		err = c.resetStream(ofStream)
	}
	if err == nil && c.state == drained && len(c.streams) == 0 {
		err = errDrained
	}
	if err == nil && len(c.out) > flushAt {
		err = c.write()
	}
	return err
}

// frame takes one frame.
func (c *conn) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.HeadersFrame:
		return c.headers(f)
	case *http2.ContinuationFrame:
		return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.DataFrame:
		return c.data(f)
	case *http2.RSTStreamFrame:
		if c.isIdle(f.StreamID) {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		if s := c.streams[f.StreamID]; s != nil {
			c.remove(s)
			return nil
		}
	case *http2.WindowUpdateFrame:
		if err := c.windowUpdate(f); err != nil {
			return err
		}
	case *http2.SettingsFrame:
		if err := c.settings(f); err != nil {
			return err
		}
	case *http2.PingFrame:
		c.ping(f)
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.count()
}

// isIdle reports whether the peer has not opened a stream yet. Of those that came too late nothing is known.
func (c *conn) isIdle(stream uint32) bool { return stream > c.lastID && c.state != drained }

// settings takes what the peer asks for. Windows change once, to the last size: a frame has room for thousands.
func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	window := c.peerWindow
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			window = int(s.Val)
		case http2.SettingMaxFrameSize:
			c.peerFrame = int(min(s.Val, maxFrame))
		case http2.SettingHeaderTableSize:
			c.enc.SetMaxDynamicTableSize(min(s.Val, tableSize))
		}
		return nil
	})
	if err == nil {
		err = c.resize(window)
	}
	if err != nil {
		return err
	}
	c.out = appendFrameHeader(c.out, http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	return nil
}

// resize changes what may be sent on each stream (RFC 9113, 6.9.2).
func (c *conn) resize(window int) error {
	by := window - c.peerWindow
	if by == 0 {
		return nil
	}
	c.peerWindow = window
	for _, s := range c.streams {
		if s.sendWindow += by; s.sendWindow > math.MaxInt32 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		s.unblock()
	}
	return nil
}

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if c.sendWindow += int(f.Increment); c.sendWindow > math.MaxInt32 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.unblock()
		return nil
	}
	s := c.streams[f.StreamID]
	switch {
	case c.isIdle(f.StreamID):
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case s == nil:
		return nil
	}
	if s.sendWindow += int(f.Increment); s.sendWindow > math.MaxInt32 {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	s.unblock()
	return nil
}

// drainPing is what the ping between the two GOAWAYs of a graceful end says (RFC 9113, 6.8).
var drainPing = [8]byte{'d', 'r', 'a', 'i', 'n'}

func (c *conn) ping(f *http2.PingFrame) {
	if !f.IsAck() {
		c.out = appendFrameHeader(c.out, http2.FramePing, http2.FlagPingAck, 0, len(f.Data))
		c.out = append(c.out, f.Data[:]...)
		return
	}
	if c.state == draining && f.Data == drainPing {
		c.lastGoAway()
	}
}

// drain begins the graceful end.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == opening {
		c.nc.Close() // nobody waits for an answer on it
		return
	}
	if c.state != open {
		return
	}
	c.state = draining
	c.goAway(math.MaxInt32, http2.ErrCodeNo)
	c.out = appendFrameHeader(c.out, http2.FramePing, 0, 0, len(drainPing))
	c.out = append(c.out, drainPing[:]...)
	time.AfterFunc(time.Second, func() { // for a peer that does not answer
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.state == draining {
			c.lastGoAway()
			c.writeOrClose()
		}
	})
	c.writeOrClose()
}

// lastGoAway refuses all streams that are not here yet, and ends the connection when none is here.
func (c *conn) lastGoAway() {
	c.state = drained
	c.goAway(c.lastID, http2.ErrCodeNo)
	c.endWhenDrained()
}

func (c *conn) goAway(last uint32, code http2.ErrCode) {
	c.out = appendFrameHeader(c.out, http2.FrameGoAway, 0, 0, 8)
	c.out = binary.BigEndian.AppendUint32(c.out, last)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

// endWhenDrained wakes the connection's goroutine to end it, when there is nothing left to wait for.
func (c *conn) endWhenDrained() {
	if c.state == drained && len(c.streams) == 0 {
		c.nc.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // it may be closed already
	}
}

// flush writes what there is to say. Streams that their client has ended get their status now: one that was also reset meanwhile, as Envoy
// does, needs none.
func (c *conn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.ending {
		if s := c.streams[id]; s != nil {
			c.finish(s, nil)
		}
	}
	c.ending = c.ending[:0]
	if err := c.write(); err != nil {
		return err
	}
	if c.state == drained && len(c.streams) == 0 {
		return errDrained
	}
	return nil
}

func (c *conn) write() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > 4*flushAt {
		c.out = nil
	}
	return err
}

// writeIfMuch is for whoever may have much to say, such as all that has waited for a window.
func (c *conn) writeIfMuch() {
	if len(c.out) > flushAt {
		c.writeOrClose()
	}
}

// writeOrClose is for others than the connection's goroutine, which learns of an error by the connection's end.
func (c *conn) writeOrClose() {
	if c.write() != nil {
		c.nc.Close() // it has failed already
	}
}

// farewell tells the peer why its connection ends, where that is its own fault, and gives it time to read that.
func (c *conn) farewell(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var code http2.ConnectionError
	isBad := errors.As(err, &code)
	if isBad {
		c.goAway(c.lastID, http2.ErrCode(code))
	}
	if c.state != drained && !isBad {
		return // the connection is gone
	}
	deadline := time.Now().Add(lingerTimeout)
	c.nc.SetDeadline(deadline) //nolint:errcheck // it may be gone
	if c.write() != nil {
		return
	}
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		io.CopyN(io.Discard, c.nc, connWindow) //nolint:errcheck // it is a courtesy
	}
}

// end ends all streams.
func (c *conn) end() {
	c.nc.Close() // nothing is to be sent any more
	c.pulse.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = closed
	for _, s := range c.streams {
		c.remove(s)
	}
}

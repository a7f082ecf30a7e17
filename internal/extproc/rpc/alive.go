package rpc

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"golang.org/x/net/http2"
)

var errNotHTTP2 = errors.New("the peer does not speak HTTP/2")

// shake begins the connection: TLS, the preface, and the server's settings. The peer's settings come as a frame; dispatch takes the
// deadline away when they are there.
func (c *conn) shake() error {
	if err := c.nc.SetDeadline(time.Now().Add(c.s.c.HandshakeTimeout)); err != nil {
		return err
	}
	if secure, ok := c.nc.(*tls.Conn); ok {
		err := secure.Handshake()
		if err == nil && secure.ConnectionState().NegotiatedProtocol != http2.NextProtoTLS {
			err = errNotHTTP2
		}
		if err != nil {
			c.s.refused(c.nc, err)
			return err
		}
	}
	c.in = bufio.NewReaderSize(c.nc, readBuffer)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errNotHTTP2
	}
	c.fr = http2.NewFramer(io.Discard, c.in)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(maxFrame)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greet()
	return c.write()
}

// greet sends the server's settings.
func (c *conn) greet() {
	settings := []http2.Setting{
		{ID: http2.SettingMaxConcurrentStreams, Val: c.s.c.MaxStreams},
		{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		{ID: http2.SettingMaxHeaderListSize, Val: c.s.c.MaxMetadata},
	}
	c.out = appendFrameHeader(c.out, http2.FrameSettings, 0, 0, 6*len(settings))
	for _, s := range settings {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(s.ID))
		c.out = binary.BigEndian.AppendUint32(c.out, s.Val)
	}
	c.giveWindow(0, connWindow-firstWindow)
	c.recvWindow = connWindow
}

// alive ends the handshake's deadline and begins to look after the peer.
func (c *conn) alive() {
	c.nc.SetDeadline(time.Time{}) //nolint:errcheck // the next read tells
	c.pulse.timer.Reset(c.s.c.PingAfter)
}

// pulse is what check remembers.
type pulse struct {
	timer   *time.Timer
	frames  uint64 // received when it was looked at last
	isAsked bool   // a ping was sent
}

// check looks, every PingAfter, whether anything has come from the peer. A silent one is sent a ping, and its connection closed when nothing
// has come PingTimeout later. That also ends a write that waits for a peer that does not read.
func (c *conn) check() {
	p := &c.pulse
	if n := c.frames.Load(); n != p.frames {
		p.frames, p.isAsked = n, false
		p.timer.Reset(c.s.c.PingAfter)
		return
	}
	if p.isAsked {
		c.nc.Close() // its goroutine sees that
		return
	}
	p.isAsked = true
	p.timer.Reset(c.s.c.PingTimeout)
	if c.mu.TryLock() { // whoever has it is writing, and that asks as well
		c.out = appendFrameHeader(c.out, http2.FramePing, 0, 0, 8)
		c.out = append(c.out, "alive?  "...)
		c.writeOrClose()
		c.mu.Unlock()
	}
}

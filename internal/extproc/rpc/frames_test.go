package rpc

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestWhatIsHeard says frames and hears frames. The stream 1 is one of echo and open, where the name begins with "open:".
func TestWhatIsHeard(t *testing.T) {
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(*client) {
		return func(c *client) { c.WriteRawFrame(kind, flags, id, []byte(payload)) }
	}
	opens := func(changes ...string) func(*client) { return func(c *client) { c.open(1, changes...) } }
	setting := func(id http2.SettingID, value uint32) func(*client) {
		return func(c *client) { c.WriteSettings(http2.Setting{ID: id, Val: value}) }
	}
	const (
		protocol    = "PROTOCOL_ERROR"
		calm        = "ENHANCE_YOUR_CALM"
		flow        = "FLOW_CONTROL_ERROR"
		size        = "FRAME_SIZE_ERROR"
		answered    = "1 data \x02hi"
		ok          = "1 grpc-status=0"
		streamEnded = "1 reset NO_ERROR"
	)
	for _, c := range []struct {
		name string
		say  func(*client)
		want []string
	}{
		// What is right.
		{"open: a message", func(c *client) { c.say(1, "hi") }, []string{answered}},
		{"open: two answers to one message", func(c *client) { c.say(1, "twice") }, []string{"1 data \x05twice\x05twice"}},
		{"open: a message with padding", func(c *client) { c.WriteDataPadded(1, false, prefixed("hi"), make([]byte, 100)) }, []string{answered}},
		{"open: a message in pieces, each of a byte", func(c *client) {
			for _, b := range prefixed("hi") {
				c.WriteData(1, false, []byte{b})
			}
		}, []string{answered}},
		{"open: two messages in one frame", func(c *client) { c.WriteData(1, false, append(prefixed("hi"), prefixed("ho")...)) }, []string{answered, "1 data \x02ho"}},
		{"open: a message and the end", func(c *client) { c.WriteData(1, true, prefixed("hi")) }, []string{answered, ok}},
		{"open: the end alone", func(c *client) { c.WriteData(1, true, nil) }, []string{ok}},
		{"open: the end by trailers", func(c *client) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields("a", "b"), EndHeaders: true, EndStream: true})
		}, []string{ok}},
		{"open: an error", func(c *client) { c.say(1, "fail") }, []string{"1 grpc-status=3 grpc-message=50%25 of it%0Afailed", streamEnded}},
		{"open: a reset, and another stream", func(c *client) {
			c.WriteRSTStream(1, http2.ErrCodeCancel)
			c.open(3)
			c.say(3, "hi")
		}, []string{"3 data \x02hi"}},
		{"open: an answer that is larger than a frame", func(c *client) { c.say(1, "big 16384") }, []string{"1 data @" + strings.Repeat("b", 16379), "1 data bbbbb"}},
		{"open: of the windows in one frame of settings the last counts", func(c *client) {
			c.WriteSettings(
				http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1},
				http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3},
			)
			c.say(1, "hi")
			c.expect("1 data ") // three zeros of the prefix
			c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7})
		}, []string{answered}},
		{"open: a reset that follows the end needs no status", func(c *client) {
			c.conn.Write(append([]byte{0, 0, 0, 0, 1, 0, 0, 0, 1}, 0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0)) // in one packet
			c.open(3)
			c.say(3, "hi")
		}, []string{"3 data \x02hi"}},
		{"a header block in three frames", func(c *client) {
			b := c.call()
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:5]})
			c.WriteContinuation(1, false, b[5:9])
			c.WriteContinuation(1, true, b[9:])
			c.say(1, "hi")
		}, []string{answered}},
		{"frames of an unknown kind are ignored", func(c *client) {
			raw(0x77, 0xff, 0, "what?")(c)
			raw(0x77, 0xff, 9, "what?")(c)
			c.open(1)
			c.say(1, "hi")
		}, []string{answered}},
		{"open: priorities are ignored", func(c *client) {
			c.WritePriority(1, http2.PriorityParam{StreamDep: 5})
			c.say(1, "hi")
		}, []string{answered}},
		{"metadata refuses", opens("refuse", "not you"), []string{"1 grpc-status=7 grpc-message=not you", streamEnded}},

		// Requests that are not ours.
		{"another method of HTTP", opens(":method", "GET"), []string{"1 :status=405", streamEnded}},
		{"another content type", opens("content-type", "application/json"), []string{"1 :status=415", streamEnded}},
		{"no content type", opens("content-type", ""), []string{"1 :status=415", streamEnded}},
		{"gRPC in JSON", opens("content-type", "application/grpc+json"), []string{"1 :status=415", streamEnded}},
		{"an unknown service", opens(":path", "/a.B/C"), []string{`1 grpc-status=12 grpc-message=there is no service "a.B" here`, streamEnded}},
		{"no path of a method", opens(":path", "/"), []string{`1 grpc-status=12 grpc-message=there is no service "" here`, streamEnded}},
		{"a compressed stream", opens("grpc-encoding", "gzip"), []string{`1 grpc-status=12 grpc-message=messages compressed with "gzip" cannot be read`, streamEnded}},
		{
			"open: a compressed message", func(c *client) { c.WriteData(1, false, append([]byte{1}, prefixed("hi")[1:]...)) },
			[]string{"1 grpc-status=13 grpc-message=a message says that it is compressed, and the stream that none is", streamEnded},
		},
		{"open: the end within a message", func(c *client) { c.WriteData(1, true, prefixed("hi")[:6]) }, []string{"1 grpc-status=13 grpc-message=the stream ended within a message"}},
		{
			"open: a message over the limit", func(c *client) { c.WriteData(1, false, []byte{0, 0, 16, 0, 1}) },
			[]string{"1 grpc-status=8 grpc-message=a message of 1048577 bytes is over the limit of 1048576", streamEnded},
		},
		{
			"open: a message over every limit", func(c *client) { c.WriteData(1, false, []byte{0, 255, 255, 255, 255}) },
			[]string{"1 grpc-status=8 grpc-message=a message of 4294967295 bytes is over the limit of 1048576", streamEnded},
		},
		{"too much metadata", func(c *client) {
			pairs := []string{":method", "POST", ":scheme", "http", ":path", echoMethod, "content-type", "application/grpc"}
			for range 60 {
				pairs = append(pairs, "x-long", strings.Repeat("v", 300))
			}
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields(pairs...), EndHeaders: true})
		}, []string{"1 grpc-status=8 grpc-message=the metadata is too large", streamEnded}},

		// Malformed requests end a stream (RFC 9113, 8.1.1).
		{"no method", opens(":method", ""), []string{"1 reset " + protocol}},
		{"no scheme", opens(":scheme", ""), []string{"1 reset " + protocol}},
		{"no path", opens(":path", ""), []string{"1 reset " + protocol}},
		{"an unknown pseudo-header", opens(":proto", "x"), []string{"1 reset " + protocol}},
		{"a name in upper case", opens("X-User", "x"), []string{"1 reset " + protocol}},
		{"a name with a space", opens("x user", "x"), []string{"1 reset " + protocol}},
		{"a value with a line feed", opens("x-user", "a\nb"), []string{"1 reset " + protocol}},
		{"a header of the connection", opens("connection", "close"), []string{"1 reset " + protocol}},
		{"te that is not trailers", opens("te", "gzip"), []string{"1 reset " + protocol}},
		{"a pseudo-header twice", func(c *client) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields(":method", "POST", ":method", "POST"), EndHeaders: true})
		}, []string{"1 reset " + protocol}},
		{"a pseudo-header after others", func(c *client) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields("a", "b", ":method", "POST"), EndHeaders: true})
		}, []string{"1 reset " + protocol}},
		{"open: trailers that do not end", func(c *client) { c.open(1) }, []string{"1 reset " + protocol}},
		{"open: data after the end", func(c *client) {
			c.conn.Write(append([]byte{0, 0, 0, 0, 1, 0, 0, 0, 1}, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0)) // in one packet, before the status
		}, []string{"1 reset STREAM_CLOSED"}},
		{"open: data after a reset", func(c *client) {
			c.WriteRSTStream(1, http2.ErrCodeCancel)
			c.WriteData(1, false, []byte("x"))
		}, []string{"1 reset STREAM_CLOSED"}},
		{"open: a closed stream opened again", func(c *client) {
			c.WriteRSTStream(1, http2.ErrCodeCancel)
			c.open(1)
		}, []string{"1 reset STREAM_CLOSED"}},
		{"open: a stream's window that overflows", func(c *client) { c.WriteWindowUpdate(1, 1<<31-1) }, []string{"1 reset " + flow}},
		{"open: a stream's window that grows by nothing", raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x00"), []string{"goaway 1 " + protocol, "closed"}},
		{"more streams than may be", func(c *client) {
			for i := range uint32(101) {
				c.open(1 + 2*i)
			}
			c.say(1, "hi")
		}, []string{"201 reset REFUSED_STREAM", answered}},

		// What ends the connection.
		{"data on a stream that nobody opened", raw(http2.FrameData, 0, 5, "x"), []string{"goaway 0 " + protocol, "closed"}},
		{"data on no stream", raw(http2.FrameData, 0, 0, "x"), []string{"goaway 0 " + protocol, "closed"}},
		{"open: padding longer than the frame", raw(http2.FrameData, http2.FlagDataPadded, 1, "\x09x"), []string{"goaway 1 " + protocol, "closed"}},
		{"a header block with padding longer than the frame, and its end", func(c *client) {
			raw(http2.FrameHeaders, http2.FlagHeadersPadded, 1, "\x09x")(c)
			raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, "")(c)
		}, []string{"goaway 0 " + protocol, "closed"}},
		{"headers on an even stream", func(c *client) { c.open(2) }, []string{"goaway 0 " + protocol, "closed"}},
		{"headers on no stream", raw(http2.FrameHeaders, 4, 0, ""), []string{"goaway 0 " + protocol, "closed"}},
		{"a header block that is no HPACK", raw(http2.FrameHeaders, 4, 1, "\xff\xff\xff\xff\xff"), []string{"goaway 0 COMPRESSION_ERROR", "closed"}},
		{"a header block that is cut off", raw(http2.FrameHeaders, 4, 1, "\x00\x05a"), []string{"goaway 0 COMPRESSION_ERROR", "closed"}},
		{"a continuation of nothing", raw(http2.FrameContinuation, 4, 1, ""), []string{"goaway 0 " + protocol, "closed"}},
		{"a frame within a header block", func(c *client) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.call()})
			c.WritePing(false, [8]byte{})
		}, []string{"goaway 0 " + protocol, "closed"}},
		{"a flood of continuations", func(c *client) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.call()})
			for range maxFragments {
				c.WriteContinuation(1, false, nil)
			}
		}, []string{"goaway 0 " + calm, "closed"}},
		{"a header block without end", func(c *client) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.call()})
			for range 3 {
				c.WriteContinuation(1, false, c.fields("a", strings.Repeat("~", 6000))) // HPACK does not make it shorter
			}
		}, []string{"goaway 0 " + calm, "closed"}},
		{"a frame over the limit", raw(http2.FrameData, 0, 1, strings.Repeat("x", maxFrame+1)), []string{"goaway 0 " + size, "closed"}},
		{"a reset of a stream that nobody opened", raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x00"), []string{"goaway 0 " + protocol, "closed"}},
		{"a reset of the wrong size", raw(http2.FrameRSTStream, 0, 1, "\x00"), []string{"goaway 0 " + size, "closed"}},
		{"a ping of the wrong size", raw(http2.FramePing, 0, 0, "short"), []string{"goaway 0 " + size, "closed"}},
		{"a ping on a stream", raw(http2.FramePing, 0, 1, "12345678"), []string{"goaway 0 " + protocol, "closed"}},
		{"settings of the wrong size", raw(http2.FrameSettings, 0, 0, "short"), []string{"goaway 0 " + size, "closed"}},
		{"settings on a stream", raw(http2.FrameSettings, 0, 1, ""), []string{"goaway 0 " + protocol, "closed"}},
		{"an acknowledgement with settings", raw(http2.FrameSettings, 1, 0, "123456"), []string{"goaway 0 " + size, "closed"}},
		{"a window that is too large from the start", setting(http2.SettingInitialWindowSize, 1<<31), []string{"goaway 0 " + flow, "closed"}},
		{"a frame size below the smallest", setting(http2.SettingMaxFrameSize, 100), []string{"goaway 0 " + protocol, "closed"}},
		{"push that is neither on nor off", setting(http2.SettingEnablePush, 2), []string{"goaway 0 " + protocol, "closed"}},
		{"a window update on a stream that nobody opened", func(c *client) { c.WriteWindowUpdate(1, 1) }, []string{"goaway 0 " + protocol, "closed"}},
		{"a window that overflows", func(c *client) { c.WriteWindowUpdate(0, 1<<31-1) }, []string{"goaway 0 " + flow, "closed"}},
		{"a window that grows by nothing", raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), []string{"goaway 0 " + protocol, "closed"}},
		{"open: settings that make a stream's window overflow", func(c *client) {
			c.WriteWindowUpdate(1, 1<<30)
			c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		}, []string{"goaway 1 " + flow, "closed"}},
		{"a push from a client", raw(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02"), []string{"goaway 0 " + protocol, "closed"}},
		{"a flood of pings", func(c *client) {
			var b []byte
			for range maxUnproductive + 1 {
				b = append(b, 0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
			}
			go c.conn.Write(b)
		}, []string{"goaway 0 " + calm, "closed"}},
		{"open: a flood of empty frames", func(c *client) {
			var b []byte
			for range maxUnproductive + 1 {
				b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 1)
			}
			c.conn.Write(b)
		}, []string{"goaway 1 " + calm, "closed"}},
		{"a flood of settings", func(c *client) {
			var b []byte
			for range maxUnproductive + 1 {
				b = append(b, 0, 0, 0, 4, 0, 0, 0, 0, 0)
			}
			go c.conn.Write(b)
		}, []string{"goaway 0 " + calm, "closed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, config())
			peer := s.dial(t)
			if strings.HasPrefix(c.name, "open:") {
				peer.open(1)
			}
			c.say(peer)
			peer.t = t
			peer.expect(c.want...)
		})
	}
}

func TestARapidResetLeavesNothingBehind(t *testing.T) {
	s := start(t, config())
	c := s.dial(t)
	block := append([]byte(nil), c.call()...)
	block2 := append([]byte(nil), c.call()...) // all from the table now
	var b []byte
	const n = 20_000
	for i := range uint32(n) {
		if i > 0 {
			block = block2
		}
		id := 1 + 2*i
		b = appendFrameHeader(b, http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, len(block))
		b = append(b, block...)
		b = appendFrameHeader(b, http2.FrameRSTStream, 0, id, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(http2.ErrCodeCancel))
	}
	if _, err := c.conn.Write(b); err != nil {
		t.Fatal(err)
	}
	c.open(1 + 2*n)
	c.say(1+2*n, "hi")
	c.expect("40001 data \x02hi")
	if got := s.ended.Load(); got != n {
		t.Errorf("%d of %d streams have ended", got, n)
	}
}

func TestWhatIsNotHTTP2IsHungUpOn(t *testing.T) {
	s := start(t, config())
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: door\r\n\r\n", strings.Repeat("x", 100)} {
		c := s.dial(t)
		c.conn.Close()
		conn := s.rawDial(t)
		io.WriteString(conn, text)
		if b, _ := io.ReadAll(conn); strings.Contains(string(b), "HTTP") {
			t.Errorf("%q was answered with %q", text, b)
		}
	}
}

func TestTheFirstFrameIsSettings(t *testing.T) {
	s := start(t, config())
	conn := s.rawDial(t)
	io.WriteString(conn, http2.ClientPreface)
	c := newClient(t, conn)
	c.WritePing(false, [8]byte{})
	c.expect("goaway 0 PROTOCOL_ERROR", "closed")
}

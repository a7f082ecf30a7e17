package rpc

import (
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// head is a header block that is being received, and then the fields of it.
type head struct {
	stream    uint32
	ends      bool // the stream, on the client's side
	bytes     int
	fragments int
	fields    []hpack.HeaderField
	size      uint32 // of the header list
	isTooLong bool
}

// Call is what a client says of a stream when it opens it.
type Call struct{ fields []hpack.HeaderField }

// Metadata is the first value of the metadata with a name, in lower case, and how many there are.
func (c Call) Metadata(name string) (value string, n int) {
	for i := len(c.fields) - 1; i >= 0; i-- {
		if c.fields[i].Name == name {
			value = c.fields[i].Value
			n++
		}
	}
	return value, n
}

func (c *conn) headers(f *http2.HeadersFrame) error {
	if f.StreamID%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.head = head{stream: f.StreamID, ends: f.StreamEnded(), fields: c.head.fields[:0]}
	return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

// fragment takes a part of a header block. It has to be decoded even if nobody wants it, since the table changes with it.
func (c *conn) fragment(p []byte, isLast bool) error {
	h := &c.head
	h.bytes += len(p)
	h.fragments++
	if h.bytes > int(c.s.c.MaxMetadata) || h.fragments > maxFragments {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if _, err := c.dec.Write(p); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	if !isLast {
		return nil
	}
	if err := c.dec.Close(); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	err := c.open()
	clear(h.fields)
	return err
}

// field takes a field from the decoder.
func (c *conn) field(f hpack.HeaderField) {
	h := &c.head
	if h.isTooLong {
		return
	}
	if h.size += f.Size(); h.size > c.s.c.MaxMetadata {
		h.isTooLong = true
		return
	}
	h.fields = append(h.fields, f)
}

// open begins the stream that a header block stands for, or refuses it. A block on a stream that is open is its trailers.
func (c *conn) open() error {
	h := &c.head
	if s := c.streams[h.stream]; s != nil {
		if !h.ends || s.isEnded {
			return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
		}
		c.clientEnds(s)
		return nil
	}
	if h.stream <= c.lastID {
		return http2.StreamError{StreamID: h.stream, Code: http2.ErrCodeStreamClosed}
	}
	if c.state == drained {
		return nil // the peer was told that this stream will not be looked at
	}
	c.lastID = h.stream
	if len(c.streams) >= int(c.s.c.MaxStreams) {
		return http2.StreamError{StreamID: h.stream, Code: http2.ErrCodeRefusedStream}
	}
	method, refusal, ok := h.judge()
	if !ok {
		return http2.StreamError{StreamID: h.stream, Code: http2.ErrCodeProtocol}
	}
	c.unproductive = 0
	s := c.add(h.stream)
	s.isEnded = h.ends
	if refusal.http != "" {
		c.refuse(s, refusal.http)
		return nil
	}
	err := refusal.rpc
	if err == nil {
		err = c.begin(s, method)
	}
	if err != nil {
		c.finish(s, status.Convert(err))
	} else if h.ends {
		c.clientEnds(s)
	}
	return nil
}

// begin gives a stream to what its method is served by.
func (c *conn) begin(s *stream, method string) (err error) {
	if open := c.s.handled[method]; open != nil {
		s.h, err = open(Call{c.head.fields})
		return err
	}
	name, short, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	svc, ok := c.s.services[name]
	if !ok {
		return status.Errorf(codes.Unimplemented, "there is no service %q here", name)
	}
	return c.call(s, svc, method, short)
}

// refusal is why a well-formed request is not one of gRPC's: an HTTP status, or a status of gRPC.
type refusal struct {
	http string
	rpc  error
}

// judge looks at what a stream begins with (RFC 9113, 8.2 and 8.3; gRPC over HTTP/2). It is not ok when it is malformed.
func (h *head) judge() (path string, why refusal, ok bool) {
	var method, scheme, authority, contentType, encoding string
	isRegular := false
	for i := range h.fields {
		f := &h.fields[i]
		var pseudo *string
		switch f.Name {
		case ":method":
			pseudo = &method
		case ":scheme":
			pseudo = &scheme
		case ":path":
			pseudo = &path
		case ":authority":
			pseudo = &authority
		case "content-type":
			contentType = f.Value
		case "grpc-encoding":
			encoding = f.Value
		}
		if pseudo != nil {
			if *pseudo != "" || f.Value == "" || isRegular {
				return "", refusal{}, false
			}
			*pseudo = f.Value
			continue
		}
		isRegular = true
		if !isRegularField(f) {
			return "", refusal{}, false
		}
	}
	switch {
	case h.isTooLong:
		why.rpc = status.Error(codes.ResourceExhausted, "the metadata is too large")
	case method == "" || scheme == "" || path == "":
		return "", refusal{}, false
	case method != "POST":
		why.http = "405"
	case !isGRPC(contentType):
		why.http = "415"
	case encoding != "" && encoding != "identity":
		why.rpc = status.Errorf(codes.Unimplemented, "messages compressed with %q cannot be read", encoding)
	}
	return path, why, true
}

// isRegularField reports whether a field may stand in a request's headers.
func isRegularField(f *hpack.HeaderField) bool {
	if f.Name == "" || f.Name[0] == ':' || !httpguts.ValidHeaderFieldValue(f.Value) {
		return false
	}
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return false
	case "te":
		return f.Value == "trailers"
	}
	for i := range len(f.Name) {
		if b := f.Name[i]; 'A' <= b && b <= 'Z' || !httpguts.IsTokenRune(rune(b)) {
			return false
		}
	}
	return true
}

// isGRPC reports whether a content type is gRPC's with messages of protobuf.
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest == "+proto" || strings.HasPrefix(rest, ";") || strings.HasPrefix(rest, "+proto;"))
}

package rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// maxRunning is the number of goroutines that services may have for one connection: checks of health, and peers that share a table.
const maxRunning = 256

// service is one that was registered as with grpc-go.
type service struct {
	impl    any
	unary   map[string]grpc.MethodHandler
	streams map[string]grpc.StreamHandler
}

// RegisterService implements grpc.ServiceRegistrar. It must be called before Serve.
func (s *Server) RegisterService(d *grpc.ServiceDesc, impl any) {
	svc := service{impl: impl, unary: map[string]grpc.MethodHandler{}, streams: map[string]grpc.StreamHandler{}}
	for _, m := range d.Methods {
		svc.unary[m.MethodName] = m.Handler
	}
	for _, m := range d.Streams {
		svc.streams[m.StreamName] = m.Handler
	}
	s.services[d.ServiceName] = svc
}

// call is a stream of a service, with a goroutine of its own: a grpc.ServerStream.
type call struct {
	s       *stream
	c       *conn
	ctx     context.Context
	cancel  context.CancelFunc
	changed *sync.Cond // of the connection's mutex: something was received or sent, or the stream is over

	received        [][]byte // bounded by the stream's window
	isEnded         bool
	header, trailer metadata.MD
}

// call begins a stream of a service. Goroutines are counted, not streams: one that was reset may go on for a while.
func (c *conn) call(s *stream, svc service, method, short string) error {
	unary, streaming := svc.unary[short], svc.streams[short]
	switch {
	case unary == nil && streaming == nil:
		return status.Errorf(codes.Unimplemented, "there is no method %q here", method)
	case c.running >= maxRunning:
		return status.Error(codes.ResourceExhausted, "too many calls of this connection are being served")
	}
	md := metadata.MD{}
	for _, f := range c.head.fields {
		if strings.HasPrefix(f.Name, ":") || strings.HasPrefix(f.Name, "grpc-") {
			continue
		}
		value := f.Value
		if strings.HasSuffix(f.Name, "-bin") {
			b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return status.Errorf(codes.Internal, "the metadata %q is not base64", f.Name)
			}
			value = string(b)
		}
		md.Append(f.Name, value)
	}
	ctx := metadata.NewIncomingContext(peer.NewContext(c.s.life, &peer.Peer{Addr: c.nc.RemoteAddr(), LocalAddr: c.nc.LocalAddr()}), md)
	k := &call{s: s, c: c, changed: sync.NewCond(&c.mu)}
	k.ctx, k.cancel = context.WithCancel(ctx)
	s.call = k
	c.running++
	go func() {
		stop := context.AfterFunc(k.ctx, k.wake)
		defer stop()
		err := k.serve(svc, unary, streaming)
		k.cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running--
		if c.streams[s.id] == s {
			st, ok := status.FromError(err)
			if !ok {
				st = status.FromContextError(err)
			}
			c.finish(s, st)
			c.writeOrClose()
			c.endWhenDrained()
		}
	}()
	return nil
}

func (k *call) serve(svc service, unary grpc.MethodHandler, streaming grpc.StreamHandler) error {
	if streaming != nil {
		return streaming(svc.impl, k)
	}
	answer, err := unary(svc.impl, k.ctx, k.RecvMsg, nil)
	if err != nil {
		return err
	}
	return k.SendMsg(answer)
}

// wake makes whoever waits look at the context.
func (k *call) wake() {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.changed.Broadcast()
}

// receive takes a message from the connection's goroutine.
func (k *call) receive(m []byte) {
	k.received = append(k.received, append([]byte(nil), m...))
	k.changed.Broadcast()
}

// ends is the end of what the client sends.
func (k *call) ends() {
	k.isEnded = true
	k.changed.Broadcast()
}

func (k *call) Context() context.Context { return k.ctx }

// RecvMsg waits for a message. Without one its error is io.EOF when the client has ended the stream.
func (k *call) RecvMsg(m any) error {
	b, err := k.next()
	if err != nil {
		return err
	}
	to, ok := m.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "%T is no message", m)
	}
	if err := proto.Unmarshal(b, to); err != nil {
		return status.Errorf(codes.Internal, "a message cannot be read: %v", err)
	}
	return nil
}

func (k *call) next() ([]byte, error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	for len(k.received) == 0 {
		switch {
		case k.ctx.Err() != nil:
			return nil, k.over()
		case k.isEnded:
			return nil, io.EOF
		}
		k.changed.Wait()
	}
	b := k.received[0]
	if k.received = k.received[1:]; len(k.received) == 0 {
		k.s.giveWindow()
		k.c.writeOrClose()
	}
	return b, nil
}

func (k *call) over() error { return status.FromContextError(k.ctx.Err()).Err() }

// SendMsg sends a message, when the client has taken those before.
func (k *call) SendMsg(m any) error {
	from, ok := m.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "%T is no message", m)
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(Begin(nil), from)
	if err != nil {
		return status.Errorf(codes.Internal, "a message cannot be written: %v", err)
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	for len(k.s.pending) > 0 && k.ctx.Err() == nil {
		k.changed.Wait()
	}
	if k.ctx.Err() != nil {
		return k.over()
	}
	if err := k.s.send(End(b, 0)); err != nil {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	k.c.writeOrClose()
	return nil
}

var errHeaderSent = errors.New("rpc: the header has been sent")

func (k *call) SetHeader(md metadata.MD) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.s.isAnswered {
		return errHeaderSent
	}
	k.header = metadata.Join(k.header, md)
	return nil
}

func (k *call) SendHeader(md metadata.MD) error {
	if err := k.SetHeader(md); err != nil {
		return err
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ctx.Err() != nil {
		return k.over()
	}
	k.s.answer()
	k.c.writeOrClose()
	return nil
}

func (k *call) SetTrailer(md metadata.MD) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.trailer = metadata.Join(k.trailer, md)
}

func writeMetadata(e *hpack.Encoder, md metadata.MD) {
	for name, values := range md {
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			writeField(e, name, v)
		}
	}
}

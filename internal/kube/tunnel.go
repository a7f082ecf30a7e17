package kube

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// tunnel is a port-forward to a pod. There is no local port, to which others on this machine could connect as well.
type tunnel struct {
	mu     sync.Mutex
	conn   httpstream.Connection // nil: not there yet
	last   int                   // of the requests on it
	closed bool
}

// dial opens the port-forward if that is not there, and a connection on it.
func (t *tunnel) dial(config *rest.Config, at *url.URL, pod GatewayPod, port uint16) (net.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, net.ErrClosed
	}
	if t.conn == nil {
		conn, err := forward(config, at, pod)
		if err != nil {
			return nil, err
		}
		t.conn = conn
	}
	t.last++
	c, err := newTunnelled(t.conn, pod, port, t.last)
	if err != nil { // it has ended: the next one makes another
		_ = t.conn.Close()
		t.conn = nil
	}
	return c, err
}

func (t *tunnel) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.conn != nil {
		_ = t.conn.Close() // it is of no use any more
	}
}

// forward asks for a port-forward as kubectl does: through a WebSocket, and where the API server or a proxy before it has none for that,
// through SPDY.
func forward(config *rest.Config, at *url.URL, pod GatewayPod) (httpstream.Connection, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	answered := &answering{RoundTripper: transport}
	overSPDY := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: answered}, http.MethodPost, at)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, config)
	if err != nil {
		return nil, err
	}
	conn, protocol, err := portforward.NewFallbackDialerForStreaming(overWebSocket, overSPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}).Dial(portforward.PortForwardProtocolV1Name)
	switch {
	case err != nil && answered.status == http.StatusForbidden:
		return nil, apierrors.NewForbidden(portForwards, pod.Name, err)
	case err != nil && answered.status == http.StatusNotFound:
		return nil, apierrors.NewNotFound(portForwards, pod.Name)
	case err != nil:
		return nil, err
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		_ = conn.Close() // it is of no use
		return nil, fmt.Errorf("the API server forwards ports by the protocol %q, and %q was asked for", protocol, portforward.PortForwardProtocolV1Name)
	}
	return conn, nil
}

var portForwards = schema.GroupResource{Resource: "pods/portforward"}

// answering notes the status of the last answer, of which client-go's error has the text alone.
type answering struct {
	http.RoundTripper
	status int
}

// RoundTrip implements http.RoundTripper.
func (a *answering) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.RoundTripper.RoundTrip(req)
	if err == nil {
		a.status = resp.StatusCode
	}
	return resp, err
}

// tunnelled is one connection on a port-forward: a stream with its bytes, and one that says why it has failed.
type tunnelled struct {
	httpstream.Stream
	conn   httpstream.Connection
	pod    GatewayPod
	port   uint16
	failed chan error // gets what the other stream says, nil for nothing
	ended  error      // what a Read has given
}

func newTunnelled(conn httpstream.Connection, pod GatewayPod, port uint16, id int) (*tunnelled, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
	reasons, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	_ = reasons.Close() // for writing, of which there is nothing
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		conn.RemoveStreams(reasons)
		return nil, err
	}
	c := &tunnelled{Stream: data, conn: conn, pod: pod, port: port, failed: make(chan error, 1)}
	go func() {
		text, err := io.ReadAll(io.LimitReader(reasons, 4096))
		if err == nil && len(text) > 0 {
			err = errors.New(string(text))
		}
		conn.RemoveStreams(reasons)
		c.failed <- err
	}()
	return c, nil
}

// Read implements net.Conn. At the end of the bytes it gives the reason, if there is one.
func (c *tunnelled) Read(b []byte) (int, error) {
	if c.ended != nil {
		return 0, c.ended
	}
	n, err := c.Stream.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	c.ended = err
	select {
	case reason := <-c.failed:
		if reason != nil {
			c.ended = fmt.Errorf("port %d of the pod cannot be reached; is it that of the admin API (--admin-port)? %w", c.port, reason)
		}
	case <-time.After(closeGrace):
	}
	return 0, c.ended
}

// Close implements net.Conn.
func (c *tunnelled) Close() error {
	err := c.Stream.Reset() // Close would say that no more is written, and wait for more to read
	c.conn.RemoveStreams(c.Stream)
	return err
}

// address is a pod's port.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// LocalAddr implements net.Conn.
func (c *tunnelled) LocalAddr() net.Addr { return address("port-forward") }

// RemoteAddr implements net.Conn.
func (c *tunnelled) RemoteAddr() net.Addr { return address(fmt.Sprintf("%s:%d", c.pod, c.port)) }

// SetDeadline implements net.Conn. The streams have none: who waits closes the connection, as package net/http does.
func (c *tunnelled) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *tunnelled) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *tunnelled) SetWriteDeadline(time.Time) error { return nil }

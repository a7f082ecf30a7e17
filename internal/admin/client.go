package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
)

// DefaultAddress is where `remora serve` opens the API and where the commands look for it; DefaultPort is its port.
const (
	DefaultAddress = "127.0.0.1:9901"
	DefaultPort    = 9901
)

// maxAnswer bounds what a Client reads of one answer: some 100,000 endpoints.
const maxAnswer = 32 << 20

// Client calls the API of a running gateway.
type Client struct {
	base *url.URL
	name string // for people
	http *http.Client
}

// NewClient makes a client of the API at base: http://host:port, where "http://" may be left out.
func NewClient(base string) (*Client, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the URL of an admin API; give one like http://%s", base, DefaultAddress)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	// No proxy from the environment: it could not reach this loopback, and would see users' names.
	return &Client{base: u, name: u.Redacted(), http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, nil
}

// NewClientOver makes a client of the API that is at the other end of a connection, however that is made. name stands for its URL.
func NewClientOver(name string, dial func(ctx context.Context) (net.Conn, error)) *Client {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	return &Client{base: &url.URL{Scheme: "http", Host: DefaultAddress}, name: name, http: &http.Client{Transport: transport}}
}

// Name is the URL of the API, or what stands for it.
func (c *Client) Name() string { return c.name }

// UnreachableError says that nothing answers at the API's address.
type UnreachableError struct {
	URL   string
	cause error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no gateway answers at %s: %v", e.URL, e.cause)
}

func (e *UnreachableError) Unwrap() error { return e.cause }

// Status asks for the state of the program.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, PathStatus, nil, nil)
}

// Endpoints lists the endpoints of a service, or of all when service is empty.
func (c *Client) Endpoints(ctx context.Context, service string) (Endpoints, error) {
	q := url.Values{}
	if service != "" {
		q.Set("service", service)
	}
	return call[Endpoints](ctx, c, http.MethodGet, PathEndpoints, q, nil)
}

// Live asks for the endpoints' live sessions. An address for monitoring answers that too.
func (c *Client) Live(ctx context.Context) (Live, error) {
	return call[Live](ctx, c, http.MethodGet, PathLive, nil, nil)
}

// Session asks for a user's live session.
func (c *Client) Session(ctx context.Context, req SessionRequest) (affinity.SessionView, error) {
	return call[affinity.SessionView](ctx, c, http.MethodPost, PathSessionGet, nil, req)
}

// Move binds a user's live session to another endpoint.
func (c *Client) Move(ctx context.Context, req MoveRequest) (Moved, error) {
	return call[Moved](ctx, c, http.MethodPost, PathSessionMove, nil, req)
}

// Drain marks an endpoint as draining, or takes the mark back, and returns what is at its address.
func (c *Client) Drain(ctx context.Context, req DrainRequest) (Endpoints, error) {
	return call[Endpoints](ctx, c, http.MethodPost, PathDrain, nil, req)
}

// WaitDrained waits until no session is left at the endpoint, or for the given time, at most a minute.
func (c *Client) WaitDrained(ctx context.Context, endpoint string, wait time.Duration) (DrainWait, error) {
	return call[DrainWait](ctx, c, http.MethodGet, PathDrainWait,
		url.Values{"endpoint": {endpoint}, "timeout": {min(wait, maxWait).String()}}, nil)
}

// Explain asks why a request would go where it would go.
func (c *Client) Explain(ctx context.Context, req ExplainRequest) (*affinity.Trace, error) {
	out, err := call[affinity.Trace](ctx, c, http.MethodPost, PathExplain, nil, req)
	return &out, err
}

// call does one request. The error is a *Problem when the gateway gave one.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (out T, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait+10*time.Second)
	defer cancel()
	u := *c.base
	u.Path += path
	u.RawQuery = query.Encode()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return out, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), payload)
	if err != nil {
		return out, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) { // its text repeats method and URL
			err = ue.Err
		}
		return out, &UnreachableError{URL: c.name, cause: err}
	}
	defer resp.Body.Close()
	answer := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode == http.StatusOK {
		if err := answer.Decode(&out); err != nil {
			return out, fmt.Errorf("%s does not answer like a gateway's admin API: %w", c.name, err)
		}
		return out, nil
	}
	problem := new(Problem)
	if err := answer.Decode(problem); err != nil || problem.Code == "" {
		return out, fmt.Errorf("%s does not answer like a gateway's admin API: %s", c.name, resp.Status)
	}
	return out, problem
}

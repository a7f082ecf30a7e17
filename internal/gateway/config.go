package gateway

import (
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/session"
)

// Config is what a Gateway is made of. Only Engine is required; a zero field means its default.
type Config struct {
	Engine *affinity.Engine

	// Workers is the number of event loops. The default is GOMAXPROCS.
	//
	// New raises GOMAXPROCS to one more than that, if it is less. With as many loops as it has processors, the Go scheduler
	// takes a loop's processor away whenever it waits for a few microseconds, and at half load that costs a third more than
	// the rest of the work; besides, the other goroutines of the process would have to wait for the loops.
	Workers int

	Timeouts Timeouts
	Limits   Limits
	Retry    Retry
	HTTP     http1.Limits

	// Via is the pseudonym in the Via field of requests and responses (RFC 9110, 7.6.3); empty: none is added, as some
	// servers send a request that has one less (nginx no compressed responses, for example).
	Via string

	// AccessLog, when set, is called with each request that has ended, on the worker's goroutine. It must not block, and must
	// not keep the record or its strings.
	AccessLog func(*Record)

	// Now is the time that decisions are made at; the default is the time of day. Timeouts do not go by it.
	Now func() session.Instant

	// Log takes what an operator should know of the gateway itself; the default is to say nothing.
	Log *slog.Logger
}

// Timeouts bound how long each phase of a connection may take. A negative duration is no bound. They are kept to some 10 ms.
type Timeouts struct {
	Idle         time.Duration // of a client's connection between requests; default 75s
	RequestHead  time.Duration // from a head's first byte to its last; default 10s
	RequestBody  time.Duration // between two reads of a request's body; default 30s
	Write        time.Duration // until a peer takes any more bytes; default 30s
	Linger       time.Duration // in which a client may read the last response of a connection that is being closed; default 2s
	Queue        time.Duration // of a request, for a connection to an endpoint that has as many as it may; default 5s
	Connect      time.Duration // of one attempt; default 2s
	ResponseHead time.Duration // from the request's last byte to the response's head; default 60s
	ResponseIdle time.Duration // between two reads of a response's body; default 5m
	// UpstreamIdle is how long a connection to a replica is kept for another request. The default, 4s, is below the 5s after which
	// common servers (Node.js, Uvicorn) close it: a request must not meet a connection that is just being closed.
	UpstreamIdle time.Duration
}

// Limits bound what the gateway holds.
type Limits struct {
	// Connections is the number of client connections; default 65,536. At the limit no more are accepted: they wait in the
	// listening socket's backlog until others have ended.
	Connections int
	// RequestsPerConnection is how many requests one client connection may bring; default 0: any number.
	RequestsPerConnection int
	// UpstreamPerEndpoint is the number of connections of one worker to one address; default 1,024.
	UpstreamPerEndpoint int
	// QueuePerEndpoint is how many requests of one worker may wait for one of those; default 1,024. More are answered with 503.
	QueuePerEndpoint int
	// WaitingDecisions is how many decisions may wait for a store that gateways share; default 1,024. More are made without asking it.
	WaitingDecisions int
	// Linger is how many bytes of a closing connection are read and thrown away; default 1 MiB.
	Linger int
}

// Retry says what happens when a connection to a replica cannot be made.
type Retry struct {
	Attempts int           // to connect to one endpoint, the first included; default 3
	Backoff  time.Duration // the pause before the second attempt, doubled before each further one, up to 2s; default 25ms
	Moves    int           // to other endpoints for one request; default 3; negative: none
}

// withDefaults checks c and fills it up.
func (c Config) withDefaults() (Config, error) {
	if c.Engine == nil {
		return c, errors.New("gateway: Config.Engine is not set")
	}
	orInt(&c.Workers, runtime.GOMAXPROCS(0))
	t, l, r := &c.Timeouts, &c.Limits, &c.Retry
	orTime(&t.Idle, 75*time.Second)
	orTime(&t.RequestHead, 10*time.Second)
	orTime(&t.RequestBody, 30*time.Second)
	orTime(&t.Write, 30*time.Second)
	orTime(&t.Linger, 2*time.Second)
	orTime(&t.Queue, 5*time.Second)
	orTime(&t.Connect, 2*time.Second)
	orTime(&t.ResponseHead, 60*time.Second)
	orTime(&t.ResponseIdle, 5*time.Minute)
	orTime(&t.UpstreamIdle, 4*time.Second)
	orInt(&l.Connections, 65536)
	orInt(&l.UpstreamPerEndpoint, 1024)
	orInt(&l.QueuePerEndpoint, 1024)
	orInt(&l.WaitingDecisions, 1024)
	orInt(&l.Linger, 1<<20)
	orInt(&r.Attempts, 3)
	orTime(&r.Backoff, 25*time.Millisecond)
	orInt(&r.Moves, 3)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func orInt(p *int, def int) {
	if *p == 0 {
		*p = def
	}
}

func orTime(p *time.Duration, def time.Duration) {
	if *p == 0 {
		*p = def
	}
}

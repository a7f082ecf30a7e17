package gateway

import (
	"net/netip"
	"time"
)

// Record is a request that has ended, for the access log. Users' names are personal data: of the promoted headers it has
// the names only, and of the target the path without the query.
type Record struct {
	Time      time.Time // when its first byte was read
	Client    netip.Addr
	Method    string // this and what follows is empty when the head was not read that far
	Host      string
	Path      string // as sent on
	Protocol  string // "HTTP/1.1"
	Status    int    // that the client was sent; 0: none
	Outcome   string // "forwarded", "answered" (by the gateway), "client_gone", "truncated", "bad_request", "stopped"
	Problem   string // the code of the gateway's answer
	Service   string
	Endpoint  string // ip:port
	Session   string // "new", "existing", "moved", "none"
	Promoted  []string
	RequestID string

	BytesIn         uint64 // heads included
	BytesOut        uint64
	ConnectFailures int
	Moves           int // to another endpoint
	Resends         int

	// Durations from Time; 0 when it did not come to that.
	Decided   time.Duration // the decision was made
	Sent      time.Duration // the request was sent on whole
	FirstByte time.Duration // the replica's response began
	Total     time.Duration
}

// writeLog hands the exchange to the access log.
func (x *exchange) writeLog() {
	w, c, r := x.w, x.c, &x.w.record
	now := w.loop.Now()
	*r = Record{
		Time:   time.UnixMilli(w.loop.Wall()).Add(x.start - now),
		Client: c.addr, Method: x.req.Method, Host: x.req.Host, Path: x.view.Path,
		Status: x.status, Outcome: x.outcome.String(), Problem: string(x.code), Session: x.dec.Session.String(),
		Promoted: r.Promoted[:0], RequestID: x.id.text,
		BytesIn: c.received - uint64(len(c.in)-c.r) - x.counted.fromClient, BytesOut: c.delivered - x.counted.toClient,
		ConnectFailures: x.failures, Moves: x.moves, Resends: x.resends,
		Decided: since(x.start, x.decidedAt), Sent: since(x.start, x.sentAt), FirstByte: since(x.start, x.firstByte), Total: now - x.start,
	}
	if x.req.Method != "" {
		r.Protocol = "HTTP/1." + string('0'+rune(x.req.Minor))
	}
	if svc := x.service(); svc != nil {
		r.Service = svc.Name
	}
	if x.dec.Endpoint != nil {
		r.Endpoint = x.dec.Endpoint.Addr
	}
	for i := range x.dec.Promoted {
		r.Promoted = append(r.Promoted, x.dec.Promoted[i].Name)
	}
	w.log(r)
}

func since(start, at time.Duration) time.Duration {
	if at == 0 {
		return 0
	}
	return at - start
}

package gateway

import (
	"context"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/problem"
)

// statusClasses are the classes of statuses that requests are counted by: none was sent, 1xx (never), 2xx … 5xx, others.
const statusClasses = 7

// sessionStates are the states of affinity.SessionState.
const sessionStates = 4

// requestCounts are a service's requests by class of status and state of the session.
type requestCounts [statusClasses][sessionStates]uint64

// maxKnownServices bounds the index by identity, in which services of earlier configurations pile up.
const maxKnownServices = 8192

// stats are a worker's counters: plain numbers that only its goroutine touches. Who wants to see them asks the worker.
type stats struct {
	known    map[*affinity.Service]*requestCounts
	services map[string]*requestCounts
	problems []uint64 // by problem.Index
	endings  [endings]uint64

	duration  histogram // of whole exchanges
	firstByte histogram // from the request's last byte to the response's first

	clientBytes, replicaBytes traffic // heads included

	buffers            int // in use; only in a snapshot
	clients            int // connections now
	upstreams          int
	upstreamsIdle      int
	accepted           uint64
	acceptPauses       uint64
	acceptErrors       uint64
	upstreamOpened     uint64
	upstreamReused     uint64
	upstreamClosedIdle uint64 // by the replica, while no request was on them
	connectFailures    uint64
	connectRetries     uint64
	moves              uint64
	decisionsWaited    uint64
	decidedAlone       uint64
	resends            uint64
	smuggling          uint64
}

func newStats() stats {
	return stats{
		known:    make(map[*affinity.Service]*requestCounts),
		services: make(map[string]*requestCounts),
		problems: make([]uint64, len(problem.All())),
	}
}

// requestsOf are the counts of a service; nil is the requests that no service was found for.
func (s *stats) requestsOf(svc *affinity.Service) *requestCounts {
	if c, ok := s.known[svc]; ok {
		return c
	}
	name := ""
	if svc != nil {
		name = svc.Name
	}
	c, ok := s.services[name]
	if !ok {
		c = new(requestCounts)
		s.services[name] = c
	}
	if len(s.known) >= maxKnownServices {
		clear(s.known)
	}
	s.known[svc] = c
	return c
}

// count counts an exchange that has ended.
func (s *stats) count(x *exchange) {
	s.endings[x.outcome]++
	s.duration.add(x.w.loop.Now() - x.start)
	if x.sentAt > 0 && x.firstByte >= x.sentAt { // a response that came before the whole request was sent has no such time
		s.firstByte.add(x.firstByte - x.sentAt)
	}
	s.requestsOf(x.service())[min(x.status/100, statusClasses-1)][x.dec.Session]++
}

func (s *stats) countProblem(c problem.Code) { s.problems[problem.Index(c)]++ }

// snapshot is a copy of the worker's counters that another goroutine can keep.
func (w *worker) snapshot() stats {
	s := &w.stats
	c := *s
	c.buffers = w.buffers.inUse
	c.known = nil
	c.services = make(map[string]*requestCounts, len(s.services))
	for name, counts := range s.services {
		copied := *counts
		c.services[name] = &copied
	}
	c.problems = append([]uint64(nil), s.problems...)
	return c
}

// merge adds what another worker has counted.
func (s *stats) merge(o *stats) {
	for name, counts := range o.services {
		sum, ok := s.services[name]
		if !ok {
			sum = new(requestCounts)
			s.services[name] = sum
		}
		for class := range counts {
			for state, n := range counts[class] {
				sum[class][state] += n
			}
		}
	}
	for i, n := range o.problems {
		s.problems[i] += n
	}
	for i, n := range o.endings {
		s.endings[i] += n
	}
	s.duration.merge(&o.duration)
	s.firstByte.merge(&o.firstByte)
	for _, f := range statFields {
		*f.at(s) += *f.at(o)
	}
	s.buffers += o.buffers
	s.clients += o.clients
	s.upstreams += o.upstreams
	s.upstreamsIdle += o.upstreamsIdle
}

// collect adds up the counters of all workers. A worker that has ended is read as it was.
func (g *Gateway) collect(ctx context.Context) (*stats, error) {
	sum := newStats()
	for _, w := range g.workers {
		var part stats
		err := w.loop.Do(ctx, func() { part = w.snapshot() })
		switch {
		case err == nil:
		case isStopped(err):
			part = w.snapshot()
		default:
			return nil, err
		}
		sum.merge(&part)
	}
	return &sum, nil
}

// collectTimeout is how long a scrape waits for a worker. A worker's round takes milliseconds at most.
const collectTimeout = 5 * time.Second

package redisstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// sameNames has an endpoint's id for its identity.
type sameNames struct{}

func (sameNames) Identity(ep session.EndpointID) uint64           { return uint64(ep) }
func (sameNames) EndpointOf(identity uint64) session.EndpointID   { return session.EndpointID(identity) }
func (sameNames) Serves(session.EndpointID, session.Instant) bool { return true }

// BenchmarkTelling is how long three gateways, each with a third of a million sessions, take to tell an empty store all of them.
func BenchmarkTelling(b *testing.B) {
	const gateways, each = 3, 333_333
	idleOf := func(session.EndpointID) time.Duration { return time.Hour }
	for b.Loop() {
		b.StopTimer()
		server := redistest.Start(b, redistest.Options{})
		var stores []*shared.Store
		for g := range gateways {
			table := session.NewTable(session.Options{MaxSessions: 1 << 20})
			begun := session.InstantOf(time.Now())
			for i := range each {
				k := session.Key(uint64(i*gateways+g) * 0x9e3779b97f4a7c15)
				table.Bind(k, 1, begun, time.Hour)
				table.Release(k, begun)
			}
			id := uint32(g + 1)
			s := shared.New(shared.Options{Table: table, Remote: open(b, redisstore.Options{URL: server.URL(), ID: id, Timeout: redisstore.DefaultTimeout}), Gateway: id})
			s.Resolve(sameNames{})
			s.Sweep(0, 1, begun, idleOf)
			stores = append(stores, s)
		}
		b.StartTimer()
		var telling sync.WaitGroup
		for _, s := range stores {
			telling.Go(func() {
				for {
					began := time.Now()
					s.Flush(session.InstantOf(began))
					if st := s.Status(); st.LastAnswer != 0 && !st.Telling {
						return
					}
					<-time.After(time.Since(began)) // as a gateway waits, which has other work to do too
				}
			})
		}
		telling.Wait()
	}
	b.ReportMetric(gateways*each*float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
}

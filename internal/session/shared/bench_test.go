package shared

import (
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// BenchmarkHit is what a request of a known session costs in the store, beside what it costs in a Table alone.
func BenchmarkHit(b *testing.B) {
	const sessions = 100_000
	for _, bench := range []struct {
		name string
		make func(*session.Table) session.Store
	}{
		{"alone", func(t *session.Table) session.Store { return t }},
		{"shared", func(t *session.Table) session.Store { return New(Options{Table: t}) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			table := session.NewTable(session.Options{})
			store := bench.make(table)
			now := session.Instant(1_800_000_000_000)
			for k := range session.Key(sessions) {
				table.Bind(k*0x9e3779b97f4a7c15, 1, now, time.Minute)
				table.Release(k*0x9e3779b97f4a7c15, now)
			}
			k := session.Key(0)
			taken := 0
			for b.Loop() {
				k = (k + 1) % sessions
				store.Acquire(k*0x9e3779b97f4a7c15, now, time.Minute)
				store.Release(k*0x9e3779b97f4a7c15, now)
				if s, ok := store.(*Store); ok { // as Flush does
					if taken++; taken%10_000 == 0 {
						s.dirty.take()
					}
				}
			}
		})
	}
}

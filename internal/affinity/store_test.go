package affinity_test

import "github.com/remora-proxy/remora/internal/session"

// newStore is small, for the random tests sweep it whole again and again.
func newStore() session.Store { return session.NewTable(session.Options{MaxSessions: 100_000}) }

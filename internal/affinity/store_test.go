package affinity_test

import "github.com/remora-proxy/remora/internal/session"

func newStore() session.Store { return session.NewTable(session.Options{}) }

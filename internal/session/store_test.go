package session_test

import (
	"testing"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/storetest"
)

func TestTableKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return session.NewTable(session.Options{}) })
}

func TestTableOfOneShardKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return session.NewTable(session.Options{MaxSessions: 8000}) })
}

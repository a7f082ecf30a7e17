package shared

import (
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// byItself is a Store that binds and moves as while the store outside does not answer: for callers that cannot wait.
type byItself struct{ *Store }

// Alone implements session.Shared.
func (s *Store) Alone() session.Store { return byItself{s} }

func (s byItself) Bind(k session.Key, ep session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	s.see(now)
	return s.bindAlone(k, ep, now, idle)
}

func (s byItself) Move(k session.Key, from, to session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, bool) {
	return s.moveAlone(k, from, to, s.identity(from), now, idle)
}

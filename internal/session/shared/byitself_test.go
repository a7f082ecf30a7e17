package shared_test

import (
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// sameNames calls each endpoint by its id.
type sameNames struct{}

func (sameNames) Identity(ep session.EndpointID) uint64         { return uint64(ep) }
func (sameNames) EndpointOf(identity uint64) session.EndpointID { return session.EndpointID(identity) }

func (sameNames) Serves(session.EndpointID, session.Instant) bool { return true }

func TestAStoreByItselfBindsAndMovesWithoutAskingAndRemembersWhatIsToBeTold(t *testing.T) {
	const now, idle = session.Instant(1_800_000_000_000), time.Minute
	s := shared.New(shared.Options{Table: session.NewTable(session.Options{MaxSessions: 100}), Gateway: 1}) // no Remote: a question would panic
	s.Resolve(sameNames{})
	alone := s.Alone()
	if owner, outcome := alone.Bind(7, 1, now, idle); owner != 1 || outcome != session.Bound {
		t.Errorf("bound to %d: outcome %d", owner, outcome)
	}
	if owner, outcome := alone.Bind(7, 2, now, idle); owner != 1 || outcome != session.Existing {
		t.Errorf("bound once more to %d: outcome %d", owner, outcome)
	}
	if owner, moved := alone.Move(7, 1, 2, now, idle); owner != 2 || !moved {
		t.Errorf("moved to %d (%v)", owner, moved)
	}
	if owner, moved := alone.Move(7, 1, 3, now, idle); owner != 2 || moved {
		t.Errorf("moved from where it was not, to %d (%v)", owner, moved)
	}
	if e, live := s.Peek(7, now, idle); !live || e.Endpoint != 2 || e.Holds != 2 {
		t.Errorf("the session is %+v (%v)", e, live)
	}
	if st := s.Status(); st.DecidedHere != 1 || st.Undecided != 1 || st.Down {
		t.Errorf("the status is %+v, want one decision of which the store has yet to hear", st)
	}
}

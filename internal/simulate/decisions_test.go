package simulate

import "github.com/remora-proxy/remora/internal/affinity"

// What users and replicas see of decisions, held to the rules.

// decided looks at a decision, or at a move of one.
func (ru *rules) decided(r *request) {
	s, g, u := ru.sim, r.g, r.user
	m := &g.sessions[u]
	if s.now-r.began > answerWithin {
		ru.breaks(ruleAnswer, "user %d waited %d ms at g%d", u, s.now-r.began, g.number)
	}
	if r.owner != 0 { // it was moved, and holds the session still
		m.holds--
	}
	r.owner = 0
	ru.seen[u] = s.now
	if !r.dec.Problem.IsZero() {
		s.trace.add(s.now, "g%d: user %d is refused", int64(g.number), int64(u))
		ru.refused(r)
		m.untold = m.untold || r.waited // it may have been moved to one that was drained meanwhile
		return
	}
	owner := byEndpoint[[2]string{r.dec.Endpoint.Addr, r.dec.Endpoint.Incarnation}]
	r.owner = owner
	s.count.decisions[r.dec.Session]++
	s.trace.add(s.now, "g%d: user %d → %r %s", int64(g.number), int64(u), int64(owner), int64(r.dec.Session))
	ru.serves(r)
	switch r.dec.Session {
	case affinity.SessionNew:
		if r.fresh || m.untold && !r.first && (r.tries > 0 || r.had != 0 || r.moving) { // it is live, and no replica has heard of it yet
			ru.moved(r, m)
		} else {
			ru.new(r, m)
		}
	case affinity.SessionExisting:
		ru.existing(r)
	case affinity.SessionMoved:
		ru.moved(r, m)
	case affinity.SessionNone:
		ru.breaks(ruleKept, "user %d has no session at g%d", u, g.number)
	}
	ru.agrees(r, m)
	g.inFlight[owner]++
	if r.waited {
		m.waitedFrom, m.waitedTo = r.began, s.now
	}
	m.owner, m.step, m.decided, m.seen, m.unsent = owner, s.step, s.now, max(m.seen, r.began), false
	m.elsewhere = false
	m.holds++
	ru.owned[u][owner] = s.now
}

// changed says whether what the gateway knows of a replica has changed since the decision began.
func (r *request) changed(replica int32) bool { return r.g.knows[replica].changed > r.step }

// serves: a request goes to a replica that serves, as far as the gateway knew at some time while it decided, and to none that it tried.
func (ru *rules) serves(r *request) {
	g, k := r.g, &r.g.knows[r.owner]
	was := k.listed && (k.since == 0 || r.began+g.skew < k.since+drainDeadline)
	if !was && !r.changed(r.owner) {
		ru.breaks(ruleServes, "g%d sends user %d to %s, which does not serve", g.number, r.user, ru.name(r.owner))
	}
	for _, t := range r.tried[:r.tries] {
		if t == r.owner {
			ru.breaks(ruleServes, "g%d sends user %d to %s again, which it did not reach", g.number, r.user, ru.name(r.owner))
		}
	}
}

// gains: a replica that drains gets no session that it did not have.
func (ru *rules) gains(r *request) {
	if !r.g.takes(r.owner) && !r.changed(r.owner) {
		ru.breaks(ruleDraining, "g%d gives user %d to %s, which drains", r.g.number, r.user, ru.name(r.owner))
	}
}

func (ru *rules) new(r *request, m *memory) {
	faster := m.owner == r.owner && m.step > r.step // another request of the user, which did not reach it
	if m.untold && (faster || !r.first && (r.asked && !r.failed || m.owner == r.owner || m.step > r.step)) {
		ru.excuse(ruleKept, exToldAgain)
		return
	}
	ru.gains(r)
	if !r.asked {
		ru.alone(r)
	}
	if g, kept := ru.keeps(r.user, r.began, r); kept {
		if (!r.asked || r.failed) && g != r.g {
			ru.excuse(ruleKept, exAlone)
			return
		}
		ru.breaks(ruleKept, "g%d begins a session of user %d at %s, which g%d (process %d) had at %s", r.g.number, r.user, ru.name(r.owner), g.number, g.id,
			ru.name(g.sessions[r.user].owner))
	}
}

// alone: only a store that fails, or too many that wait for it, makes a gateway decide alone.
func (ru *rules) alone(r *request) {
	if !r.failed && r.g.trouble < r.began-recovery-5*millisPerSecond {
		ru.breaks(ruleAlone, "g%d decides alone for user %d", r.g.number, r.user)
	}
}

// lived: a session that is not new was seen less than its idle time ago, and the time that a renewal may be on its way.
func (ru *rules) lived(r *request) {
	if age := r.began - r.before; age > idle+2*interval+slack && ru.asked[r.user] == r.asks && r.tries == 0 {
		ru.breaks(ruleExpired, "g%d knows user %d at %s, last seen %d ms ago", r.g.number, r.user, ru.name(r.owner), age)
	}
}

func (ru *rules) existing(r *request) {
	ru.lived(r)
	if ru.owned[r.user][r.owner] == 0 {
		ru.breaks(ruleLife, "g%d takes %s for the owner of user %d, which it never was", r.g.number, ru.name(r.owner), r.user)
	}
	if !r.waited && r.had != r.owner {
		ru.breaks(ruleCause, "g%d has user %d at %s, and sends it to %s", r.g.number, r.user, ru.name(r.had), ru.name(r.owner))
	}
}

func (ru *rules) moved(r *request, m *memory) {
	if r.dec.Session == affinity.SessionMoved {
		ru.lived(r)
	}
	if m.unsent && m.owner == r.owner {
		return
	}
	from := r.had
	if from == 0 && r.waited { // another request of the user was faster
		from = m.owner
	}
	if r.asked || r.moving { // looked at when the store was asked
		return
	}
	if from == 0 && m.pending > 0 { // another request of the user has learnt from the store where the session is, and is about to move it too
		from = ru.ownedBefore(r)
	}
	if from == r.owner && m.untold {
		ru.excuse(ruleCause, exToldAgain)
		return
	}
	if from == r.owner { // another life of the same
		if k := &r.g.knows[from]; k.gone == 0 && m.step <= r.step { // nor has another request of the user moved it meanwhile
			ru.breaks(ruleCause, "g%d says that user %d moved to %s, where it was", r.g.number, r.user, ru.name(from))
		}
		return
	}
	ru.gains(r)
	if from == 0 || !ru.leaves(r.g, r, from) {
		ru.breaks(ruleCause, "g%d moves user %d from %s to %s without a cause", r.g.number, r.user, ru.name(from), ru.name(r.owner))
	}
}

// ownedBefore is the last owner of the session of a request before the one that it was decided for; 0: none.
func (ru *rules) ownedBefore(r *request) (before int32) {
	for replica, at := range ru.owned[r.user] {
		if int32(replica) != r.owner && at > ru.owned[r.user][before] {
			before = int32(replica)
		}
	}
	return before
}

// leaves says whether a gateway has a cause to move a session away from a replica.
func (ru *rules) leaves(g *gateway, r *request, from int32) bool {
	if r != nil {
		for _, t := range r.tried[:r.tries] {
			if t == from {
				return true
			}
		}
		if r.changed(from) {
			return true
		}
	}
	return !g.serves(from)
}

// agrees: a gateway that is well decides as the store has it, or hears of its mistake in time.
func (ru *rules) agrees(r *request, m *memory) {
	s, g := ru.sim, r.g
	b := s.depot.binding(userKeys[r.user])
	owner := byIdentity[uint64(b.Owner)]
	switch {
	case owner == r.owner || !s.depot.lives(b) || g.knows[owner].changed == 0 || g.knows[owner].changed > r.step:
		m.wrong = 0
	case !g.well():
		ru.excuse(ruleOneOwner, exStale)
		m.wrong = 0
	case m.pending > 0:
	case g.missed < ru.changed[r.user] && s.now > ru.changed[r.user]+s.profile.slowest && ru.knew(g, owner, r.user) && !r.waited:
		ru.breaks(ruleOneOwner, "g%d has user %d at %s, and heard %d ms ago that it is at %s", g.number, r.user, ru.name(r.owner), s.now-ru.changed[r.user],
			ru.name(owner))
	case m.wrong == 0 || m.wrong < ru.changed[r.user]: // or it was moved once more since
		m.wrong = s.now
	case s.now-m.wrong > staleWithin:
		ru.breaks(ruleOneOwner, "g%d has had user %d at %s for %d ms, and the store at %s", g.number, r.user, ru.name(r.owner), s.now-m.wrong, ru.name(owner))
	}
}

// knew says whether a gateway could use the news of a move: it was well, and knew the replica, and did not hear them while an older answer of the
// store was on its way, or while it waits to know an owner.
func (ru *rules) knew(g *gateway, owner, u int32) bool {
	at, m := ru.changed[u], &g.sessions[u]
	if at >= m.waitedFrom && at <= m.waitedTo || g.store.Status().Undecided > 0 {
		return false
	}
	return at > g.trouble+recovery && g.knows[owner].listed && g.knows[owner].changedAt < at && g.born < at
}

// refused: somebody is told that there is no replica only when there was none in the configuration with which the request began.
func (ru *rules) refused(r *request) {
	g := r.g
	for i := range g.knows {
		if g.knows[i].changed > r.born {
			return
		}
	}
	for _, c := range ru.sim.world.versions[g.ran].replicas {
		if c != 0 && g.takes(c) && ru.untried(r, c) {
			ru.breaks(ruleRefused, "g%d refuses user %d, though %s is ready", g.number, r.user, ru.name(c))
		}
	}
}

func (ru *rules) untried(r *request, replica int32) bool {
	for _, t := range r.tried[:r.tries] {
		if t == replica {
			return false
		}
	}
	return true
}

// reaches: an address has another incarnation than the gateway thinks only until its configuration says so.
func (ru *rules) reaches(r *request, there int32) {
	if there != r.owner && ru.sim.world.versions[r.g.ran].replicas[slotOf(there)] == there && !r.changed(r.owner) {
		ru.breaks(ruleLife, "g%d takes %s for %s", r.g.number, ru.name(there), ru.name(r.owner))
	}
}

// released is the end of a request.
func (ru *rules) released(r *request) {
	m := &r.g.sessions[r.user]
	m.holds--
	if m.owner == r.owner {
		m.seen = ru.sim.now
		if !r.dec.Sent && r.dec.Session != affinity.SessionExisting {
			m.unsent, m.untold = true, true
		}
	}
	r.g.inFlight[r.owner]--
	ru.seen[r.user] = ru.sim.now
}

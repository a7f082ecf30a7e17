package model

import (
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// gateway is a Store as one gateway sees it.
type gateway struct {
	store   *Store
	id      uint32
	deliver func(shared.News)
}

// Claim is Remote's.
func (g *gateway) Claim(now session.Instant, c shared.Claim) (b shared.Binding, first bool, err error) {
	now = g.store.enter(now)
	defer g.store.leave(nil)
	b, live := g.live(now, c.Key)
	if !live {
		b, err = g.store.add(c, g.id)
		return b, err == nil, err
	}
	if now >= c.Until {
		return b, false, nil
	}
	return g.store.put(c.Key, renewed(b, c, g.id)), false, nil
}

// Move is Remote's.
func (g *gateway) Move(now session.Instant, c shared.Claim, from shared.Identity) (b shared.Binding, moved bool, err error) {
	now = g.store.enter(now)
	var news []shared.News
	defer func() { g.store.leave(news) }()
	b, live := g.live(now, c.Key)
	switch {
	case !live:
		if b, err = g.store.add(c, g.id); err != nil {
			return b, false, err
		}
	case b.Owner == from && now < c.Until:
		b.Owner, b.Claimed = c.Owner, min(b.Claimed, c.Claimed)
		b = g.store.put(c.Key, renewed(b, c, g.id))
	default:
		return b, false, nil
	}
	news = g.moved(c)
	return b, true, nil
}

// Renew is Remote's.
func (g *gateway) Renew(now session.Instant, cs []shared.Claim) (bs []shared.Binding, err error) {
	now = g.store.enter(now)
	var news []shared.News
	defer func() { g.store.leave(news) }()
	for _, c := range cs {
		b, live := g.live(now, c.Key)
		before := b.Owner
		switch {
		case !live:
			b, full := g.store.add(c, g.id)
			if full != nil {
				err = full
			}
			bs = append(bs, b)
			continue
		case now >= c.Until: // it has ended before it came
			bs = append(bs, b)
			continue
		case b.Owner == c.Owner:
			b.Claimed = min(b.Claimed, c.Claimed)
		case b.Owner == c.From:
			b.Owner, b.Claimed = c.Owner, min(b.Claimed, c.Claimed)
		case c.Claimed < b.Claimed:
			b.Owner, b.Claimed = c.Owner, c.Claimed
		}
		bs = append(bs, g.store.put(c.Key, renewed(b, c, g.id)))
		if b.Owner != before {
			news = append(news, g.moved(c)...)
		}
	}
	return bs, err
}

// Find is Remote's.
func (g *gateway) Find(now session.Instant, ks []session.Key) ([]shared.Binding, error) {
	now = g.store.enter(now)
	defer g.store.leave(nil)
	bs := make([]shared.Binding, len(ks))
	for i, k := range ks {
		bs[i], _ = g.live(now, k)
	}
	return bs, nil
}

// Count is Remote's.
func (g *gateway) Count(now session.Instant, part, parts int) (map[shared.Identity]int, error) {
	now = g.store.enter(now)
	defer g.store.leave(nil)
	counted := map[shared.Identity]int{}
	for k, b := range g.store.state.sessions {
		if uint64(k)%uint64(parts) != uint64(part) {
			continue
		}
		if b.LiveAt(now, g.id, g.store.grace) {
			counted[b.Owner]++
		}
		if now-g.store.grace >= b.Until { // for all gateways
			delete(g.store.state.sessions, k)
		}
	}
	return counted, nil
}

// Lead is Remote's.
func (g *gateway) Lead(now session.Instant, forMillis int64) (bool, error) {
	now = g.store.enter(now)
	defer g.store.leave(nil)
	s := &g.store.state
	if s.leader != g.id && now < s.leaderUntil {
		return false, nil
	}
	s.leader, s.leaderUntil = g.id, now+session.Instant(forMillis)
	return true, nil
}

// Epoch is Remote's.
func (g *gateway) Epoch(now session.Instant) (uint64, error) {
	g.store.enter(now)
	defer g.store.leave(nil)
	return g.store.epoch, nil
}

// Announce is Remote's.
func (g *gateway) Announce(n shared.News) error {
	g.store.enter(0)
	n.From = g.id
	g.store.leave([]shared.News{n})
	return nil
}

// live is the live binding of a key.
func (g *gateway) live(now session.Instant, k session.Key) (shared.Binding, bool) {
	if b := g.store.state.sessions[k]; b.LiveAt(now, g.id, g.store.grace) {
		return b, true
	}
	return shared.Binding{}, false
}

func (g *gateway) moved(c shared.Claim) []shared.News {
	return []shared.News{{Kind: shared.Moved, From: g.id, Key: c.Key, Owner: c.Owner}}
}

// renewed is a live session that a claim has renewed.
func renewed(b shared.Binding, c shared.Claim, by uint32) shared.Binding {
	b.Until = max(b.Until, c.Until)
	if b.By != by {
		b.By = 0
	}
	return b
}

// add stores a claim of a session that is not live.
func (s *Store) add(c shared.Claim, by uint32) (shared.Binding, error) {
	if s.full {
		return shared.Binding{}, shared.ErrFull
	}
	return s.put(c.Key, shared.Binding{Owner: c.Owner, Claimed: c.Claimed, Until: c.Until, By: by}), nil
}

func (s *Store) put(k session.Key, b shared.Binding) shared.Binding {
	s.state.sessions[k] = b
	return b
}

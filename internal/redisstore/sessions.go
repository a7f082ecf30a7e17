package redisstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"github.com/redis/rueidis"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

const (
	claimsPerScript = 64 // one script holds up the store for some 500 µs at most
	scriptsPerCall  = 64 // a round trip: some 200 KiB at most
	findsPerCall    = 512

	// A script counts as many buckets as have about so many sessions: it holds up the store for about a millisecond.
	sessionsPerCount = 1000
	bucketsAtFirst   = 4 // while nobody knows how many they have
)

func gatewayBytes(id uint32) string { return string(binary.BigEndian.AppendUint32(nil, id)) }

// bucketNames are the names of the buckets. What stands in the braces decides on its slot in a cluster.
func bucketNames(prefix string) *[buckets]string {
	names := new([buckets]string)
	for bucket := range names {
		names[bucket] = prefix + "s:{" + decimal(int64(slotOf(bucket))) + "}" + decimal(int64(bucket%bucketsPerSlot))
	}
	return names
}

// bucketKey is the name of a session's bucket.
func (s *Store) bucketKey(k session.Key) string { return s.bucketNames[bucketOf(k)] }

// Claim is Remote's: one round trip.
func (s *Store) Claim(now session.Instant, c shared.Claim) (b shared.Binding, first bool, err error) {
	return s.putOne("claim", now, c)
}

// Move is Remote's: one round trip.
func (s *Store) Move(now session.Instant, c shared.Claim, from shared.Identity) (b shared.Binding, moved bool, err error) {
	c.From = from
	return s.putOne("move", now, c)
}

// putOne runs the script for one claim. It returns the binding that is in force, and whether it was stored anew or moved.
func (s *Store) putOne(what string, now session.Instant, c shared.Claim) (b shared.Binding, made bool, err error) {
	offset := session.Instant(s.offset.Load())
	args := append(s.putHead(what, now), string(s.appendClaim(make([]byte, 0, claimSize), 1, &c, offset)))
	answers, err := do(s, func(ctx context.Context, client rueidis.Client) ([]string, error) {
		return s.scripts.put.one(ctx, client, s.bucketKey(c.Key), args).AsStrSlice()
	})
	if err != nil {
		return b, false, err
	}
	if len(answers) != 1 {
		return b, false, s.explain(errShort, 0)
	}
	if answers[0] == "" {
		return b, false, shared.ErrFull
	}
	if b, made, err = decodePut(answers[0], offset); err != nil {
		return shared.Binding{}, false, s.explain(err, 0)
	}
	return b, made, nil
}

// putHead is what the arguments of scripts/put.lua begin with; there is room for one claim.
func (s *Store) putHead(what string, now session.Instant) []string {
	return append(s.head(now), what, s.newsChannel, s.movedHead)
}

// claimSize is how many bytes a claim has as an argument of scripts/put.lua: which key 1, the field 8, the binding, and the owner to move from 8.
const claimSize = 1 + 8 + bindingSize + 8

func (s *Store) appendClaim(to []byte, key byte, c *shared.Claim, offset session.Instant) []byte {
	to = binary.BigEndian.AppendUint64(append(to, key), uint64(c.Key))
	to = appendBinding(to, shared.Binding{Owner: c.Owner, Claimed: c.Claimed, Until: c.Until, By: s.id}, offset)
	return binary.BigEndian.AppendUint64(to, uint64(c.From))
}

// decodePut reads what scripts/put.lua answers for a claim for which there was memory.
func decodePut(answer string, offset session.Instant) (b shared.Binding, made bool, err error) {
	value := []byte(answer)
	if made = len(value) == bindingSize+1; made {
		value = value[:bindingSize]
	}
	b, err = decodeBinding(value, offset)
	return b, made, err
}

// Renew is Remote's: a round trip for each 64 scripts, of which each renews up to 64 sessions whose buckets are in one slot. Each may take as
// long as a call. An error comes with the bindings of the scripts that did not fail, unless all did: buckets, and a cluster's servers, fail each by
// itself.
func (s *Store) Renew(now session.Instant, cs []shared.Claim) ([]shared.Binding, error) {
	order := make([]uint32, len(cs)) // by bucket, and as they came
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(i, j uint32) int { return cmp.Compare(bucketOf(cs[i].Key), bucketOf(cs[j].Key)) })
	r := &renewal{store: s, claims: cs, offset: session.Instant(s.offset.Load()), bindings: make([]shared.Binding, len(cs))}
	head := s.putHead("renew", now)
	for len(order) > 0 {
		n := 1
		for n < min(len(order), claimsPerScript) && slotOf(bucketOf(cs[order[n]].Key)) == slotOf(bucketOf(cs[order[0]].Key)) {
			n++
		}
		r.add(head, order[:n])
		order = order[n:]
		if len(r.batch) == scriptsPerCall || len(order) == 0 {
			if !r.send() {
				break // nothing answers: what is left would wait as long
			}
		}
	}
	switch {
	case r.err != nil && !r.some:
		return nil, r.err
	case r.err != nil:
		return r.bindings, r.err
	case r.full:
		return r.bindings, shared.ErrFull
	}
	return r.bindings, nil
}

// renewal is a call of Renew.
type renewal struct {
	store    *Store
	claims   []shared.Claim
	offset   session.Instant
	bindings []shared.Binding
	full     bool
	some     bool  // scripts have succeeded
	err      error // why the first of the others failed

	batch [][]uint32 // the claims of each script that is to be run
	calls []call
}

// add adds a script for claims, by their buckets, which are in one slot.
func (r *renewal) add(head []string, indices []uint32) {
	next := call{args: append(make([]string, 0, len(head)+len(indices)), head...)}
	packed := make([]byte, 0, claimSize*len(indices))
	last := -1
	for _, i := range indices {
		c := &r.claims[i]
		if bucket := bucketOf(c.Key); bucket != last {
			last, next.keys = bucket, append(next.keys, r.store.bucketKey(c.Key))
		}
		packed = r.store.appendClaim(packed, byte(len(next.keys)), c, r.offset)
	}
	for text := string(packed); text != ""; text = text[claimSize:] {
		next.args = append(next.args, text[:claimSize])
	}
	r.batch, r.calls = append(r.batch, indices), append(r.calls, next)
}

// send runs the scripts, in one round trip. It reports whether any has succeeded.
func (r *renewal) send() (some bool) {
	calls := r.calls // a call that has timed out may still read them
	results, err := do(r.store, func(ctx context.Context, client rueidis.Client) ([]rueidis.RedisResult, error) {
		return r.store.scripts.put.run(ctx, client, calls), nil
	})
	if err != nil {
		r.err = cmp.Or(r.err, err)
		return false
	}
	for script, indices := range r.batch {
		if err := r.take(results[script], indices); err != nil {
			r.err = cmp.Or(r.err, r.store.explain(err, r.store.options.Timeout))
			r.store.refuse(r.store.link.Load(), err)
		} else {
			some = true
		}
	}
	r.some = r.some || some
	r.batch, r.calls = nil, nil
	return some
}

// take takes what a script has answered for claims.
func (r *renewal) take(result rueidis.RedisResult, indices []uint32) error {
	answers, err := result.AsStrSlice()
	if err != nil {
		return err
	}
	if len(answers) != len(indices) {
		return errShort
	}
	for j, i := range indices {
		if answers[j] == "" {
			r.full = true
		} else if r.bindings[i], _, err = decodePut(answers[j], r.offset); err != nil {
			return err
		}
	}
	return nil
}

// Find is Remote's: a round trip for each 512 keys.
func (s *Store) Find(now session.Instant, ks []session.Key) ([]shared.Binding, error) {
	found := make([]shared.Binding, 0, len(ks))
	offset := session.Instant(s.offset.Load())
	for keys := range slices.Chunk(ks, findsPerCall) {
		bs, err := do(s, func(ctx context.Context, client rueidis.Client) ([]shared.Binding, error) {
			var commands []rueidis.Completed
			for _, k := range keys {
				commands = append(commands, client.B().Hget().Key(s.bucketKey(k)).Field(string(fieldOf(k))).Build())
			}
			return s.bindingsOf(client.DoMulti(ctx, commands...), offset)
		})
		if err != nil {
			return nil, err
		}
		for _, b := range bs {
			if !b.LiveAt(now, s.id, s.grace) {
				b = shared.Binding{}
			}
			found = append(found, b)
		}
	}
	return found, nil
}

func (s *Store) bindingsOf(results []rueidis.RedisResult, offset session.Instant) ([]shared.Binding, error) {
	bs := make([]shared.Binding, len(results))
	for i, result := range results {
		value, err := result.AsBytes()
		if rueidis.IsRedisNil(err) {
			continue
		}
		if err == nil {
			bs[i], err = decodeBinding(value, offset)
		}
		if err != nil {
			return nil, err
		}
	}
	return bs, nil
}

// Count is Remote's: a round trip for each 64 buckets that the part has, and for fewer where these have many sessions.
func (s *Store) Count(now session.Instant, part, parts int) (map[shared.Identity]int, error) {
	counted := map[shared.Identity]int{}
	for first, last := part*buckets/parts, (part+1)*buckets/parts; first < last; {
		inSlot := bucketsPerSlot - first%bucketsPerSlot
		names := s.bucketNames[first:min(last, first+min(inSlot, int(s.countAtOnce.Load())))]
		numbers, err := do(s, func(ctx context.Context, client rueidis.Client) ([]rueidis.RedisMessage, error) {
			return s.scripts.count.once(ctx, client, call{names, s.head(now)}).ToArray()
		})
		if err != nil {
			return nil, err
		}
		sum, err := addNumbers(counted, numbers)
		if err != nil {
			return nil, s.explain(err, 0)
		}
		s.countAtOnce.Store(int64(max(1, min(bucketsPerSlot, sessionsPerCount*len(names)/max(1, sum)))))
		first += len(names)
	}
	return counted, nil
}

// addNumbers adds what a script has counted, and returns its sum.
func addNumbers(counted map[shared.Identity]int, numbers []rueidis.RedisMessage) (sum int, err error) {
	for pair := range slices.Chunk(numbers, 2) {
		if len(pair) < 2 {
			return 0, errShort
		}
		owner, err := pair[0].AsBytes()
		if err != nil || len(owner) != 8 {
			return 0, errShort
		}
		n, err := pair[1].AsInt64()
		if err != nil {
			return 0, err
		}
		counted[shared.Identity(binary.BigEndian.Uint64(owner))] += int(n)
		sum += int(n)
	}
	return sum, nil
}

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
	claimsPerScript  = 64 // one script holds up the store for some 200 µs at most
	scriptsPerCall   = 64 // a round trip: some 200 KiB at most
	findsPerCall     = 512
	bucketsPerCounts = 64
)

func gatewayBytes(id uint32) string { return string(binary.BigEndian.AppendUint32(nil, id)) }

// bucketKey is the name of a bucket. What stands in the braces decides on its slot in a cluster.
func (s *Store) bucketKey(bucket int) string {
	return s.key("s:{" + decimal(int64(slotOf(bucket))) + "}" + decimal(int64(bucket%bucketsPerSlot)))
}

// Claim is Remote's: one round trip.
func (s *Store) Claim(now session.Instant, c shared.Claim) (b shared.Binding, first bool, err error) {
	bs, made, err := s.put("claim", now, []shared.Claim{c})
	if err != nil {
		return shared.Binding{}, false, err
	}
	return bs[0], made[0], nil
}

// Move is Remote's: one round trip.
func (s *Store) Move(now session.Instant, c shared.Claim, from shared.Identity) (b shared.Binding, moved bool, err error) {
	c.From = from
	bs, made, err := s.put("move", now, []shared.Claim{c})
	if err != nil {
		return shared.Binding{}, false, err
	}
	return bs[0], made[0], nil
}

// Renew is Remote's: a round trip for each 64 scripts, of which each renews up to 64 sessions whose buckets are in one slot. Each may take as
// long as a call.
func (s *Store) Renew(now session.Instant, cs []shared.Claim) ([]shared.Binding, error) {
	bs, _, err := s.put("renew", now, cs)
	return bs, err
}

// put runs the script that claims, moves or renews. It returns the bindings that are in force, and whether each was stored anew or moved. The
// error ErrFull comes with them.
func (s *Store) put(call string, now session.Instant, cs []shared.Claim) ([]shared.Binding, []bool, error) {
	order := make([]int, len(cs)) // by bucket, and as they came
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(bucketOf(cs[i].Key), bucketOf(cs[j].Key)) })
	p := &putting{store: s, claims: cs, offset: session.Instant(s.offset.Load())}
	p.bindings, p.made = make([]shared.Binding, len(cs)), make([]bool, len(cs))
	head := s.head(now, call, s.key("news"), string(movedHead(s.id)))
	for len(order) > 0 {
		n := 1
		for n < min(len(order), claimsPerScript) && slotOf(bucketOf(cs[order[n]].Key)) == slotOf(bucketOf(cs[order[0]].Key)) {
			n++
		}
		p.add(head, order[:n])
		order = order[n:]
		if len(p.batch) == scriptsPerCall || len(order) == 0 {
			if err := p.send(); err != nil {
				return nil, nil, err
			}
		}
	}
	if p.full {
		return p.bindings, p.made, shared.ErrFull
	}
	return p.bindings, p.made, nil
}

// putting is a call of put.
type putting struct {
	store    *Store
	claims   []shared.Claim
	offset   session.Instant
	bindings []shared.Binding
	made     []bool
	full     bool

	batch [][]int // the claims of each script that is to be run
	calls []call
}

// add adds a script for claims, by their buckets, which are in one slot.
func (p *putting) add(head []string, indices []int) {
	next := call{args: append(make([]string, 0, len(head)+4*len(indices)), head...)}
	last := -1
	for _, i := range indices {
		c := p.claims[i]
		if bucket := bucketOf(c.Key); bucket != last {
			last, next.keys = bucket, append(next.keys, p.store.bucketKey(bucket))
		}
		value := encodeBinding(shared.Binding{Owner: c.Owner, Claimed: c.Claimed, Until: c.Until, By: p.store.id}, p.offset)
		next.args = append(next.args, decimal(int64(len(next.keys))), string(fieldOf(c.Key)), string(value), string(ownerBytes(c.From)))
	}
	p.batch, p.calls = append(p.batch, indices), append(p.calls, next)
}

// send runs the scripts, in one round trip.
func (p *putting) send() error {
	calls := p.calls // a call that has timed out may still read them
	answers, err := do(p.store, func(ctx context.Context, client rueidis.Client) ([][]string, error) {
		var answers [][]string
		for _, result := range p.store.scripts.put.run(ctx, client, calls) {
			values, err := result.AsStrSlice()
			if err != nil {
				return nil, err
			}
			answers = append(answers, values)
		}
		return answers, nil
	})
	if err != nil {
		return err
	}
	for script, indices := range p.batch {
		for j, i := range indices {
			if err := p.take(i, answers[script], j); err != nil {
				return p.store.explain(err, 0)
			}
		}
	}
	p.batch, p.calls = nil, nil
	return nil
}

// take reads the answer for a claim.
func (p *putting) take(i int, values []string, j int) (err error) {
	if j >= len(values) {
		return errShort
	}
	value := []byte(values[j])
	if len(value) == 0 {
		p.full = true
		return nil
	}
	if p.made[i] = len(value) == bindingSize+1; p.made[i] {
		value = value[:bindingSize]
	}
	p.bindings[i], err = decodeBinding(value, p.offset)
	return err
}

// Delete is Remote's: one round trip.
func (s *Store) Delete(now session.Instant, k session.Key) (bool, error) {
	news, err := encodeNews(shared.News{Kind: shared.Ended, From: s.id, Key: k}, 0)
	if err != nil {
		return false, err
	}
	return do(s, func(ctx context.Context, client rueidis.Client) (bool, error) {
		args := s.head(now, s.key("news"), string(fieldOf(k)), string(news[0]))
		return s.scripts.delete.one(ctx, client, s.bucketKey(bucketOf(k)), args).AsBool()
	})
}

// Find is Remote's: a round trip for each 512 keys.
func (s *Store) Find(now session.Instant, ks []session.Key) ([]shared.Binding, error) {
	found := make([]shared.Binding, 0, len(ks))
	offset := session.Instant(s.offset.Load())
	for keys := range slices.Chunk(ks, findsPerCall) {
		bs, err := do(s, func(ctx context.Context, client rueidis.Client) ([]shared.Binding, error) {
			var commands []rueidis.Completed
			for _, k := range keys {
				commands = append(commands, client.B().Hget().Key(s.bucketKey(bucketOf(k))).Field(string(fieldOf(k))).Build())
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

// Count is Remote's: a round trip for each 64 buckets that the part has.
func (s *Store) Count(now session.Instant, part, parts int) (map[shared.Identity]int, error) {
	counted := map[shared.Identity]int{}
	first, last := part*buckets/parts, (part+1)*buckets/parts
	for ; first < last; first += bucketsPerCounts {
		numbers, err := do(s, func(ctx context.Context, client rueidis.Client) (map[shared.Identity]int, error) {
			var calls []call
			for bucket := first; bucket < min(last, first+bucketsPerCounts); bucket++ {
				calls = append(calls, call{[]string{s.bucketKey(bucket)}, s.head(now)})
			}
			return numbersOf(s.scripts.count.run(ctx, client, calls))
		})
		if err != nil {
			return nil, err
		}
		for owner, n := range numbers {
			counted[owner] += n
		}
	}
	return counted, nil
}

// numbersOf adds up what the scripts have counted.
func numbersOf(results []rueidis.RedisResult) (map[shared.Identity]int, error) {
	numbers := map[shared.Identity]int{}
	for _, result := range results {
		values, err := result.ToArray()
		if err != nil {
			return nil, err
		}
		for pair := range slices.Chunk(values, 2) {
			if len(pair) < 2 {
				return nil, errShort
			}
			owner, err := pair[0].AsBytes()
			if err != nil || len(owner) != 8 {
				return nil, errShort
			}
			n, err := pair[1].AsInt64()
			if err != nil {
				return nil, err
			}
			numbers[shared.Identity(binary.BigEndian.Uint64(owner))] += int(n)
		}
	}
	return numbers, nil
}

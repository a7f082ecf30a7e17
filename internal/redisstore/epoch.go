package redisstore

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/remora-proxy/remora/internal/session"
)

// Epoch is Remote's: one round trip to each master. It is made of
//
//   - marks, random numbers that gateways put where there is none: one that has gone tells that the store was emptied, by hand or by a restart;
//   - the masters' run ids, which Redis draws at each start: they tell what leaves marks where they were, a restart from a disk, and a replica
//     that became the master and may lag behind;
//   - how many times this gateway has seen the store's clock set: what lives by the one time may have ended by the other.
//
// A store of another epoch is told the hash key again at once.
func (s *Store) Epoch(now session.Instant) (uint64, error) {
	epoch, err := do(s, func(ctx context.Context, client rueidis.Client) (uint64, error) { return s.epochOf(ctx, client, now) })
	if err != nil {
		return 0, err
	}
	if before, l := s.epoch.Load(), s.link.Load(); before != 0 && before != epoch && l != nil {
		if err := s.reassert(l.client, s.options.Timeout); err != nil {
			return 0, err
		}
	}
	s.epoch.Store(epoch)
	return epoch, nil
}

// marks are the keys of the marks: one, where all that is stored is lost together. In a cluster there is one in each slot in which something is
// stored, wherever that slot is at the time: so the masters that are asked are those that matter, and no replica is. It takes a server some
// 20 µs each.
func (s *Store) marks() []string {
	if s.location.kind != cluster {
		return []string{s.key("epoch")}
	}
	var marks []string
	for slot := range slotOf(buckets) {
		marks = append(marks, s.key("epoch:{"+decimal(int64(slot))+"}"))
	}
	for _, name := range []string{"hashkey", "drained"} {
		marks = append(marks, s.key("epoch:{"+s.key(name)+"}"))
	}
	return marks
}

func (s *Store) epochOf(ctx context.Context, client rueidis.Client, now session.Instant) (uint64, error) {
	var calls []call
	for _, mark := range s.marks() {
		calls = append(calls, call{[]string{mark}, s.head(now, fmt.Sprintf("%016x", rand.Uint64()))})
	}
	h := fnv.New64a()
	fmt.Fprintln(h, s.jumps.Load())
	var runs []string
	for _, result := range s.scripts.epoch.run(ctx, client, calls) {
		answer, err := result.ToString()
		if err != nil {
			return 0, err
		}
		mark, run, found := strings.Cut(answer, " ")
		if !found {
			return 0, errShort
		}
		fmt.Fprintln(h, mark)
		runs = append(runs, run)
	}
	slices.Sort(runs)
	for _, run := range slices.Compact(runs) { // a slot that moves to another master changes nothing
		fmt.Fprintln(h, run)
	}
	return max(h.Sum64(), 1), nil
}

// infoField is a field of an answer to INFO.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

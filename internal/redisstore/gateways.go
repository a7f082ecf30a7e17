package redisstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

var errShort = errors.New("a script's answer is not as it should be: another program's scripts answer, or another server")

// maxDrained is how many marks of drained endpoints are kept: over it the oldest goes.
const maxDrained = 4096

// Lead is Remote's: one round trip.
func (s *Store) Lead(now session.Instant, forMillis int64) (bool, error) {
	return do(s, func(ctx context.Context, client rueidis.Client) (bool, error) {
		return s.scripts.lead.one(ctx, client, s.key("lead"), s.head(now, decimal(forMillis))).AsBool()
	})
}

// Epoch is Remote's: one round trip to each server. It is made of the run ids of the masters, which Redis draws at each start.
func (s *Store) Epoch(session.Instant) (uint64, error) {
	return do(s, func(ctx context.Context, client rueidis.Client) (uint64, error) {
		var runs []string
		for _, node := range client.Nodes() {
			results := node.DoMulti(ctx, node.B().Info().Section("server").Build(), node.B().Info().Section("replication").Build())
			server, err := results[0].ToString()
			if err != nil {
				return 0, err
			}
			replication, err := results[1].ToString()
			if err != nil {
				return 0, err
			}
			if infoField(replication, "role") == "master" {
				runs = append(runs, infoField(server, "run_id"))
			}
		}
		slices.Sort(runs)
		h := fnv.New64a()
		for _, run := range runs {
			fmt.Fprintln(h, run)
		}
		return max(h.Sum64(), 1), nil
	})
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

// Announce is Remote's: one round trip. What says that an endpoint is drained is also kept: Drained.
func (s *Store) Announce(n shared.News) error {
	n.From = s.id
	messages, err := encodeNews(n, s.counts.Add(1))
	if err != nil {
		return err
	}
	_, err = do(s, func(ctx context.Context, client rueidis.Client) (struct{}, error) {
		if n.Kind == shared.Drain {
			return struct{}{}, s.drain(ctx, client, n, messages[0])
		}
		var commands []rueidis.Completed
		for _, message := range messages {
			commands = append(commands, client.B().Publish().Channel(s.key("news")).Message(string(message)).Build())
		}
		for _, result := range client.DoMulti(ctx, commands...) {
			if err := result.Error(); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

func (s *Store) drain(ctx context.Context, client rueidis.Client, n shared.News, message []byte) error {
	endpoint, err := encodeEndpoint(n.Endpoint)
	if err != nil {
		return err
	}
	on := "0"
	if n.On {
		on = "1"
	}
	args := s.head(0, s.key("news"), string(endpoint), on, string(message), decimal(maxDrained))
	return s.scripts.drain.one(ctx, client, s.key("drained"), args).Error()
}

// Drained is the endpoints (address and incarnation) that operators have drained: what was said with Announce and not taken back, by
// whichever gateway.
func (s *Store) Drained() ([][2]string, error) {
	return do(s, func(ctx context.Context, client rueidis.Client) ([][2]string, error) {
		fields, err := client.Do(ctx, client.B().Hkeys().Key(s.key("drained")).Build()).AsStrSlice()
		if err != nil {
			return nil, err
		}
		var endpoints [][2]string
		for _, field := range fields {
			if endpoint, ok := decodeEndpoint([]byte(field)); ok {
				endpoints = append(endpoints, endpoint)
			}
		}
		slices.SortFunc(endpoints, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
		return endpoints, nil
	})
}

// What is stored of the hash key: k and the key, where the gateways made it; f and its fingerprint, where it was configured.
const (
	madeKey       = "k"
	configuredKey = "f"
)

// fingerprint tells two keys apart, and does not tell the key.
func fingerprint(key [16]byte) string {
	sum := sha256.Sum256(append([]byte("remora: fingerprint of a hash key\n"), key[:]...))
	return string(sum[:16])
}

// HashKey is the key that all gateways of the store hash users' keys with. A gateway whose key was not configured takes the one that is in the
// store, or puts its own there. One that was configured is not stored, but its fingerprint is; that other gateways have another key is
// ErrOtherKey then. Where there is none, and propose is false, the error is ErrNoKey: others may come who had agreed on one before the store
// was emptied.
func (s *Store) HashKey(ctx context.Context, key [16]byte, configured, propose bool) ([16]byte, error) {
	if err := s.Ready(ctx); err != nil {
		return [16]byte{}, err
	}
	if !propose {
		_, err := do(s, func(ctx context.Context, client rueidis.Client) (string, error) {
			stored, err := client.Do(ctx, client.B().Get().Key(s.key("hashkey")).Build()).ToString()
			if rueidis.IsRedisNil(err) {
				err = ErrNoKey
			}
			return stored, err
		})
		if err != nil {
			return [16]byte{}, err
		}
	}
	proposed := madeKey + string(key[:])
	if configured {
		proposed = configuredKey + fingerprint(key)
	}
	stored, err := do(s, func(ctx context.Context, client rueidis.Client) (string, error) {
		return s.agree(ctx, client, proposed)
	})
	if err != nil {
		return [16]byte{}, err
	}
	kind, rest := stored[:1], stored[1:]
	switch {
	case !configured && kind == madeKey && len(rest) == 16:
		copy(key[:], rest)
	case !configured:
		return [16]byte{}, fmt.Errorf("%w: the store %s: its other gateways were given one, and this one was not; give it the same one", ErrOtherKey, s.location.name)
	case kind == configuredKey && rest != fingerprint(key), kind == madeKey && rest != string(key[:]):
		return [16]byte{}, fmt.Errorf("%w: the store %s: the other gateways have another one than this one was given; give all the same, "+
			"or, if no other gateway runs any more, delete %s in the store", ErrOtherKey, s.location.name, s.key("hashkey"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agreed, s.conflict = stored, nil
	return key, nil
}

// agree stores what is proposed of the hash key unless something is there, and returns what is there.
func (s *Store) agree(ctx context.Context, client rueidis.Client, proposed string) (string, error) {
	key := s.key("hashkey")
	results := client.DoMulti(ctx, client.B().Setnx().Key(key).Value(proposed).Build(), client.B().Get().Key(key).Build())
	stored, err := results[1].ToString()
	if failed := results[0].Error(); failed != nil && rueidis.IsRedisNil(err) {
		if refused, ok := rueidis.IsRedisErr(failed); ok && strings.HasPrefix(refused.Error(), "OOM") {
			failed = shared.ErrFull
		}
		return "", failed
	}
	if err != nil {
		return "", err
	}
	if stored == "" {
		return "", fmt.Errorf("%s is empty; delete it", key)
	}
	return stored, nil
}

// reassert stores anew what the gateways have agreed on, after the store was started again empty. A gateway that came before has another key.
func (s *Store) reassert(client rueidis.Client) error {
	s.mu.Lock()
	agreed := s.agreed
	s.mu.Unlock()
	if agreed == "" {
		return nil
	}
	stored, err := doWithin(s, client, patience, func(ctx context.Context, client rueidis.Client) (string, error) {
		return s.agree(ctx, client, agreed)
	})
	if err != nil {
		return err
	}
	var conflict error
	if stored != agreed {
		conflict = fmt.Errorf("the store %s: another gateway has come with another hash key, so that both take the same user for two", s.location.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if conflict != nil && s.conflict == nil {
		s.options.Log.Error("gateways do not agree", "error", conflict)
	}
	s.conflict = conflict
	return nil
}

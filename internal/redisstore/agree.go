package redisstore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// What is stored of the hash key: k, the key, and since when the gateways have agreed on it (6 bytes), where they made it; f and its
// fingerprint, where it was configured. scripts/agree.lua has the same.
const (
	madeKey       = "k"
	configuredKey = "f"
	keyEnd        = 1 + 16 // of k and the key, and of f and the fingerprint
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
			return [16]byte{}, s.refusal(err)
		}
	}
	proposed := madeKey + string(key[:]) + string(appendInstant(nil, 0))
	if configured {
		proposed = configuredKey + fingerprint(key)
	}
	stored, err := do(s, func(ctx context.Context, client rueidis.Client) (string, error) {
		return s.agree(ctx, client, proposed)
	})
	if err != nil {
		return [16]byte{}, s.refusal(err)
	}
	kind, rest := stored[:1], stored[1:keyEnd]
	switch {
	case !configured && kind == madeKey:
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

// agree proposes what is to be stored of the hash key, and returns what is stored then.
func (s *Store) agree(ctx context.Context, client rueidis.Client, proposed string) (string, error) {
	key := s.key("hashkey")
	stored, err := s.scripts.agree.one(ctx, client, key, s.head(0, proposed)).ToString()
	if err != nil {
		return "", err
	}
	if len(stored) < keyEnd || stored[:1] != madeKey && stored[:1] != configuredKey {
		return "", fmt.Errorf("%s is no gateway's: it has %d bytes; delete it, or give the gateways another prefix", key, len(stored))
	}
	return stored, nil
}

// reassert stores anew what the gateways have agreed on, after the store was emptied. A gateway that came before may have stored another key
// already: one that was made gives way to the older one, and that gateway finds so here.
func (s *Store) reassert(client rueidis.Client, timeout time.Duration) error {
	s.mu.Lock()
	agreed := s.agreed
	s.mu.Unlock()
	if agreed == "" {
		return nil
	}
	stored, err := doWithin(s, client, timeout, func(ctx context.Context, client rueidis.Client) (string, error) {
		return s.agree(ctx, client, agreed)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.agreed != agreed: // on another one, meanwhile
	case stored[:keyEnd] == agreed[:keyEnd]:
		s.agreed, s.conflict = stored, nil // the earlier time of the two
	case s.conflict == nil:
		s.conflict = fmt.Errorf("the store %s: another gateway has come with another hash key, so that both take the same user for two", s.location.name)
		s.options.Log.Error("gateways do not agree", "error", s.conflict)
	}
	return nil
}

package redisstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

var errShort = errors.New("a script's answer is not as it should be: another program's scripts answer, or another server")

const (
	// maxDrained is how many marks of drained endpoints are kept: over it the oldest goes.
	maxDrained = 4096
	// A mark is renewed when it is so old, by a gateway whose configuration has the endpoint, and goes when nobody has done that for so long.
	renewDrained = time.Hour
	keepDrained  = 24 * time.Hour
)

// Lead is Remote's: one round trip.
func (s *Store) Lead(now session.Instant, forMillis int64) (bool, error) {
	return do(s, func(ctx context.Context, client rueidis.Client) (bool, error) {
		return s.scripts.lead.one(ctx, client, s.key("lead"), s.head(now, decimal(forMillis))).AsBool()
	})
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
			// As if the channel were a key: in a cluster the master of its slot gets them. Any server would do, but a replica may be gone.
			commands = append(commands, client.B().Arbitrary("PUBLISH").Keys(s.key("news")).Args(string(message)).Build())
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
// whichever gateway. The marks of `known`, endpoints that this gateway's configuration has, stay; one that no gateway has known for 24 hours
// goes.
func (s *Store) Drained(known [][2]string) ([][2]string, error) {
	args := s.head(0, decimal(renewDrained.Milliseconds()), decimal(keepDrained.Milliseconds()))
	for _, endpoint := range known {
		if field, err := encodeEndpoint(endpoint); err == nil { // or it is not stored
			args = append(args, string(field))
		}
	}
	return do(s, func(ctx context.Context, client rueidis.Client) ([][2]string, error) {
		fields, err := s.scripts.drained.one(ctx, client, s.key("drained"), args).AsStrSlice()
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

package histories

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/samplebackend"
)

// Users wait between two calls for shortPause at least and longPause at most: well under idleTime, so that a session lives on where the last
// renewal was lost. Some rest, until the session has ended everywhere.
const (
	shortPause = 200 * time.Millisecond
	longPause  = idleTime/2 - 300*time.Millisecond
	restPause  = idleTime + grace + lateSlack + 500*time.Millisecond
)

// callLimit is how long a user waits for an answer.
const callLimit = time.Minute

// crowd is the users.
type crowd struct {
	c      *cluster
	ctx    context.Context
	client *http.Client
	users  sync.WaitGroup
	done   chan struct{}
	once   sync.Once
}

// startCrowd lets users call until end. They come one after the other, the last one when `arriving` is over.
func startCrowd(c *cluster, users int, arriving time.Duration, seed uint64) *crowd {
	w := &crowd{c: c, ctx: c.t.Context(), done: make(chan struct{}), client: &http.Client{
		Timeout:   callLimit,
		Transport: &http.Transport{MaxIdleConnsPerHost: users, IdleConnTimeout: time.Minute},
	}}
	for i := range users {
		w.users.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			if w.pause(time.Duration(i) * arriving / time.Duration(users)) {
				w.live(fmt.Sprintf("user-%d", i), r)
			}
		})
	}
	for i := range c.gateways {
		if !c.with.apart {
			w.users.Go(func() { w.watch(i) })
		}
	}
	w.users.Go(func() {
		if err := w.witness(); err != nil {
			c.t.Errorf("whether the machine stalls is not known: %v", err)
		}
	})
	return w
}

// end stops the users, each when its call has been answered.
func (w *crowd) end() {
	w.once.Do(func() {
		w.c.record(func(h *history) { h.ended = w.c.now() })
		close(w.done)
	})
	w.users.Wait()
	w.client.CloseIdleConnections()
}

// pause reports false when the users are to stop.
func (w *crowd) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.done:
		return false
	}
}

// live is what a user does. One in four stays with a gateway as long as that answers; one in eight rests now and then.
func (w *crowd) live(user string, r *rand.Rand) {
	faithful, restful := r.IntN(4) == 0, r.IntN(8) == 0
	at := r.IntN(gateways)
	for n := 0; ; n++ {
		if !faithful {
			at = r.IntN(gateways)
		}
		if n == 0 && r.IntN(2) == 0 || r.IntN(10) == 0 { // through several gateways at once
			var both sync.WaitGroup
			for i := range gateways {
				both.Go(func() { w.call(user, i, i) })
			}
			both.Wait()
		} else if !w.call(user, 0, at) {
			at = r.IntN(gateways)
		}
		wait := shortPause + rand.N(longPause-shortPause)
		if restful && r.IntN(4) == 0 {
			wait = restPause
		}
		if !w.pause(wait) {
			return
		}
	}
}

// call makes one call, and records it. It reports whether it succeeded.
func (w *crowd) call(user string, client, at int) bool {
	place := w.c.gateways[at].at.Load()
	c := &call{user: user, client: client, gateway: at, life: place.life, start: w.c.now()}
	err := w.post(place.url, c)
	c.end = w.c.now()
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		w.c.record(func(h *history) { h.unsent = append(h.unsent, c) }) // nobody has seen it
		return false
	}
	if err != nil {
		c.replica, c.failure = "", reason(err)
	}
	w.c.record(func(h *history) { h.calls = append(h.calls, c) })
	return err == nil
}

// reason is an error without the addresses, which differ from call to call.
func reason(err error) string {
	if in := (*url.Error)(nil); errors.As(err, &in) {
		err = in.Err
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	return err.Error()
}

func (w *crowd) post(gateway string, c *call) error {
	req, err := http.NewRequest(http.MethodPost, gateway+"/hit-backend", strings.NewReader(`{}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-User", c.user)
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	var reply samplebackend.Reply
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("%q: %w", body, err)
	}
	c.replica, c.session, c.visits = reply.PodID, reply.Session, reply.Visits
	return nil
}

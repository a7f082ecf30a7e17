package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/samplebackend"
)

// The pauses of users between two calls.
const (
	shortestPause = 200 * time.Millisecond
	longestPause  = 2 * time.Second
)

// user is somebody with a session. What is known of it is what it was told in replies.
type user struct {
	name, service string
	leaving       context.CancelFunc
	left          chan struct{}

	// These are under crowd.mu.
	calls   int
	pod     string // where the session is
	visits  uint64 // as that pod counts them
	called  time.Time
	tried   uint64 // calls since then that have failed: the pod may have counted them
	moves   []move
	broken  []string // what was lost although the user had not been told so, and had not been idle
	expired int      // sessions that ended because this process could not call in time
	failed  []string // calls without a reply
}

// move is a session's way to another replica, or to another life of its replica, that the replica was told of.
type move struct {
	at       time.Time
	from, to string
}

// crowd is the users of a gateway.
type crowd struct {
	t      *testing.T
	url    string
	idle   time.Duration // after which a session is over
	burn   atomic.Int64  // nanoseconds of work that each call asks for
	client *http.Client

	mu    sync.Mutex
	users []*user
}

func newCrowd(t *testing.T, url string, idle time.Duration) *crowd {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	c := &crowd{t: t, url: url, idle: idle, client: &http.Client{Transport: transport, Timeout: patience}}
	t.Cleanup(func() {
		c.leave(c.present()...)
		transport.CloseIdleConnections()
		if t.Failed() {
			c.complain()
		}
	})
	return c
}

// join adds users of a service, who call until they leave.
func (c *crowd) join(service string, n int) []*user {
	c.mu.Lock()
	defer c.mu.Unlock()
	var joined []*user
	for range n {
		ctx, leave := context.WithCancel(context.Background())
		u := &user{name: fmt.Sprintf("user-%d", len(c.users)), service: service, leaving: leave, left: make(chan struct{})}
		c.users = append(c.users, u)
		joined = append(joined, u)
		go func() {
			defer close(u.left)
			c.live(ctx, u)
		}()
	}
	return joined
}

// leave has users make no more calls, and returns when the last ones have ended.
func (c *crowd) leave(users ...*user) {
	for _, u := range users {
		u.leaving()
	}
	for _, u := range users {
		<-u.left
	}
}

// live is the calls of a user.
func (c *crowd) live(ctx context.Context, u *user) {
	for pause(ctx, rand.N(longestPause-shortestPause)+shortestPause) {
		sent := time.Now()
		r, err := c.call(u)
		c.note(u, sent, r, err)
	}
}

// call makes the request of the use case.
func (c *crowd) call(u *user) (*samplebackend.Reply, error) {
	url := c.url + "/hit_backend?burn=" + time.Duration(c.burn.Load()).String()
	resp, err := c.client.Post(url, "application/json", strings.NewReader(`{"username":"`+u.name+`","target":"`+u.service+`"}`))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, body)
	}
	r := &samplebackend.Reply{}
	return r, json.Unmarshal(body, r)
}

// note judges a reply by what the user remembers.
func (c *crowd) note(u *user, sent time.Time, r *samplebackend.Reply, err error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		u.failed = append(u.failed, fmt.Sprintf("%s: %v", now.Format(time.StampMilli), err))
		u.tried++
		return
	}
	same := u.pod == r.PodID && r.Visits > u.visits && r.Visits <= u.visits+1+u.tried
	switch {
	case r.ServiceName != u.service || r.Username != u.name:
		u.broken = append(u.broken, fmt.Sprintf("the reply was for %s of %s", r.Username, r.ServiceName))
	case u.calls == 0 || same:
	case now.Sub(u.called) >= c.idle:
		u.expired++ // the gateway's idle time is at most the time from the last call's start to this reply
	case r.Session == "moved":
		u.moves = append(u.moves, move{now, u.pod, r.PodID})
	default:
		u.broken = append(u.broken, fmt.Sprintf("%s: visit %d at %s came after visit %d at %s, and the session was %s",
			now.Format(time.StampMilli), r.Visits, r.PodID, u.visits, u.pod, r.Session))
	}
	u.calls++
	u.pod, u.visits, u.called, u.tried = r.PodID, r.Visits, sent, 0
}

// present is the users that have not left.
func (c *crowd) present() []*user {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*user
	for _, u := range c.users {
		select {
		case <-u.left:
		default:
			all = append(all, u)
		}
	}
	return all
}

// at is the users whose session is on a pod.
func (c *crowd) at(pod string) []*user {
	var there []*user
	for _, u := range c.present() {
		if c.where(u) == pod {
			there = append(there, u)
		}
	}
	return there
}

// where is the pod that a user's session is on.
func (c *crowd) where(u *user) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return u.pod
}

// work has the users that are present ask for so many cores together, with each call for its part.
func (c *crowd) work(cores float64) {
	n := len(c.present())
	every := (shortestPause + longestPause) / 2
	c.burn.Store(int64(cores * float64(every) / float64(max(n, 1))))
}

// rounds waits until each user has had that many replies more.
func (c *crowd) rounds(users []*user, n int) {
	c.t.Helper()
	want := map[*user]int{}
	c.mu.Lock()
	for _, u := range users {
		want[u] = u.calls + n
	}
	c.mu.Unlock()
	until(c.t, fmt.Sprintf("%d users have had %d replies more", len(users), n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, u := range users {
			if u.calls < want[u] {
				return false
			}
		}
		return true
	})
}

// tally is what has become of a crowd.
type tally struct{ sessions, broken, moved, failed, expired int }

// count sums up. It may be called while users call.
func (c *crowd) count() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := tally{sessions: len(c.users)}
	for _, u := range c.users {
		n.broken += len(u.broken)
		n.moved += len(u.moves)
		n.failed += len(u.failed)
		n.expired += u.expired
	}
	return n
}

// unharmed reports an error where a session has broken or moved, or a call has failed.
func (c *crowd) unharmed() {
	c.t.Helper()
	if n := c.count(); n.broken+n.moved+n.failed > 0 {
		c.t.Errorf("of %d sessions %d broke and %d moved, and %d calls failed", n.sessions, n.broken, n.moved, n.failed)
	}
}

// complain says what users have noticed.
func (c *crowd) complain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	const most = 20
	said := 0
	for _, u := range c.users {
		if len(u.broken)+len(u.failed)+len(u.moves) == 0 {
			continue
		}
		if said++; said > most {
			return
		}
		c.t.Logf("%s of %s: broken %q, moved %v, failed %q", u.name, u.service, u.broken, u.moves, u.failed)
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

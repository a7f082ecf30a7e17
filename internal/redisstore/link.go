package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

// run connects to the store, and anew when it cannot be used: until Close.
func (s *Store) run() {
	var wait time.Duration
	for s.ctx.Err() == nil {
		used, err := s.use()
		if used {
			wait = 0
		}
		s.fails(err)
		wait = min(2*wait+50*time.Millisecond, 2*time.Second)
		s.pause(wait/2 + rand.N(wait/2))
	}
}

// pause waits, or until Close.
func (s *Store) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// use connects, and returns when the connections are of no use any more, and whether they were.
func (s *Store) use() (used bool, err error) {
	o, err := s.location.client()
	if err != nil {
		return false, err
	}
	o.ClientName, o.ClientSetInfo = "remora", rueidis.DisableClientSetInfo
	o.DisableCache, o.DisableRetry, o.AlwaysPipelining = true, true, true
	o.PipelineMultiplex = -1 // one connection to each server: what comes later is answered later
	o.ReadBufferEachConn, o.WriteBufferEachConn = 64<<10, 64<<10
	o.Dialer.Timeout, o.Dialer.KeepAlive, o.ConnWriteTimeout = s.options.Patience, s.options.Patience, s.options.Patience
	var asked atomic.Pointer[string] // the address that was connected to last
	o.Dialer.ControlContext = func(_ context.Context, _, addr string, _ syscall.RawConn) error {
		asked.Store(&addr)
		return nil
	}
	o.Sentinel.Dialer = o.Dialer
	client, err := rueidis.NewClient(o)
	if client != nil {
		defer client.Close()
	}
	if err == nil { // the client of one server would try again by itself; here that is for run to do
		err = s.checkRights(client)
	}
	if err == nil {
		err = s.measure(client)
	}
	if err != nil {
		if err = s.refusal(err); !errors.Is(err, ErrRefused) && asked.Load() != nil {
			err = s.otherProtocol(*asked.Load(), err)
		}
		return false, err
	}
	l := &link{client: client, hears: make(chan struct{}), refusals: make(chan error, 1)}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.done.Go(func() { s.listen(ctx, l) })
	if err := s.awaitNews(l); err != nil {
		return false, err
	}
	s.link.Store(l)
	defer s.link.Store(nil)
	s.done.Go(func() { s.warnOfEviction(client) }) // also of replicas, which may be gone
	return s.watch(l)
}

// warnOfEviction says so where a server throws keys away when its memory is used up: a bucket of sessions at a time.
func (s *Store) warnOfEviction(client rueidis.Client) {
	for name, node := range client.Nodes() {
		info, err := doWithin(s, node, s.options.Patience, func(ctx context.Context, node rueidis.Client) (string, error) {
			return node.Do(ctx, node.B().Info().Section("memory").Build()).ToString()
		})
		policy := infoField(info, "maxmemory_policy")
		if err == nil && policy != "" && policy != "noeviction" && infoField(info, "maxmemory") != "0" {
			s.options.Log.Warn("the store throws sessions away when its memory is used up; set its maxmemory-policy to noeviction",
				"store", s.location.name, "server", name, "maxmemory-policy", policy)
		}
	}
}

// watch reads the store's clock and makes sure of what was agreed on, again and again. It returns when the server refuses that (the password was
// changed, it has become a replica), or has not answered for several times: an address may lead to another server now. Only where both succeeded
// once were the connections of use: who refuses at once is not to be asked again at once.
func (s *Store) watch(l *link) (used bool, err error) {
	missed := 0
	for s.ctx.Err() == nil {
		err := s.measure(l.client)
		if err == nil {
			err = s.reassert(l.client, s.options.Patience)
		}
		missed++
		var refused *rueidis.RedisError
		switch {
		case err == nil:
			used, missed = true, 0
			s.found(func() { l.whole = true })
		case deniesWrites(err):
			missed = 0
			s.found(func() { l.whole = false })
			s.fails(err)
		case errors.As(err, &refused) || missed == maxBeatsMissed:
			return used, err
		}
		select {
		case err := <-l.refusals:
			return false, err
		case <-time.After(beat):
		case <-s.ctx.Done():
		}
	}
	return used, s.ctx.Err()
}

// awaitNews waits until news are heard, or are refused. It does not wait for long: without them the store is of use too.
func (s *Store) awaitNews(l *link) error {
	select {
	case <-l.hears:
	case err := <-l.refusals:
		return err
	case <-time.After(s.options.Patience):
	case <-s.ctx.Done():
	}
	return nil
}

// fails says why the store cannot be used.
func (s *Store) fails(err error) {
	if known := s.setProblem(err); s.ctx.Err() == nil && !known {
		s.options.Log.Warn("the store cannot be used; trying again", "store", s.location.name, "error", err)
	}
}

// listen hears news until ctx ends. After an interruption it subscribes anew; what was said meanwhile is lost.
func (s *Store) listen(ctx context.Context, l *link) {
	var first sync.Once
	for ctx.Err() == nil {
		var news newsReader
		heard := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) {
			s.found(func() { l.heard = true })
			first.Do(func() { close(l.hears) })
		})
		err := l.client.Receive(heard, l.client.B().Subscribe().Channel(s.key("news")).Build(), func(m rueidis.PubSubMessage) {
			n, whole, err := news.read([]byte(m.Message))
			if err != nil || !whole {
				return
			}
			select {
			case s.news <- n:
			default:
				s.lost.Add(1)
			}
		})
		s.found(func() { l.heard = false })
		if ctx.Err() == nil {
			s.refuse(l, err)
			s.options.Log.Debug("the store's news are interrupted", "store", s.location.name, "error", err)
			s.pause(100*time.Millisecond + rand.N(100*time.Millisecond))
		}
	}
}

// found takes what has become of the connections in use, and says when the store is reached: it does what it is asked, and news are heard.
func (s *Store) found(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	l := s.link.Load()
	if l == nil || !l.whole || !l.heard { // or these are not in use any more
		return
	}
	if known := s.setProblemLocked(nil); !known {
		s.options.Log.Info("the store is reached", "store", s.location.name)
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// clockScript reads the clock of the server that has the key.
const clockScript = "return redis.call('TIME')"

// measure reads the store's clock. It was read between the call's beginning and its end: an offset that this does not refute is kept, so that
// times do not jitter with the network, and not at all where the clocks agree. (Redis, too, needs its servers' clocks to agree: it
// replicates points in time.)
func (s *Store) measure(client rueidis.Client) error {
	began := s.options.Now()
	at, err := doWithin(s, client, s.options.Patience, func(ctx context.Context, client rueidis.Client) (int64, error) {
		parts, err := client.Do(ctx, client.B().Eval().Script(clockScript).Numkeys(1).Key(s.key("hashkey")).Build()).AsIntSlice()
		if err == nil && len(parts) != 2 {
			err = fmt.Errorf("TIME has %d parts", len(parts))
		}
		if err != nil {
			return 0, err
		}
		return parts[0]*1000 + parts[1]/1000, nil
	})
	if err != nil {
		return err
	}
	earliest, latest := at-s.options.Now().UnixMilli(), at+1-began.UnixMilli()
	if offset := s.offset.Load(); offset < earliest || offset > latest {
		to := earliest + (latest-earliest)/2
		s.offset.Store(to)
		if s.measured && max(to-offset, offset-to) > jump.Milliseconds() {
			s.jumps.Add(1)
		}
		s.options.Log.Info("the store's clock differs from this gateway's; both are converted", "store", s.location.name, "milliseconds", to)
	}
	s.measured = true
	return nil
}

// key is the name of something in the store.
func (s *Store) key(name string) string { return s.prefix + name }

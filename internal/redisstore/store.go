package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// What Options have where nothing is said.
const (
	DefaultPrefix  = "remora"
	DefaultTimeout = 50 * time.Millisecond
)

// layout is the version of what is stored under the prefix: gateways that have another one share nothing.
const layout = "1"

// MaxWaiting is for how many requests, each with one call at a time, the store can be waited for. Front doors have no more of them wait: over it
// a call may fail with ErrBusy.
const MaxWaiting = 1024

const (
	// defaultPatience is Options.Patience: longer than a server under load takes, and as long as it takes at most to notice that it stands still.
	defaultPatience = time.Second
	// beat is how often the store's clock is read, and what the gateways agreed on is made sure of.
	beat = 2 * time.Second
	// jump is by how much the store's clock has to change for it to have been set: what is measured is less than that off.
	jump = time.Second
	// maxBeatsMissed is how many of these may fail in a row before all is connected anew.
	maxBeatsMissed = 3
	// maxCalls bounds the calls that wait for the store at a time: those of requests, and what a gateway calls by itself, or operators do.
	maxCalls = MaxWaiting + 64
	// newsQueue is how many news may wait to be delivered. More are lost.
	newsQueue = 4096
)

// Options say which store, and how to use it. Only URL and Deliver are needed.
type Options struct {
	URL      string            // Forms has the forms
	Prefix   string            // of all keys and of the channel: gateways that share sessions have the same. Empty: DefaultPrefix
	Timeout  time.Duration     // how long a call waits for an answer of the store. 0: DefaultTimeout
	Patience time.Duration     // how long the connections may take to come to be, with their TLS handshakes, and how long a server that stands still keeps one. 0: a second
	Grace    time.Duration     // how much longer a session lives that another gateway renewed last, whose next renewal may be on its way. 0: shared.Grace of the default interval
	ID       uint32            // this gateway. 0: a random one
	Deliver  func(shared.News) // is called with what gateways announce, in one goroutine
	Log      *slog.Logger      // nil: slog.Default()
	Now      func() time.Time  // the gateway's clock. nil: time.Now
}

// Store is the access of one gateway to the store. It is a shared.Remote.
type Store struct {
	location *location
	options  Options
	id       uint32
	prefix   string
	grace    session.Instant
	scripts  scripts

	// What calls have in them again and again.
	graceText, idBytes, newsChannel, movedHead string
	bucketNames                                *[buckets]string

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	close  sync.Once
	calls  chan struct{} // one element for each call that waits
	news   chan shared.News
	counts atomic.Uint32 // numbers the Totals that this gateway announces
	moment atomic.Pointer[moment]

	countAtOnce atomic.Int64 // how many buckets the next script counts

	link   atomic.Pointer[link]
	offset atomic.Int64 // what the store's clock is ahead of the gateway's, in milliseconds
	jumps  atomic.Int64 // how many times that changed by more than a second
	lost   atomic.Uint64
	epoch  atomic.Uint64 // the last one that has been told the hash key; 0: none

	measured bool // the store's clock was read; run's

	mu       sync.Mutex
	ready    chan struct{} // closed when the store has been reached for the first time, and news are heard
	problem  error         // why it is not reached
	changed  chan struct{} // closed, and another one, when problem has become another one
	agreed   string        // on the hash key, as it is stored; empty: not yet
	conflict error         // why the gateways do not agree any more
}

// link is the connections to the store, from when they are made until they are given up as a whole.
type link struct {
	client rueidis.Client
	whole  bool // the last beat that was answered was not refused; Store.mu's
	heard  bool // news are; Store.mu's

	hears    chan struct{} // closed when news are heard for the first time
	refusals chan error    // why it is of no use any more
}

// ErrUnreachable is why calls fail at once: the store has not been reached yet, or is connected to anew.
var ErrUnreachable = errors.New("the store is not reached")

// ErrBusy is why calls fail when too many of them wait for the store.
var ErrBusy = fmt.Errorf("%w: %d", shared.ErrBusy, maxCalls)

// Open reads the URL and begins to connect to the store. It does not wait for it: Ready does. Its errors are those of the URL and of the files
// that it names.
func Open(o Options) (*Store, error) {
	l, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if _, err := l.client(); err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Grace == 0 {
		o.Grace = shared.Grace(shared.DefaultInterval)
	}
	for o.ID == 0 {
		o.ID = rand.Uint32()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{
		location: l, options: o, id: o.ID, prefix: o.Prefix + ":" + layout + ":", grace: session.Instant(o.Grace.Milliseconds()), scripts: newScripts(),
		calls: make(chan struct{}, maxCalls), news: make(chan shared.News, newsQueue), ready: make(chan struct{}), changed: make(chan struct{}), problem: errors.New("still connecting"),
	}
	s.graceText, s.idBytes = decimal(int64(s.grace)), gatewayBytes(s.id)
	s.newsChannel, s.movedHead, s.bucketNames = s.key("news"), string(movedHead(s.id)), bucketNames(s.prefix)
	s.counts.Store(rand.Uint32())
	s.countAtOnce.Store(bucketsAtFirst)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.done.Go(s.deliver)
	s.done.Go(s.run)
	return s, nil
}

// Close ends all that the store has begun; its calls fail from then on.
func (s *Store) Close() {
	s.close.Do(func() {
		s.cancel()
		s.done.Wait()
		for range maxCalls { // as many as there may be: none is left, and none begins any more
			s.calls <- struct{}{}
		}
	})
}

// ID is this gateway.
func (s *Store) ID() uint32 { return s.id }

// Name is the URL without user, password and parameters.
func (s *Store) Name() string { return s.location.name }

// Lost is how many news could not be delivered because more than the queue holds came at once.
func (s *Store) Lost() uint64 { return s.lost.Load() }

// Ready waits until the store has been reached and news are heard. It does not wait any more when the error is ErrRefused.
func (s *Store) Ready(ctx context.Context) error {
	for ended := false; ; {
		s.mu.Lock()
		problem, changed := s.problem, s.changed
		s.mu.Unlock()
		select {
		case <-s.ready:
			return nil
		default:
		}
		switch {
		case errors.Is(problem, ErrRefused):
			return problem
		case ended:
			return fmt.Errorf("%w: %s: %w", ErrUnreachable, s.location.name, problem)
		}
		select {
		case <-s.ready:
		case <-changed:
		case <-ctx.Done():
			ended = true
		case <-s.ctx.Done():
			ended = true
		}
	}
}

// setProblem says why the store is not reached, and reports whether that was known. nil: it is.
func (s *Store) setProblem(err error) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setProblemLocked(err)
}

// setProblemLocked is setProblem for those who have the lock.
func (s *Store) setProblemLocked(err error) (known bool) {
	if err == nil || s.problem == nil {
		known = err == nil && s.problem == nil
	} else {
		known = words(s.problem) == words(err)
	}
	s.problem = err
	if !known {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return known
}

// words are what an error says, without the port that a connection had at this end: each attempt has another one, and fails for the same reason.
func words(err error) string {
	text := err.Error()
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		text = strings.ReplaceAll(text, op.Source.String()+"->", "")
	}
	return text
}

// Conflict is why the gateways that share the store do not agree any more; nil: they do.
func (s *Store) Conflict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conflict
}

// deliver hands the news on.
func (s *Store) deliver() {
	for {
		select {
		case n := <-s.news:
			s.options.Deliver(n)
		case <-s.ctx.Done():
			return
		}
	}
}

// unreachable is why a call fails at once. Of the problem it has the words alone: a call did not time out where a connection did.
func (s *Store) unreachable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == nil { // the connections have just been given up
		return fmt.Errorf("%w: %s", ErrUnreachable, s.location.name)
	}
	return fmt.Errorf("%w: %s: %s", ErrUnreachable, s.location.name, words(s.problem))
}

// do makes a call to the store, for as long as a call may take.
func do[T any](s *Store, f func(context.Context, rueidis.Client) (T, error)) (T, error) {
	l := s.link.Load()
	if l == nil {
		var none T
		return none, s.unreachable()
	}
	value, err := doUntil(s.deadline(), s, l.client, s.options.Timeout, f)
	if err != nil {
		s.refuse(l, err)
	}
	return value, err
}

// doWithin makes a call that waits no longer than the timeout, whatever the client does meanwhile.
func doWithin[T any](s *Store, client rueidis.Client, timeout time.Duration, f func(context.Context, rueidis.Client) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	return doUntil(ctx, s, client, timeout, f)
}

// moment is when calls begin that wait until the same time.
type moment struct {
	ends   time.Time // later calls have another one
	ctx    context.Context
	cancel context.CancelFunc
}

// momentsPerTimeout is how many of them there are in the time that a call may wait: by so much of it a call may be given up sooner.
const momentsPerTimeout = 16

// deadline ends when a call that begins now has waited for as long as it may. Calls that begin at about the same time share it: a timer for each,
// set and stopped, would cost as much as what the call sends.
func (s *Store) deadline() context.Context {
	m, began := s.moment.Load(), time.Now()
	if m != nil && began.Before(m.ends) {
		return m.ctx
	}
	next := &moment{ends: began.Add(s.options.Timeout / momentsPerTimeout)}
	next.ctx, next.cancel = context.WithDeadline(s.ctx, began.Add(s.options.Timeout))
	if !s.moment.CompareAndSwap(m, next) {
		next.cancel()
		return s.moment.Load().ctx // another call was faster
	}
	return next.ctx
}

// doUntil makes a call that waits until ctx ends at the latest. What the client does is then left behind.
func doUntil[T any](ctx context.Context, s *Store, client rueidis.Client, timeout time.Duration, f func(context.Context, rueidis.Client) (T, error)) (T, error) {
	var none T
	select {
	case s.calls <- struct{}{}:
	default:
		return none, ErrBusy
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := f(ctx, client)
		answers <- answer{value, err}
		<-s.calls
	}()
	select {
	case a := <-answers:
		return a.value, s.explain(a.err, timeout)
	case <-ctx.Done():
	}
	select {
	case a := <-answers: // it came first
		return a.value, s.explain(a.err, timeout)
	default:
		return none, s.explain(ctx.Err(), timeout)
	}
}

// explain says what an error of the client means. Those of the server have no more in them than it said.
func (s *Store) explain(err error, timeout time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the store %s did not answer within %v: %w", s.location.name, timeout, context.DeadlineExceeded)
	}
	if err != nil {
		return fmt.Errorf("the store %s: %w", s.location.name, err)
	}
	return nil
}

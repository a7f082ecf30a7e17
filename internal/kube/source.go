package kube

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// The pauses between two attempts to list and watch, as the API server fails: the first, and the longest. Each is
// lengthened by up to a half at random, so that not all programs come at once.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 5 * time.Second
)

// source is the objects of one kind in one namespace. It implements what client-go's reflector asks of its source and of its
// store.
type source struct {
	kind      *kind
	namespace string // empty: all
	client    client
	cluster   *Cluster

	mu      sync.Mutex
	entries map[string]*entry // by kind.key
	asked   map[string]bool   // pods whose labels the last set was asked for: a change of no other pod matters to it
	// standings are the status of the objects whose status is written: their changes are no changes of the set.
	standings map[string]standing
	synced    bool
	listed    bool // the API server has given a list, so the kind is there
	missing   bool // the API server does not have the kind
	failure   error
	since     time.Time // of the failure
	silent    bool      // the failure is that no answer came at all
	// unwatchable: the failure is that of a watch
	unwatchable bool
	events      uint64
}

// run lists and watches until ctx is done.
func (s *source) run(ctx context.Context) {
	backoff := &wait.Backoff{Duration: firstPause, Cap: longestPause, Steps: 16, Factor: 2, Jitter: 0.5}
	cache.NewReflectorWithOptions(s, s.kind.example(), s, cache.ReflectorOptions{Name: s.kind.resource, Backoff: backoff}).RunWithContext(ctx)
}

// IsWatchListSemanticsUnSupported has the reflector list before it watches. The other way, a watch that begins with all
// objects, retries without heeding its context.
func (s *source) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext implements cache.ListerWatcherWithContext. A kind that the API server does not have is one without objects:
// it is asked for again and again. Objects that are known stay until the API server says that each is gone, which it does before
// it forgets their kind.
func (s *source) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	list, err := s.client.list(ctx, s.namespace, o)
	if ctx.Err() != nil {
		return list, err
	}
	if s.kind.custom && apierrors.IsNotFound(err) && s.isMissing() {
		return &unstructured.UnstructuredList{}, nil
	}
	s.note(err, false)
	return list, err
}

// WatchWithContext implements cache.ListerWatcherWithContext.
func (s *source) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := s.client.watch(ctx, s.namespace, o)
	if ctx.Err() == nil && !(apierrors.IsNotFound(err) && s.isMissing()) {
		s.note(err, true)
	}
	return w, err
}

// List implements cache.ListerWatcher. The reflector calls ListWithContext instead.
func (s *source) List(o metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), o)
}

// Watch implements cache.ListerWatcher. The reflector calls WatchWithContext instead.
func (s *source) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), o)
}

// isMissing reports whether a kind that was not found has no objects, as none has ever been there or each was said to be gone, and says
// so when that is news.
func (s *source) isMissing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) > 0 {
		return false
	}
	s.listed = false
	if !s.missing {
		s.missing = true
		s.cluster.log.Info("the cluster does not have a kind, which is watched as soon as its CustomResourceDefinition is there",
			"kind", s.kind.name, "group", s.kind.group, "version", s.kind.version)
	}
	s.recover()
	return true
}

// note notes how the API server has answered to a list or a watch. A list is no proof that the kind can be watched.
func (s *source) note(err error, watch bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if s.missing {
			s.missing = false
			s.cluster.log.Info("a kind has appeared in the cluster", "kind", s.kind.name)
		}
		s.listed = true
		if watch || !s.unwatchable {
			s.recover()
		}
	case apierrors.IsResourceExpired(err) || apierrors.IsGone(err): // to be listed anew, which is no failure
	default:
		first := s.failure == nil
		s.unwatchable = watch
		s.failure = explain(err, s.kind.watchingRule(), s.namespace)
		if first {
			s.since = time.Now()
			s.cluster.turn()
			s.sayFailure(answered(err))
		}
	}
}

// sayFailure logs a failure that has begun. A server that does not answer at all fails all kinds, and is told of once. The caller holds s.mu.
func (s *source) sayFailure(answered bool) {
	level, what, effect := slog.LevelWarn, "the API server does not answer as it should", "what is known of the kind stays in use"
	if s.silent = !answered; s.silent {
		what, effect = "the API server does not answer", "what is known of the cluster stays in use"
		if s.cluster.silent.Add(1) > 1 {
			level = slog.LevelDebug
		}
	}
	if !s.synced {
		effect = "there is no configuration before it does"
	}
	s.cluster.log.Log(context.Background(), level, what+"; "+effect, "kind", s.kind.name, "namespace", s.namespace, "error", s.failure)
}

// recover ends a failure. The caller holds s.mu.
func (s *source) recover() {
	if s.failure == nil {
		return
	}
	s.failure = nil
	s.cluster.turn()
	level, what := slog.LevelInfo, "a kind is watched again"
	if s.silent {
		if what = "the API server answers again"; s.cluster.silent.Add(-1) > 0 {
			level = slog.LevelDebug
		}
	}
	s.cluster.log.Log(context.Background(), level, what, "kind", s.kind.name, "namespace", s.namespace)
}

// Add implements cache.ReflectorStore.
func (s *source) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s *source) Update(o any) error {
	key, err := s.kind.key(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events++
	s.observe(key, o)
	before := s.entries[key]
	now, err := s.kind.read(o, before, s.cluster.decode)
	if err != nil {
		return err
	}
	if now != before {
		s.entries[key] = now
		s.tell(key, before, now)
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *source) Delete(o any) error {
	key, err := s.kind.key(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events++
	delete(s.standings, key)
	if before, is := s.entries[key]; is {
		delete(s.entries, key)
		s.tell(key, before, nil)
	}
	return nil
}

// Replace implements cache.ReflectorStore: the objects are these and no others.
func (s *source) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]*entry, len(list))
	clear(s.standings)
	for _, o := range list {
		key, err := s.kind.key(o)
		if err != nil {
			return err
		}
		s.observe(key, o)
		before := s.entries[key]
		if next[key], err = s.kind.read(o, before, s.cluster.decode); err != nil {
			return err
		}
	}
	last := s.entries
	s.entries = next
	if !s.synced {
		s.synced = true
		s.cluster.syncedOne()
	}
	for key, now := range next {
		if before := last[key]; now != before {
			s.tell(key, before, now)
		}
	}
	for key, before := range last {
		if next[key] == nil {
			s.tell(key, before, nil)
		}
	}
	return nil
}

// tell tells of a change that matters. The caller holds s.mu.
func (s *source) tell(key string, before, now *entry) {
	if s.kind == podKind && !(s.asked[key] && changesLabels(before, now)) {
		return
	}
	s.cluster.change()
}

// Resync implements cache.ReflectorStore. It is not asked for.
func (s *source) Resync() error { return nil }

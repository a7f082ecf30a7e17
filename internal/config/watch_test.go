package config

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watched is a running Watcher.
type watched struct {
	t       *testing.T
	changes chan struct{}
}

// watch runs a Watcher until the test ends. Every change waits until the test has taken it.
func watch(t *testing.T, paths ...string) *watched {
	t.Helper()
	w, err := NewWatcher(paths)
	if err != nil {
		t.Fatal(err)
	}
	r := &watched{t: t, changes: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- w.Run(ctx, func() {
			select {
			case r.changes <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// until waits for changes until a Load of the path says what is wanted: the names of its services, or part of an error.
func (r *watched) until(path, want string) {
	r.t.Helper()
	for {
		<-r.changes
		l := Loader{Paths: []string{path}}
		set, _, list := l.Load()
		var names []string
		for _, s := range set.Services {
			names = append(names, s.Value.Name)
		}
		if got := strings.Join(names, " "); got == want && !list.HasErrors() || list.HasErrors() && strings.Contains(list.Error(), want) {
			return
		}
	}
}

func service(name string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\n"
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func TestEveryWayOfChangingFilesIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		before func(t *testing.T)
		path   string
		steps  []func(t *testing.T) // after each, path holds the service "s1", "s2", …; a step may come back without a change in between
	}{
		"a file is written in place": {
			func(t *testing.T) { write(t, "a.yaml", service("s0")) }, "a.yaml",
			[]func(t *testing.T){
				func(t *testing.T) { write(t, "a.yaml", service("s1")) },
				func(t *testing.T) { write(t, "a.yaml", service("s2")) },
			},
		},
		"a file is replaced by another, as editors do": {
			func(t *testing.T) { write(t, "a.yaml", service("s0")) }, "a.yaml",
			[]func(t *testing.T){
				func(t *testing.T) { write(t, "a.yaml.tmp", service("s1")); rename(t, "a.yaml.tmp", "a.yaml") },
				func(t *testing.T) { write(t, "a.yaml.tmp", service("s2")); rename(t, "a.yaml.tmp", "a.yaml") },
			},
		},
		"a file of a folder is replaced, then another takes its place": {
			func(t *testing.T) { write(t, "conf/a.yaml", service("s0")) }, "conf",
			[]func(t *testing.T){
				func(t *testing.T) { write(t, "conf/.tmp", service("s1")); rename(t, "conf/.tmp", "conf/a.yaml") },
				func(t *testing.T) {
					write(t, "b.yaml", service("s2"))
					rename(t, "b.yaml", "conf/b.yaml")
					remove(t, "conf/a.yaml")
				},
			},
		},
		"a ConfigMap that is mounted as a folder is turned": {
			func(t *testing.T) { mountConfigMap(t, "conf", "v0", "a.yaml", service("s0")) }, "conf",
			[]func(t *testing.T){
				func(t *testing.T) { mountConfigMap(t, "conf", "v1", "a.yaml", service("s1")); remove(t, "conf/..v0") },
				func(t *testing.T) { mountConfigMap(t, "conf", "v2", "a.yaml", service("s2")); remove(t, "conf/..v1") },
			},
		},
		"a ConfigMap of which one file is given is turned": {
			func(t *testing.T) { mountConfigMap(t, "conf", "v0", "a.yaml", service("s0")) }, "conf/a.yaml",
			[]func(t *testing.T){
				func(t *testing.T) { mountConfigMap(t, "conf", "v1", "a.yaml", service("s1")); remove(t, "conf/..v0") },
				func(t *testing.T) { mountConfigMap(t, "conf", "v2", "a.yaml", service("s2")); remove(t, "conf/..v1") },
			},
		},
		"a link on the way to the folder is turned, and then what is behind it changes": {
			func(t *testing.T) {
				for i := range 2 {
					write(t, fmt.Sprintf("releases/%d/conf/a.yaml", i), service(fmt.Sprintf("s%d", i)))
				}
				symlink(t, "releases/0", "current")
			}, "current/conf",
			[]func(t *testing.T){
				func(t *testing.T) { symlink(t, "releases/1", "next"); rename(t, "next", "current") },
				func(t *testing.T) { write(t, "releases/1/conf/a.yaml", service("s2")) },
			},
		},
		"a folder is replaced by another, and then a file in it": {
			func(t *testing.T) { write(t, "conf/a.yaml", service("s0")) }, "conf",
			[]func(t *testing.T){
				func(t *testing.T) {
					rename(t, "conf", "old")
					write(t, "new/a.yaml", service("s1"))
					rename(t, "new", "conf")
				},
				func(t *testing.T) { write(t, "conf/a.yaml", service("s2")) },
			},
		},
		"what was not there comes to be": {
			func(*testing.T) {}, "deep/down/a.yaml",
			[]func(t *testing.T){
				func(t *testing.T) { write(t, "new/down/a.yaml", service("s1")); rename(t, "new", "deep") },
				func(t *testing.T) { write(t, "deep/down/a.yaml", service("s2")) },
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			test.before(t)
			w := watch(t, test.path)
			for i, step := range test.steps {
				step(t)
				w.until(test.path, fmt.Sprintf("s%d", i+1))
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestALossIsToldToo(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "conf/a.yaml", service("s0"))
	w := watch(t, "conf")
	remove(t, "conf/a.yaml")
	w.until("conf", "no file that ends in")
	remove(t, "conf")
	w.until("conf", "no such file")
	write(t, "conf/a.yaml", service("back"))
	w.until("conf", "back")
}

func TestWhatIsNotReadIsNoChange(t *testing.T) {
	t.Chdir(t.TempDir())
	replace := func(text string) {
		write(t, "conf/.new", text)
		rename(t, "conf/.new", "conf/a.yaml")
	}
	replace(service("s0"))
	w := watch(t, "conf")
	for i := range 3 {
		write(t, "conf/notes.txt", fmt.Sprint(i))
		write(t, "conf/sub/b.yaml", service("below"))
		replace(service(fmt.Sprintf("s%d", i))) // as it was
		want := fmt.Sprintf("s%d", i+1)
		replace(service(want))
		<-w.changes // the only one for all of this
		set, _, list := (&Loader{Paths: []string{"conf"}}).Load()
		if len(list) != 0 || set.Services[0].Value.Name != want {
			t.Fatalf("a change was told when there was %v, %v; want %s", set.Services[0].Value.Name, list, want)
		}
	}
}

func TestAChangeDuringTheCallbackIsToldAfterIt(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.yaml", service("s0"))
	w := watch(t, "a.yaml")
	write(t, "a.yaml", service("s1"))
	w.until("a.yaml", "s1")
	for i := range 5 { // whether or not the callback has returned
		write(t, "a.yaml", service(fmt.Sprintf("t%d", i)))
	}
	w.until("a.yaml", "t4")
}

func TestStandardInputAloneIsNotWatched(t *testing.T) {
	w, err := NewWatcher([]string{Stdin})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx, func() { t.Error("a change was told") }); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestClosingEndsRun(t *testing.T) {
	w, err := NewWatcher([]string{t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- w.Run(context.Background(), func() {}) }()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The rules of settle, on a clock of their own.
func TestAChangeIsToldWhenTheFilesAreQuietOrAfterTheLongestTime(t *testing.T) {
	for name, test := range map[string]struct {
		every time.Duration // between events
		count int
		want  time.Duration // from the first event
	}{
		"one event":                            {time.Second, 1, quiet},
		"a burst":                              {quiet / 2, 5, 4*(quiet/2) + quiet},
		"events without end":                   {quiet / 2, 1000, longest},
		"two events that are far from another": {quiet * 3, 2, quiet},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := make(chan fsnotify.Event)
				w := &Watcher{events: events, names: map[string]map[string]bool{"conf": nil}}
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for range test.count {
						select {
						case events <- fsnotify.Event{Name: filepath.Join("conf", "a.yaml")}:
						case <-ctx.Done():
							return
						}
						select {
						case <-time.After(test.every):
						case <-ctx.Done():
							return
						}
					}
				}()
				start := time.Now()
				if more, err := w.settle(ctx); !more || err != nil {
					t.Fatal(more, err)
				}
				if got := time.Since(start); got != test.want {
					t.Errorf("told after %v, want %v", got, test.want)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

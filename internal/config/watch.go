package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A change is told when the files have been quiet for a while, since editors and kubelet write in several steps; but at the
// latest some time after the first step.
const (
	quiet   = 100 * time.Millisecond
	longest = 2 * time.Second
)

// Watcher tells when what the paths of a Loader hold has changed: by writing in place, by replacing a file as editors do, by
// turning a link as Kubernetes does for a mounted ConfigMap, by adding and removing files of a folder. It watches folders
// only, and compares contents, so a file that was touched or rewritten as it was is no change.
type Watcher struct {
	loader Loader
	fs     *fsnotify.Watcher
	events <-chan fsnotify.Event
	errors <-chan error
	// names are the folders that are watched, and the names in them that matter: nil for all.
	names map[string]map[string]bool
	told  [sha256.Size]byte
}

// NewWatcher begins to watch. Made before the first Load, it misses no change after it. Standard input is not watched.
func NewWatcher(paths []string) (*Watcher, error) {
	fw, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, unwatchable(err)
	}
	w := &Watcher{fs: fw, events: fw.Events, errors: fw.Errors}
	w.loader.Paths = slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == Stdin })
	if err := w.watch(); err != nil {
		return nil, errors.Join(err, fw.Close())
	}
	w.told = w.contents()
	return w, nil
}

func unwatchable(err error) error {
	return fmt.Errorf("the configuration's files cannot be watched: %w; raise fs.inotify.max_user_watches or max_user_instances, or send SIGHUP after changes", err)
}

// Close ends Run.
func (w *Watcher) Close() error { return w.fs.Close() }

// Run calls changed after each change, one call at a time, until ctx is done or the watcher is closed; changes during a call
// give one more. An error says that changes are no longer seen.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	for {
		if more, err := w.settle(ctx); !more {
			return err
		}
		// The folders may be others now, under the same names.
		if err := w.watch(); err != nil {
			return err
		}
		if now := w.contents(); now != w.told {
			w.told = now
			changed()
		}
	}
}

// settle waits for an event that matters, and then until there is none for a while. It reports false when there will be none.
func (w *Watcher) settle(ctx context.Context) (more bool, err error) {
	var over, latest <-chan time.Time
	for {
		matters := false
		select {
		case <-ctx.Done():
			return false, nil
		case e, open := <-w.events:
			if !open {
				return false, nil
			}
			matters = w.matters(e.Name)
		case err, open := <-w.errors:
			if !open {
				return false, nil
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // with it, anything may have happened
				return false, unwatchable(err)
			}
			matters = true
		case <-over:
			return true, nil
		case <-latest:
			return true, nil
		}
		if matters {
			over = time.After(quiet)
			if latest == nil {
				latest = time.After(longest)
			}
		}
	}
}

func (w *Watcher) matters(name string) bool {
	if _, is := w.names[name]; is { // the folder itself
		return true
	}
	names, is := w.names[filepath.Dir(name)]
	return is && (names == nil || names[filepath.Base(name)])
}

// contents is a fingerprint of what a Load would read.
func (w *Watcher) contents() (sum [sha256.Size]byte) {
	r, h := &reporter{}, sha256.New()
	for _, f := range w.loader.files(r) {
		fmt.Fprintf(h, "%q %d\n", f.path, len(f.data))
		h.Write(f.data)
	}
	fmt.Fprintf(h, "%s\n", r.done())
	h.Sum(sum[:0])
	return sum
}

// watch watches the folders of the paths as they are now, and no others.
func (w *Watcher) watch() error {
	w.names = map[string]map[string]bool{}
	for _, p := range w.loader.Paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return unwatchable(err)
		}
		w.follow(abs, 0)
		if info, err := os.Stat(abs); err == nil && info.IsDir() {
			w.names[abs] = nil
			names, err := folderFiles(abs)
			if err != nil {
				continue // a Load says so
			}
			for _, name := range names {
				w.follow(name, 0)
			}
		}
	}
	for _, old := range w.fs.WatchList() {
		if err := w.fs.Remove(old); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
			return unwatchable(err)
		}
	}
	for folder := range w.names {
		// One that has gone meanwhile is noticed in the folder that it was in.
		if err := w.fs.Add(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unwatchable(err)
		}
	}
	return nil
}

// follow notes where the absolute path can turn into something else: at its last name, at every link on the way to it and
// behind the link, and at the first name that is not there.
func (w *Watcher) follow(path string, links int) {
	for at := len(filepath.VolumeName(path)) + 1; at <= len(path); at++ {
		if at < len(path) && !os.IsPathSeparator(path[at]) {
			continue
		}
		prefix := path[:at]
		info, err := os.Lstat(prefix)
		if err != nil || at == len(path) || info.Mode()&fs.ModeSymlink != 0 {
			w.note(prefix)
		}
		if err != nil {
			return
		}
		if info.Mode()&fs.ModeSymlink != 0 && links < 40 { // as many as the kernel follows
			if target, err := os.Readlink(prefix); err == nil {
				if !filepath.IsAbs(target) {
					target = filepath.Join(filepath.Dir(prefix), target)
				}
				w.follow(filepath.Join(target, path[at:]), links+1)
			}
			return
		}
	}
}

func (w *Watcher) note(path string) {
	folder := filepath.Dir(path)
	names, is := w.names[folder]
	switch {
	case !is:
		w.names[folder] = map[string]bool{filepath.Base(path): true}
	case names != nil:
		names[filepath.Base(path)] = true
	}
}

package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sessionFile keeps the sessions of one gateway through a restart. A save replaces the file as a whole, so that whoever
// reads it, after whatever interruption, finds the newest complete save. Beside PATH it uses PATH.tmp (a save on its way),
// PATH.corrupt (the last file that could not be read) and PATH.lock (held while a gateway runs).
type sessionFile struct {
	path string
	lock *os.File
}

// openSessionFile makes path this process's own until close. It writes nothing to path itself.
func openSessionFile(path string) (*sessionFile, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("--session-file %s is not a regular file (%s); give the path of a file, which need not exist yet", path, info.Mode().Type())
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("--session-file %s: %s.lock is a symbolic link; remove it, the gateway makes a file of its own", path, path)
	}
	if err != nil {
		return nil, fmt.Errorf("--session-file %s: its folder must exist and be writable: %w", path, err)
	}
	// The kernel drops the lock with the process, however it ends, so that there is no stale lock to clear.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("--session-file %s is in use by another gateway; give each gateway a file of its own", path)
		}
		return nil, fmt.Errorf("lock %s.lock: %w", path, err)
	}
	return &sessionFile{path: path, lock: lock}, nil
}

// close gives the file back. The lock file stays: to remove it would let two processes lock different files of one name.
func (f *sessionFile) close() { f.lock.Close() }

// read hands the file to restore. A file that is not there is no error. One that restore refuses is renamed to
// PATH.corrupt, so that the next save does not destroy what may still be wanted; the error then is an unreadableError.
func (f *sessionFile) read(restore func(io.Reader) error) error {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--session-file: %w", err)
	}
	defer file.Close()
	cause := restore(bufio.NewReaderSize(file, 1<<16))
	if cause == nil {
		return nil
	}
	aside := f.path + ".corrupt"
	if err := os.Rename(f.path, aside); err != nil {
		return fmt.Errorf("--session-file %s cannot be used (%w) nor set aside: %w", f.path, cause, err)
	}
	return &unreadableError{path: f.path, aside: aside, cause: cause}
}

// unreadableError says that a session file was refused and set aside: the gateway starts without sessions.
type unreadableError struct {
	path, aside string
	cause       error
}

func (e *unreadableError) Error() string {
	return fmt.Sprintf("session file %s cannot be used: %v; it is kept as %s", e.path, e.cause, e.aside)
}

func (e *unreadableError) Unwrap() error { return e.cause }

// write replaces the file with what save writes. On an error the file is as it was before.
func (f *sessionFile) write(save func(io.Writer) error) (err error) {
	tmp := f.path + ".tmp"
	// A killed process may have left one. O_EXCL afterwards: the file must be ours, with the mode that we give it.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			_ = os.Remove(tmp) // the next save removes it otherwise
		}
	}()
	buffered := bufio.NewWriterSize(file, 1<<16)
	if err := save(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	// The bytes must be on the disk before the name points to them.
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, f.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

// syncDir makes a rename in dir outlast a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

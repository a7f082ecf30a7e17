package app

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// saverVariable makes this test binary a process that saves to the file that it names, again and again, until it is killed.
const saverVariable = "REMORA_TEST_SAVER"

func TestMain(m *testing.M) {
	if path := os.Getenv(saverVariable); path != "" {
		saveUntilKilled(path)
	}
	os.Exit(m.Run())
}

// savedBytes is the size of one save of the killed process: many times its buffer.
const savedBytes = 1 << 20

// saveUntilKilled fills each save with one byte of its own and says "half" on stdout in the middle of it.
func saveUntilKilled(path string) {
	f, err := openSessionFile(path)
	if err != nil {
		panic(err)
	}
	for n := byte(1); ; n++ {
		err := f.write(func(w io.Writer) error {
			half := bytes.Repeat([]byte{n}, savedBytes/2)
			if _, err := w.Write(half); err != nil {
				return err
			}
			fmt.Println("half")
			_, err := w.Write(half)
			return err
		})
		if err != nil {
			panic(err)
		}
	}
}

func TestAProcessKilledWhileItSavesLeavesAWholeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	for halves := 1; halves <= 12; halves++ { // killed at another save each time; the next process takes over lock and leftovers
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), saverVariable+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		lines := bufio.NewScanner(out)
		for range halves {
			if !lines.Scan() {
				t.Fatal("the process ended before it was killed")
			}
		}
		must(t, child.Process.Kill())
		child.Wait()

		saved, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && halves == 1 {
			continue // it was killed in its very first save
		}
		must(t, err)
		if len(saved) != savedBytes || !bytes.Equal(saved, bytes.Repeat(saved[:1], savedBytes)) {
			t.Fatalf("after a kill at save %d the file has %d bytes and is not one whole save", halves, len(saved))
		}
	}
}

func TestASaveReplacesTheFileAndOnlyItsOwnerMayReadIt(t *testing.T) {
	f, path := openTestFile(t)
	must(t, os.WriteFile(path+".tmp", []byte("left over"), 0o644))
	must(t, f.write(writes("first")))
	must(t, f.write(writes("second")))
	if got := readBack(t, f); got != "second" {
		t.Errorf("read %q after the second save", got)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
}

func TestAFailedSaveLeavesTheFileAsItWas(t *testing.T) {
	f, path := openTestFile(t)
	must(t, f.write(writes("good")))
	broken := errors.New("broken")
	err := f.write(func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	if got := readBack(t, f); got != "good" {
		t.Errorf("read %q after a failed save", got)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half save was left behind: %v", err)
	}
}

func TestAMissingFileIsNoError(t *testing.T) {
	f, _ := openTestFile(t)
	must(t, f.read(func(io.Reader) error {
		t.Error("there was something to restore")
		return nil
	}))
}

func TestAFileThatCannotBeUsedIsKeptAside(t *testing.T) {
	f, path := openTestFile(t)
	must(t, os.WriteFile(path, []byte("something else"), 0o600))
	torn := errors.New("the checksum does not fit")
	err := f.read(func(io.Reader) error { return torn })
	var unreadable *unreadableError
	if !errors.As(err, &unreadable) || !errors.Is(err, torn) || !strings.Contains(err.Error(), path+".corrupt") {
		t.Fatalf("the error is %v", err)
	}
	must(t, f.write(writes("new")))
	if aside, err := os.ReadFile(path + ".corrupt"); string(aside) != "something else" {
		t.Errorf("what was kept aside is %q, %v", aside, err)
	}
	if got := readBack(t, f); got != "new" {
		t.Errorf("read %q after a save over a file that was set aside", got)
	}
}

func TestTwoGatewaysCannotShareAFile(t *testing.T) {
	f, path := openTestFile(t)
	if _, err := openSessionFile(path); err == nil || !strings.Contains(err.Error(), "in use by another gateway") {
		t.Errorf("the second one got %v", err)
	}
	f.close()
	again, err := openSessionFile(path)
	must(t, err)
	again.close()
}

func TestPathsThatCannotHoldAFileAreRefusedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	must(t, os.WriteFile(plain, nil, 0o600))
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(plain, link))
	for path, want := range map[string]string{
		dir:                              "not a regular file",
		link:                             "not a regular file",
		filepath.Join(plain, "sessions"): "its folder must exist and be writable",
		filepath.Join(dir, "no", "file"): "its folder must exist and be writable",
		"/proc/sessions":                 "its folder must exist and be writable", // a folder that takes no file, not even root's
	} {
		if _, err := openSessionFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", path, err, want)
		}
	}
}

func TestALockThatIsALinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "sessions"), filepath.Join(dir, "elsewhere")
	must(t, os.Symlink(elsewhere, path+".lock"))
	if _, err := openSessionFile(path); err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where the link leads there is something now: %v", err)
	}
}

func openTestFile(t *testing.T) (*sessionFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sessions")
	f, err := openSessionFile(path)
	must(t, err)
	t.Cleanup(func() { f.close() })
	return f, path
}

func writes(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func readBack(t *testing.T, f *sessionFile) string {
	t.Helper()
	var got []byte
	must(t, f.read(func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	}))
	return string(got)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

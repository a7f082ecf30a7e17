package programtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// remoraDir is where remora was built; empty: nowhere.
var remoraDir string

var remora = sync.OnceValues(func() (path string, err error) {
	if remoraDir, err = os.MkdirTemp("", "remora"); err != nil {
		return "", err
	}
	path = filepath.Join(remoraDir, "remora")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/remora-proxy/remora/cmd/remora").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build remora: %w\n%s", err, out)
	}
	return path, nil
})

// Remora builds remora, once for all tests of a package, and gives its path. The package's TestMain calls Main.
//
// The go command does not know that such a test depends on the program: a package whose tests call it imports internal/cli, by a blank
// import where need be, or an old result is taken for one of the program as it is now.
func Remora(t testing.TB) string {
	t.Helper()
	path, err := remora()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main runs the tests of a package with run, which is testing.M's Run or something around it, takes away what Remora has built, and gives
// run's exit status.
func Main(run func() int) int {
	defer func() {
		if remoraDir != "" {
			_ = os.RemoveAll(remoraDir) // what is left of it hurts nobody
		}
	}()
	return run()
}

package peers

import (
	"os/exec"
	"path/filepath"
	"strings"
)

// lookPath finds a program by a path from the repository's root, an absolute path, or a name in PATH.
func lookPath(root, name string) (string, error) {
	if strings.Contains(name, "/") && !filepath.IsAbs(name) {
		name = filepath.Join(root, name)
	}
	return exec.LookPath(name)
}

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/remora-proxy/remora/internal/diag"
)

// The bounds of one load.
const (
	maxFile  = 64 << 20  // bytes
	maxTotal = 256 << 20 // bytes
	maxFiles = 10_000
)

// extensions are those of the files that a folder is searched for.
var extensions = []string{".yaml", ".yml", ".json"}

// file is what one file holds. path is as the user gave it, or the folder's path and the file's name.
type file struct {
	path string
	data []byte
}

// files reads the files of all paths, each once.
func (l *Loader) files(report *reporter) []file {
	var files []file
	if len(l.Paths) == 0 {
		report.errorAt(diag.Position{}, "", "", "no file or folder is given", "name at least one")
	}
	total, seen := 0, map[string]bool{}
	for _, p := range l.Paths {
		for _, name := range l.names(p, report) {
			id := name
			if real, err := filepath.EvalSymlinks(name); err == nil {
				if id, err = filepath.Abs(real); err != nil {
					id = real
				}
			}
			if seen[id] {
				continue
			}
			seen[id] = true
			data, err := l.read(name)
			total += len(data)
			if name == Stdin {
				name = "<stdin>"
			}
			switch pos := (diag.Position{File: name}); {
			case err != nil:
				report.errorAt(pos, "", "", cause(err), remedy(err))
			case len(seen) > maxFiles:
				report.errorAt(pos, "", "", "more than "+strconv.Itoa(maxFiles)+" files", "put more objects into each")
				return files
			case total > maxTotal:
				report.errorAt(pos, "", "", "all files together are larger than "+strconv.Itoa(maxTotal>>20)+" MiB", "")
				return files
			case len(bytes.TrimSpace(data)) == 0:
				// A file that is being written is often empty for a moment: it must not be taken for one whose objects are gone.
				report.errorAt(pos, "", "", "the file is empty", "write an object into it or remove it")
			default:
				files = append(files, file{path: name, data: data})
			}
		}
	}
	return files
}

// names lists the files that a path stands for.
func (l *Loader) names(path string, report *reporter) []string {
	if path == Stdin {
		return []string{path}
	}
	info, err := os.Stat(path)
	if err != nil {
		report.errorAt(diag.Position{File: path}, "", "", cause(err), remedy(err))
		return nil
	}
	if !info.IsDir() {
		return []string{path}
	}
	names, err := folderFiles(path)
	if err != nil {
		report.errorAt(diag.Position{File: path}, "", "", cause(err), remedy(err))
	} else if len(names) == 0 {
		report.errorAt(diag.Position{File: path}, "", "", "the folder has no file that ends in "+strings.Join(extensions, ", "),
			"sub-folders are not searched: give each that has some")
	}
	return names
}

// folderFiles lists the files of a folder that are read, in the order of their names.
func folderFiles(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder) // sorted
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || !slices.Contains(extensions, filepath.Ext(name)) {
			continue
		}
		full := filepath.Join(folder, name)
		if info, err := os.Stat(full); err == nil && info.IsDir() { // also a link to one
			continue
		}
		names = append(names, full)
	}
	return names, nil
}

var (
	errTooLarge   = errors.New("the file is larger than " + strconv.Itoa(maxFile>>20) + " MiB")
	errNotRegular = errors.New("this is not a regular file")
	errNoStdin    = errors.New("standard input cannot be read here")
)

func (l *Loader) read(path string) ([]byte, error) {
	if path != Stdin {
		return readFile(path)
	}
	if l.stdinIn {
		return l.stdin, nil
	}
	if l.Stdin == nil {
		return nil, errNoStdin
	}
	data, err := readBounded(l.Stdin)
	if err == nil {
		l.stdin, l.stdinIn = data, true
	}
	return data, err
}

func readFile(path string) ([]byte, error) {
	// Asked before it is opened, since opening a pipe waits for its other end.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		return nil, errTooLarge
	}
	return data, err
}

// cause is an error of the file system without the path, which stands in front of it already.
func cause(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		if errors.Is(err, fs.ErrNotExist) {
			return "there is no such file or folder"
		}
		return "cannot be read: " + p.Err.Error()
	}
	return err.Error()
}

func remedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "check the path, and that a link does not lead nowhere"
	case errors.Is(err, fs.ErrPermission):
		return "let the user that Remora runs as read it"
	case errors.Is(err, errTooLarge):
		return "split it into several"
	case errors.Is(err, errNotRegular):
		return `give a file or folder, or pipe it in and give "-"`
	default:
		return ""
	}
}

// listed names the paths for a message.
func listed(paths []string) string {
	const most = 5
	if len(paths) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], ", "), len(paths)-most)
	}
	return strings.Join(paths, ", ")
}

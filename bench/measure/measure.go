//go:build linux

// Package measure is what the commands that measure have in common: they run in the repository, with a scratch folder, until they are done or
// interrupted, and write a report. It knows nothing of what is measured.
package measure

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// Place is where a measurement runs.
type Place struct {
	Root string // of the repository
	Dir  string // for configurations and logs
}

// Main reads the flags, to which it adds -out and -keep, calls do, which measures, prints the report and writes it to the file of -out, which
// is reportFile unless the user says otherwise. When do fails Main prints what there is of a report, and ends the process with status 1.
func Main(name, reportFile string, do func(context.Context, Place) (report string, err error)) {
	// A child dies with the thread that started it (see child.Start), so all are started by this one, which lives as long as main.
	runtime.LockOSThread()
	out := flag.String("out", reportFile, "file for the report, from the repository's root; empty: print only")
	keep := flag.Bool("keep", false, "keep the folder with configurations and logs, and say where it is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, name, *out, *keep, do); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, name, out string, keep bool, do func(context.Context, Place) (string, error)) error {
	root, err := repository()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "bin/remora")); err != nil {
		return fmt.Errorf("%w: run make build before", err)
	}
	dir, err := os.MkdirTemp("", "remora-"+name+"-")
	if err != nil {
		return err
	}
	if keep {
		fmt.Println("configurations and logs are in", dir)
	} else {
		defer os.RemoveAll(dir) //nolint:errcheck // it is in the system's folder for what may be lost
	}
	report, err := do(ctx, Place{Root: root, Dir: dir})
	if report != "" {
		fmt.Printf("\n%s", report)
	}
	if err != nil || out == "" {
		return err
	}
	return os.WriteFile(filepath.Join(root, out), []byte(report), 0o644)
}

// repository is the root of this repository: the folder with go.mod above the working directory.
func repository() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the repository, best by make")
		}
	}
}

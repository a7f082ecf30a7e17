// Package examples carries the configurations of this folder inside the program, so that `remora demo` needs no checkout. It
// holds the files as they are and knows nothing of what they mean.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed hit-backend/*.yaml
var files embed.FS

// HitBackend is the files of examples/hit-backend: the use case with three services.
func HitBackend() fs.FS {
	sub, err := fs.Sub(files, "hit-backend")
	if err != nil {
		panic(err) // the name is no path: a mistake in this line
	}
	return sub
}

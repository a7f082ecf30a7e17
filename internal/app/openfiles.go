package app

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/remora-proxy/remora/internal/gateway"
)

// The bounds of client connections that follow from the limit on open files. A request takes a connection of its client and
// one to its replica; the rest is for listeners, files and the admin API.
const (
	defaultConnections = 65536
	otherFiles         = 256
)

// boundConnections sets the limit on client connections where none is given: as many as is usual, or as the limit on open
// files allows. (The Go runtime has raised the soft limit to the hard one.) At its own limit the gateway lets clients wait; at
// the system's it could not even connect to replicas.
func (p *program) boundConnections(l *gateway.Limits) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		p.log.Warn("the limit on open files is not known", "error", err)
		return
	}
	allowed := (int(min(files.Cur, math.MaxInt32)) - otherFiles) / 2
	switch {
	case l.Connections == 0:
		l.Connections = max(1, min(defaultConnections, allowed))
	case l.Connections > allowed:
		p.log.Warn("the limit on open files may be reached before --max-connections; raise it (ulimit -n, LimitNOFILE=)",
			"maxConnections", l.Connections, "openFiles", files.Cur)
	}
}

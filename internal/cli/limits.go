package cli

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/gateway"
	"github.com/remora-proxy/remora/internal/gateway/http1"
)

// phases are the timeouts of the gateway by the name that --timeout has for them.
var phases = map[string]func(*gateway.Timeouts) *time.Duration{
	"idle":          func(t *gateway.Timeouts) *time.Duration { return &t.Idle },
	"request-head":  func(t *gateway.Timeouts) *time.Duration { return &t.RequestHead },
	"request-body":  func(t *gateway.Timeouts) *time.Duration { return &t.RequestBody },
	"write":         func(t *gateway.Timeouts) *time.Duration { return &t.Write },
	"linger":        func(t *gateway.Timeouts) *time.Duration { return &t.Linger },
	"queue":         func(t *gateway.Timeouts) *time.Duration { return &t.Queue },
	"connect":       func(t *gateway.Timeouts) *time.Duration { return &t.Connect },
	"response-head": func(t *gateway.Timeouts) *time.Duration { return &t.ResponseHead },
	"response-idle": func(t *gateway.Timeouts) *time.Duration { return &t.ResponseIdle },
	"upstream-idle": func(t *gateway.Timeouts) *time.Duration { return &t.UpstreamIdle },
}

// limitFlags are the limits and timeouts of the gateway.
type limitFlags struct {
	timeouts []string
}

func addLimits(cmd *cobra.Command, c *gateway.Config) *limitFlags {
	l := &limitFlags{}
	f := cmd.Flags()
	f.IntVar(&c.Workers, "workers", 0, "event loops (default: one for each processor that Go uses)")
	f.IntVar(&c.Limits.Connections, "max-connections", 0, "client connections at a time; more wait to be accepted (default: 65536, or half of the limit on open files)")
	f.IntVar(&c.Limits.RequestsPerConnection, "max-requests-per-connection", 0, "requests on one client connection (default: any number)")
	f.IntVar(&c.Limits.UpstreamPerEndpoint, "max-upstream-connections", 1024, "connections of one worker to one replica; as many requests more wait for one of them")
	f.IntVar(&c.HTTP.MaxHead, "max-header-bytes", http1.DefaultMaxHead, "bytes of a request's head; a longer one gets 431")
	f.StringSliceVar(&l.timeouts, "timeout", nil, "PHASE=DURATION; repeatable. Phases: "+strings.Join(phaseNames(), ", ")+" (docs/operating.md has their meaning and defaults)")
	return l
}

// apply checks the flags and sets what follows from them.
func (l *limitFlags) apply(c *gateway.Config) error {
	for _, limit := range []struct {
		flag       string
		value, min int
	}{
		{"workers", c.Workers, 0},
		{"max-connections", c.Limits.Connections, 0},
		{"max-requests-per-connection", c.Limits.RequestsPerConnection, 0},
		{"max-upstream-connections", c.Limits.UpstreamPerEndpoint, 1},
		{"max-header-bytes", c.HTTP.MaxHead, 1024},
	} {
		if limit.value < limit.min {
			return usagef("--%s %d is not at least %d", limit.flag, limit.value, limit.min)
		}
	}
	c.Limits.QueuePerEndpoint = c.Limits.UpstreamPerEndpoint
	for _, pair := range l.timeouts {
		name, value, ok := strings.Cut(pair, "=")
		at, known := phases[name]
		d, err := time.ParseDuration(value)
		switch {
		case !ok:
			return usagef("--timeout %q is not PHASE=DURATION; write it as connect=500ms", pair)
		case !known:
			return usagef("--timeout %q: there is no such phase; there are %s", pair, strings.Join(phaseNames(), ", "))
		case err != nil || d <= 0:
			return usagef("--timeout %q: the duration is not over 0; write it as 500ms, 10s or 5m", pair)
		}
		*at(&c.Timeouts) = d
	}
	return nil
}

func phaseNames() []string { return slices.Sorted(maps.Keys(phases)) }

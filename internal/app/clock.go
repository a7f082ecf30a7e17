package app

import (
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// clock is the time by which sessions live: the wall clock's at its start, and from there what has elapsed. A wall clock that
// is set while the program runs makes no session live longer or shorter.
type clock struct{ start time.Time }

func startClock() clock { return clock{time.Now()} }

// now is the time, elapsed time being what the monotonic reading in start tells.
func (c clock) now() time.Time { return c.start.Add(time.Since(c.start)) }

func (c clock) instant() session.Instant { return session.InstantOf(c.now()) }

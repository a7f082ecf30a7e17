package simulate

import (
	"fmt"
	"strings"
	"time"
)

// counts are what happened in schedules.
type counts struct {
	schedules, steps, requests, waited, alone, refused, unreached, calls, failed, late, news, newsLost int64
	decisions                                                                                          [4]int64
	world                                                                                              [len(worldNames)]int64
	faults                                                                                             [len(faultNames)]int64
	excused                                                                                            [len(excuseNames)]int64
}

// add adds what happened in other schedules.
func (c *counts) add(o *counts) {
	for _, n := range [...][2]*int64{
		{&c.schedules, &o.schedules},
		{&c.steps, &o.steps},
		{&c.requests, &o.requests},
		{&c.waited, &o.waited},
		{&c.alone, &o.alone},
		{&c.refused, &o.refused},
		{&c.unreached, &o.unreached},
		{&c.calls, &o.calls},
		{&c.failed, &o.failed},
		{&c.late, &o.late},
		{&c.news, &o.news},
		{&c.newsLost, &o.newsLost},
	} {
		*n[0] += *n[1]
	}
	for _, n := range [...][2][]int64{
		{c.decisions[:], o.decisions[:]}, {c.world[:], o.world[:]}, {c.faults[:], o.faults[:]}, {c.excused[:], o.excused[:]},
	} {
		for i := range n[0] {
			n[0][i] += n[1][i]
		}
	}
}

// text is the counts in words.
func (c *counts) text(took time.Duration) string {
	var b strings.Builder
	n := float64(max(c.schedules, 1))
	fmt.Fprintf(&b, "%d schedules in %v: %.0f a second, of %.0f events each\n", c.schedules, took.Round(time.Millisecond), n/took.Seconds(), float64(c.steps)/n)
	row := func(what string, number int64) { fmt.Fprintf(&b, "%14d  %s\n", number, what) }
	row("requests", c.requests)
	for state, number := range c.decisions {
		row("  decided as "+stateNames[state], number)
	}
	row("  that waited for the store", c.waited)
	row("  decided alone, for too many waited", c.alone)
	row("  refused, for no replica was ready", c.refused)
	row("  whose replica could not be reached", c.unreached)
	row("calls to the store", c.calls)
	row("  that failed", c.failed)
	row("  that arrived after their caller had given up", c.late)
	row("news", c.news)
	row("  lost", c.newsLost)
	for i, number := range c.world {
		row("replicas: "+worldNames[i], number)
	}
	for i, number := range c.faults {
		row("fault: "+faultNames[i], number)
	}
	for i, number := range c.excused {
		row("excused: "+excuseNames[i], number)
	}
	return b.String()
}

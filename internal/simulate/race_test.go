//go:build race

package simulate

// usualSchedules is how many schedules run by default: under the race detector each takes more than ten times as long, and few show what it is to
// show, that schedules which run at the same time have nothing in common.
const usualSchedules = 200

//go:build !race

package simulate

// usualSchedules is how many schedules run by default.
const usualSchedules = 1000

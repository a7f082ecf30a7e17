// Package figures prints what was measured in several rounds: the median, and how far the rounds lie apart. It knows nothing of what was
// measured, and measures nothing.
package figures

import (
	"fmt"
	"slices"
	"time"
)

// Micros is a duration in microseconds.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Spread is the median with the lowest and the highest, with so many digits behind the point.
func Spread(values []float64, digits int) string {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, (values[(n-1)/2]+values[n/2])/2, digits, values[0], digits, values[n-1])
}

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
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, median(values), digits, values[0], digits, values[len(values)-1])
}

// Added is what `with` has more than `without`, each round with itself: the median of the differences with the lower and the upper quartile.
// What disturbs a round as a whole is in both and goes out; a round in which one of the two was disturbed is outside the quartiles.
func Added(with, without []float64, digits int) string {
	differences := make([]float64, len(with))
	for i := range with {
		differences[i] = with[i] - without[i]
	}
	slices.Sort(differences)
	n := len(differences)
	low, high := median(differences[:(n+1)/2]), median(differences[n/2:])
	return fmt.Sprintf("%+.*f (%+.*f to %+.*f)", digits, median(differences), digits, low, digits, high)
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

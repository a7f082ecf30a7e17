package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseClock reads a time as ps prints it: [[days-]hours:]minutes:seconds, with hundredths of a second on macOS and the BSDs.
func parseClock(text string) (time.Duration, error) {
	days, clock, has := strings.Cut(strings.TrimSpace(text), "-")
	if !has {
		days, clock = "0", days
	}
	total, err := strconv.ParseFloat(days, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time of the form [[days-]hours:]minutes:seconds", text)
	}
	parts := strings.Split(clock, ":")
	for i, unit := range []float64{24, 60, 60} {
		total *= unit
		if j := i - 3 + len(parts); j >= 0 {
			n, err := strconv.ParseFloat(parts[j], 64)
			if err != nil || n < 0 || len(parts) < 2 || len(parts) > 3 {
				return 0, fmt.Errorf("%q is not a time of the form [[days-]hours:]minutes:seconds", text)
			}
			total += n
		}
	}
	return time.Duration(total * float64(time.Second)), nil
}

package app

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestAThousandChangesASecondAreAFewLoads counts the loads that ten seconds of changes of a cluster cost, by what one takes.
func TestAThousandChangesASecondAreAFewLoads(t *testing.T) {
	for took, want := range map[time.Duration]int{
		0:                      101, // ten a second, and the first
		10 * time.Millisecond:  91,
		100 * time.Millisecond: 20, // a fifth of a second each
		time.Second:            2,
	} {
		t.Run(fmt.Sprintf("of %s each", took), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes, done := make(chan struct{}, 1), make(chan struct{})
				go func() {
					for range 10_000 {
						nudge(changes)
						<-time.After(time.Millisecond)
					}
					close(done)
				}()
				loads, last := 0, time.Time{}
				pace := newPacer(changes)
				for ended := false; !ended || len(changes) > 0; {
					select {
					case <-pace.heeded:
						loads, last = loads+1, time.Now()
						<-time.After(took)
						pace.rest(took)
					case <-pace.paused:
						pace.resume()
					case <-done:
						done, ended = nil, true
					}
				}
				if loads > want+1 || loads < want-1 {
					t.Errorf("%d loads, want %d", loads, want)
				}
				if late := time.Since(last); late > 5*took+time.Second {
					t.Errorf("the last load was %s before the end", late)
				}
			})
		})
	}
}

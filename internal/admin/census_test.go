package admin

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/remora-proxy/remora/internal/affinity"
)

func TestWhoAsksDuringAWalkSharesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const others = 10
		walks, mayEnd := 0, make(chan struct{})
		c := newCensus(func() []affinity.EndpointView {
			walks++ // one walk at a time: the race detector agrees
			<-mayEnd
			return []affinity.EndpointView{{Live: walks}}
		})
		var asked sync.WaitGroup
		ask := func(want int) {
			got, err := c.take(t.Context())
			if err != nil || got[0].Live != want {
				t.Errorf("the answer is %+v of walk %d, %v", got, want, err)
			}
		}
		asked.Go(func() { ask(1) })
		synctest.Wait()
		for range others { // what they ask for may have changed since the first walk began
			asked.Go(func() { ask(2) })
		}
		synctest.Wait()
		close(mayEnd)
		asked.Wait()
		ask(3)
		if walks != 3 {
			t.Errorf("the table was walked %d times", walks)
		}
	})
}

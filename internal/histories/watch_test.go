package histories

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// storeTimeout is how long gateways wait for an answer of the store: as long as they can, for the machine may be busy.
const storeTimeout = time.Second

// watchPause is how often a gateway is asked for what it says of the store.
const watchPause = 100 * time.Millisecond

// said is what a gateway's metrics say of the store.
type said struct {
	life          int
	asked, at     time.Duration // when it was asked, and had answered
	failures      float64       // calls that failed, and sessions that began alone; only ever more
	up, undecided bool          // it answers; it has not been told all
}

// watch records when a gateway was alone though nothing was done to it: a machine that is busy may hold a call up for longer than storeTimeout. What
// was done to it is in the history already. It ends with the users.
func (w *crowd) watch(i int) {
	client := &http.Client{}
	defer client.CloseIdleConnections()
	var last said
	for goOn := true; goOn; {
		goOn = w.pause(watchPause)
		place := w.c.gateways[i].at.Load()
		now := said{life: place.life, asked: w.c.now()}
		if err := now.ask(w.ctx, client, place.metrics); err != nil {
			continue // it is killed
		}
		now.at = w.c.now()
		if last.life != now.life {
			last = said{life: now.life, asked: now.asked}
		}
		if now.failures != last.failures || !now.up || now.undecided {
			w.c.record(func(h *history) { h.alsoAlone(i, last.asked, now.at) })
		}
		last = now
	}
}

// ask reads the metrics.
func (s *said) ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		var n float64
		switch name {
		case "remora_store_errors_total", "remora_store_decided_alone_total", "remora_store_up", "remora_store_resyncing", "remora_store_decided_alone_pending":
			if _, err := fmt.Sscan(number[strings.LastIndexByte(number, ' ')+1:], &n); err != nil {
				return err
			}
		}
		switch name {
		case "remora_store_errors_total", "remora_store_decided_alone_total":
			s.failures += n
		case "remora_store_up":
			s.up = n == 1
		case "remora_store_resyncing", "remora_store_decided_alone_pending":
			s.undecided = s.undecided || n != 0
		}
	}
	return nil
}

// alsoAlone adds a time in which a gateway was found to be alone, unless something had been done to it then.
func (h *history) alsoAlone(gateway int, from, to time.Duration) {
	for _, o := range h.outages {
		if o.gateway == gateway && !o.busy && from < o.told && to > o.from {
			if from+5*watchPause < o.from { // the answer took long, so it may have been alone before
				o.from = from - storeTimeout
			}
			return
		}
	}
	for _, o := range h.outages {
		if o.gateway == gateway && o.busy && from-storeTimeout < o.until {
			o.told, o.until = to, to+settleTime
			return
		}
	}
	h.outages = append(h.outages, &outage{gateway: gateway, from: from - storeTimeout, back: from - storeTimeout, told: to, until: to + settleTime, busy: true})
}

package histories

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// storeTimeout is how long gateways wait for an answer of the store: as long as they can, for the machine may be busy.
const storeTimeout = time.Second

// watchPause is how often a gateway is asked for what it says of the store, and witnessPause how often the machine is tried.
const (
	watchPause   = 100 * time.Millisecond
	witnessPause = 10 * time.Millisecond
)

// stallLimit is from when on the machine is said to stall: that a call of the store, which passes through four processes' hands, takes storeTimeout
// then, nobody can help.
const stallLimit = storeTimeout / 4

// said is what a gateway's metrics say of the store.
type said struct {
	life          int
	began         time.Duration // before its process was started
	asked, at     time.Duration // when it was asked, and had answered
	failures      float64       // calls that failed, and sessions that began alone; only ever more
	up, undecided bool          // it answers; it has not been told all
}

// whole reports whether the gateway says that it shares its sessions, and has told all.
func (s *said) whole() bool { return s.up && !s.undecided }

// asks asks a gateway.
func (c *cluster) asks(ctx context.Context, client *http.Client, i int) (said, error) {
	place := c.gateways[i].at.Load()
	now := said{life: place.life, began: place.began, asked: c.now()}
	err := now.ask(ctx, client, place.metrics)
	now.at = c.now()
	return now, err
}

// watch records when a gateway says that it is, or was, alone. It ends with the users.
func (w *crowd) watch(i int) {
	client := &http.Client{}
	defer client.CloseIdleConnections()
	var last said
	for goOn := true; goOn; {
		goOn = w.pause(watchPause)
		now, err := w.c.asks(w.ctx, client, i)
		if err != nil {
			continue // it is killed
		}
		if last.life != now.life {
			last = said{life: now.life, asked: now.began}
		}
		alone := now.failures != last.failures || !now.whole()
		w.c.record(func(h *history) {
			if alone {
				h.admissions = append(h.admissions, admission{gateway: i, from: last.asked, to: now.at})
			} else {
				h.shared[i] = now.asked
			}
		})
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
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		var n float64
		switch name {
		case "remora_store_errors_total", "remora_store_decided_alone_total", "remora_store_up", "remora_store_resyncing", "remora_store_decided_alone_pending":
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
				return err
			}
			found[name] = true
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
	if delete(found, "remora_store_errors_total"); len(found) != 4 { // the errors are not there until there are some
		return fmt.Errorf("of the metrics of the store there are only %v", found)
	}
	return nil
}

// witness records when the machine stalled: when a process that only echoes what it is told took long to do that. It depends on nothing of what is
// tested. It ends with the users.
func (w *crowd) witness() error {
	cat := exec.CommandContext(w.ctx, "cat")
	in, err := cat.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cat.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cat.Start(); err != nil {
		return err
	}
	echo := bufio.NewReader(out)
	for goOn := true; goOn && err == nil; {
		began := w.c.now()
		goOn = w.pause(witnessPause)
		if _, err = fmt.Fprintln(in); err == nil {
			_, err = echo.ReadByte()
		}
		if ended := w.c.now(); ended-began >= witnessPause+stallLimit {
			w.c.record(func(h *history) { h.stalls = append(h.stalls, stall{from: began, to: ended}) })
		}
	}
	return errors.Join(err, in.Close(), cat.Wait())
}

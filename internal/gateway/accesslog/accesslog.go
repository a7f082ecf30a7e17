// Package accesslog writes the gateway's access log: a line for each request, as JSON or as text. Lines are made on the
// goroutines of the gateway's workers and written by one of its own, with a bounded buffer between: a disk that is slow or full
// costs lines, which are counted, and never holds a request up. It knows no file and no rotation, only an io.Writer.
package accesslog

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/gateway"
)

// maxPending is how many bytes of lines may wait for the writer.
const maxPending = 4 << 20

// Format is how a line is written.
type Format uint8

// The formats.
const (
	JSON Format = iota // an object in each line
	Text               // for people: values in a fixed order
)

// ParseFormat reads "json" or "text".
func ParseFormat(s string) (Format, error) {
	switch s {
	case "json":
		return JSON, nil
	case "text":
		return Text, nil
	}
	return 0, fmt.Errorf("the access log's format is %q; it must be json or text", s)
}

// Writer takes records and writes lines. Its methods may be called from any goroutine.
type Writer struct {
	out    io.Writer
	format Format

	mu      sync.Mutex
	pending []byte
	lines   uint64 // in pending
	closed  bool

	wake    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64
	err     error // of the last write; valid once done
}

// New makes a Writer and starts its goroutine, which ends with Close.
func New(out io.Writer, format Format) *Writer {
	w := &Writer{out: out, format: format, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Log takes a record; it is gateway.Config's AccessLog. It does not block on the output.
func (w *Writer) Log(r *gateway.Record) {
	w.mu.Lock()
	if w.closed || len(w.pending) >= maxPending {
		w.mu.Unlock()
		w.dropped.Add(1)
		return
	}
	first := len(w.pending) == 0
	if w.format == JSON {
		w.pending = AppendJSON(w.pending, r)
	} else {
		w.pending = AppendText(w.pending, r)
	}
	w.lines++
	if first {
		w.wake <- struct{}{} // does not block: the last one was taken before pending became empty
	}
	w.mu.Unlock()
}

// run writes what is pending, as much at once as has gathered.
func (w *Writer) run() {
	defer close(w.done)
	var batch []byte
	for range w.wake {
		w.mu.Lock()
		batch, w.pending = w.pending, batch[:0]
		lines := w.lines
		w.lines = 0
		w.mu.Unlock()
		if _, w.err = w.out.Write(batch); w.err != nil {
			w.dropped.Add(lines)
		}
	}
}

// Dropped is how many lines were lost since the start: the buffer was full, or the output failed.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Collector is the metric remora_access_log_dropped_lines_total.
func (w *Writer) Collector() prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "remora_access_log_dropped_lines_total",
		Help: "Lines of the access log that were lost, because they came faster than they could be written or writing failed.",
	}, func() float64 { return float64(w.Dropped()) })
}

// Close writes what is pending and ends the goroutine. Records that come later are dropped. The error is that of the last write.
func (w *Writer) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.wake)
	}
	w.mu.Unlock()
	<-w.done
	return w.err
}

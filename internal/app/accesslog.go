package app

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/gateway"
)

// maxPendingLog bounds the bytes of the access log that wait for its writer.
const maxPendingLog = 4 << 20

// accessLog formats one line for each request and leaves the writing to a goroutine of its own, so that a slow disk or
// terminal holds up no request. Lines that find no room are dropped and counted.
type accessLog struct {
	handler slog.Handler
	to      io.Writer
	wake    chan struct{}
	ended   chan struct{}
	dropped atomic.Uint64

	mu      sync.Mutex
	pending []byte
	closed  bool
}

// newAccessLog makes an access log in the format "json" or "text", and starts its writer.
func newAccessLog(format string, to io.Writer) *accessLog {
	l := &accessLog{to: to, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	options := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}}
	if format == "json" {
		l.handler = slog.NewJSONHandler(l, options)
	} else {
		l.handler = slog.NewTextHandler(l, options)
	}
	go l.write()
	return l
}

// record logs a request that has ended.
func (l *accessLog) record(r *gateway.Record) {
	line := slog.NewRecord(r.Time, slog.LevelInfo, "", 0)
	line.AddAttrs(
		slog.String("client", r.Client.String()),
		slog.String("method", r.Method), slog.String("host", r.Host), slog.String("path", r.Path), slog.String("protocol", r.Protocol),
		slog.Int("status", r.Status), slog.String("outcome", r.Outcome),
		slog.String("service", r.Service), slog.String("endpoint", r.Endpoint), slog.String("session", r.Session),
		slog.Any("promoted", r.Promoted), slog.String("requestId", r.RequestID),
		slog.Uint64("bytesIn", r.BytesIn), slog.Uint64("bytesOut", r.BytesOut),
		slog.Float64("ms", milliseconds(r.Total)), slog.Float64("decidedMs", milliseconds(r.Decided)),
		slog.Float64("sentMs", milliseconds(r.Sent)), slog.Float64("firstByteMs", milliseconds(r.FirstByte)),
	)
	if r.Problem != "" {
		line.AddAttrs(slog.String("problem", r.Problem))
	}
	if r.Attempts+r.Moves+r.Resends > 0 {
		line.AddAttrs(slog.Int("failedConnects", r.Attempts), slog.Int("moves", r.Moves), slog.Int("resends", r.Resends))
	}
	_ = l.handler.Handle(context.Background(), line) // Write never fails
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Write queues one line: it is what the handler writes to.
func (l *accessLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending)+len(line) > maxPendingLog {
		l.dropped.Add(1)
		return len(line), nil
	}
	l.pending = append(l.pending, line...)
	l.signal()
	return len(line), nil
}

// signal wakes the writer, unless it was already.
func (l *accessLog) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write writes what is pending until close.
func (l *accessLog) write() {
	defer close(l.ended)
	var spare []byte
	for range l.wake {
		l.mu.Lock()
		lines, closed := l.pending, l.closed
		l.pending = spare[:0]
		l.mu.Unlock()
		if len(lines) > 0 {
			if _, err := l.to.Write(lines); err != nil {
				l.dropped.Add(1) // at least one: how much of it was written is not known in lines
			}
		}
		if closed {
			return
		}
		spare = lines
	}
}

// close writes what is pending and ends the writer.
func (l *accessLog) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	<-l.ended
}

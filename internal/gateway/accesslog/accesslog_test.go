package accesslog

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/gateway"
)

var full = gateway.Record{
	Time: time.Date(2026, 11, 23, 5, 0, 0, 123_000_000, time.UTC), Client: netip.MustParseAddr("192.0.2.1"),
	Method: "POST", Host: "gw", Path: `/a"b`, Protocol: "HTTP/1.1", Status: 200, Outcome: "forwarded", Problem: "no_route",
	Service: "svc", Endpoint: "127.0.0.1:1", Session: "new", Promoted: []string{"target", "x-user"}, RequestID: "id-1",
	BytesIn: 1, BytesOut: 2, ConnectFailures: 3, Moves: 4, Resends: 5,
	Decided: time.Millisecond, Sent: 2 * time.Millisecond, FirstByte: 3 * time.Millisecond, Total: 4_005 * time.Microsecond,
}

func TestALineOfJSON(t *testing.T) {
	const want = `{"time":"2026-11-23T05:00:00.123Z","client":"192.0.2.1","method":"POST","host":"gw","path":"/a\"b","protocol":"HTTP/1.1",` +
		`"status":200,"outcome":"forwarded","problem":"no_route","service":"svc","endpoint":"127.0.0.1:1","session":"new",` +
		`"promoted":["target","x-user"],"requestId":"id-1","bytesIn":1,"bytesOut":2,"connectFailures":3,"moves":4,"resends":5,` +
		`"decidedMs":1.000,"sentMs":2.000,"firstByteMs":3.000,"totalMs":4.005}` + "\n"
	if got := string(AppendJSON(nil, &full)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	const empty = `{"time":"0001-01-01T00:00:00.000Z","client":"","status":0,"bytesIn":0,"bytesOut":0,"totalMs":0.000}` + "\n"
	if got := string(AppendJSON(nil, &gateway.Record{})); got != empty {
		t.Errorf("got  %swant %s", got, empty)
	}
}

func TestALineOfText(t *testing.T) {
	const want = `2026-11-23T05:00:00.123Z 192.0.2.1 POST gw/a"b 200 forwarded 127.0.0.1:1 new 1 2 4.005ms id-1 problem=no_route connect-failures=3 moves=4 resends=5` + "\n"
	if got := string(AppendText(nil, &full)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	const empty = "0001-01-01T00:00:00.000Z  - - 0 - - - 0 0 0.000ms -\n"
	if got := string(AppendText(nil, &gateway.Record{})); got != empty {
		t.Errorf("got  %swant %s", got, empty)
	}
}

// A field of Record that no format writes would be missed by nobody.
func TestEveryFieldOfARecordIsLogged(t *testing.T) {
	fields := reflect.TypeFor[gateway.Record]()
	zero := string(AppendJSON(nil, &gateway.Record{}))
	for i := range fields.NumField() {
		var r gateway.Record
		reflect.ValueOf(&r).Elem().Field(i).Set(reflect.ValueOf(full).Field(i))
		if string(AppendJSON(nil, &r)) == zero {
			t.Errorf("%s is not in the line", fields.Field(i).Name)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add("GET", "/x", "a b\n\"\\\x00\xff")
	f.Fuzz(func(t *testing.T, method, path, id string) {
		r := gateway.Record{Method: method, Path: path, RequestID: id}
		line := AppendJSON(nil, &r)
		var got struct{ Method, Path, RequestID string }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if !slices.Equal([]rune(got.Path), []rune(path)) || !slices.Equal([]rune(got.RequestID), []rune(id)) {
			t.Errorf("got %+v", got)
		}
		text := string(AppendText(nil, &r))
		if strings.Count(text, "\n") != 1 || len(strings.Fields(text)) < 11 {
			t.Errorf("not one line of words: %q", text)
		}
	})
}

// output is a Writer whose writes wait until they are let go.
type output struct {
	mu    sync.Mutex
	text  strings.Builder
	gate  chan struct{} // nil: does not wait
	began chan struct{}
	err   error
}

func (o *output) Write(p []byte) (int, error) {
	if o.gate != nil {
		o.began <- struct{}{}
		<-o.gate
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	return o.text.Write(p)
}

func TestEveryLineIsWritten(t *testing.T) {
	var out output
	w := New(&out, Text)
	var loggers sync.WaitGroup
	for range 4 {
		loggers.Go(func() {
			for range 500 {
				w.Log(&full)
			}
		})
	}
	loggers.Wait()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.text.String(), "id-1 "); n != 2000 {
		t.Errorf("%d lines of 2,000", n)
	}
	w.Log(&full)
	if n := w.Dropped(); n != 1 {
		t.Errorf("%d lines counted as lost after Close, want 1", n)
	}
	if err := w.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

func TestASlowOutputCostsLinesAndNoTime(t *testing.T) {
	out := output{gate: make(chan struct{}), began: make(chan struct{}, 1000)}
	w := New(&out, JSON)
	w.Log(&full)
	<-out.began // the output hangs from here on
	for w.Dropped() < 10 {
		w.Log(&full)
	}
	if n := len(w.pending); n < maxPending || n > maxPending+1000 {
		t.Errorf("%d bytes are waiting", n)
	}
	close(out.gate)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n := out.text.Len(); n < maxPending {
		t.Errorf("%d bytes were written", n)
	}
}

func TestAFailedWriteIsCountedAndSaid(t *testing.T) {
	full := full
	out := output{err: errors.New("no space left")}
	w := New(&out, JSON)
	w.Log(&full)
	if err := w.Close(); !errors.Is(err, out.err) {
		t.Errorf("Close: %v", err)
	}
	if n := w.Dropped(); n != 1 {
		t.Errorf("%d lines counted as lost, want 1", n)
	}
}

func TestFormats(t *testing.T) {
	for name, want := range map[string]Format{"json": JSON, "text": Text} {
		if got, err := ParseFormat(name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := ParseFormat("xml"); err == nil {
		t.Error("xml is a format")
	}
}

func BenchmarkJSON(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendJSON(buf[:0], &full)
	}
}

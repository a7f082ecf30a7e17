package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/gateway"
)

func testRecord() *gateway.Record {
	return &gateway.Record{
		Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Client: netip.MustParseAddr("127.0.0.9"),
		Method: "POST", Host: "localhost", Path: "/hit\"\n", Protocol: "HTTP/1.1", Status: 200, Outcome: "forwarded",
		Service: "backend-1:8080", Endpoint: "127.0.1.1:8080", Session: "new", Promoted: []string{"target", "x-user"},
		RequestID: "id", BytesIn: 10, BytesOut: 20, Total: 1500 * time.Microsecond,
	}
}

func TestTheAccessLogHasOneLineForEachRequest(t *testing.T) {
	var out bytes.Buffer
	l := newAccessLog("json", &out)
	l.record(testRecord())
	refused := testRecord()
	refused.Problem, refused.Status, refused.Moves = "no_route", 404, 2
	l.record(refused)
	l.close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("there are %d lines:\n%s", len(lines), out.String())
	}
	var first, second map[string]any
	must(t, json.Unmarshal([]byte(lines[0]), &first))
	must(t, json.Unmarshal([]byte(lines[1]), &second))
	if first["path"] != "/hit\"\n" || first["ms"] != 1.5 || first["session"] != "new" || first["msg"] != nil || first["level"] != nil || first["problem"] != nil {
		t.Errorf("the first line is %s", lines[0])
	}
	if second["problem"] != "no_route" || second["moves"] != 2.0 {
		t.Errorf("the second line is %s", lines[1])
	}
}

func TestTheTextFormatCannotBeBrokenIntoTwoLines(t *testing.T) {
	var out bytes.Buffer
	l := newAccessLog("text", &out)
	l.record(testRecord())
	l.close()
	if strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), `path="/hit\"\n"`) {
		t.Errorf("it is %q", out.String())
	}
}

// stuck is a terminal that nobody reads from, until it is released.
type stuck struct {
	entered  chan struct{}
	released chan struct{}
}

func (s *stuck) Write([]byte) (int, error) {
	s.entered <- struct{}{}
	<-s.released
	return 0, errors.New("closed")
}

func TestAWriterThatIsStuckHoldsUpNoRequestAndMemoryIsBounded(t *testing.T) {
	to := &stuck{entered: make(chan struct{}, 10), released: make(chan struct{})}
	l := newAccessLog("json", to)
	l.record(testRecord())
	<-to.entered
	for range 30_000 { // some 400 bytes each: more than may wait
		l.record(testRecord())
	}
	if len(l.pending) > maxPendingLog {
		t.Errorf("%d bytes wait", len(l.pending))
	}
	if l.dropped.Load() == 0 {
		t.Error("no line was dropped")
	}
	close(to.released)
	l.close()
}

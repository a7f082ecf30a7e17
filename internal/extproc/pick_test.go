package extproc_test

import (
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/session"
)

func TestThePicksText(t *testing.T) {
	const service = "backend-1.default.svc.cluster.local:8080"
	zeros, ones := strings.Repeat("0", 16), strings.Repeat("f", 16)
	for _, tt := range []struct {
		text string
		want affinity.Pick // the zero Pick: refused
	}{
		{"n00000000000000ff0123456789abcdef" + service, affinity.Pick{Service: service, Key: 0xff, Endpoint: 0x0123456789abcdef, Session: affinity.SessionNew}},
		{"e" + ones + ones + "s", affinity.Pick{Service: "s", Key: 1<<64 - 1, Endpoint: 1<<64 - 1, Session: affinity.SessionExisting}},
		{"m" + zeros + zeros + "s", affinity.Pick{Service: "s", Session: affinity.SessionMoved}},
		{"-" + zeros + zeros + "s", affinity.Pick{Service: "s", Session: affinity.SessionNone}},
		{"", affinity.Pick{}},
		{"e" + zeros + zeros, affinity.Pick{}},
		{"x" + zeros + zeros + "s", affinity.Pick{}},
		{"e" + zeros[1:] + "x" + zeros + "s", affinity.Pick{}},
		{"e" + zeros + "+" + zeros[1:] + "s", affinity.Pick{}},
	} {
		got, ok := extproc.ParsePick(tt.text)
		if ok != (tt.want.Service != "") || got != tt.want {
			t.Errorf("%q is read as %+v, %v, want %+v", tt.text, got, ok, tt.want)
		}
		if ok && string(extproc.AppendPick(nil, got)) != tt.text {
			t.Errorf("%+v is written as %q, want %q", got, extproc.AppendPick(nil, got), tt.text)
		}
	}
}

// FuzzPick asserts that what is written is read back, and that nothing else makes a pick that would be written in another way.
func FuzzPick(f *testing.F) {
	f.Add("n00000000000000ff0123456789abcdefbackend-1", "backend-1", uint64(1), uint64(2), byte(1))
	f.Add("", "", uint64(0), uint64(0), byte(0))
	f.Fuzz(func(t *testing.T, text, service string, key, endpoint uint64, state byte) {
		p := affinity.Pick{Service: service, Key: session.Key(key), Endpoint: endpoint, Session: affinity.SessionState(state % 4)}
		if got, ok := extproc.ParsePick(string(extproc.AppendPick(nil, p))); service != "" && (!ok || got != p) {
			t.Errorf("%+v is read back as %+v, %v", p, got, ok)
		}
		if got, ok := extproc.ParsePick(text); ok && !strings.EqualFold(string(extproc.AppendPick(nil, got)), text) {
			t.Errorf("%q is read as %+v", text, got)
		}
	})
}

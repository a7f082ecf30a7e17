package redisstore

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/session/shared"
)

// totals are the sessions of n owners.
func totals(n int) map[shared.Identity]int {
	counted := make(map[shared.Identity]int, n)
	for i := range n {
		counted[shared.Identity(i+1)] = i
	}
	return counted
}

func encoded(t testing.TB, n shared.News, count uint32) [][]byte {
	t.Helper()
	messages, err := encodeNews(n, count)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if len(m) > 64<<10 {
			t.Fatalf("a message has %d bytes", len(m))
		}
	}
	return messages
}

func TestTotalsInSeveralMessages(t *testing.T) {
	a := encoded(t, shared.News{Kind: shared.Totals, From: 1, Counted: totals(3*totalsPerMessage - 1)}, 7)
	b := encoded(t, shared.News{Kind: shared.Totals, From: 1, Counted: totals(totalsPerMessage + 1)}, 8)
	if len(a) != 3 || len(b) != 2 {
		t.Fatalf("%d and %d messages", len(a), len(b))
	}
	for _, c := range []struct {
		name     string
		messages [][]byte
		want     []int // owners of each that is whole
	}{
		{"in order", [][]byte{a[0], a[1], a[2], b[0], b[1]}, []int{len(totals(3*totalsPerMessage - 1)), totalsPerMessage + 1}},
		{"in any order", [][]byte{a[2], a[0], a[1]}, []int{3*totalsPerMessage - 1}},
		{"one is lost, and the next count is whole", [][]byte{a[0], a[2], b[1], b[0]}, []int{totalsPerMessage + 1}},
		{"one comes twice", [][]byte{a[0], a[0], a[1], a[2]}, []int{3*totalsPerMessage - 1}},
		{"two counts at once are both lost", [][]byte{a[0], b[0], a[1], b[1], a[2]}, nil},
	} {
		var r newsReader
		var got []int
		for _, m := range c.messages {
			if n, whole, _ := r.read(m); whole {
				got = append(got, len(n.Counted))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got counts of %d owners, want %d", c.name, got, c.want)
		}
	}
}

func TestNewsHaveABound(t *testing.T) {
	if _, err := encodeNews(shared.News{Kind: shared.Totals, Counted: totals(maxTotalsParts*totalsPerMessage + 1)}, 0); err == nil {
		t.Error("totals of more owners than there may be are sent")
	}
	if _, err := encodeNews(shared.News{Kind: shared.Drain, Endpoint: [2]string{"", strings.Repeat("x", maxEndpointText+1)}}, 0); err == nil {
		t.Error("an incarnation of any length is sent")
	}
	if _, err := encodeNews(shared.News{Kind: 99}, 0); err == nil {
		t.Error("news of an unknown kind are sent")
	}
}

// What is read is what was written; what is something else is ignored, whatever it is.
func FuzzNews(f *testing.F) {
	for _, n := range []shared.News{
		{Kind: shared.Moved, From: 1, Key: 2, Owner: 3},
		{Kind: shared.Drain, From: 1, Endpoint: [2]string{"127.0.0.1:80", "uid"}, On: true},
		{Kind: shared.Totals, From: 1, Counted: totals(3)},
		{Kind: shared.Totals, From: 1, Counted: totals(0)},
	} {
		messages := encoded(f, n, 5)
		f.Add(messages[0], messages[0])
	}
	parts := encoded(f, shared.News{Kind: shared.Totals, From: 1, Counted: totals(totalsPerMessage + 1)}, 5)
	f.Add(parts[0], parts[1])
	f.Add([]byte{1, 3, 0, 0, 0, 1, 1, 255, 255}, []byte{2})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var r newsReader
		for _, in := range [][]byte{first, second} {
			n, whole, err := r.read(in)
			if len(r.counted) > maxOwners || len(r.missing) > maxTotalsParts {
				t.Fatalf("the reader holds %d owners, %d parts", len(r.counted), len(r.missing))
			}
			if err != nil || !whole {
				if !reflect.DeepEqual(n, shared.News{}) {
					t.Fatalf("what is not whole is %+v", n)
				}
				continue
			}
			if n.Kind == shared.Totals {
				checkTotals(t, n)
				continue
			}
			if again := encoded(t, n, 0); len(again) != 1 || !bytes.Equal(again[0], in) {
				t.Fatalf("%x is read as %+v, which is %x", in, n, again)
			}
		}
	})
}

// maxOwners is how many owners may be counted.
const maxOwners = maxTotalsParts * totalsPerMessage

// checkTotals writes totals and reads them again: what was read may have had an owner twice, and its parts in any size.
func checkTotals(t *testing.T, n shared.News) {
	var r newsReader
	for _, m := range encoded(t, n, 1) {
		again, whole, err := r.read(m)
		if err != nil {
			t.Fatal(err)
		}
		if whole && (again.From != n.From || !maps.Equal(again.Counted, n.Counted)) {
			t.Fatalf("%+v is read as %+v", n, again)
		}
	}
}

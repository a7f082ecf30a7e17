package http1

import (
	"fmt"
	"testing"
)

// FuzzRequestSplits: however the bytes of a head are split, the result is the same.
func FuzzRequestSplits(f *testing.F) {
	for _, s := range requestSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, head string) {
		lim := &Limits{MaxHead: 512, MaxRequestLine: 96, MaxFields: 8, Protected: []string{"x-user"}}
		r, n, err := parseWhole(head, lim)
		want := describe(r, n, err)
		for step := 1; step < min(len(head), 600); step++ {
			r, n, err := parseSplit(head, step, lim)
			if got := describe(r, n, err); got != want {
				t.Fatalf("%q in steps of %d:\n%s\nin one:\n%s", head, step, got, want)
			}
		}
	})
}

// FuzzResponseSplits is FuzzRequestSplits for responses.
func FuzzResponseSplits(f *testing.F) {
	for _, s := range responseSeeds() {
		f.Add(s, "GET")
	}
	f.Fuzz(func(t *testing.T, head, method string) {
		lim := &Limits{MaxHead: 512, MaxFields: 8}
		show := func(r *Response, n int, err *Error) string {
			if n == 0 || err != nil {
				return fmt.Sprint(n, err)
			}
			return fmt.Sprintf("%d: %d %q 1.%d %q %d %d %v", n, r.Status, r.Phrase, r.Minor, r.Fields, r.Framing, r.ContentLength, r.KeepAlive)
		}
		whole := new(Response)
		n, err := whole.Parse([]byte(head), method, lim)
		want := show(whole, n, err)
		for step := 1; step < min(len(head), 600); step++ {
			r := new(Response)
			var old []byte
			for end := step; ; end += step {
				end = min(end, len(head))
				buf := []byte(head[:end])
				copy(buf, old)
				n, err = r.Parse(buf, method, lim)
				clear(old)
				if n > 0 || err != nil || end == len(head) {
					break
				}
				old = buf
			}
			if got := show(r, n, err); got != want {
				t.Fatalf("%q in steps of %d:\n%s\nin one:\n%s", head, step, got, want)
			}
		}
	})
}

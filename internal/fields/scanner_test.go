package fields_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/fields"
)

func TestTheSplitOfABodyChangesNothing(t *testing.T) {
	spec := useCase(t)
	var s fields.Scanner
	for _, body := range scriptedBodies() {
		want := scan(t, spec, body)
		check := func(pieces ...string) {
			s.Reset(spec)
			if got := scanWith(t, &s, spec, pieces...); !same(got, want) {
				t.Fatalf("%d pieces of %.100q, the first of %d bytes:\ngot  %+v\nwant %+v", len(pieces), body, len(pieces[0]), got, want)
			}
		}
		check(append(strings.Split(body, ""), "")...) // by characters
		check(chopped(body, 1)...)
		step := 1 + len(body)/256
		for i := 0; i <= len(body); i += step {
			check(body[:i], body[i:])
			if len(body) > 64 {
				continue
			}
			for j := i; j <= len(body); j++ {
				check(body[:i], body[i:j], body[j:])
			}
		}
	}
}

func chopped(body string, size int) []string {
	pieces := []string{""}
	for ; len(body) > size; body = body[size:] {
		pieces = append(pieces, body[:size])
	}
	return append(pieces, body)
}

func same(a, b result) bool {
	if a.err != b.err {
		return false
	}
	for i := range a.values {
		if a.values[i] != b.values[i] || a.has[i] != b.has[i] {
			return false
		}
	}
	return true
}

func TestAValueInOnePieceIsNotCopied(t *testing.T) {
	body := []byte(`{"username":"user-é","target":"back\u0065nd"}`)
	s := closedScanner(t, body)
	at := bytes.Index(body, []byte("user-"))
	if &s.Value(0)[0] != &body[at] {
		t.Error("username was copied")
	}
	copy(body, bytes.Repeat([]byte("x"), len(body)))
	if string(s.Value(1)) != "backend" {
		t.Errorf("target is %q after the piece was overwritten: a value with an escape must be a copy", s.Value(1))
	}
}

func TestAValueThatSpansPiecesIsACopy(t *testing.T) {
	first, second := []byte(`{"username":"us`), []byte(`er","target":"b"}`)
	s := closedScanner(t, first, second)
	copy(first, bytes.Repeat([]byte("x"), len(first)))
	copy(second[:4], "xxxx")
	if string(s.Value(0)) != "user" || string(s.Value(1)) != "b" {
		t.Errorf("got %q and %q", s.Value(0), s.Value(1))
	}
}

func TestToAppendToAValueChangesNothingElse(t *testing.T) {
	body := []byte(`{"username":"\u0075","target":"\u0062","x":"y"}`)
	for range 2 {
		s := closedScanner(t, body)
		_ = append(s.Value(0), "++++"...)
		_ = append(s.Value(1), "++++"...)
		if string(s.Value(0)) != "u" || string(s.Value(1)) != "b" || !bytes.HasSuffix(body, []byte(`"x":"y"}`)) {
			t.Errorf("got %q and %q, body %s", s.Value(0), s.Value(1), body)
		}
		body = []byte(`{"username":"u","target":"b","x":"y"}`)
	}
}

func closedScanner(t *testing.T, pieces ...[]byte) *fields.Scanner {
	t.Helper()
	s := new(fields.Scanner)
	s.Reset(useCase(t))
	for _, p := range pieces {
		if err := s.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestThereAreNoValuesBeforeClose(t *testing.T) {
	var s fields.Scanner
	s.Reset(useCase(t))
	if err := s.Write([]byte(`{"target":"b"}`)); err != nil || s.Value(1) != nil {
		t.Fatalf("got %q, %v", s.Value(1), err)
	}
	for range 2 {
		if err := s.Close(); err != nil || string(s.Value(1)) != "b" {
			t.Fatalf("after Close: got %q, %v", s.Value(1), err)
		}
	}
	if err := s.Write([]byte("x")); err == nil || s.Value(1) != nil {
		t.Fatalf("bytes after Close: got %q, %v", s.Value(1), err)
	}
}

func TestAScannerCanBeReused(t *testing.T) {
	spec := useCase(t)
	var s fields.Scanner
	for range 2 {
		for _, c := range refusedBodies {
			s.Reset(spec)
			if got := scanWith(t, &s, spec, c.body); got.err.Reason != c.reason {
				t.Fatalf("%s: got %q", c.name, got.err.Reason)
			}
			s.Reset(spec)
			got := scanWith(t, &s, spec, `{"username":"\u0075","tar`, `get":"b`, `b"}`)
			if got.err != (fields.Error{}) || got.values[0] != "u" || got.values[1] != "bb" {
				t.Fatalf("after %s: got %+v", c.name, got)
			}
		}
	}
}

func TestAnErrorOutlivesReset(t *testing.T) {
	var s fields.Scanner
	s.Reset(useCase(t))
	err := s.Write([]byte(`]`))
	s.Reset(useCase(t))
	if e := s.Write([]byte(`{} x`)); e == nil || err.Reason != fields.Malformed || err.Offset != 0 {
		t.Errorf("the refusal of the body before became %+v", err)
	}
}

func TestAScannerWithoutASpecOnlyChecks(t *testing.T) {
	var s fields.Scanner
	for range 2 {
		if err := s.Write([]byte(`{"target":1,"target":{"a":"b"},"a":"\u0062"}`)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.Reset(nil)
	}
	if err := s.Write([]byte(`{]`)); err == nil || err.Offset != 1 {
		t.Fatalf("got %v", err)
	}
}

func TestNothingIsAllocatedForOrdinaryBodies(t *testing.T) {
	spec := useCase(t)
	var s fields.Scanner
	for _, c := range acceptedBodies {
		for _, size := range []int{len(c.body), 7} {
			var pieces [][]byte
			for _, piece := range chopped(c.body, size) {
				pieces = append(pieces, []byte(piece))
			}
			// The first run, which AllocsPerRun does not count, may grow the buffer for copied values.
			if n := testing.AllocsPerRun(3, func() {
				s.Reset(spec)
				for _, p := range pieces {
					_ = s.Write(p)
				}
				_ = s.Close()
			}); n != 0 {
				t.Errorf("%s, in pieces of %d bytes: %v allocations", c.name, size, n)
			}
		}
	}
}

func ExampleScanner() {
	spec, err := fields.NewSpec("username", "target")
	if err != nil {
		panic(err)
	}
	var s fields.Scanner
	s.Reset(spec)
	for _, piece := range []string{`{"username": "user-123", "tar`, `get": "backend-2"}`} {
		if err := s.Write([]byte(piece)); err != nil {
			panic(err)
		}
	}
	if err := s.Close(); err != nil {
		panic(err)
	}
	for i, name := range spec.Names() {
		fmt.Printf("%s = %s\n", name, s.Value(i))
	}
	// Output:
	// username = user-123
	// target = backend-2
}

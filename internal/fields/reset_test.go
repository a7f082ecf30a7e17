package fields

import "testing"

// TestResetDropsTheLastBody looks inside: whether a body could be freed cannot be seen from outside.
func TestResetDropsTheLastBody(t *testing.T) {
	spec, err := NewSpec("username", "target")
	if err != nil {
		t.Fatal(err)
	}
	var s Scanner
	for _, body := range []string{`{"username":"u","target":"\u0062"}`, `{"username":"u","target":`, `{"username":"u","target":1}`} {
		s.Reset(spec)
		_ = s.Write([]byte(body))
		_ = s.Close()
		s.Reset(nil)
		for i, value := range s.values {
			if value != nil {
				t.Errorf("%s: value %d is still %q", body, i, value)
			}
		}
		if s.spec != nil || s.err != nil || s.state != beforeBody || len(s.promote.buf) != 0 {
			t.Errorf("%s: something is left of it", body)
		}
	}
}

func TestTheBufferIsBounded(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	spec, err := NewSpec(names...)
	if err != nil {
		t.Fatal(err)
	}
	var s Scanner
	s.Reset(spec)
	body := []byte("{")
	for i, name := range names {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `"`+name+`":"\u0041`...)
		for range MaxValue - 1 {
			body = append(body, 'x')
		}
		body = append(body, '"')
	}
	body = append(body, '}')
	for i := range body {
		if err := s.Write(body[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(s.promote.buf); got != MaxFields*MaxValue {
		t.Errorf("%d bytes were copied, want %d", got, MaxFields*MaxValue)
	}
	for i := range names {
		if v := s.Value(i); len(v) != MaxValue || v[0] != 'A' || v[MaxValue-1] != 'x' {
			t.Errorf("value %d is %.20q…, %d bytes", i, v, len(v))
		}
	}
}

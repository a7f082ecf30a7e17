package fields_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/remora-proxy/remora/internal/fields"
)

var errRefused = errors.New("refused by the oracle")

// readStrictly is the naive reader that the scanner is compared with. It knows JSON from jsontext alone, and of the rules of
// this package it is a second, slow telling. It says of a body either the values of the names or that it has to be refused.
func readStrictly(body []byte, names []string) (map[string]string, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	values := map[string]string{}
	if len(body) == 0 {
		return values, nil
	}
	isObject := dec.PeekKind() == '{'
	if !isObject && dec.PeekKind() != '[' {
		return nil, errRefused
	}
	for {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		if dec.StackDepth() > fields.MaxDepth {
			return nil, errRefused
		}
		if dec.StackDepth() == 0 {
			break
		}
		// Of a top-level object, the first, third, fifth… string after the brace is a name.
		if _, n := dec.StackIndex(1); !isObject || dec.StackDepth() != 1 || token.Kind() != '"' || n%2 == 0 {
			continue
		}
		name, err := promotedName(token.String(), names)
		if err != nil {
			return nil, err
		}
		if name == "" {
			continue
		}
		if _, again := values[name]; again || dec.PeekKind() != '"' {
			return nil, errRefused
		}
		token, err = dec.ReadToken()
		if err != nil {
			return nil, err
		}
		if !isPromotable(token.String()) {
			return nil, errRefused
		}
		values[name] = token.String()
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errRefused
	}
	return values, nil
}

// promotedName is the promoted name that got is, or empty. It is an error when some reader could take got for one.
func promotedName(got string, names []string) (string, error) {
	for _, name := range names {
		if got == name {
			return name, nil
		}
		if beforeNUL, _, _ := strings.Cut(got, "\x00"); alike(beforeNUL, name) {
			return "", errRefused
		}
	}
	return "", nil
}

func alike(a, b string) bool {
	plainI := strings.NewReplacer("ı", "i", "İ", "i")
	return strings.EqualFold(plainI.Replace(a), plainI.Replace(b))
}

func isPromotable(value string) bool {
	for _, r := range value {
		if r < 0x20 || r >= 0x7F && r <= 0x9F {
			return false
		}
	}
	return value != "" && len(value) <= fields.MaxValue && utf8.ValidString(value) && strings.Trim(value, " \t") == value
}

// readLoosely gives what backends in Go read, which take names in any case: encoding/json into a struct.
func readLoosely(body []byte) (map[string]string, error) {
	var v struct {
		Username *string `json:"username"`
		Target   *string `json:"target"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, err
	}
	values := map[string]string{}
	if v.Username != nil {
		values["username"] = *v.Username
	}
	if v.Target != nil {
		values["target"] = *v.Target
	}
	return values, nil
}

// readLastInAnyCase gives what a backend reads that puts all members into a map under their names in lower case, up to a
// NUL: encoding/json's last one wins there.
func readLastInAnyCase(body []byte, names []string) (map[string]string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for member, raw := range members {
		member, _, _ = strings.Cut(member, "\x00")
		for _, name := range names {
			if !alike(member, name) {
				continue
			}
			var value string
			if err := json.Unmarshal(raw, &value); err != nil {
				return nil, err
			}
			values[name] = value
		}
	}
	return values, nil
}

// check compares one scan of a body with all the readers.
func check(t *testing.T, spec *fields.Spec, body string) {
	t.Helper()
	got := scan(t, spec, body)
	want, err := readStrictly([]byte(body), spec.Names())
	if accepted := got.err == (fields.Error{}); accepted != (err == nil) {
		t.Fatalf("body %q\nscanner: %v\noracle:  %v", body, &got.err, err)
	} else if !accepted {
		return
	}
	if !strings.HasPrefix(strings.TrimLeft(body, " \t\r\n"), "{") {
		if slices.Contains(got.has, true) {
			t.Fatalf("body %q has no members, but the scanner read some", body)
		}
		return
	}
	loose, err := readLoosely([]byte(body))
	if err != nil {
		t.Fatalf("body %q: encoding/json refuses what was accepted: %v", body, err)
	}
	last, err := readLastInAnyCase([]byte(body), spec.Names())
	if err != nil {
		t.Fatalf("body %q: a reader of maps refuses what was accepted: %v", body, err)
	}
	for i, name := range spec.Names() {
		for reader, values := range map[string]map[string]string{"the strict reader": want, "a struct": loose, "a map": last} {
			if value, has := values[name]; has != got.has[i] || value != got.values[i] {
				t.Fatalf("body %q\n%s: got %q (there: %t), %s has %q (there: %t)", body, name, got.values[i], got.has[i], reader, value, has)
			}
		}
	}
}

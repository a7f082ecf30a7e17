package fields_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/remora-proxy/remora/internal/fields"
)

// addBodies adds the scripted bodies, but for the long ones, which make fuzzing slow.
func addBodies(add func(body string)) {
	for _, body := range scriptedBodies() {
		if len(body) < 200 {
			add(body)
		}
	}
}

func scriptedBodies() []string {
	var bodies []string
	for _, c := range acceptedBodies {
		bodies = append(bodies, c.body)
	}
	for _, c := range refusedBodies {
		bodies = append(bodies, c.body)
	}
	return bodies
}

// FuzzAgainstStrictDecoder: a body is refused exactly when the oracle refuses it, and when it is accepted, all readers read
// the same values.
func FuzzAgainstStrictDecoder(f *testing.F) {
	addBodies(func(body string) { f.Add(body) })
	spec := newSpec(f, "username", "target")
	f.Fuzz(func(t *testing.T, body string) { check(t, spec, body) })
}

// TestRandomBodiesAgainstStrictDecoder is the same for bodies that are nearly right: a few members written at random, and
// then mostly some damage.
func TestRandomBodiesAgainstStrictDecoder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	names := []string{"username", "target", "Target", `t\u0061rget`, `u\u017Fername`, "uſername", `target\u0000`, "targe", "targets", "", "a", "é"}
	values := []string{
		`"user-123"`, `"b"`, `""`, `"b "`, `"\u0062"`, `"é"`, `"😀"`, `"\ud83d\ude00"`, `"\ud83d"`, "\"\x7f\"", `"\u0085"`, `"\n"`,
		`0`, `-12.5e+3`, `1E9`, `true`, `null`, `{}`, `[]`, `{"target":"x"}`, `[{"target":1},[2,3]]`, `"` + strings.Repeat("é", 520) + `"`,
		strings.Repeat("[", 62) + strings.Repeat("]", 62), strings.Repeat("[", 64) + strings.Repeat("]", 64),
	}
	spaces := []string{"", "", "", " ", "\n  ", "\t"}
	damage := []string{`"`, `\`, `{`, `}`, `[`, `]`, `:`, `,`, ` `, "\x00", "\x1f", "\x80", "\xc2", "\xe0\xa0", "\xed\xa0\x80", "\xf4\x90", `\u`, `\ud800`, `\u0`, `0`, `-`, `.`, `e`, `t`, `x`}
	spec := useCase(t)
	for range 20_000 {
		body := "{"
		for i := range random.IntN(4) {
			if i > 0 {
				body += ","
			}
			body += pick(spaces) + `"` + pick(names) + `"` + pick(spaces) + ":" + pick(spaces) + pick(values) + pick(spaces)
		}
		body += "}" + pick(spaces)
		for range random.IntN(3) {
			begin := random.IntN(len(body) + 1)
			end := min(len(body), begin+random.IntN(2))
			body = body[:begin] + pick(damage) + body[end:]
		}
		check(t, spec, body)
		if whole, pieces := scan(t, spec, body), scan(t, spec, chopped(body, 1+random.IntN(9))...); !same(whole, pieces) {
			t.Fatalf("body %q\nat once   %+v\nin pieces %+v", body, whole, pieces)
		}
	}
}

// FuzzSplits: the pieces that a body comes in change neither the values nor the refusal.
func FuzzSplits(f *testing.F) {
	addBodies(func(body string) { f.Add(body, []byte{0, 3, 1, 40}) })
	spec := newSpec(f, "username", "target")
	f.Fuzz(func(t *testing.T, body string, sizes []byte) {
		want := scan(t, spec, body)
		if got := scan(t, spec, chopped(body, 1)...); !same(got, want) {
			t.Fatalf("body %q\nbyte by byte %+v\nat once      %+v", body, got, want)
		}
		var pieces []string
		for i, rest := 0, body; len(sizes) > 0 && rest != "" && i < 4*len(body); i++ {
			n := min(int(sizes[i%len(sizes)]), len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if left := len(strings.Join(pieces, "")); left < len(body) {
			pieces = append(pieces, body[left:])
		}
		if got := scan(t, spec, pieces...); !same(got, want) {
			t.Fatalf("body %q\nin pieces %q: %+v\nat once: %+v", body, pieces, got, want)
		}
	})
}

// FuzzOrdinaryDocuments: what encoding/json writes from a map is accepted when the promoted values are good, and then read
// as they were written; and nothing but a bad value makes it refused.
func FuzzOrdinaryDocuments(f *testing.F) {
	f.Add("user-123", "backend-2", "note", "hello", uint64(1))
	f.Add("", "b", "b", "<&>\u2028", uint64(2))
	f.Add("é\n", "😀 ", "usernam", "\x00\x7f\u0080", uint64(3))
	f.Add(strings.Repeat("x", 1024), strings.Repeat("y", 1025), "TARGE", "", uint64(4))
	spec := newSpec(f, "username", "target")
	f.Fuzz(func(t *testing.T, username, target, otherName, otherValue string, seed uint64) {
		username, target = strings.ToValidUTF8(username, "?"), strings.ToValidUTF8(target, "?")
		otherName = strings.ToValidUTF8(otherName, "?")
		random := rand.New(rand.NewPCG(seed, 0))
		document := map[string]any{"username": username, "target": target, "tree": tree(random, otherName, otherValue, 2)}
		if name, err := promotedName(otherName, spec.Names()); name == "" && err == nil {
			document[otherName] = otherValue
		}
		for _, member := range []string{"username", "target"} {
			if random.IntN(8) == 0 {
				delete(document, member)
			}
		}
		body := encoded(t, document, seed)
		got := scan(t, spec, body)
		good := true
		for _, member := range []string{"username", "target"} {
			if value, has := document[member]; has {
				good = good && isPromotable(value.(string))
			}
		}
		if good != (got.err == fields.Error{}) {
			t.Fatalf("body %q, seed %d\ngot %v; are the values good: %t", body, seed, &got.err, good)
		}
		for i, member := range spec.Names() {
			if want, has := document[member]; good && (has != got.has[i] || has && want != got.values[i]) {
				t.Fatalf("body %q, seed %d: %s is %q, want %q", body, seed, member, got.values[i], want)
			}
		}
		check(t, spec, body)
	})
}

// tree is a random value in which the promoted names occur as well.
func tree(random *rand.Rand, name, text string, depth int) any {
	kinds := 9
	if depth > 60 || random.IntN(depth) > 3 {
		kinds = 6 // no more objects and arrays
	}
	switch random.IntN(kinds) {
	case 0:
		return text
	case 1:
		return random.NormFloat64()
	case 2:
		return random.Int64()
	case 3:
		return nil
	case 4:
		return random.IntN(2) == 0
	case 5:
		return json.Number(fmt.Sprintf("-%de%+d", random.IntN(100), random.IntN(1000)-500))
	case 6, 7:
		object := map[string]any{}
		for _, member := range []string{name, "target", "Target", "username\x00", "x"} {
			if random.IntN(2) == 0 {
				object[member] = tree(random, name, text, depth+1)
			}
		}
		return object
	default:
		array := make([]any, random.IntN(4))
		for i := range array {
			array[i] = tree(random, name, text, depth+1)
		}
		return array
	}
}

func encoded(t *testing.T, document any, seed uint64) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(seed%2 == 0)
	if seed%3 == 0 {
		e.SetIndent("\r\t", "  ")
	}
	if err := e.Encode(document); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzNames: whatever the promoted name and the name in the body are, and however that one is written and split, the member
// is read when they are the same, refused when a reader could take it for the promoted one, and passed over else.
func FuzzNames(f *testing.F) {
	f.Add("target", "target", uint64(0))
	f.Add("target", "TARGET", uint64(1))
	f.Add("user", "u\u017fer", uint64(0b100))
	f.Add("\u212a", "k", uint64(0))
	f.Add("id", "ıd", uint64(0))
	f.Add("ſı", "SI\x00", uint64(0xff))
	f.Add("a", "a\x00", uint64(0))
	f.Add("Ǆ", "ǅ", uint64(1))
	f.Add("σ", "ς", uint64(0))
	f.Add("😀", "😀😀", uint64(0b10))
	f.Fuzz(func(t *testing.T, promoted, inBody string, escapes uint64) {
		spec, err := fields.NewSpec("username", promoted)
		if err != nil {
			if ok := promoted != "" && len(promoted) <= 256 && utf8.ValidString(promoted) && !strings.Contains(promoted, "\x00"); ok && !alike(promoted, "username") {
				t.Fatalf("the name %q is refused: %v", promoted, err)
			}
			return
		}
		inBody = strings.ToValidUTF8(inBody, "\ufffd")
		name, nameErr := promotedName(inBody, spec.Names())
		body := `{` + written(inBody, escapes) + `:"value"}`
		for _, got := range []result{scan(t, spec, body), scan(t, spec, chopped(body, 1)...)} {
			switch {
			case nameErr != nil:
				if got.err.Reason != fields.Duplicate {
					t.Fatalf("body %q, promoted %q: got %v, want %s", body, promoted, &got.err, fields.Duplicate)
				}
			case got.err != (fields.Error{}):
				t.Fatalf("body %q, promoted %q: refused: %v", body, promoted, &got.err)
			case got.has[0] != (name == "username") || got.has[1] != (name == promoted):
				t.Fatalf("body %q, promoted %q: got %+v", body, promoted, got)
			}
		}
	})
}

// written is text as a JSON string: the n-th character is an escape where bit n mod 64 says so, and where it has to be.
func written(text string, escapes uint64) string {
	var b strings.Builder
	b.WriteByte('"')
	n := 0
	for _, r := range text {
		switch high, low := utf16.EncodeRune(r); {
		case escapes>>(n%64)&1 == 0 && r >= ' ' && r != '"' && r != '\\':
			b.WriteRune(r)
		case r >= 0x10000:
			fmt.Fprintf(&b, `\u%04x\u%04X`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
		n++
	}
	b.WriteByte('"')
	return b.String()
}

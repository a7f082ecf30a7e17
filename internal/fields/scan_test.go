package fields_test

import (
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/fields"
)

// result is all that a scan of a body gives: the values of the names, nil where the body has none, or the refusal.
type result struct {
	values []string
	has    []bool
	err    fields.Error // zero: accepted
}

func scan(t testing.TB, spec *fields.Spec, pieces ...string) result {
	t.Helper()
	var s fields.Scanner
	s.Reset(spec)
	return scanWith(t, &s, spec, pieces...)
}

// scanWith gives each piece as bytes of its own, with nothing after them, as they could come from a connection.
func scanWith(t testing.TB, s *fields.Scanner, spec *fields.Spec, pieces ...string) result {
	t.Helper()
	var first *fields.Error
	for _, piece := range pieces {
		p := make([]byte, len(piece))
		copy(p, piece)
		if err := s.Write(p); first == nil {
			first = err
		} else if err != first {
			t.Fatalf("Write returned %v after it had returned %v", err, first)
		}
		if string(p) != piece {
			t.Fatalf("Write changed its argument from %q to %q", piece, p)
		}
	}
	err := s.Close()
	if first != nil && err != first {
		t.Fatalf("Close returned %v after Write had returned %v", err, first)
	}
	r := result{values: make([]string, len(spec.Names())), has: make([]bool, len(spec.Names()))}
	for i := range spec.Names() {
		value := s.Value(i)
		r.values[i], r.has[i] = string(value), value != nil
		if err != nil && value != nil {
			t.Fatalf("a refused body (%v) has the value %q", err, value)
		}
	}
	if err != nil {
		r.err = *err
	}
	return r
}

func newSpec(t testing.TB, names ...string) *fields.Spec {
	t.Helper()
	spec, err := fields.NewSpec(names...)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// useCase is the Spec of the tests that need none of their own.
func useCase(t testing.TB) *fields.Spec { return newSpec(t, "username", "target") }

const absent = "\x00absent" // in place of a value: the body does not have it

// acceptedCase is a body that is accepted, and its values for the names username and target.
type acceptedCase struct{ name, body, username, target string }

var acceptedBodies = []acceptedCase{
	{"both members", `{"username":"user-123","target":"backend-2"}`, "user-123", "backend-2"},
	{"the other order, and white space of all four kinds", "\t\r\n {\r\n\t\"target\" : \"b\" ,\n \"username\"\t:\t\"u\" } \r\n", "u", "b"},
	{"an empty object", `{}`, absent, absent},
	{"an empty body", ``, absent, absent},
	{"an empty array", `[]`, absent, absent},
	{"an array of objects with such members", `[{"target":"b"},{"target":"c"}]`, absent, absent},
	{"an array of texts", ` ["target","b"] `, absent, absent},
	{"an empty object with white space in it", "{ \n}", absent, absent},
	{"one member only", `{"target":"b"}`, absent, "b"},
	{"an escape in a name", `{"t\u0061rget":"b"}`, absent, "b"},
	{"a name that is all escapes, in both cases of digits", `{"\u0075\u0073\u0065\u0072\u006e\u0061\u006D\u0065":"u"}`, "u", absent},
	{"escapes in a value", `{"target":"\u0062\/\"\\-\u00e9-\u20AC-\ud83d\ude00"}`, absent, `b/"\-é-€-😀`},
	{"an escape at the beginning of a value", `{"target":"\u0062ackend"}`, absent, "backend"},
	{"an escape at the end of a value", `{"target":"backen\u0064"}`, absent, "backend"},
	{"escapes in both values", `{"target":"\u0062","username":"\u0075"}`, "u", "b"},
	{"characters of one to four bytes", `{"target":"bé€😀","username":"` + "\u00a0\u07ff\u0800\uffff\U00010000\U0010ffff" + `"}`, "\u00a0\u07ff\u0800\uffff\U00010000\U0010ffff", "bé€😀"},
	{"the replacement character itself", `{"target":"` + "\ufffd" + `"}`, absent, "\ufffd"},
	{"a space inside a value", `{"target":"a b"}`, absent, "a b"},
	{"a value of 1024 bytes", `{"target":"` + strings.Repeat("x", 1024) + `"}`, absent, strings.Repeat("x", 1024)},
	{"a value of 1024 bytes in characters of two", `{"target":"` + strings.Repeat("é", 512) + `"}`, absent, strings.Repeat("é", 512)},
	{"a value of 1024 bytes that is longer as it is written", `{"target":"` + strings.Repeat(`\u0078`, 1024) + `"}`, absent, strings.Repeat("x", 1024)},
	{"the names inside of other members", `{"a":{"target":"x","TARGET":1},"b":[{"username":null}],"target":"b"}`, absent, "b"},
	{"names that only begin or end alike", `{"targe":1,"targets":2,"xtarget":3,"userName2":4,"target ":5," target":6,"":7}`, absent, absent},
	{"names that begin alike and go on in escapes", `{"tar\u0067ets":1,"targ\ud83d\ude00":2,"user\u0000name":3}`, absent, absent},
	{"a long name", `{"` + strings.Repeat("target", 10_000) + `":1}`, absent, absent},
	{"a long name with an escape", `{"targ\u0065t` + strings.Repeat("target", 10_000) + `":1}`, absent, absent},
	{"other names twice", `{"a":1,"a":2,"A":3}`, absent, absent},
	{"the names as values", `{"a":"target","b":["username","target"]}`, absent, absent},
	{"all kinds of values", `{"a":[],"b":{},"c":[1,"x",true,false,null,[[]],{"d":{}}],"target":"b","e":-0,"f":0.5,"g":1e5,"h":1E+05,"i":-12.50e-3}`, absent, "b"},
	{"a number that no float64 can hold", `{"a":1e999,"target":"b"}`, absent, "b"},
	{"a number of 5000 digits", `{"a":` + strings.Repeat("9", 5000) + `}`, absent, absent},
	{"all escapes in another string", `{"a":"\"\\\/\b\f\n\r\t\u0000\u001F\uFFFF\uD800\uDC00"}`, absent, absent},
	{"DEL and C1 in another string", `{"a":"` + "\x7f\u0080\u009f" + `"}`, absent, absent},
	{"nesting of 64", `{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, absent, absent},
	{"nesting of 64, mixed", `{"a":` + strings.Repeat(`[{"a":`, 31) + `[]` + strings.Repeat("}]", 31) + `,"target":"b"}`, absent, "b"},
}

func TestBodiesThatAreRead(t *testing.T) {
	spec := useCase(t)
	for _, c := range acceptedBodies {
		t.Run(c.name, func(t *testing.T) {
			got := scan(t, spec, c.body)
			if got.err != (fields.Error{}) {
				t.Fatalf("refused: %v", &got.err)
			}
			for i, want := range []string{c.username, c.target} {
				if got.has[i] != (want != absent) || got.has[i] && got.values[i] != want {
					t.Errorf("%s: got %q (there: %t), want %q", spec.Names()[i], got.values[i], got.has[i], want)
				}
			}
		})
	}
}

// refusedCase is a body that is refused, and where.
type refusedCase struct {
	name, body string
	reason     fields.Reason
	field      string
	offset     int64
}

var refusedBodies = []refusedCase{
	{"white space only", " \n", fields.Malformed, "", 2},
	{"a byte order mark", "\ufeff{}", fields.Malformed, "", 0},
	{"UTF-16", "{\x00\"\x00", fields.Malformed, "", 1},
	{"a string", `"target"`, fields.Malformed, "", 0},
	{"a number", `1`, fields.Malformed, "", 0},
	{"a second array", `[][]`, fields.Trailing, "", 2},
	{"an array that does not end", `[{"target":"b"}`, fields.Malformed, "", 15},
	{"null", `null`, fields.Malformed, "", 0},
	{"a form", `target=b`, fields.Malformed, "", 0},
	{"a body that ends in the object", `{"target":"b"`, fields.Malformed, "", 13},
	{"a body that ends in a string", `{"target":"b`, fields.Malformed, "", 12},
	{"a body that ends in an escape", `{"a":"\u00`, fields.Malformed, "", 10},
	{"a body that ends in a character", `{"a":"` + "\xe2\x82", fields.Malformed, "", 8},
	{"a body that ends in a number", `{"a":1`, fields.Malformed, "", 6},
	{"a body that ends in a literal", `{"a":tru`, fields.Malformed, "", 8},
	{"a NUL between tokens", "{\x00}", fields.Malformed, "", 1},
	{"a vertical tab between tokens", "{\v}", fields.Malformed, "", 1},
	{"a no-break space between tokens", "{\u00a0}", fields.Malformed, "", 1},
	{"a comment", `{/**/}`, fields.Malformed, "", 1},
	{"a name without quotes", `{target:"b"}`, fields.Malformed, "", 1},
	{"a name in single quotes", `{'target':"b"}`, fields.Malformed, "", 1},
	{"a number as a name", `{1:2}`, fields.Malformed, "", 1},
	{"no colon", `{"target" "b"}`, fields.Malformed, "", 10},
	{"two colons", `{"a"::1}`, fields.Malformed, "", 5},
	{"no value", `{"target":}`, fields.Malformed, "", 10},
	{"no value for another name", `{"a":}`, fields.Malformed, "", 5},
	{"no comma", `{"a":1 "b":2}`, fields.Malformed, "", 7},
	{"a comma after the last member", `{"a":1,}`, fields.Malformed, "", 7},
	{"a comma before the first member", `{,"a":1}`, fields.Malformed, "", 1},
	{"two commas", `{"a":1,,"b":2}`, fields.Malformed, "", 7},
	{"a comma after the last element", `{"a":[1,]}`, fields.Malformed, "", 8},
	{"a comma before the first element", `{"a":[,1]}`, fields.Malformed, "", 6},
	{"a colon in an array", `{"a":[1:2]}`, fields.Malformed, "", 7},
	{"an object closed as an array", `{"a":1]`, fields.Malformed, "", 6},
	{"an array closed as an object", `{"a":[1}`, fields.Malformed, "", 7},
	{"a wrong literal", `{"a":nul1}`, fields.Malformed, "", 8},
	{"a literal in capitals", `{"a":True}`, fields.Malformed, "", 5},
	{"a literal that goes on", `{"a":nullx}`, fields.Malformed, "", 9},
	{"NaN", `{"a":NaN}`, fields.Malformed, "", 5},
	{"Infinity", `{"a":-Infinity}`, fields.Malformed, "", 6},
	{"a number with a leading zero", `{"a":01}`, fields.Malformed, "", 6},
	{"a number with a plus", `{"a":+1}`, fields.Malformed, "", 5},
	{"a number that begins with a point", `{"a":.5}`, fields.Malformed, "", 5},
	{"a number that ends with a point", `{"a":1.}`, fields.Malformed, "", 7},
	{"a number with two points", `{"a":1.2.3}`, fields.Malformed, "", 8},
	{"a number with no power", `{"a":1e}`, fields.Malformed, "", 7},
	{"a number with a sign for a power", `{"a":1e+}`, fields.Malformed, "", 8},
	{"a minus only", `{"a":-}`, fields.Malformed, "", 6},
	{"a hexadecimal number", `{"a":0x10}`, fields.Malformed, "", 6},
	{"a line feed in a string", "{\"a\":\"x\ny\"}", fields.Malformed, "", 7},
	{"a NUL in a string", "{\"a\":\"\x00\"}", fields.Malformed, "", 6},
	{"a tab in a name", "{\"target\t\":1}", fields.Malformed, "", 8},
	{"a control character in a promoted value", "{\"target\":\"b\x1f\"}", fields.Malformed, "", 12},
	{"an escape that JSON does not have", `{"a":"\x41"}`, fields.Malformed, "", 7},
	{"an escape with a wrong digit", `{"a":"\u00g1"}`, fields.Malformed, "", 10},
	{"an escape with a wrong digit in a promoted value", `{"target":"\u00g1"}`, fields.Malformed, "", 15},
	{"an escape with a capital U", `{"a":"\U0041"}`, fields.Malformed, "", 7},
	{"a continuation byte alone", "{\"a\":\"\x80\"}", fields.Malformed, "", 6},
	{"an overlong slash", "{\"a\":\"\xc0\xaf\"}", fields.Malformed, "", 6},
	{"an overlong form of three bytes", "{\"a\":\"\xe0\x9f\xbf\"}", fields.Malformed, "", 7},
	{"an overlong form of four bytes", "{\"a\":\"\xf0\x8f\xbf\xbf\"}", fields.Malformed, "", 7},
	{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", fields.Malformed, "", 7},
	{"a character over U+10FFFF", "{\"a\":\"\xf4\x90\x80\x80\"}", fields.Malformed, "", 7},
	{"a byte that UTF-8 does not have", "{\"a\":\"\xff\"}", fields.Malformed, "", 6},
	{"a character that is cut short by the quote", "{\"a\":\"\xe2\x82\"}", fields.Malformed, "", 8},
	{"invalid UTF-8 in a promoted value", "{\"target\":\"b\xff\"}", fields.Malformed, "", 12},
	{"invalid UTF-8 in a name", "{\"targ\xc3t\":\"b\"}", fields.Malformed, "", 7},
	{"a high surrogate alone in a name", `{"target\ud800":1}`, fields.Malformed, "", 14},
	{"a low surrogate alone in another value", `{"a":"\udc00"}`, fields.Malformed, "", 11},
	{"two high surrogates", `{"a":"\ud800\ud800"}`, fields.Malformed, "", 17},
	{"a high surrogate and another escape", `{"a":"\ud800\n"}`, fields.Malformed, "", 13},
	{"a high surrogate and a character", `{"a":"\ud800x"}`, fields.Malformed, "", 12},

	{"nesting of 65", `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, fields.TooDeep, "", 68},
	{"nesting of 65 in objects", strings.Repeat(`{"a":`, 65) + `1` + strings.Repeat("}", 65), fields.TooDeep, "", 320},
	{"nesting of 10,000", `{"a":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `}`, fields.TooDeep, "", 68},
	{"nesting of 10,000 that is never closed", `{"a":` + strings.Repeat(`[{"a":`, 5_000), fields.TooDeep, "", 192},

	{"a second object", `{"target":"b"}{"target":"c"}`, fields.Trailing, "", 14},
	{"a second object on its own line", "{\"target\":\"b\"}\n{\"target\":\"c\"}", fields.Trailing, "", 15},
	{"a NUL after the object", "{}\x00", fields.Trailing, "", 2},
	{"a brace after the object", "{}}", fields.Trailing, "", 2},
	{"a comma after the object", "{} ,", fields.Trailing, "", 3},

	{"target twice", `{"target":"b","target":"c"}`, fields.Duplicate, "target", 21},
	{"target twice, the same value", `{"target":"b","target":"b"}`, fields.Duplicate, "target", 21},
	{"target twice, the second time in escapes", `{"target":"b","\u0074arget":"c"}`, fields.Duplicate, "target", 26},
	{"target and TARGET", `{"target":"backend-1","TARGET":"backend-2"}`, fields.Duplicate, "target", 29},
	{"TARGET alone", `{"TARGET":"b"}`, fields.Duplicate, "target", 8},
	{"Username with a value that is not a string", `{"Username":1}`, fields.Duplicate, "username", 10},
	{"another case in escapes", `{"\u0054arget":"b"}`, fields.Duplicate, "target", 13},
	{"the long s", `{"u` + "\u017f" + `ername":"u"}`, fields.Duplicate, "username", 11},
	{"the long s in an escape", `{"u\u017Fername":"u"}`, fields.Duplicate, "username", 15},
	{"a name that goes on after a NUL", `{"target\u0000x":"b"}`, fields.Duplicate, "target", 13},
	{"a name in another case that goes on after a NUL", `{"Target\u0000":"b"}`, fields.Duplicate, "target", 13},

	{"a number as target", `{"target":1}`, fields.NotString, "target", 10},
	{"a negative number as target", `{"target":-1}`, fields.NotString, "target", 10},
	{"null as target", `{"target":null}`, fields.NotString, "target", 10},
	{"true as target", `{"target":true}`, fields.NotString, "target", 10},
	{"false as username", `{"username": false}`, fields.NotString, "username", 13},
	{"an array as target", `{"target":["b"]}`, fields.NotString, "target", 10},
	{"an object as target", `{"target":{"name":"b"}}`, fields.NotString, "target", 10},

	{"an empty target", `{"target":""}`, fields.EmptyValue, "target", 11},

	{"a value of 2 KiB", `{"username":"` + strings.Repeat("x", 2048) + `"}`, fields.LongValue, "username", 13 + 1024},
	{"a value of 1025 bytes", `{"target":"` + strings.Repeat("x", 1025) + `"}`, fields.LongValue, "target", 11 + 1024},
	{"a value of 1025 bytes, the last in an escape", `{"target":"` + strings.Repeat("x", 1024) + `\u0078"}`, fields.LongValue, "target", 11 + 1024 + 5},
	{"a value of 1026 bytes in characters of two", `{"target":"` + strings.Repeat("é", 513) + `"}`, fields.LongValue, "target", 11 + 1024},
	{"a value of 1025 bytes that ends within a character", `{"target":"x` + strings.Repeat("é", 512) + `"}`, fields.LongValue, "target", 11 + 1024},
	{"a value of 1025 bytes that ends within an escaped character", `{"target":"x` + strings.Repeat("é", 511) + `\u00e9"}`, fields.LongValue, "target", 11 + 1023 + 5},

	{"a NUL in a promoted value", `{"target":"b\u0000"}`, fields.BadValue, "target", 17},
	{"a line feed in a promoted value", `{"target":"b\nx: y"}`, fields.BadValue, "target", 13},
	{"a carriage return in a promoted value", `{"target":"b\u000dx"}`, fields.BadValue, "target", 17},
	{"an escaped tab in a promoted value", `{"target":"b\tc"}`, fields.BadValue, "target", 13},
	{"DEL in a promoted value", "{\"target\":\"b\x7f\"}", fields.BadValue, "target", 12},
	{"DEL in an escape in a promoted value", `{"target":"\u007f"}`, fields.BadValue, "target", 16},
	{"the first C1 character in a promoted value", "{\"target\":\"b\u0080\"}", fields.BadValue, "target", 13},
	{"the last C1 character in an escape in a promoted value", `{"target":"\u009F"}`, fields.BadValue, "target", 16},
	{"a high surrogate alone in a promoted value", `{"target":"\ud83d"}`, fields.BadValue, "target", 17},
	{"a low surrogate alone in a promoted value", `{"target":"\ude00x"}`, fields.BadValue, "target", 16},
	{"surrogates the wrong way round in a promoted value", `{"target":"\ude00\ud83d"}`, fields.BadValue, "target", 16},
	{"a high surrogate and a backslash in a promoted value", `{"target":"\ud83d\\"}`, fields.BadValue, "target", 18},
	{"a space only", `{"target":" "}`, fields.BadValue, "target", 12},
	{"a space before the value", `{"target":" b"}`, fields.BadValue, "target", 13},
	{"a space after the value", `{"target":"b "}`, fields.BadValue, "target", 13},
	{"an escaped space after the value", `{"target":"b\u0020"}`, fields.BadValue, "target", 18},
}

func TestBodiesThatAreRefused(t *testing.T) {
	spec := useCase(t)
	for _, c := range refusedBodies {
		t.Run(c.name, func(t *testing.T) {
			got := scan(t, spec, c.body).err
			if got.Reason != c.reason || got.Field != c.field || got.Offset != c.offset {
				t.Errorf("got %s, field %q, offset %d\nwant %s, field %q, offset %d", got.Reason, got.Field, got.Offset, c.reason, c.field, c.offset)
			}
			if text := got.Error(); strings.ContainsAny(text, "\n\x00") || len(text) > 200 {
				t.Errorf("the sentence for the client: %q", text)
			}
		})
	}
}

func TestARefusalIsASentenceForTheClient(t *testing.T) {
	spec := useCase(t)
	for _, c := range []struct{ body, want string }{
		{` `, `the body is not one valid JSON object or array: it is nothing but white space (offset 1)`},
		{`{"a":`, `the body is not one valid JSON object or array: it ends too early (offset 5)`},
		{`1`, `the body is not one valid JSON object or array: it does not begin with '{' or '[' (offset 0)`},
		{"{\"a\":\"\xff\"}", `the body is not one valid JSON object or array: a string holds invalid UTF-8 (offset 6)`},
		{`{"a":` + strings.Repeat("[", 70), `the body nests objects and arrays more than 64 deep (offset 68)`},
		{`{} x`, `the body has more bytes after its JSON value (offset 3)`},
		{`{"target":"b","target":"b"}`, `field "target" must not occur more than once (offset 21)`},
		{`{"TARGET":"b"}`, `field "target" must have its exact name: a reader could take another name in the body for it (offset 8)`},
		{`{"target":1}`, `field "target" must be a string (offset 10)`},
		{`{"target":""}`, `field "target" must not be empty (offset 11)`},
		{`{"target":"` + strings.Repeat("x", 1025) + `"}`, `field "target" must not be longer than 1024 bytes (offset 1035)`},
		{`{"target":"\n"}`, `field "target" must not hold a control character (offset 12)`},
		{`{"target":"b "}`, `field "target" must not begin or end with a space (offset 13)`},
		{`{"target":"\ud800"}`, `field "target" must not hold one half of a surrogate pair (offset 17)`},
	} {
		err := scan(t, spec, c.body).err
		if got := err.Error(); got != c.want {
			t.Errorf("body %.40q:\ngot  %s\nwant %s", c.body, got, c.want)
		}
	}
}

func TestARefusalWithoutDetailIsASentenceToo(t *testing.T) {
	for _, c := range []struct {
		reason fields.Reason
		want   string
	}{
		{fields.Malformed, `the body is not one valid JSON object or array (offset 7)`},
		{fields.BadValue, `field "target" has a value that no header can carry (offset 7)`},
		{"other", `the body was refused: other (offset 7)`},
	} {
		var err error = &fields.Error{Reason: c.reason, Field: "target", Offset: 7}
		if err.Error() != c.want {
			t.Errorf("got %s, want %s", err, c.want)
		}
	}
}

func TestSpecRefusesNamesThatCannotBeKeptApart(t *testing.T) {
	for _, c := range []struct {
		name  string
		names []string
		want  string // in the error; empty: accepted
	}{
		{"one name", []string{"target"}, ""},
		{"eight names", []string{"a", "b", "c", "d", "e", "f", "g", "h"}, ""},
		{"a name of 256 bytes", []string{strings.Repeat("é", 128)}, ""},
		{"names of which one begins the other", []string{"user", "username"}, ""},
		{"no name", nil, "give 1 to 8"},
		{"nine names", []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}, "give 1 to 8"},
		{"an empty name", []string{"a", ""}, "field name 2"},
		{"a name of 257 bytes", []string{strings.Repeat("x", 257)}, "at most 256"},
		{"invalid UTF-8", []string{"\xff"}, "not valid UTF-8"},
		{"a NUL", []string{"a\x00b"}, "NUL"},
		{"the same name twice", []string{"a", "b", "a"}, `"a" and "a"`},
		{"two cases of one name", []string{"user", "USER"}, `"user" and "USER"`},
		{"the Kelvin sign and a k", []string{"\u212a", "k"}, "differ by case"},
		{"a dotless i and an i", []string{"ıd", "ID"}, "differ by case"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec, err := fields.NewSpec(c.names...)
			if c.want == "" {
				if err != nil || len(spec.Names()) != len(c.names) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestSpecKeepsItsOwnNames(t *testing.T) {
	names := []string{"username", "target"}
	spec := newSpec(t, names...)
	names[1] = "other"
	if got := scan(t, spec, `{"target":"b"}`); got.values[1] != "b" {
		t.Errorf("target is %q after the caller changed its slice", got.values[1])
	}
}

func TestEightNamesAreReadInAnyOrder(t *testing.T) {
	spec := newSpec(t, "a", "aa", "aaa", "b", "é", "日本", "user-id", "K")
	got := scan(t, spec, `{"K":"8","user-id":"7","日本":"6","\u00e9":"5","b":"4","aa":"2","aaa":"3","a":"1"}`)
	if got.err != (fields.Error{}) || strings.Join(got.values, "") != "12345678" {
		t.Errorf("got %q, %v", got.values, &got.err)
	}
	for _, alike := range []string{"É", `\u00C9`, "k", "\u212a", `\u212a`, "USER-ID", "user-ıd", "USER-İD"} {
		if err := scan(t, spec, `{"`+alike+`":"x"}`).err; err.Reason != fields.Duplicate {
			t.Errorf("the name %s gives %q, want %q", alike, err.Reason, fields.Duplicate)
		}
	}
}

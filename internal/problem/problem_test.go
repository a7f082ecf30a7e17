package problem

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/remora-proxy/remora/internal/fields"
)

func TestTheDocumentListsTheCatalogue(t *testing.T) {
	text, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(.*)` \\| (\\d+) \\| (.*)\\. \\| (.+) \\|$").FindAllStringSubmatch(string(text), -1) {
		got = append(got, fmt.Sprintf("%s %s %s", row[1], row[2], row[3]))
	}
	for _, e := range All() {
		want = append(want, fmt.Sprintf("%s %d %s", e.Code, e.Status, e.Title))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got) || i >= len(want) || got[i] != want[i]:
			t.Fatalf("row %d of docs/errors.md and the catalogue differ from here on:\n%q\n%q", i+1, got[min(i, len(got)):], want[min(i, len(want)):])
		}
	}
}

func TestTheCatalogueIsSound(t *testing.T) {
	seen := map[Code]bool{}
	last := 0
	for i, e := range All() {
		if seen[e.Code] {
			t.Errorf("%s is there twice", e.Code)
		}
		seen[e.Code] = true
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(string(e.Code)) || e.Title == "" || e.Status < 400 || e.Status > 599 {
			t.Errorf("entry %d is not sound: %+v", i, e)
		}
		if e.Status < last {
			t.Errorf("%s is out of order", e.Code)
		}
		last = e.Status
		if Lookup(e.Code) != e || Index(e.Code) != i {
			t.Errorf("%s is not found: %+v at %d", e.Code, Lookup(e.Code), Index(e.Code))
		}
	}
	if Lookup("forgotten").Code != Internal || All()[Index("forgotten")].Code != Internal {
		t.Error("an unknown code is not answered as internal")
	}
}

func TestEachReasonOfFieldsIsACode(t *testing.T) {
	for _, r := range []fields.Reason{
		fields.Malformed, fields.TooDeep, fields.Trailing, fields.Duplicate, fields.NotString, fields.EmptyValue, fields.LongValue, fields.BadValue,
	} {
		if e := Lookup(Code(r)); string(e.Code) != string(r) || e.Status != 400 {
			t.Errorf("%s: %+v", r, e)
		}
	}
}

func TestTheJSONOfAProblem(t *testing.T) {
	for _, test := range []struct {
		name, instance, want string
		problem              Problem
	}{
		{
			"all members", "id-1",
			`{"type":"https://remora.dev/errors#no_route","title":"No route matches the request","status":404,"detail":"Nothing.","code":"no_route","instance":"id-1"}` + "\n",
			Problem{NoRoute, "Nothing."},
		},
		{
			"without detail and instance", "",
			`{"type":"https://remora.dev/errors#no_route","title":"No route matches the request","status":404,"code":"no_route"}` + "\n",
			Problem{Code: NoRoute},
		},
		{
			"what JSON and browsers must not see as it is", "",
			`{"type":"https://remora.dev/errors#no_key","title":"The request has no session key","status":400,"detail":"\"\\\u0000\u001f\u007f\u003c/script\u003e\u0026 é` + "\ufffd" + `","code":"no_key"}` + "\n",
			Problem{NoKey, "\"\\\x00\x1f\x7f</script>& é\xff"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := string(AppendJSON(nil, test.problem, test.instance)); got != test.want {
				t.Errorf("got  %swant %s", got, test.want)
			}
		})
	}
}

// FuzzAppendJSON: whatever the strings are, the result is JSON that holds them, apart from bytes that are not UTF-8.
func FuzzAppendJSON(f *testing.F) {
	f.Add("plain", "id")
	f.Add("\"\\\n\t\u2028<>&", "\x00\x7f")
	f.Add("\xff\xc0\xaf", "\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, detail, instance string) {
		var got struct{ Type, Title, Detail, Code, Instance string }
		raw := AppendJSON([]byte("before"), Problem{BadPath, detail}, instance)[len("before"):]
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		same := func(a, b string) bool { return slices.Equal([]rune(a), []rune(b)) }
		if !same(got.Detail, detail) || !same(got.Instance, instance) || got.Code != string(BadPath) {
			t.Errorf("got %+v for %q and %q", got, detail, instance)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = AppendJSON(buf[:0], Problem{NoRoute, "Nothing."}, "id-1") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package fields_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/fields"
)

var smallBodies = []benchBody{
	{"small", []byte(`{"username":"user-123","target":"backend-2"}`)},
	{"small as Python writes it", []byte(`{"username": "user-123", "target": "backend-2"}`)},
	{"small with odd spaces", []byte("{ \"username\" : \"kaleeswaran\", \n  \"target\" : \"backend-1\" }\n")},
	{"small with escapes", []byte(`{"username":"us\u0065r-123","t\u0061rget":"backend-2"}`)},
}

// largeBodies have 64 KiB each, the promoted members first.
var largeBodies = []benchBody{
	{"64K one string", large(`"last":"`, "lorem ipsum dolor ", `"`)},
	{"64K text in Japanese", large(`"last":"`, "日本語のテキスト", `"`)},
	{"64K text in French", large(`"last":"`, "Ça dépend de l'été à Orléans. ", `"`)},
	{"64K escapes", large(`"last":"`, `a\n\u00e9\t`, `"`)},
	{"64K members", large(``, `"member_%d":"value %[1]d","count_%[1]d":%[1]d,"flag_%[1]d":true,`, `"last":0`)},
	{"64K records", large(`"items":[`, `{"id":%d,"title":"item %[1]d","price":%[1]d.99,"tags":["a","b"]},`, `0]`)},
	{"64K records, indented", large(`"items": [`, "\n    {\n      \"id\": %d,\n      \"title\": \"item %[1]d\",\n      \"price\": %[1]d.99,\n      \"tags\": [\"a\", \"b\"]\n    },", "\n    0\n  ]\n")},
	{"64K numbers", large(`"items":[`, `%d,%[1]d.25,-%[1]de-3,`, `0]`)},
}

type benchBody struct {
	name string
	body []byte
}

// large is a body of 64 KiB of the unit, in which %d stands for a number that grows.
func large(before, unit, after string) []byte {
	b := []byte(`{"username":"user-123","target":"backend-2",` + before)
	for i := 0; len(b) < 64<<10-len(unit)-len(after); i++ {
		if strings.Contains(unit, "%") {
			b = fmt.Appendf(b, unit, i)
		} else {
			b = append(b, unit...)
		}
	}
	return append(b, after+"}"...)
}

func BenchmarkScan(b *testing.B) {
	for _, c := range slices.Concat(smallBodies, largeBodies) {
		b.Run(c.name, func(b *testing.B) { benchmarkPieces(b, c.body, len(c.body)) })
	}
}

func BenchmarkScanIn1KiBPieces(b *testing.B) {
	for _, c := range largeBodies {
		b.Run(c.name, func(b *testing.B) { benchmarkPieces(b, c.body, 1<<10) })
	}
}

func benchmarkPieces(b *testing.B, body []byte, size int) {
	spec, err := fields.NewSpec("username", "target")
	if err != nil {
		b.Fatal(err)
	}
	var s fields.Scanner
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(spec)
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			if err := s.Write(rest[:n]); err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if len(s.Value(0)) == 0 || len(s.Value(1)) == 0 {
			b.Fatalf("got %q and %q", s.Value(0), s.Value(1))
		}
	}
}

package gatewayapi_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

// TestSpecification makes requests of the objects in testdata/spec. Each archive has what the API's documentation says of one subject, in its
// comment, the objects, and requests, one a line, with the Service that they get to, or 404, or 503:
//
//	METHOD HOST[:PORT]/PATH[?QUERY] [NAME:VALUE …] = SERVICE
func TestSpecification(t *testing.T) {
	files, err := filepath.Glob("testdata/spec/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ask := compileArchive(t, archive.Files[0].Data)
			for line := range strings.Lines(string(archive.Files[1].Data)) {
				if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				request, want, _ := strings.Cut(line, " = ")
				if got := ask(parseRequest(request)); got != want {
					t.Errorf("%s: got %s", line, got)
				}
			}
		})
	}
}

// compileArchive compiles objects and gives the function that says where a request gets to.
func compileArchive(t *testing.T, objects []byte) func(r *route.Request) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, objects, 0o600); err != nil {
		t.Fatal(err)
	}
	c, found := compile(load(t, file), false)
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	table, err := route.New(c.Routes)
	if err != nil {
		t.Fatal(err)
	}
	return func(r *route.Request) string {
		var res route.Result
		if !table.Lookup(r, &res) {
			return "404"
		}
		service := c.Services[res.Rule.Destinations[0].Service]
		if strings.HasPrefix(service.Missing, "no ReferenceGrant") {
			return "503"
		}
		name, _, _ := strings.Cut(service.Host, ".")
		return name
	}
}

func parseRequest(text string) *route.Request {
	words := strings.Fields(text)
	host, path, _ := strings.Cut(words[1], "/")
	r := &route.Request{Port: 80, Scheme: "http", Method: words[0], Authority: host}
	if _, port, is := strings.Cut(host, ":"); is {
		fmt.Sscan(port, &r.Port)
	}
	r.Path, r.Query, _ = strings.Cut("/"+path, "?")
	for _, h := range words[2:] {
		name, value, _ := strings.Cut(h, ":")
		r.Headers = append(r.Headers, route.Header{Name: name, Value: value})
	}
	return r
}

// describe writes the objects of a set down.
func describe(set *resource.Set) string {
	var out strings.Builder
	for _, o := range set.APIGateways {
		text, _ := json.Marshal(o.Value)
		fmt.Fprintf(&out, "%s\n", text)
	}
	for _, o := range set.HTTPRoutes {
		text, _ := json.Marshal(o.Value)
		fmt.Fprintf(&out, "%s\n", text)
	}
	return out.String()
}

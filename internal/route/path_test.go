package route

import (
	"net/url"
	"strings"
	"testing"
)

// normalPaths is what Envoy 1.40.0 made of paths, set up as Istio sets up a gateway (paths normalised, escaped slashes kept).
// "!" stands for 400.
var normalPaths = map[string]string{
	"/": "/", "//a": "//a", "/a//b": "/a//b", "/./a": "/a", "/a/.": "/a/", "/a/..": "/", "/..": "/", "/../..": "/",
	"/a/b/../c": "/a/c", "/a/./": "/a/", "/.../": "/.../", "/a/%2e%2e/b": "/b", "/a/%2E/b": "/a/b", "/a/.%2e/b": "/b",
	"/%2e": "/", "/a%2Fb": "/a%2Fb", "/a%2f..%2fb": "/a%2f..%2fb", `/a\b`: "/a/b", `/a\..\b`: "/b", "/a%5Cb": "/a%5Cb",
	"/%41": "/A", "/%7e": "/~", "/%zz": "/%zz", "/%": "/%", "/%2": "/%2", "/a%00b": "!", "/a b": "!", "/a\xe9": "!",
	"/a%ff": "/a%ff", "/a%C3%A9": "/a%C3%A9", "/a\"<>`{}|^[]'()*+,;=:@!$&~-_": "/a%22%3C%3E%60%7B%7D%7C%5E[]'()*+,;=:@!$&~-_",
	"/a;p=1/../b": "/b", "/a..": "/a..", "/..a": "/..a", "/a/..;/b": "/b", "/a/...": "/a/...", "/a/....//": "/a/....//",
	"/a#frag": "!", "*": "*", "a/b": "!", "": "!", "/a/%2e%2e%2fb": "/a/..%2fb", "//../a": "/a", "//./a": "//a",
	"/a//../b": "/a/b", "/a/b//..": "/a/b/", "/%2e%2e/a": "/a", "/.%2E/..": "/", "/a%3Fb": "/a%3Fb", "/a%23b": "/a%23b",
	"/a%25b": "/a%25b", "/a%20b": "/a%20b", "/a%2eb": "/a.b", "/a%2Db": "/a-b", "/a%5Fb": "/a_b", "/a%7Eb": "/a~b",
	"/a%21b": "/a%21b", "/a\x7fb": "!", "/a\tb": "!", "/a%80": "/a%80", "/a%0A": "/a%0A", "/a/..;x/b": "/b", "/a/.;/b": "/a/b",
	"/a/;../b": "/a/;../b", "/a/..;p=1": "/", "/a/.;": "/a/", "/;": "/;", "/a;x/b": "/a;x/b", "/a/..%3b/b": "/a/..%3b/b",
	"/a/...;/b": "/a/...;/b", "/..;/..;a/b": "/b", "/a/.;.;/b": "/a/b", "/a/b;c/..": "/a/", `/a/\..`: "/a/", `/a/.\b`: "/a/b",
	`/a/%2e\b`: "/a/b", `/a/..;\b`: "/", "/%2541": "/%2541", "/%2%41": "/%252A", "/%%41": "/%A", "/%25%34%31": "/%2541",
	"/%%34%31": "/%2541", "/%%341": "/%2541", "/%C3%28": "/%C3%28", "/%25": "/%25", "/a%2500": "/a%2500", "/%2e%00": "!", "/^": "/%5E", "/a%7Cb": "/a%7Cb",
	"/%2f/": "/%2f/", "/%5c..": "/%5c..", "/a/%5c../b": "/a/%5c../b", "/%3a": "/%3a", "/%30": "/0", "/%2b": "/%2b",
	"/.well-known/x": "/.well-known/x", "/a/.b/..c": "/a/.b/..c",
}

func TestPathsAreNormalisedAsEnvoyDoes(t *testing.T) {
	for path, want := range normalPaths {
		got, ok := NormalizePath(path)
		if !ok {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func TestEscapedDotsWithParametersAreDotSegmentsToo(t *testing.T) {
	for path, want := range map[string]string{"/a/%2e%2e;/b": "/b", "/a/.%2e;q=%zz/b": "/b", "/a/%2E;": "/a/"} {
		if got, ok := NormalizePath(path); !ok || got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func TestAPathThatStaysIsNotCopied(t *testing.T) {
	for _, path := range []string{"/hit-backend", "/a/.b/..c/%2F%zz%", "//", "/.well-known/x", "/a;v=1"} {
		if n := testing.AllocsPerRun(100, func() { NormalizePath(path) }); n != 0 {
			t.Errorf("%q: %v allocations", path, n)
		}
	}
}

func FuzzNormalizePath(f *testing.F) {
	for path := range normalPaths {
		f.Add(path)
	}
	f.Add("/a/%2e%2e;/b")
	f.Fuzz(func(t *testing.T, path string) {
		once, ok := NormalizePath(path)
		if !ok {
			return
		}
		if twice, ok := NormalizePath(once); !ok || twice != once {
			t.Errorf("%q gives %q, and that gives %q", path, once, twice)
		}
		if once == "*" {
			return
		}
		if once == "" || once[0] != '/' || strings.ContainsAny(once, "\\#? \"<>`{}|^") {
			t.Errorf("%q gives %q", path, once)
		}
		for _, segment := range strings.Split(once, "/") {
			bare, _, _ := strings.Cut(segment, ";")
			if bare == "." || bare == ".." {
				t.Errorf("%q gives %q, which has a dot segment", path, once)
			}
		}
		// A backend that decodes the path reads what it would read in the path as sent, where nothing was removed.
		if !strings.ContainsAny(path, `.\`) && !strings.Contains(strings.ToLower(path), "%2e") {
			before, err := url.PathUnescape(path)
			after, err2 := url.PathUnescape(once)
			if err == nil && err2 == nil && before != after {
				t.Errorf("%q gives %q, which decodes to another path", path, once)
			}
		}
	})
}

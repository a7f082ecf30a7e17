package route

import (
	"strings"
	"testing"
)

// lookup compiles one virtual host for all names and gives the name of the rule that a request gets, or "".
func lookup(t *testing.T, rules []Rule, r Request) string {
	t.Helper()
	table, err := New(Config{Listeners: []Listener{{Port: 80, Hosts: []VirtualHost{{Domains: []string{"*"}, Rules: rules}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Path == "" {
		r.Path = "/"
	}
	if r.Port == 0 {
		r.Port = 80
	}
	var res Result
	if !table.Lookup(&r, &res) {
		return ""
	}
	return res.Rule.Name
}

func header(name string, kind MatchKind, value string) []NamedMatch {
	return []NamedMatch{{name, StringMatch{kind, value}}}
}

func TestMatches(t *testing.T) {
	sent := func(fields ...string) Request {
		var r Request
		for i := 0; i < len(fields); i += 2 {
			r.Headers = append(r.Headers, Header{fields[i], fields[i+1]})
		}
		return r
	}
	asked := func(query string) Request { return Request{Query: query} }
	at := func(path string) Request { return Request{Path: path} }
	for _, c := range []struct {
		name  string
		match Match
		req   Request
		want  bool
	}{
		{"a header is compared with its case", Match{Headers: header("x-a", Exact, "one")}, sent("x-a", "One"), false},
		{"an empty header is there", Match{Headers: header("x-a", Present, "")}, sent("x-a", ""), true},
		{"an exact empty value matches an empty header", Match{Headers: header("x-a", Exact, "")}, sent("x-a", ""), true},
		{"an exact empty value does not match without the header", Match{Headers: header("x-a", Exact, "")}, sent(), false},
		{"a regex that matches nothing needs the header", Match{Headers: header("x-a", Regex, ".*")}, sent(), false},
		{"a header sent twice matches by its first field", Match{Headers: header("x-a", Exact, "a")}, sent("x-a", "a", "x-a", "b"), true},
		{"a header sent twice matches by its second field", Match{Headers: header("x-a", Exact, "b")}, sent("x-a", "a", "x-a", "b"), true},
		{"fields are not joined", Match{Headers: header("x-a", Exact, "a,b")}, sent("x-a", "a", "x-a", "b"), false},
		{"a list in one field is one value", Match{Headers: header("x-a", Exact, "b")}, sent("x-a", "a,b"), false},
		{"without a value: the header is not there", Match{WithoutHeaders: header("x-a", Exact, "a")}, sent(), true},
		{"without a value: another value", Match{WithoutHeaders: header("x-a", Exact, "a")}, sent("x-a", "b"), true},
		{"without a value: that value", Match{WithoutHeaders: header("x-a", Exact, "a")}, sent("x-a", "a"), false},
		{"without a value: no field may have it", Match{WithoutHeaders: header("x-a", Exact, "a")}, sent("x-a", "b", "x-a", "a"), false},
		{"without an empty value: a header that is not there counts as empty", Match{WithoutHeaders: header("x-a", Exact, "")}, sent(), false},
		{"without an empty value: another value", Match{WithoutHeaders: header("x-a", Exact, "")}, sent("x-a", "a"), true},
		{"without anything: it is not there", Match{WithoutHeaders: header("x-a", Present, "")}, sent(), true},
		{"without anything: it is empty", Match{WithoutHeaders: header("x-a", Present, "")}, sent("x-a", ""), false},
		{"the host is the authority", Match{Headers: header("host", Exact, "a.org:80")}, Request{Authority: "a.org:80"}, true},
		{"the path as a header has the query", Match{Headers: header(":path", Prefix, "/a?x")}, Request{Path: "/a", Query: "x=1"}, true},
		{"the method as a header", Match{WithoutHeaders: header(":method", Exact, "GET")}, Request{Method: "GET"}, false},

		{"a parameter without a value is empty", Match{QueryParams: header("v", Exact, "")}, asked("v"), true},
		{"a parameter with an empty value", Match{QueryParams: header("v", Exact, "")}, asked("a=1&v="), true},
		{"an empty parameter has no prefix", Match{QueryParams: header("v", Prefix, "o")}, asked("v"), false},
		{"no parameter", Match{QueryParams: header("v", Regex, ".*")}, asked("w=1"), false},
		{"the first of several values counts", Match{QueryParams: header("v", Exact, "1")}, asked("v=1&v=2"), true},
		{"the second of several values does not count", Match{QueryParams: header("v", Exact, "2")}, asked("v=1&v=2"), false},
		{"values are not decoded", Match{QueryParams: header("v", Exact, "1")}, asked("v=%31"), false},
		{"plus is not a space", Match{QueryParams: header("v", Exact, "a+b")}, asked("v=a+b"), true},
		{"names have a case", Match{QueryParams: header("v", Present, "")}, asked("V=1"), false},
		{"a semicolon separates nothing", Match{QueryParams: header("v", Present, "")}, asked("a=1;v=1"), false},
		{"a longer name is another", Match{QueryParams: header("v", Present, "")}, asked("vv=1"), false},
		{"a value may have an equals sign", Match{QueryParams: header("v", Exact, "=1")}, asked("v==1"), true},

		{"an exact path does not have a slash more", Match{URI: StringMatch{Exact, "/a"}}, at("/a/"), false},
		{"a prefix is one of characters", Match{URI: StringMatch{Prefix, "/a"}}, at("/ab"), true},
		{"an empty prefix is every path's", Match{URI: StringMatch{Prefix, ""}}, at("/ab"), true},
		{"paths are normalised first", Match{URI: StringMatch{Exact, "/a"}}, at("/x/../a"), true},
		{"an escaped slash is no slash", Match{URI: StringMatch{Exact, "/a/b"}}, at("/a%2Fb"), false},
		{"slashes are not merged", Match{URI: StringMatch{Prefix, "/a"}}, at("//a"), false},
		{"a path of another case", Match{URI: StringMatch{Exact, "/AbC"}}, at("/abc"), false},
		{"a path of another case, ignored", Match{URI: StringMatch{Exact, "/AbC"}, IgnoreURICase: true}, at("/aBc"), true},
		{"a prefix of another case, ignored", Match{URI: StringMatch{Prefix, "/PrE"}, IgnoreURICase: true}, at("/PREfix"), true},
		{"a regex keeps its case", Match{URI: StringMatch{Regex, "/Re[a-z]"}, IgnoreURICase: true}, at("/reX"), false},
		{"a regex must match the whole path", Match{URI: StringMatch{Regex, "/r/[0-9]+"}}, at("/r/12x"), false},
		{"every alternative of a regex is anchored", Match{URI: StringMatch{Regex, "/y|/z"}}, at("/z1"), false},
		{"a regex does not see the query", Match{URI: StringMatch{Regex, "/r"}}, Request{Path: "/r", Query: "q"}, true},
		{"a regex may have anchors of its own", Match{URI: StringMatch{Regex, "^/x$"}}, at("/x"), true},
		{"a dot is one byte", Match{Headers: header("x-a", Regex, "a.b")}, sent("x-a", "a\xe9b"), true},
		{"a character of two bytes is two dots", Match{Headers: header("x-a", Regex, "a.b")}, sent("x-a", "aéb"), false},
		{"letters beyond ASCII in a regex are their bytes", Match{Headers: header("x-a", Regex, "a.é")}, sent("x-a", "a-é"), true},

		{"the authority is compared as sent", Match{Authority: StringMatch{Exact, "a.org"}}, Request{Authority: "a.org:80"}, false},
		{"the authority has a case", Match{Authority: StringMatch{Exact, "a.org"}}, Request{Authority: "A.org"}, false},
		{"the scheme", Match{Scheme: StringMatch{Exact, "https"}}, Request{Scheme: "http"}, false},
		{"another port", Match{Port: 81}, Request{}, false},
		{"the port", Match{Port: 80}, Request{}, true},
		{"all conditions must hold", Match{Method: StringMatch{Exact, "PUT"}, Headers: header("x-a", Exact, "a")}, sent("x-a", "a"), false},
		{"nothing asked, nothing to fail", Match{}, Request{}, true},
	} {
		if got := lookup(t, []Rule{{Name: "rule", Matches: []Match{c.match}}}, c.req) != ""; got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestHosts(t *testing.T) {
	domains := []string{"a.example.com", "*.example.com", "*-x.example.com", "*.b.example.com", "[::1]", "10.0.0.1", "t.org.", "*foo.net"}
	listeners := []Listener{{Port: 80}, {Port: 81}}
	for _, d := range domains {
		listeners[0].Hosts = append(listeners[0].Hosts, VirtualHost{Domains: []string{d}, Rules: []Rule{{}}})
	}
	listeners[1].Hosts = []VirtualHost{{Domains: []string{"only.org", "*"}, Rules: []Rule{{}}}}
	table, err := New(Config{Listeners: listeners})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		port uint16
		host string
		want string
	}{
		{80, "a.example.com", "a.example.com"},
		{80, "A.EXAMPLE.com", "a.example.com"},
		{80, "a.example.com:80", "a.example.com"},
		{80, "a.example.com:99999", "a.example.com"},
		{80, "a.example.com:", "a.example.com"},
		{80, "a.example.com:80:80", ""},
		{80, "a.example.com.", ""},
		{80, ".example.com", ""},
		{80, "example.com", ""},
		{80, "x.b.example.com", "*.b.example.com"},
		{80, "b.example.com", "*.example.com"},
		{80, "q-x.example.com", "*-x.example.com"},
		{80, "-x.example.com", "*.example.com"},
		{80, "a-x.b.example.com", "*.b.example.com"},
		{80, "[::1]", "[::1]"},
		{80, "[::1]:80", "[::1]"},
		{80, "::1", ""},
		{80, "10.0.0.1:8080", "10.0.0.1"},
		{80, "t.org", ""},
		{80, "foo.net", ""},
		{80, "xfoo.net", "*foo.net"},
		{80, "a.foo.net", "*foo.net"},
		{80, "", ""},
		{80, strings.Repeat("x", 300) + ".Example.com", "*.example.com"},
		{81, "anything", "*"},
		{81, "only.org", "only.org"},
		{81, "", "*"},
		{82, "only.org", ""},
	} {
		var res Result
		table.Lookup(&Request{Port: c.port, Path: "/", Authority: c.host}, &res)
		if res.Domain != c.want {
			t.Errorf("port %d, %q: got %q, want %q", c.port, c.host, res.Domain, c.want)
		}
	}
}

func TestTheFirstRuleWins(t *testing.T) {
	rules := []Rule{
		{Name: "regex", Matches: []Match{{URI: StringMatch{Regex, "/a[0-9]"}}}},
		{Name: "exact", Matches: []Match{{URI: StringMatch{Exact, "/a1"}}, {URI: StringMatch{Exact, "/b"}}}},
		{Name: "prefix", Matches: []Match{{URI: StringMatch{Prefix, "/"}, Headers: header("x-a", Exact, "1")}}},
		{Name: "all"},
		{Name: "never", Matches: []Match{{URI: StringMatch{Exact, "/c"}}}},
	}
	for _, c := range []struct {
		path, value, want string
	}{{"/a1", "", "regex"}, {"/b", "", "exact"}, {"/b", "1", "exact"}, {"/c", "1", "prefix"}, {"/c", "2", "all"}} {
		r := Request{Path: c.path, Headers: []Header{{"x-a", c.value}}}
		if got := lookup(t, rules, r); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func TestARefusedPathMatchesNothing(t *testing.T) {
	if got := lookup(t, []Rule{{Name: "all"}}, Request{Path: "/a%00"}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestUsesHeader(t *testing.T) {
	table, err := New(Config{Listeners: []Listener{
		{Port: 80, Hosts: []VirtualHost{{Domains: []string{"*"}, Rules: []Rule{
			{Matches: []Match{{Headers: header("x-a", Present, "")}, {WithoutHeaders: header("x-b", Present, "")}, {Port: 81, Headers: header("x-c", Present, "")}}},
		}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		port uint16
		name string
		want bool
	}{{80, "x-a", true}, {80, "x-b", true}, {80, "x-c", false}, {81, "x-a", false}} {
		if got := table.UsesHeader(c.port, c.name); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	with := func(m Match) Config {
		m.Source = "vs.yaml:7"
		return Config{Listeners: []Listener{{Port: 80, Hosts: []VirtualHost{{Domains: []string{"*"}, Rules: []Rule{{Matches: []Match{m}}}}}}}}
	}
	hosts := func(domains ...string) Config {
		return Config{Listeners: []Listener{{Port: 80, Hosts: []VirtualHost{{Domains: domains}}}}}
	}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Listeners: []Listener{{Port: 80}, {Port: 80}}}, "port 80 is there twice"},
		{hosts("a.org", "a.org"), `port 80: the domain "a.org" is there twice`},
		{hosts("*", "*"), `the domain "*" is there twice`},
		{hosts("A.org"), `"A.org" is not a domain`},
		{hosts("a.*"), `"a.*" is not a domain`},
		{hosts(""), `"" is not a domain`},
		{with(Match{URI: StringMatch{Regex, "/a("}}), "port 80: vs.yaml:7: uri: not an RE2 expression: missing closing )"},
		{with(Match{URI: StringMatch{Regex, "a)(b"}}), "unexpected )"},
		{with(Match{URI: StringMatch{Regex, ""}}), "the regular expression is empty"},
		{with(Match{Method: StringMatch{Regex, strings.Repeat("a", 1025)}}), "method: the regular expression has 1025 bytes, more than 1024"},
		{with(Match{Headers: header("x-a", Regex, "((a{100}){10}){100}")}), "headers[x-a]: "},
		{with(Match{Headers: header("X-A", Exact, "")}), "headers[X-A]: not the name of a header in lower case"},
		{with(Match{WithoutHeaders: header(":status", Exact, "")}), "withoutHeaders[:status]: not the name"},
		{with(Match{QueryParams: header("", Exact, "")}), "queryParams[]: the name is empty"},
		{with(Match{URI: StringMatch{Kind: 9}}), "uri: unknown kind of match 9"},
	} {
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

func TestAnOrdinaryLookupAllocatesNothing(t *testing.T) {
	table, err := New(Config{Listeners: []Listener{{Port: 80, Hosts: []VirtualHost{
		{Domains: []string{"shop.example.com"}, Rules: []Rule{
			{Matches: []Match{{Headers: header("target", Exact, "a"), QueryParams: header("v", Exact, "1")}}},
			{Matches: []Match{{URI: StringMatch{Regex, "/[a-z]+"}, Method: StringMatch{Exact, "POST"}}}},
			{Matches: []Match{{URI: StringMatch{Exact, "/A"}, IgnoreURICase: true}, {URI: StringMatch{Prefix, "/x/"}}}},
			{},
		}},
		{Domains: []string{"*.example.com", "*"}, Rules: []Rule{{}}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Request{
		{Path: "/", Authority: "Shop.example.com:8080", Query: "a=1&v=1", Headers: ordinaryHeaders(Header{"target", "a"})},
		{Path: "/abc", Authority: "shop.example.com", Method: "POST"},
		{Path: "/a", Authority: "shop.example.com"},
		{Path: "/x/1", Authority: "shop.example.com"},
		{Path: "/", Authority: "a.b.example.com"},
	} {
		r.Port = 80
		var res Result
		if n := testing.AllocsPerRun(100, func() {
			if !table.Lookup(&r, &res) {
				t.Error("no rule")
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations", r, n)
		}
	}
}

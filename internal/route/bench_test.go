package route

import (
	"fmt"
	"testing"
)

// ordinaryHeaders is what a small client sends with a request, in lower case.
func ordinaryHeaders(more ...Header) []Header {
	return append([]Header{
		{"user-agent", "wrk"},
		{"accept", "*/*"},
		{"content-type", "application/json"},
		{"content-length", "60"},
		{"x-user", "user-1"},
		{"x-request-id", "3d0cf3d2-1f4a-4b7c-9b3b-6e8f2b6e9a55"},
	}, more...)
}

// BenchmarkLookup shows what a look-up costs as the table grows.
func BenchmarkLookup(b *testing.B) {
	for _, kind := range []struct {
		name  string
		table func(n int) Config
		req   func(i int) Request
	}{
		{"header", func(n int) Config {
			return oneHost(n, func(i int) Match {
				return Match{Headers: []NamedMatch{{"target", StringMatch{Exact, fmt.Sprint("backend-", i)}}}}
			})
		}, func(i int) Request {
			return Request{Path: "/hit-backend", Authority: "localhost:8080", Headers: ordinaryHeaders(Header{"target", fmt.Sprint("backend-", i)})}
		}},
		{"path", func(n int) Config {
			return oneHost(n, func(i int) Match { return Match{URI: StringMatch{Exact, fmt.Sprintf("/api/v1/item-%d", i)}} })
		}, func(i int) Request {
			return Request{Path: fmt.Sprintf("/api/v1/item-%d", i), Authority: "localhost:8080", Headers: ordinaryHeaders()}
		}},
		{"prefix", func(n int) Config {
			return oneHost(n, func(i int) Match { return Match{URI: StringMatch{Prefix, fmt.Sprintf("/svc-%d/", i)}} })
		}, func(i int) Request {
			return Request{Path: fmt.Sprintf("/svc-%d/orders/1", i), Authority: "localhost:8080", Headers: ordinaryHeaders()}
		}},
		{"host", func(n int) Config {
			hosts := make([]VirtualHost, n)
			for i := range hosts {
				hosts[i] = VirtualHost{Domains: []string{fmt.Sprintf("shop-%d.example.com", i)}, Rules: []Rule{{}}}
			}
			return Config{Listeners: []Listener{{Port: 80, Hosts: hosts}}}
		}, func(i int) Request {
			return Request{Path: "/", Authority: fmt.Sprintf("shop-%d.example.com", i), Headers: ordinaryHeaders()}
		}},
	} {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				table, err := New(kind.table(n))
				if err != nil {
					b.Fatal(err)
				}
				reqs := make([]Request, 1000)
				for i := range reqs {
					reqs[i] = kind.req(i * 7919 % n)
					reqs[i].Port, reqs[i].Method, reqs[i].Scheme = 80, "POST", "http"
				}
				var res Result
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if !table.Lookup(&reqs[i%len(reqs)], &res) {
						b.Fatal("no rule")
					}
				}
			})
		}
	}
}

func oneHost(n int, match func(i int) Match) Config {
	rules := make([]Rule, n)
	for i := range rules {
		rules[i].Matches = []Match{match(i)}
	}
	return Config{Listeners: []Listener{{Port: 80, Hosts: []VirtualHost{{Domains: []string{"*"}, Rules: rules}}}}}
}

func BenchmarkNew(b *testing.B) {
	c := oneHost(10000, func(i int) Match {
		return Match{Headers: []NamedMatch{{"target", StringMatch{Exact, fmt.Sprint("backend-", i)}}}}
	})
	for b.Loop() {
		if _, err := New(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, path := range []string{"/hit-backend", "/api/v1/customers/4711/orders/2024-11-23/lines", "/a/../b%41"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NormalizePath(path)
			}
		})
	}
}

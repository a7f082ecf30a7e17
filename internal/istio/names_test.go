package istio

import (
	"strings"
	"testing"
)

func TestHostsAreCompletedAsIstioDoes(t *testing.T) {
	for host, want := range map[string]string{
		"reviews":                     "reviews.shop.svc.cluster.local",
		"reviews.shop":                "reviews.shop",
		"reviews.b.svc.cluster.local": "reviews.b.svc.cluster.local",
		"*":                           "*",
		"*.example.com":               "*.example.com",
		"10.0.0.1":                    "10.0.0.1",
		"::1":                         "::1",
	} {
		if got := fullHost(host, "shop"); got != want {
			t.Errorf("%s: got %s, want %s", host, got, want)
		}
	}
}

func TestNamesOfGatewaysAreCompletedAsIstioDoes(t *testing.T) {
	for name, want := range map[string]string{
		"front": "shop/front", "infra/front": "infra/front", "./front": "shop/front",
		"front.infra": "infra/front", "front.infra.svc.cluster.local": "infra/front",
	} {
		if got := fullGateway(name, "shop"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestHostNames(t *testing.T) {
	for _, good := range []string{"a", "*", "a.org", "A.org", "*.a.org", "*-a.org", "*a.org", "a.org.", "a-b.c-d", "1.a"} {
		if wrong := checkHost(good); wrong != "" {
			t.Errorf("%q: %s", good, wrong)
		}
	}
	for _, bad := range []string{"", ".", "a..b", "a.*", "a*.org", "**.org", "a_b.org", "-a.org", "a-.org", "a b", "a.1", strings.Repeat("a.", 130) + "org", strings.Repeat("a", 64) + ".org"} {
		if checkHost(bad) == "" {
			t.Errorf("%q is taken for a host name", bad)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		host, pattern string
		want          bool
	}{
		{"foo.com", "foo.com", true},
		{"foo.com", "*", true},
		{"foo.com", "*.com", true},
		{"foo.com", "*.foo.com", false},
		{"*.foo.com", "*.com", true},
		{"*.com", "*.foo.com", false},
		{"*.foo.com", "foo.com", false},
		{"*", "*.com", false},
		{"*.com", "*", true},
		{"a-b.com", "*-b.com", true},
		{"b.com", "*-b.com", false},
	} {
		if got := within(c.host, c.pattern); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

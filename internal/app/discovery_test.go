package app

import (
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
)

// services are like "a=1 2, b=3".
func services(text string) *affinity.Config {
	c := &affinity.Config{}
	for s := range strings.SplitSeq(text, ", ") {
		name, addresses, _ := strings.Cut(s, "=")
		svc := affinity.ServiceConfig{Name: name}
		if addresses == "missing" {
			svc.Missing, addresses = "it is not there", ""
		}
		for a := range strings.FieldsSeq(addresses) {
			svc.Endpoints = append(svc.Endpoints, affinity.EndpointConfig{Addr: a})
		}
		c.Services = append(c.Services, svc)
	}
	return c
}

func TestWhatIsAnnouncedHasAllThatIsAndAllThatWillBe(t *testing.T) {
	for _, tt := range []struct{ name, before, next, want string }{
		{"nothing changes", "a=1 2", "a=1 2", "a=1 2"},
		{"a replica comes", "a=1", "a=1 2", "a=1 2"},
		{"a replica goes", "a=1 2", "a=2", "a=2 1"},
		{"one comes and one goes", "a=1 2", "a=2 3", "a=2 3 1"},
		{"a service comes", "a=1", "a=1, b=2", "a=1, b=2"},
		{"a service goes", "a=1, b=2", "b=2", "b=2, a=1"},
		{"a service's host goes", "a=1", "a=missing", "a=1"},
		{"a service's host comes", "a=missing", "a=1", "a=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next := services(tt.next)
			var got []string
			for _, s := range both(next, services(tt.before)).Services {
				var addresses []string
				for _, ep := range s.Endpoints {
					addresses = append(addresses, ep.Addr)
				}
				got = append(got, s.Name+"="+strings.Join(addresses, " "))
			}
			if text := strings.Join(got, ", "); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
			if again := services(tt.next); len(next.Services) != len(again.Services) || len(next.Services[0].Endpoints) != len(again.Services[0].Endpoints) {
				t.Error("the next configuration has been changed")
			}
		})
	}
}

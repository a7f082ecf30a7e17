package doortest

import (
	"fmt"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
)

// Config is the use case, as the packages that read YAML would make it: what comes in at port 80 goes to the service that its
// header target names, backend-1 to backend-n, and sticks by x-user; the members target and username of a JSON body act as
// these headers. replicas lists the addresses (ip:port) of each service.
func Config(replicas ...[]string) affinity.Config {
	c := affinity.Config{
		Listeners: []affinity.Listener{{Port: 80, Promote: []affinity.Promotion{
			{Field: "target", Header: "target"}, {Field: "username", Header: "x-user"},
		}}},
	}
	var rules []route.Rule
	for i, addrs := range replicas {
		name := fmt.Sprintf("backend-%d", i+1)
		svc := affinity.ServiceConfig{
			Name: name, Host: name, Port: 8080, Key: affinity.Key{Kind: affinity.HeaderKey, Name: "x-user"},
			IdleTimeout: time.Minute, DrainDeadline: time.Minute, SessionHeader: affinity.DefaultSessionHeader,
		}
		for _, addr := range addrs {
			svc.Endpoints = append(svc.Endpoints, affinity.EndpointConfig{Addr: addr})
		}
		c.Services = append(c.Services, svc)
		rules = append(rules, route.Rule{
			Name: name, Object: "VirtualService default/test",
			Matches: []route.Match{{Headers: []route.NamedMatch{
				{Name: "target", StringMatch: route.StringMatch{Kind: route.Exact, Value: name}},
			}}},
			Destinations: []route.Destination{{Service: i}},
		})
	}
	c.Routes.Listeners = []route.Listener{{Port: 80, Hosts: []route.VirtualHost{{Domains: []string{"*"}, Rules: rules}}}}
	return c
}

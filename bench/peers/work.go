package peers

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
)

// Path is where all requests go.
const Path = "/hit_backend"

// BodyBytes is the length of every body.
const BodyBytes = 60

// UseCase is the three services of the use case with two replicas each, on 127.0.1.1, 127.0.1.2, 127.0.2.1, … and one port.
func UseCase(port uint16) []Service {
	var services []Service
	for s := byte(1); s <= 3; s++ {
		service := Service{Name: fmt.Sprintf("backend-%d", s)}
		for r := byte(1); r <= 2; r++ {
			service.Replicas = append(service.Replicas, Replica{
				Name: fmt.Sprintf("backend-%d-%d", s, r),
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, s, r}), port),
			})
		}
		services = append(services, service)
	}
	return services
}

// Body is what a user sends to a service.
func Body(user int, service string) string {
	return fmt.Sprintf(`{"username":"user-%04d@player.example","target":%q}`, user, service)
}

// Bodies are the bodies of the load in their order: 1,000 users call three services in turn, so that in the end every user
// has called every service.
func Bodies() []string {
	services := UseCase(0)
	bodies := make([]string, 1000*len(services))
	for i := range bodies {
		bodies[i] = Body(i%1000, services[i%len(services)].Name)
	}
	return bodies
}

// Headers are the headers of a body's request besides the usual ones, where it has them (Peer.ByHeaders): what its fields say.
func Headers(user int, service string) map[string]string {
	return map[string]string{"target": service, "x-user": fmt.Sprintf("user-%04d@player.example", user)}
}

// Requests are the requests of the load as they go over the wire.
func Requests(byHeaders bool) [][]byte {
	services := UseCase(0)
	var requests [][]byte
	for i, body := range Bodies() {
		b := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n", Path)
		if byHeaders {
			h := Headers(i%1000, services[i%len(services)].Name)
			b = fmt.Appendf(b, "target: %s\r\nx-user: %s\r\n", h["target"], h["x-user"])
		}
		requests = append(requests, fmt.Appendf(b, "Content-Length: %d\r\n\r\n%s", len(body), body))
	}
	return requests
}

// WriteLoad writes the load as a script for wrk and returns its path.
func WriteLoad(dir string, byHeaders bool) (string, error) {
	t, err := template.ParseFS(templates, "hit.lua.tmpl")
	if err != nil {
		return "", err
	}
	var requests []string
	for _, r := range Requests(byHeaders) {
		requests = append(requests, string(r))
	}
	var text bytes.Buffer
	if err := t.Execute(&text, requests); err != nil {
		return "", err
	}
	path := filepath.Join(dir, fmt.Sprintf("hit-%t.lua", byHeaders))
	return path, os.WriteFile(path, text.Bytes(), 0o600)
}

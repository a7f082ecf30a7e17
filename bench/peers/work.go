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

// Requests are the requests of the load as they go over the wire.
func Requests() [][]byte {
	var requests [][]byte
	for _, body := range Bodies() {
		requests = append(requests, fmt.Appendf(nil,
			"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", Path, len(body), body))
	}
	return requests
}

// WriteLoad writes the load as a script for wrk and returns its path.
func WriteLoad(dir string) (string, error) {
	t, err := template.ParseFS(files, "hit.lua.tmpl")
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, struct {
		Path   string
		Bodies []string
	}{Path, Bodies()}); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "hit.lua")
	return path, os.WriteFile(path, text.Bytes(), 0o600)
}

// Package peers knows the proxies of the comparison: how each is installed under which name, configured for the use case
// (route by the body's target, stick by its username), started, and asked for its version; and what the work is that each is
// given. The configurations are the templates beside this file. The package starts nothing and measures nothing.
package peers

import (
	"bytes"
	"embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var templates embed.FS

// Setup is the ground that all peers stand on in turn.
type Setup struct {
	Dir      string // folder for configurations, logs and sockets
	Root     string // the repository
	Listen   netip.AddrPort
	Admin    netip.AddrPort // for what a peer serves besides
	Beside   netip.AddrPort // where the program beside a peer listens
	Services []Service
	More     string // a file with further objects for Remora, or ""
}

// IP is the address to listen on, for templates.
func (s Setup) IP() string { return s.Listen.Addr().String() }

// Port is the port to listen on, for templates.
func (s Setup) Port() uint16 { return s.Listen.Port() }

// Service is one of the services behind the proxies.
type Service struct {
	Name     string
	Replicas []Replica
}

// Replica is one replica of a service.
type Replica struct {
	Name string
	Addr netip.AddrPort
}

// IP is the replica's address, for templates.
func (r Replica) IP() string { return r.Addr.Addr().String() }

// Port is the replica's port, for templates.
func (r Replica) Port() uint16 { return r.Addr.Port() }

// Peer is one proxy.
type Peer struct {
	Name      string
	What      string // one line for the table
	ByHeaders bool   // it cannot read bodies: its requests have target and username in headers as well
	Beside    *Peer  // a program that it asks, which is started before it and whose CPU time is counted apart; or nil
	programs  []string
	version   []string // arguments that make it print its version
	env       []string
	config    string // template
	// generate, when it is set, is a command whose output is the configuration, made from the template.
	generate func(s Setup, config string) []string
	args     func(s Setup, config string) []string
	// Ready is a URL that is answered with 200 when the program is ready; nil where taking connections says that.
	Ready func(s Setup) string
}

// All are the peers in the order of the table.
var All = []Peer{
	{
		Name: "haproxy", What: "HAProxy (json_query, stick table)",
		programs: []string{"haproxy", "/usr/sbin/haproxy"}, version: []string{"-v"},
		config: "haproxy.cfg.tmpl",
		args:   func(_ Setup, config string) []string { return []string{"-db", "-q", "-f", config} },
	},
	{
		Name: "nginx", What: "nginx + Lua (consistent hash)",
		programs: []string{"nginx", "/usr/sbin/nginx"}, version: []string{"-v"},
		config: "nginx.conf.tmpl",
		args: func(s Setup, config string) []string {
			return []string{"-e", filepath.Join(s.Dir, "nginx.log"), "-p", s.Dir, "-c", config}
		},
	},
	{
		Name: "envoy", What: "Envoy + Lua (ring hash)",
		programs: envoyPrograms, version: []string{"--version"},
		config: "envoy.yaml.tmpl", args: envoyArgs,
	},
	{
		Name: "remora", What: "Remora",
		programs: []string{"bin/remora"}, version: []string{"version"}, env: []string{"GOMAXPROCS=1"},
		config: "endpoints.yaml.tmpl",
		args: func(s Setup, config string) []string {
			args := []string{"serve", "--bind", s.IP(), "--port", fmt.Sprintf("80=%d", s.Port()), "--admin", s.Admin.String()}
			return append(args, files(s, config)...)
		},
	},
	{
		Name: "envoy-header", What: "Envoy alone (routes and hashes by headers)", ByHeaders: true,
		programs: envoyPrograms, version: []string{"--version"},
		config: "envoy-header.yaml.tmpl", args: envoyArgs,
	},
	{
		Name: "envoy-remora", What: "Envoy + Remora (external processor)", Beside: &Processor,
		programs: envoyPrograms, version: []string{"--version"},
		config: "endpoints.yaml.tmpl", args: envoyArgs,
		generate: func(s Setup, config string) []string {
			args := []string{
				"bin/remora", "generate", "envoy", "--bind", s.IP(), "--port", fmt.Sprintf("80=%d", s.Port()),
				"--processor", s.Beside.String(), "--envoy-admin", "off",
			}
			return append(args, files(s, config)...)
		},
	},
}

var envoyPrograms = []string{".cache/bin/envoy", "envoy"}

func envoyArgs(s Setup, config string) []string {
	return []string{"-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn", "--log-path", filepath.Join(s.Dir, "envoy.log")}
}

// Processor is what envoy-remora asks.
var Processor = Peer{
	Name: "processor", What: "remora extproc",
	programs: []string{"bin/remora"}, version: []string{"version"},
	config: "endpoints.yaml.tmpl",
	args: func(s Setup, config string) []string {
		args := []string{"extproc", "--listen", s.Beside.String(), "--admin", s.Admin.String()}
		return append(args, files(s, config)...)
	},
	Ready: func(s Setup) string { return "http://" + s.Admin.String() + "/readyz" },
}

// files are the arguments that name the objects of examples/hit-backend, with the endpoints of the comparison.
func files(s Setup, endpoints string) []string {
	args := []string{"-f", endpoints}
	for _, object := range []string{"affinitypolicy", "destinationrules", "gateway", "services", "virtualservice"} {
		args = append(args, "-f", filepath.Join(s.Root, "examples/hit-backend", object+".yaml"))
	}
	if s.More != "" {
		args = append(args, "-f", s.More)
	}
	return args
}

// Backends is the server of all replicas.
var Backends = Peer{
	Name: "backends", What: "the replicas",
	programs: []string{"nginx", "/usr/sbin/nginx"}, version: []string{"-v"},
	config: "backends.conf.tmpl",
	args: func(s Setup, config string) []string {
		return []string{"-e", filepath.Join(s.Dir, "backends.log"), "-p", s.Dir, "-c", config}
	},
}

// Named finds peers by their names, in the order given.
func Named(names []string) ([]Peer, error) {
	var found []Peer
	var all []string
	for _, p := range All {
		all = append(all, p.Name)
	}
next:
	for _, name := range names {
		for _, p := range All {
			if p.Name == name {
				found = append(found, p)
				continue next
			}
		}
		return nil, fmt.Errorf("there is no peer %q; the peers are %s", name, strings.Join(all, ", "))
	}
	return found, nil
}

// Command is what starts a program.
type Command struct {
	Program string
	Args    []string
	Env     []string // besides the environment
}

// VersionCommand is what prints the peer's version.
func (p Peer) VersionCommand(root string) (Command, error) {
	program, err := p.program(root)
	return Command{Program: program, Args: p.version}, err
}

// Prepare writes the peer's configuration and says how to start it.
func (p Peer) Prepare(s Setup) (Command, error) {
	program, err := p.program(s.Root)
	if err != nil {
		return Command{}, err
	}
	t, err := template.ParseFS(templates, p.config)
	if err != nil {
		return Command{}, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, s); err != nil {
		return Command{}, err
	}
	config := filepath.Join(s.Dir, p.Name+"-"+strings.TrimSuffix(p.config, ".tmpl"))
	if err := os.WriteFile(config, text.Bytes(), 0o600); err != nil {
		return Command{}, err
	}
	if p.generate != nil {
		if config, err = p.generated(s, config); err != nil {
			return Command{}, err
		}
	}
	return Command{Program: program, Args: p.args(s, config), Env: p.env}, nil
}

// generated lets another program write the configuration, and returns its path.
func (p Peer) generated(s Setup, from string) (string, error) {
	args := p.generate(s, from)
	program, err := lookPath(s.Root, args[0])
	if err != nil {
		return "", err
	}
	var out, problems bytes.Buffer
	cmd := exec.Command(program, args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args[:3], " "), err, problems.String())
	}
	config := filepath.Join(s.Dir, p.Name+"-generated.yaml")
	return config, os.WriteFile(config, out.Bytes(), 0o600)
}

// program finds the peer's executable.
func (p Peer) program(root string) (string, error) {
	for _, name := range p.programs {
		if path, err := lookPath(root, name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not on this machine; bench/install installs it (make bench does that), or leave it out with -peers", p.Name)
}

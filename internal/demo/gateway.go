package demo

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/remora-proxy/remora/internal/admin"
)

// Front is what the tour sends its requests to: it listens on one address, follows the demo's configuration, and shows its
// sessions through Remora's admin API.
type Front interface {
	Start(context.Context) error // returns when requests are served
	Stop()                       // in order: its sessions are there again after the next Start
	URL() string                 // where requests go: http://ip:port
	AdminURL() string
}

// door is a Front that the demo runs.
type door interface {
	Front
	claims() []claim       // the addresses that it will listen on
	processes() []*process // that run; not before Start
	title() string         // what runs, in a line
	introduce(*screen)     // prints where each process is
}

// gateway is Remora's own gateway, as a process.
type gateway struct {
	supervisor  *supervisor
	config      string // folder
	sessions    string // file
	addr, admin netip.AddrPort
	process     *process
}

// gatewayPort is the port of the example's Gateway.
const gatewayPort = 80

func (g *gateway) URL() string { return "http://" + g.addr.String() }

func (g *gateway) AdminURL() string { return "http://" + g.admin.String() }

// Start starts the gateway and waits until it is ready.
func (g *gateway) Start(ctx context.Context) (err error) {
	g.process, err = g.supervisor.start("gateway", "serve", "-f", g.config,
		"--bind", g.addr.Addr().String(), "--port", strconv.Itoa(gatewayPort)+"="+strconv.Itoa(int(g.addr.Port())),
		"--admin", g.admin.String(), "--session-file", g.sessions,
		"--shutdown-timeout", (stopLimit / 2).String(), "--log-format", "text")
	if err != nil {
		return err
	}
	if err := untilServing(ctx, g.process, g.AdminURL()); err != nil {
		return fmt.Errorf("the gateway on %s: %w", g.addr, err)
	}
	return nil
}

// untilServing waits until a process of Remora's says on its admin API that it is ready.
func untilServing(ctx context.Context, p running, adminURL string) error {
	client, err := admin.NewClient(adminURL)
	if err != nil {
		return err
	}
	return untilReady(ctx, p, func(ctx context.Context) bool {
		status, err := client.Status(ctx)
		return err == nil && status.Ready
	})
}

// Stop ends the gateway as an operator does.
func (g *gateway) Stop() {
	if g.process != nil {
		g.process.Stop()
	}
}

func (g *gateway) processes() []*process { return []*process{g.process} }

func (g *gateway) introduce(s *screen) {
	s.print(plain, 3, "%-17s %-15s pid %d, admin API on %s", "gateway", g.addr, g.process.PID(), g.admin)
}

func (g *gateway) title() string {
	return "Three services with two replicas each, and a gateway before them; each is a process of its own."
}

func (g *gateway) claims() []claim {
	return []claim{
		{g.addr, "the gateway", "--port PORT"},
		{g.admin, "the gateway's admin API", "--admin-port PORT"},
	}
}

// startReplica starts a replica of the sample service as a process.
func (s *supervisor) startReplica(e endpoint) (running, error) {
	return s.start(e.name, "backend", "--service", e.service, "--name", e.name, "--listen", e.addr.String())
}

// newDoor is the front door of a demo whose files are in dir.
func newDoor(s *supervisor, dir string, o Options) door {
	config, sessions := filepath.Join(dir, configFolder), filepath.Join(dir, "sessions")
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(loopback, port) }
	if o.Envoy == "" {
		return &gateway{supervisor: s, config: config, sessions: sessions, addr: at(o.Port), admin: at(o.AdminPort)}
	}
	return &envoy{
		supervisor: s, binary: o.Envoy, dir: dir, config: config, sessions: sessions,
		addr: at(o.Port), admin: at(o.AdminPort), envoyAdmin: at(o.EnvoyAdminPort), asked: at(o.ProcessorPort),
	}
}

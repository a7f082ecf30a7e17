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
func (g *gateway) Start(ctx context.Context) error {
	client, err := admin.NewClient(g.AdminURL())
	if err != nil {
		return err
	}
	g.process, err = g.supervisor.start("gateway", "serve", "-f", g.config,
		"--bind", g.addr.Addr().String(), "--port", strconv.Itoa(gatewayPort)+"="+strconv.Itoa(int(g.addr.Port())),
		"--admin", g.admin.String(), "--session-file", g.sessions,
		"--shutdown-timeout", (stopLimit / 2).String(), "--log-format", "text")
	if err != nil {
		return err
	}
	err = untilReady(ctx, g.process, func(ctx context.Context) bool {
		status, err := client.Status(ctx)
		return err == nil && status.Ready
	})
	if err != nil {
		return fmt.Errorf("the gateway on %s: %w", g.addr, err)
	}
	return nil
}

// Stop ends the gateway as an operator does.
func (g *gateway) Stop() {
	if g.process != nil {
		g.process.Stop()
	}
}

// startReplica starts a replica of the sample service as a process.
func (s *supervisor) startReplica(e endpoint) (running, error) {
	return s.start(e.name, "backend", "--service", e.service, "--name", e.name, "--listen", e.addr.String())
}

// newGateway is the gateway of a demo whose files are in dir.
func newGateway(s *supervisor, dir string, addr, adminAddr netip.AddrPort) *gateway {
	return &gateway{
		supervisor: s, config: filepath.Join(dir, configFolder), sessions: filepath.Join(dir, "sessions"),
		addr: addr, admin: adminAddr,
	}
}

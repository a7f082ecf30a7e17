// Package demo is the tour of the use case: it starts three stateful services and the gateway as processes of their own,
// sends requests as clients do, and holds what comes back against both rules: the field names the service, and the user
// stays. It judges by the replies of the sample service and by its own books, and holds the admin API's word against them.
// It also scales the service's processes as Kubernetes would scale pods.
//
// It is a client and an operator, nothing else: it knows the gateway by its address, its admin API and its configuration's
// files, and nothing of how a decision is made. Another front door takes the gateway's place as another Front.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/remora-proxy/remora/examples"
)

// Ports that the demo uses when nothing else is asked for.
const (
	DefaultPort        = 8080
	DefaultAdminPort   = 9901
	DefaultBackendPort = 8080

	DefaultEnvoyAdminPort = 19000
	DefaultProcessorPort  = 9002
)

// shownIdle is the idle time for the step that waits for it.
const shownIdle = 2 * time.Second

// exampleReplicas is how many replicas of each service the example has.
const exampleReplicas = 2

// Folders in the demo's own.
const (
	configFolder = "config"
	logFolder    = "logs"
)

// loopback is where the gateway listens. The replicas have the addresses of the example.
var loopback = netip.MustParseAddr("127.0.0.1")

// ErrNotHeld says that the tour found a rule broken; the tour's output has the details.
var ErrNotHeld = errors.New("not everything held: see ✗ above")

// Options are what a demo is started with.
type Options struct {
	Program     string // executable that is started for each part
	Called      string // how the person at the terminal calls it
	Port        uint16 // of the gateway
	AdminPort   uint16
	BackendPort uint16 // of every replica, each on an address of its own

	Envoy          string // executable of the Envoy that takes the gateway's place; empty: none
	EnvoyAdminPort uint16 // of its admin API
	ProcessorPort  uint16 // where it asks Remora

	Once   bool // end after the tour
	Out    io.Writer
	Colour bool
}

// Run starts everything, walks through the tour, and stays until ctx is done or, with Once, ends then. When it returns, all
// that it started has ended. The error is ErrNotHeld when a rule was broken, and another one when something could not be
// started or shown.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{o: o, screen: &screen{w: o.Out, colour: o.Colour}}
	if d.dir, err = os.MkdirTemp("", "remora-demo-"); err != nil {
		return err
	}
	defer func() {
		d.stop()
		if !o.Once && d.supervisor != nil {
			d.screen.print(faint, 0, "All processes have ended.")
		}
		if err != nil && d.supervisor != nil {
			d.screen.print(faint, 0, "The logs are kept: %s", filepath.Join(d.dir, logFolder))
			return
		}
		err = errors.Join(err, os.RemoveAll(d.dir))
	}()
	if err := d.prepare(); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return d.unlessInterrupted(ctx, err)
	}
	began := time.Now()
	tour, err := newTour(d.front, d.fleet, d.screen, shownIdle, shownPace)
	if err != nil {
		return err
	}
	err = tour.run(ctx, steps)
	if err != nil && tour.failed == 0 {
		return d.unlessInterrupted(ctx, err)
	}
	d.printVerdict(tour, time.Since(began))
	if err == nil && !o.Once {
		d.printHints()
		err = d.stay(ctx)
	}
	if tour.failed > 0 {
		return ErrNotHeld
	}
	return err
}

// demo is one run.
type demo struct {
	o          Options
	screen     *screen
	dir        string
	supervisor *supervisor
	fleet      *fleet
	front      door
}

// prepare writes the configuration and makes sure that nothing is in the way.
func (d *demo) prepare() error {
	config, err := newConfiguration(examples.HitBackend(), filepath.Join(d.dir, configFolder), d.o.BackendPort)
	if err != nil {
		return err
	}
	logs := filepath.Join(d.dir, logFolder)
	if err := os.Mkdir(logs, 0o700); err != nil {
		return err
	}
	if err := d.checkPorts(config); err != nil {
		return err
	}
	if d.supervisor, err = newSupervisor(d.o.Program, logs); err != nil {
		return err
	}
	d.front = newDoor(d.supervisor, d.dir, d.o)
	d.fleet = &fleet{config: config, start: d.supervisor.startReplica}
	return nil
}

// checkPorts says what is in the way of what will listen.
func (d *demo) checkPorts(config *configuration) error {
	all := newDoor(nil, "", d.o).claims()
	replicas, err := config.list()
	if err != nil {
		return err
	}
	for _, r := range replicas {
		all = append(all, claim{r.addr, "replica " + r.name, "--backend-port PORT"})
	}
	for service, most := range map[string]int{backend1: 3, backend3: maxReplicas} {
		later, err := config.next(service, most-exampleReplicas)
		if err != nil {
			return err
		}
		for _, addr := range later {
			all = append(all, claim{addr, "a later replica of " + service, "--backend-port PORT"})
		}
	}
	return checkPorts(all)
}

// start starts the replicas and the gateway, and says what runs where.
func (d *demo) start(ctx context.Context) error {
	s := d.screen
	s.print(bold, 0, "%s", d.front.title())
	s.blank()
	if err := d.fleet.startAll(ctx); err != nil {
		return err
	}
	for _, r := range d.fleet.replicas {
		s.print(plain, 3, "%-17s %-15s pid %d", r.name, r.addr, r.PID())
	}
	if err := d.front.Start(ctx); err != nil {
		return err
	}
	d.front.introduce(s)
	s.blank()
	s.print(faint, 3, "configuration: %s/*.yaml (a copy of examples/hit-backend; changes are loaded)", filepath.Join(d.dir, configFolder))
	s.print(faint, 3, "logs: %s/*.log", d.supervisor.logs)
	s.blank()
	s.print(faint, 0, "Each request below is a POST to %s%s.", d.front.URL(), path)
	return nil
}

// stop ends all that was started: first the gateway, so that no request meets a replica that is gone.
func (d *demo) stop() {
	if d.supervisor == nil {
		return
	}
	d.front.Stop()
	d.fleet.stop()
	d.supervisor.close()
}

// stay waits until ctx is done, and says what happens to the processes meanwhile: someone may try what a kill does.
func (d *demo) stay(ctx context.Context) error {
	ended := make(chan *replica, len(d.fleet.replicas))
	for _, r := range d.fleet.replicas {
		go func() {
			<-r.Done() // at the latest when the demo stops all of them
			ended <- r
		}()
	}
	gone := make(chan *process, len(d.front.processes()))
	for _, p := range d.front.processes() {
		go func() {
			<-p.Done()
			gone <- p
		}()
	}
	for {
		select {
		case <-ctx.Done():
			d.screen.blank()
			return nil
		case r := <-ended:
			d.screen.print(red, 0, "%s (%s) has ended; its users move when they come back", r.name, r.addr)
		case p := <-gone:
			return errors.New(p.Failure())
		}
	}
}

// unlessInterrupted is err, unless it came about because the person at the terminal has seen enough. Who wants a verdict
// (Once) gets an error.
func (d *demo) unlessInterrupted(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return err
	case d.o.Once:
		return errors.New("interrupted before the end of the tour")
	}
	d.screen.blank()
	return nil
}

func (d *demo) printVerdict(t *tour, took time.Duration) {
	d.screen.blank()
	if t.failed == 0 {
		d.screen.print(green, 0, "All %d checks held, in %.1f seconds.", t.checks, took.Seconds())
	} else {
		d.screen.print(red, 0, "%d of %d checks did not hold: see ✗ above.", t.failed, t.checks)
	}
}

// printHints prints what there is to try.
func (d *demo) printHints() {
	s := d.screen
	command := func(format string, args ...any) { fmt.Fprintf(s.w, "   "+format+"\n", args...) }
	addr, admin := netip.AddrPortFrom(loopback, d.o.Port), netip.AddrPortFrom(loopback, d.o.AdminPort).String()
	where := ""
	if d.o.AdminPort != DefaultAdminPort {
		where = " --gateway " + admin
	}
	post := fmt.Sprintf("curl -s %s%s -H 'Content-Type: application/json'", addr, path)
	s.blank()
	s.print(bold, 0, "It stays up until Ctrl-C. Try:")
	s.blank()
	command("%s \\\n     -d '{\"username\":\"you\",\"target\":\"backend-1\"}'", post)
	command("curl -s -X POST %s%s -H 'target: backend-2' -H 'x-user: you'", addr, path)
	command("%s \\\n     -H 'target: backend-2' -H 'x-user: kaleeswaran' -d '{\"username\":\"user\",\"target\":\"backend-1\"}'", post)
	s.blank()
	command("%s sessions ls%s", d.o.Called, where)
	command("%s sessions get you --service backend-1%s", d.o.Called, where)
	command("%s sessions drain %s%s", d.o.Called, d.fleet.of(backend1)[0].addr, where)
	command("%s explain --gateway %s --path %s \\\n     --body '{\"username\":\"you\",\"target\":\"backend-1\"}'", d.o.Called, admin, path)
	command("kill -9 %d   # %s", d.fleet.of(backend1)[0].PID(), d.fleet.of(backend1)[0].name)
	s.blank()
}

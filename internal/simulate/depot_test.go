package simulate

import (
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
	"github.com/remora-proxy/remora/internal/session/shared/model"
)

// depot is the store outside and what befalls it. Its clock is the true one.
type depot struct {
	sim   *sim
	model *model.Store

	stoppedUntil millis // it does not answer
	refuses      bool   // while it is stopped, connections are refused at once
	slowUntil    millis
	hushedUntil  millis // news are lost
	fullUntil    millis
	replica      model.State // that it may fail over to
}

// maxProcesses is how many gateways a schedule may start.
const maxProcesses = 64

func (d *depot) reset(s *sim) {
	*d = depot{sim: s, model: model.New(2 * interval)}
	d.replica = d.model.Clone()
}

// connect gives a gateway its access.
func (d *depot) connect(g *gateway) shared.Remote {
	return d.model.Gateway(g.id, func(n shared.News) {
		if !g.dead {
			d.sim.tell(g, n)
		}
	})
}

// binding is what the store has of a session, be it live or not.
func (d *depot) binding(k session.Key) shared.Binding {
	return d.model.Session(k)
}

// lives says whether a session lives in the store for every gateway.
func (d *depot) lives(b shared.Binding) bool { return b.Owner != 0 && millis(b.Until) > d.sim.now }

// execute carries an operation out. Rules about the store are checked before and after.
func (d *depot) execute(o *op) {
	d.model.At(session.Instant(d.sim.now))
	d.model.Full(d.fullUntil > d.sim.now)
	shift := session.Instant(o.blur - o.g.skew) // from the gateway's clock to the store's
	now := o.now + shift
	rules := &d.sim.rules
	switch o.kind {
	case opClaim, opMove, opRenew:
		for i := range o.claims {
			o.claims[i].Claimed += shift
			o.claims[i].Until += shift
		}
		rules.before(o)
		d.write(o, now)
		rules.after(o)
		for i := range o.bindings {
			o.bindings[i].Claimed -= shift
			o.bindings[i].Until -= shift
		}
	case opFind:
		var found []shared.Binding
		found, o.err = o.g.remote.Find(now, o.keys)
		for _, b := range found {
			if b.Owner != 0 {
				b.Claimed, b.Until = b.Claimed-shift, b.Until-shift
			}
			o.bindings = append(o.bindings, b)
		}
	case opCount:
		o.counted, o.err = o.g.remote.Count(now, o.part, o.parts)
	case opLead:
		o.yes, o.err = o.g.remote.Lead(now, o.millis)
	case opEpoch:
		o.epoch, o.err = o.g.remote.Epoch(now)
	case opAnnounce:
		o.err = o.g.remote.Announce(o.news)
	}
}

// write carries out what may change bindings.
func (d *depot) write(o *op, now session.Instant) {
	var b shared.Binding
	switch o.kind {
	case opClaim:
		b, o.yes, o.err = o.g.remote.Claim(now, o.claims[0])
		o.bindings = append(o.bindings, b)
	case opMove:
		b, o.yes, o.err = o.g.remote.Move(now, o.claims[0], o.from)
		o.bindings = append(o.bindings, b)
	case opRenew:
		var found []shared.Binding
		found, o.err = o.g.remote.Renew(now, o.claims)
		o.bindings = append(o.bindings, found...)
	}
}

// forget is a loss of what the store had since some time: nobody can rely on it until all was told again.
func (d *depot) forget() {
	d.sim.lost = d.sim.now
	for _, g := range d.sim.gateways {
		g.trouble = d.sim.now
	}
}

// arrive is a call whose caller has given it up.
func (d *depot) arrive(o *op) {
	if d.stoppedUntil <= d.sim.now {
		d.sim.trace.add(d.sim.now, "g%d: call arrives after all: "+opNames[o.kind], int64(o.g.number))
		d.execute(o)
	}
}

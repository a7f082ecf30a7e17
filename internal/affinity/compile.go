package affinity

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/placement"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// Snapshot is a compiled Config: immutable, swapped whole. It knows no sessions yet; Apply binds it to an engine.
type Snapshot struct {
	table     *route.Table
	listeners []listener // by port
	services  []ServiceConfig
	cookies   []string // that services set, by name
}

// listener is what applies to the requests of one port before their route is known.
type listener struct {
	port    uint16
	promote []Promotion
	spec    *fields.Spec // nil when nothing is promoted
	maxBody int
	policy  string
	routing []int // those of promote whose headers the routes of the port look at
}

// Compile turns a Config into a Snapshot. An error names what the maker of the Config should have refused.
func Compile(c Config) (*Snapshot, error) {
	table, err := route.New(c.Routes)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{table: table, services: slices.Clone(c.Services)}
	for _, lc := range c.Listeners {
		l, err := compileListener(lc, table)
		if err != nil {
			return nil, fmt.Errorf("listener %d: %w", lc.Port, err)
		}
		s.listeners = append(s.listeners, l)
	}
	slices.SortFunc(s.listeners, func(a, b listener) int { return cmp.Compare(a.port, b.port) })
	names := make(map[string]bool, len(s.services))
	for i := range s.services {
		sc := &s.services[i]
		if sc.Name == "" || names[sc.Name] {
			return nil, fmt.Errorf("service %q: the name is empty or used twice", sc.Name)
		}
		names[sc.Name] = true
		if err := defaultService(sc); err != nil {
			return nil, fmt.Errorf("service %q: %w", sc.Name, err)
		}
		if k := &sc.Key; k.Kind == CookieKey && k.SetTTL && !slices.Contains(s.cookies, k.Name) {
			s.cookies = append(s.cookies, k.Name)
		}
	}
	return s, checkDestinations(c.Routes, len(s.services))
}

func compileListener(lc Listener, table *route.Table) (listener, error) {
	l := listener{port: lc.Port, promote: lc.Promote, maxBody: cmp.Or(lc.MaxBody, DefaultMaxBody), policy: lc.Policy}
	if len(lc.Promote) == 0 {
		return l, nil
	}
	names := make([]string, len(lc.Promote))
	for i, p := range lc.Promote {
		names[i] = p.Field
		if table.UsesHeader(lc.Port, p.Header) {
			l.routing = append(l.routing, i)
		}
	}
	spec, err := fields.NewSpec(names...)
	l.spec = spec
	return l, err
}

// defaultService fills in what the config left to the defaults.
func defaultService(sc *ServiceConfig) error {
	sc.IdleTimeout = cmp.Or(sc.IdleTimeout, DefaultIdleTimeout)
	sc.LoadBound = cmp.Or(sc.LoadBound, placement.DefaultBound)
	sc.SessionHeader = cmp.Or(sc.SessionHeader, DefaultSessionHeader)
	if sc.IdleTimeout < time.Millisecond || sc.IdleTimeout > session.MaxIdle {
		return fmt.Errorf("idle timeout %v is not in 1ms … %v", sc.IdleTimeout, session.MaxIdle)
	}
	if sc.LoadBound <= 1 {
		return fmt.Errorf("load bound %v is not over 1", sc.LoadBound)
	}
	seen := make(map[[2]string]bool, len(sc.Endpoints))
	for _, ep := range sc.Endpoints {
		id := [2]string{ep.Addr, ep.Incarnation}
		if ep.Addr == "" || seen[id] {
			return fmt.Errorf("endpoint %q is empty or there twice", ep.Addr)
		}
		seen[id] = true
	}
	return nil
}

func checkDestinations(rc route.Config, services int) error {
	for _, l := range rc.Listeners {
		for _, h := range l.Hosts {
			for _, r := range h.Rules {
				if (len(r.Destinations) == 0) != (r.ByProxy != "") {
					return fmt.Errorf("%s: rule %q has no destination, or one beside an answer of the proxy's", r.Source, r.Name)
				}
				for _, d := range r.Destinations {
					if d.Service < 0 || d.Service >= services {
						return fmt.Errorf("%s: rule %q: no service with index %d", r.Source, r.Name, d.Service)
					}
				}
			}
		}
	}
	return nil
}

// listener finds what applies to a port; nil when nothing does.
func (s *Snapshot) listener(port uint16) *listener {
	for i := range s.listeners { // a handful
		if s.listeners[i].port == port {
			return &s.listeners[i]
		}
	}
	return nil
}

package livesessions

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	gatewayA = netip.MustParseAddrPort("10.1.0.1:9090")
	gatewayB = netip.MustParseAddrPort("10.1.0.2:9090")
)

// scene is a reader of gateways that say what a test lets them say.
type scene struct {
	Reader

	mu    sync.Mutex
	store string // that the gateways share
	says  map[netip.AddrPort][]Load
	fails map[netip.AddrPort]error
	asked int // gateways, in all
}

func newScene(says map[netip.AddrPort][]Load) *scene {
	s := &scene{says: says, fails: map[netip.AddrPort]error{}}
	s.Gateways = func(context.Context) ([]netip.AddrPort, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var all []netip.AddrPort
		for g := range s.says {
			all = append(all, g)
		}
		return all, nil
	}
	s.Ask = func(_ context.Context, g netip.AddrPort) (*Answer, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		return &Answer{Store: s.store, Loads: s.says[g]}, s.fails[g]
	}
	return s
}

func TestTheSessionsOfAPodAreThoseOfAllGatewaysAndOfAllItsServices(t *testing.T) {
	s := newScene(map[netip.AddrPort][]Load{
		gatewayA: {
			{Service: "cart.shop.svc.cluster.local:8080", Incarnation: "uid-1", Sessions: 3},
			{Service: "cart.shop.svc.cluster.local:8080", Incarnation: "uid-2", Sessions: 0},
			{Service: "cart.shop.svc.cluster.local:8080/v1", Incarnation: "uid-1", Sessions: 1},
			{Service: "cart-admin.shop.svc.cluster.local:9000", Incarnation: "uid-1", Sessions: 5},
			{Service: "db.example.com:443", Incarnation: "", Sessions: 7},
		},
		gatewayB: {
			{Service: "cart.shop.svc.cluster.local:8080", Incarnation: "uid-1", Sessions: 10},
			{Service: "cart.shop.svc.cluster.local:8080", Incarnation: "uid-3", Sessions: 2},
			{Service: "cart.other.svc:8080", Incarnation: "uid-4", Sessions: 1},
		},
	})
	counts, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[string]int{"uid-1": 19, "uid-2": 0, "uid-3": 2, "uid-4": 1} {
		if n, known := counts.Pod(uid); n != want || !known {
			t.Errorf("%s has %d sessions (known: %v), want %d", uid, n, known, want)
		}
	}
	for _, uid := range []string{"uid-5", ""} {
		if _, known := counts.Pod(uid); known {
			t.Errorf("a pod with the uid %q is known", uid)
		}
	}
	for _, service := range []struct {
		namespace, name string
		want            int
	}{{"shop", "cart", 16}, {"shop", "cart-admin", 5}, {"other", "cart", 1}} {
		if n, known := counts.Service(service.namespace, service.name); n != service.want || !known {
			t.Errorf("%s/%s has %d sessions (known: %v), want %d", service.namespace, service.name, n, known, service.want)
		}
	}
	if _, known := counts.Service("example", "db"); known {
		t.Error("a host that is no Service is one")
	}
}

func TestTheSessionsOfGatewaysThatShareAStoreAreCountedOnce(t *testing.T) {
	const cart = "cart.shop.svc.cluster.local:8080"
	s := newScene(map[netip.AddrPort][]Load{
		gatewayA: {
			{Service: cart, Addr: "10.2.0.1:8080", Incarnation: "uid-1", Sessions: 13},
			{Service: cart, Addr: "10.2.0.2:8080", Incarnation: "uid-2", Sessions: 2},
			{Service: cart + "/v1", Addr: "10.2.0.1:8080", Incarnation: "uid-1", Sessions: 1},
		},
		gatewayB: { // which has counted a moment later
			{Service: cart, Addr: "10.2.0.1:8080", Incarnation: "uid-1", Sessions: 12},
			{Service: cart, Addr: "10.2.0.2:8080", Incarnation: "uid-2", Sessions: 4},
		},
	})
	s.store = "redis://store:6379 remora:"
	counts, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[string]int{"uid-1": 14, "uid-2": 4} {
		if n, known := counts.Pod(uid); n != want || !known {
			t.Errorf("%s has %d sessions (known: %v), want %d", uid, n, known, want)
		}
	}
	if n, _ := counts.Service("shop", "cart"); n != 18 {
		t.Errorf("the service has %d sessions, want 18", n)
	}
}

func TestWithoutTheAnswerOfEveryGatewayThereIsNoCount(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*scene)
		want   []string
	}{
		"one of two does not answer": {
			func(s *scene) { s.fails[gatewayB] = errors.New("connection refused") },
			[]string{"1 of 2 gateways have not answered", "10.1.0.2:9090: connection refused"},
		},
		"none is ready": {
			func(s *scene) { clear(s.says) },
			[]string{"no gateway is ready"},
		},
		"they cannot be found": {
			func(s *scene) {
				s.Gateways = func(context.Context) ([]netip.AddrPort, error) { return nil, errors.New("forbidden") }
			},
			[]string{"find the gateways: forbidden"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(map[netip.AddrPort][]Load{gatewayA: {{Service: "cart.shop.svc:80", Incarnation: "uid-1", Sessions: 3}}, gatewayB: nil})
			test.change(s)
			counts, err := s.Read(t.Context())
			if err == nil {
				t.Fatalf("it gives %+v", counts)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestWhoAsksWithinASecondSharesAReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(map[netip.AddrPort][]Load{gatewayA: {{Service: "cart.shop.svc:80", Incarnation: "uid-1", Sessions: 3}}})
		ask := s.Ask
		s.Ask = func(ctx context.Context, g netip.AddrPort) (*Answer, error) {
			time.Sleep(time.Second / 2) //nolint:forbidigo // the bubble's time: how long a gateway takes to answer
			return ask(ctx, g)
		}
		var askers sync.WaitGroup
		for range 100 {
			askers.Go(func() {
				counts, err := s.Read(t.Context())
				if err != nil {
					t.Error(err)
				} else if n, _ := counts.Pod("uid-1"); n != 3 {
					t.Errorf("the pod has %d sessions", n)
				}
			})
		}
		askers.Wait()
		if s.asked != 1 {
			t.Errorf("the gateway was asked %d times", s.asked)
		}
		time.Sleep(freshness) //nolint:forbidigo // the bubble's time
		if _, err := s.Read(t.Context()); err != nil || s.asked != 2 {
			t.Errorf("after %s it was asked %d times in all: %v", freshness, s.asked, err)
		}
	})
}

func TestAGatewayThatHangsHoldsNobodyUpForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(map[netip.AddrPort][]Load{gatewayA: nil})
		s.Ask = func(ctx context.Context, _ netip.AddrPort) (*Answer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		began := time.Now()
		var askers sync.WaitGroup
		for range 100 {
			askers.Go(func() {
				if _, err := s.Read(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("it gives %v", err)
				}
			})
		}
		left, leave := context.WithCancel(t.Context())
		askers.Go(func() {
			if _, err := s.Read(left); err == nil {
				t.Error("who has left gets an answer")
			}
		})
		leave()
		askers.Wait()
		if took := time.Since(began); took != patience {
			t.Errorf("all have waited %s, want %s", took, patience)
		}
	})
}

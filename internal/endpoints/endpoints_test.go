package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// zone is a DNS server for tests.
type zone struct {
	mu    sync.Mutex
	hosts map[string]func(context.Context) ([]netip.Addr, error)
	asked []string
	most  int // questions at one time
	now   int
}

func (z *zone) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	z.asked = append(z.asked, host)
	z.now++
	z.most = max(z.most, z.now)
	answer := z.hosts[host]
	z.mu.Unlock()
	defer func() {
		z.mu.Lock()
		z.now--
		z.mu.Unlock()
	}()
	if network != "ip" {
		return nil, errors.New("asked for " + network)
	}
	if answer == nil {
		return nil, errors.New("no such host")
	}
	return answer(ctx)
}

func (z *zone) set(host string, addrs ...string) {
	z.answer(host, func(context.Context) ([]netip.Addr, error) { return parse(addrs...), nil })
}

func (z *zone) fail(host string, err error) {
	z.answer(host, func(context.Context) ([]netip.Addr, error) { return nil, err })
}

func (z *zone) answer(host string, f func(context.Context) ([]netip.Addr, error)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.hosts == nil {
		z.hosts = map[string]func(context.Context) ([]netip.Addr, error){}
	}
	z.hosts[host] = f
}

func parse(addrs ...string) []netip.Addr {
	var all []netip.Addr
	for _, a := range addrs {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

func wantAddresses(t *testing.T, r *Resolver, host string, want ...string) {
	t.Helper()
	if got := r.Addresses(host); !slices.Equal(got, parse(want...)) {
		t.Errorf("addresses of %s: %v, want %v", host, got, want)
	}
}

// start runs r until the test ends, and counts the changes that it tells.
func start(t *testing.T, r *Resolver) *atomic.Int64 {
	ctx, cancel := context.WithCancel(t.Context())
	changes := new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, func() { changes.Add(1) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return changes
}

// rounds lets n rounds of questions pass.
func rounds(n int) {
	for range n {
		<-time.After(DefaultInterval) // of the bubble's clock
		synctest.Wait()
	}
}

func TestAddReturnsWhenEveryNewHostHasBeenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.answer("slow.example", func(context.Context) ([]netip.Addr, error) {
			<-time.After(3 * time.Second)
			return parse("10.0.0.1"), nil
		})
		z.set("fast.example", "10.0.0.2")
		r := &Resolver{Lookup: z}
		if err := r.Add(t.Context(), []string{"slow.example", "fast.example", "fast.example"}); err != nil {
			t.Fatal(err)
		}
		wantAddresses(t, r, "slow.example", "10.0.0.1")
		wantAddresses(t, r, "fast.example", "10.0.0.2")
		if err := r.Add(t.Context(), []string{"fast.example"}); err != nil {
			t.Fatal(err)
		}
		if len(z.asked) != 2 {
			t.Errorf("asked %v: a host that is known is not asked for again by Add", z.asked)
		}
	})
}

func TestAChangeIsToldOnceAndOnlyWhenTheSetOfAddressesDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("db.example", "10.0.0.2", "10.0.0.1")
		r := &Resolver{Lookup: z}
		if err := r.Add(t.Context(), []string{"db.example"}); err != nil {
			t.Fatal(err)
		}
		changes := start(t, r)
		rounds(3)
		z.set("db.example", "10.0.0.1", "10.0.0.2", "10.0.0.1") // rotated, with a duplicate
		rounds(3)
		if changes.Load() != 0 {
			t.Fatalf("%d changes told, want none", changes.Load())
		}
		z.set("db.example", "10.0.0.3", "10.0.0.1")
		rounds(3)
		if changes.Load() != 1 {
			t.Fatalf("%d changes told, want 1", changes.Load())
		}
		wantAddresses(t, r, "db.example", "10.0.0.1", "10.0.0.3")
	})
}

func TestSeveralChangesInOneRoundAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		r := &Resolver{Lookup: z}
		var hosts []string
		for i := range 100 {
			host := fmt.Sprintf("h%d.example", i)
			hosts = append(hosts, host)
			z.set(host, "10.0.0.1")
		}
		if err := r.Add(t.Context(), hosts); err != nil {
			t.Fatal(err)
		}
		changes := start(t, r)
		for _, host := range hosts {
			z.set(host, "10.0.0.2")
		}
		rounds(1)
		if changes.Load() != 1 {
			t.Errorf("%d changes told, want 1", changes.Load())
		}
		if z.most > parallel {
			t.Errorf("%d questions at one time, want at most %d", z.most, parallel)
		}
	})
}

func TestAFailureKeepsTheLastAnswerAndIsSaidOnce(t *testing.T) {
	for name, broken := range map[string]func(*zone){
		"an error":                    func(z *zone) { z.fail("db.example", errors.New("server misbehaving")) },
		"an answer without addresses": func(z *zone) { z.set("db.example") },
		"no answer in time": func(z *zone) {
			z.answer("db.example", func(ctx context.Context) ([]netip.Addr, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := &zone{}
				z.set("db.example", "10.0.0.1")
				var said []string
				r := &Resolver{Lookup: z, Failed: func(host string, err error, kept int) {
					said = append(said, fmt.Sprintf("%s failed=%t kept=%d", host, err != nil, kept))
				}}
				if err := r.Add(t.Context(), []string{"db.example"}); err != nil {
					t.Fatal(err)
				}
				changes := start(t, r)
				broken(z)
				rounds(5)
				wantAddresses(t, r, "db.example", "10.0.0.1")
				if s := r.States()[0]; s.Err == nil || s.Answered.IsZero() {
					t.Errorf("state %+v, want the error and the time of the last answer", s)
				}
				z.set("db.example", "10.0.0.1")
				rounds(5)
				if changes.Load() != 0 {
					t.Errorf("%d changes told, want none", changes.Load())
				}
				if got, want := strings.Join(said, "; "), "db.example failed=true kept=1; db.example failed=false kept=1"; got != want {
					t.Errorf("said %q, want %q", got, want)
				}
			})
		})
	}
}

func TestAHostThatFailsAtFirstIsToldWhenItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		failures := 0
		r := &Resolver{Lookup: z, Failed: func(string, error, int) { failures++ }}
		if err := r.Add(t.Context(), []string{"late.example"}); err != nil {
			t.Fatal(err)
		}
		wantAddresses(t, r, "late.example")
		if failures != 1 {
			t.Errorf("%d failures told, want 1", failures)
		}
		changes := start(t, r)
		z.set("late.example", "10.0.0.1")
		rounds(1)
		if changes.Load() != 1 {
			t.Errorf("%d changes told, want 1", changes.Load())
		}
	})
}

func TestIPv6IsUsedOnlyWhereThereIsNoIPv4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("both.example", "fd00::1", "10.0.0.1", "::ffff:10.0.0.2")
		z.set("six.example", "fd00::2", "fd00::1")
		r := &Resolver{Lookup: z}
		if err := r.Add(t.Context(), []string{"both.example", "six.example"}); err != nil {
			t.Fatal(err)
		}
		wantAddresses(t, r, "both.example", "10.0.0.1", "10.0.0.2")
		wantAddresses(t, r, "six.example", "fd00::1", "fd00::2")
	})
}

func TestAddressesAndHostsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		var many []string
		for i := range MaxAddresses + 10 {
			many = append(many, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String())
		}
		z.set("many.example", many...)
		r := &Resolver{Lookup: z}
		if err := r.Add(t.Context(), []string{"many.example"}); err != nil {
			t.Fatal(err)
		}
		if n := len(r.Addresses("many.example")); n != MaxAddresses {
			t.Errorf("%d addresses, want %d", n, MaxAddresses)
		}
		var hosts []string
		for i := range MaxHosts {
			hosts = append(hosts, fmt.Sprintf("h%d.example", i))
		}
		if err := r.Add(t.Context(), hosts); err == nil {
			t.Error("more hosts than the bound were taken")
		}
		if n := len(r.States()); n != 1 {
			t.Errorf("%d hosts are kept after a refusal, want the 1 from before", n)
		}
	})
}

func TestHostsThatAreNotRetainedAreAskedForNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("a.example", "10.0.0.1")
		z.set("b.example", "10.0.0.2")
		r := &Resolver{Lookup: z}
		if err := r.Add(t.Context(), []string{"a.example", "b.example"}); err != nil {
			t.Fatal(err)
		}
		r.Retain([]string{"b.example"})
		z.asked = nil
		start(t, r)
		rounds(2)
		if got := strings.Join(z.asked, " "); got != "b.example b.example" {
			t.Errorf("asked for %q", got)
		}
		wantAddresses(t, r, "a.example")
	})
}

func TestAddGivesUpWithItsContextAndTheHostIsAskedForLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.answer("slow.example", func(ctx context.Context) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		failures := 0
		r := &Resolver{Lookup: z, Failed: func(string, error, int) { failures++ }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Add(ctx, []string{"slow.example"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want the context's", err)
		}
		if failures != 0 {
			t.Error("a question that its caller gave up was told as a failure")
		}
		z.set("slow.example", "10.0.0.1")
		changes := start(t, r)
		rounds(1)
		if changes.Load() != 1 {
			t.Errorf("%d changes told, want 1", changes.Load())
		}
	})
}

func TestTheResolverOfTheSystemIsTheDefault(t *testing.T) {
	r := &Resolver{}
	if err := r.Add(t.Context(), []string{"127.0.0.9"}); err != nil { // answered without a question
		t.Fatal(err)
	}
	wantAddresses(t, r, "127.0.0.9", "127.0.0.9")
}

package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/gateway"
	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/route"
)

func TestPrivilegedPortsAreMappedAsIstiosGatewayMapsThem(t *testing.T) {
	ports, err := ParsePorts([]string{"8081=9081", "82=82", "83=0"})
	must(t, err)
	for gateway, want := range map[uint16]uint16{
		80: 8080, 443: 8443, 1: 8001, 1023: 9023, // by the rule
		1024: 1024, 8080: 8080, 15021: 15021, // not privileged
		8081: 9081, 82: 82, 83: 0, // as said
	} {
		if got := ports.Listen(gateway); got != want {
			t.Errorf("port %d is listened for on %d, want %d", gateway, got, want)
		}
	}
}

func TestPortsThatAreNoPairsAreRefused(t *testing.T) {
	for _, pair := range []string{"", "80", "80=", "=80", "80:8080", "80=x", "0=8080", "80=65536", "-1=80", "80=8080=1"} {
		if _, err := ParsePorts([]string{pair}); err == nil {
			t.Errorf("%q is taken", pair)
		}
	}
}

func TestTwoPortsOfTheGatewaysCannotShareOneAddress(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	_, err := Ports{}.Addresses(loopback, []uint16{8080, 80})
	if err == nil || !strings.Contains(err.Error(), "ports 80 and 8080 would both be listened for on 8080") || !strings.Contains(err.Error(), "--port 8080=PORT") {
		t.Errorf("the error is %v", err)
	}
	if _, err := (Ports{80: 0, 81: 0}).Addresses(loopback, []uint16{80, 81}); err != nil {
		t.Errorf("two free ports: %v", err)
	}
}

func TestAPairForAPortThatNoGatewayHasIsWarnedOf(t *testing.T) {
	found := Ports{81: 9080, 80: 9081, 90: 0}.Unused([]uint16{8080, 80})
	if len(found) != 2 || found.HasErrors() || found[0].What != "--port 81=9080 has no effect: no Gateway has port 81" || !strings.HasSuffix(found[0].Remedy, "there is 80, 8080") {
		t.Errorf("the findings are %v", found)
	}
}

func TestPortsThatServeWouldRefuseAreWarnedOf(t *testing.T) {
	found := Colliding([]uint16{8080, 80})
	if len(found) != 1 || found.HasErrors() || !strings.Contains(found[0].What, "--port 8080=PORT") {
		t.Errorf("the findings are %v", found)
	}
	if found := Colliding([]uint16{80, 443}); len(found) != 0 {
		t.Errorf("of other ports there are the findings %v", found)
	}
}

func TestWhenOnePortCannotBeOpenedNoneIs(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	busy, err := openPorts{}.open(map[uint16]netip.AddrPort{80: netip.AddrPortFrom(loopback, 0)})
	must(t, err)
	defer busy.close()
	taken := netip.MustParseAddrPort(busy[80].Addr().String())
	free, err := openPorts{}.open(map[uint16]netip.AddrPort{81: netip.AddrPortFrom(loopback, 0)})
	must(t, err)
	again := netip.MustParseAddrPort(free[81].Addr().String())
	free.close()
	if _, err := (openPorts{}).open(map[uint16]netip.AddrPort{81: again, 82: taken}); err == nil || !strings.Contains(err.Error(), taken.String()+" is in use") {
		t.Fatalf("the error is %v", err)
	}
	opened, err := openPorts{}.open(map[uint16]netip.AddrPort{81: again})
	if err != nil {
		t.Errorf("port 81 was left open: %v", err)
	}
	opened.close()
}

// TestInAClusterAPortThatCannotBeHadHoldsUpNoOther: whoever owns that Gateway must not freeze the configuration of all others.
func TestInAClusterAPortThatCannotBeHadHoldsUpNoOther(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	busy, err := openPorts{}.open(map[uint16]netip.AddrPort{1: netip.AddrPortFrom(loopback, 0)})
	must(t, err)
	defer busy.close()
	taken := netip.MustParseAddrPort(busy[1].Addr().String()).Port()
	var log bytes.Buffer
	p := &program{
		o: Options{Bind: loopback, Ports: Ports{80: 0, 81: taken, 82: 0}}, log: slog.New(slog.NewTextHandler(&log, nil)),
		source: source{cluster: &kube.Cluster{}}, gateway: &gateway.Gateway{}, ports: openPorts{},
	}
	if _, _, err := p.place(&Loaded{Ports: []uint16{81}}); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("at the start, without any port: %v", err)
	}
	log.Reset()
	p.unserved = nil
	for range 2 {
		c := &Loaded{Ports: []uint16{80, 81}}
		addresses, opened, err := p.place(c)
		must(t, err)
		maps.Copy(p.ports, opened)
		if _, ok := addresses[80]; !ok || len(addresses) != 1 || len(p.ports) != 1 {
			t.Errorf("the addresses are %v, open are %v", addresses, p.ports)
		}
		if text := fmt.Sprint(c.Diagnostics); len(c.Diagnostics) != 1 || !strings.Contains(text, "is in use by another process") || !strings.Contains(text, "until then the port is not served") {
			t.Errorf("the findings are %s", text)
		}
		if n := strings.Count(log.String(), "a port is not served"); n != 1 {
			t.Errorf("it is in the log %d times:\n%s", n, &log)
		}
		p.current = c
	}
	defer p.ports.close()

	at := netip.MustParseAddrPort(p.ports[80].Addr().String()).Port()
	p.o.Ports = Ports{80: at, 79: at} // as 80 and 8080 by default
	addresses, opened, err := p.place(&Loaded{Ports: []uint16{79, 80}})
	must(t, err)
	if _, ok := addresses[80]; !ok || len(addresses) != 1 || len(opened) != 0 {
		t.Errorf("a port that is served gave way to a new one: %v", addresses)
	}
}

func TestAnAddressOfAnotherMachineIsRefusedWithTheFlag(t *testing.T) {
	_, err := listen(netip.MustParseAddrPort("192.0.2.1:8080"), 80) // TEST-NET-1, RFC 5737
	if err == nil || !strings.Contains(err.Error(), "--bind") {
		t.Errorf("the error is %v", err)
	}
}

func TestHashKeysAreHexadecimal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for text, want := range map[string]string{
		"000102030405060708090a0b0c0d0e0f":   "",
		"000102030405060708090A0B0C0D0E0F\n": "",
		"":                                   "openssl rand -hex 16",
		"0001":                               "openssl rand -hex 16",
		"000102030405060708090a0b0c0d0e0g":   "not hexadecimal",
	} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		key, err := readHashKey(path)
		switch {
		case want == "" && (err != nil || key[15] != 15):
			t.Errorf("%q gives %x, %v", text, key, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q gives %v", text, err)
		}
	}
}

func TestHeadersThatDecisionsLookAtAreProtected(t *testing.T) {
	got := protectedHeaders(&affinity.Config{
		Listeners: []affinity.Listener{{Promote: []affinity.Promotion{{Field: "target", Header: "target"}}}},
		Services: []affinity.ServiceConfig{
			{Key: affinity.Key{Kind: affinity.HeaderKey, Name: "x-user"}, SessionHeader: "x-state"},
			{Key: affinity.Key{Kind: affinity.QueryKey, Name: "q"}},
		},
		Routes: route.Config{Listeners: []route.Listener{{Hosts: []route.VirtualHost{{Rules: []route.Rule{{Matches: []route.Match{{
			Headers: []route.NamedMatch{{Name: "x-a"}}, WithoutHeaders: []route.NamedMatch{{Name: "x-b"}},
		}}}}}}}}},
	})
	if want := "cookie target x-a x-b x-state x-user"; strings.Join(got, " ") != want {
		t.Errorf("protected are %q, want %q", got, want)
	}
}

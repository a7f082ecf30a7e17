package peers

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryBodyIsAsLongAsSaid(t *testing.T) {
	seen := map[string]bool{}
	for _, body := range Bodies() {
		if len(body) != BodyBytes {
			t.Fatalf("%d bytes, want %d: %s", len(body), BodyBytes, body)
		}
		seen[body] = true
	}
	if len(seen) != 3000 {
		t.Errorf("%d different bodies, want each of 1,000 users with each of 3 services", len(seen))
	}
}

func TestTheScriptForWrkHoldsTheSameBodies(t *testing.T) {
	path, err := WriteLoad(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range Bodies() {
		if !strings.Contains(string(text), `\r\n\r\n`+strings.ReplaceAll(body, `"`, `\"`)+`"`) {
			t.Fatalf("not in the script: %s", body)
		}
	}
}

func TestEveryPeerIsToldWhereToListenAndWhereTheReplicasAre(t *testing.T) {
	s := Setup{
		Dir: t.TempDir(), Root: "../..", Services: UseCase(18080),
		Listen: netip.MustParseAddrPort("127.0.0.1:18000"), Admin: netip.MustParseAddrPort("127.0.0.1:18001"),
	}
	for _, p := range append(All, Backends) {
		t.Run(p.Name, func(t *testing.T) {
			p.programs = []string{"sh"} // the program itself need not be here
			if p.generate != nil {
				generate := p.generate // nor what makes its configuration
				p.generate = func(s Setup, config string) []string { return append([]string{"echo"}, generate(s, config)...) }
			}
			c, err := p.Prepare(s)
			if err != nil {
				t.Fatal(err)
			}
			configs, err := filepath.Glob(filepath.Join(s.Dir, p.Name+"-*"))
			if err != nil || len(configs) == 0 {
				t.Fatalf("configurations are %v (%v)", configs, err)
			}
			all := strings.Join(c.Args, " ")
			for _, config := range configs {
				text, err := os.ReadFile(config)
				if err != nil {
					t.Fatal(err)
				}
				all += string(text)
			}
			for _, want := range []string{"backend-1", "127.0.1.1", "127.0.3.2", "18080"} {
				if !strings.Contains(all, want) {
					t.Errorf("neither configuration nor arguments have %s", want)
				}
			}
			if p.Name != Backends.Name && !strings.Contains(all, "18000") {
				t.Error("the port to listen on is nowhere")
			}
		})
	}
}

func TestAPeerThatIsNotThereIsAnErrorThatSaysWhatToDo(t *testing.T) {
	p := Peer{Name: "ghost", programs: []string{"no-such-program-anywhere"}}
	if _, err := p.VersionCommand("/"); err == nil || !strings.Contains(err.Error(), "bench/install") {
		t.Errorf("error is %v", err)
	}
	if _, err := Named([]string{"haproxy", "ghost"}); err == nil || !strings.Contains(err.Error(), "haproxy, nginx, envoy, remora") {
		t.Errorf("error is %v", err)
	}
}

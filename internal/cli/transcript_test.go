package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/tools/txtar"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/programtest"
	"github.com/remora-proxy/remora/internal/session"
)

var update = flag.Bool("update", false, "write what the commands print into testdata/*.transcript")

func TestMain(m *testing.M) {
	time.Local = time.UTC // times are printed as the reader's clock has them
	os.Exit(programtest.Main(m.Run))
}

// TestTranscripts runs the command lines of testdata/*.transcript and compares what they print and their exit status.
//
// A transcript is a txtar archive. Its comment has command lines ("$ remora …"), each followed by what it prints: standard
// output as it is, standard error behind "! ", and "exit N" when that is not 0. The archive's files are in the folder that
// the commands run in. "$ gateway FILE" makes a gateway with the configuration in FILE, which later commands reach through
// REMORA_GATEWAY; "$ request …" takes the flags of explain and lets it decide such a request, "$ hold …" does so and keeps it
// in flight; "$ pass DURATION" lets time go by, "$ unready WHY" says that the gateway is not
// ready, or without WHY that it is, and "$ refuse FILE" has it refuse the configuration in FILE. Lines that begin with "#" say what the next lines show.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.transcript")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("there is no transcript in testdata")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".transcript"), func(t *testing.T) {
			path, err := filepath.Abs(file)
			must(t, err)
			archive, err := txtar.ParseFile(path)
			must(t, err)
			got := play(t, archive)
			if *update {
				must(t, os.WriteFile(path, txtar.Format(&txtar.Archive{Comment: got, Files: archive.Files}), 0o644))
				return
			}
			if !bytes.Equal(got, archive.Comment) {
				t.Errorf("%s is not what was printed (go test ./internal/cli -update writes it):\n%s", file, firstDifference(archive.Comment, got))
			}
		})
	}
}

// play runs the command lines of an archive and gives its comment with what they print now.
func play(t *testing.T, archive *txtar.Archive) []byte {
	t.Chdir(t.TempDir())
	for _, f := range archive.Files {
		must(t, os.MkdirAll(filepath.Dir(f.Name), 0o755))
		must(t, os.WriteFile(f.Name, f.Data, 0o644))
	}
	p := &player{t: t}
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "#"):
			p.blank()
			fmt.Fprintln(&p.out, line)
		case strings.HasPrefix(line, "$ "):
			if !strings.HasPrefix(p.last(), "#") {
				p.blank()
			}
			fmt.Fprintln(&p.out, line)
			p.run(words(t, line[2:]))
		}
	}
	return p.out.Bytes()
}

// player is one transcript on its way.
type player struct {
	t       *testing.T
	out     bytes.Buffer
	gateway *paperGateway
}

func (p *player) last() string {
	lines := strings.Split(strings.TrimRight(p.out.String(), "\n"), "\n")
	return lines[len(lines)-1]
}

func (p *player) blank() {
	if p.out.Len() > 0 {
		p.out.WriteByte('\n')
	}
}

func (p *player) run(args []string) {
	switch args[0] {
	case "remora":
		p.remora(args[1:])
	case "gateway":
		p.gateway = newPaperGateway(p.t, args[1])
	case "request", "hold":
		p.request(args[1:], args[0] == "hold")
	case "refuse":
		p.gateway.refuse(args[1])
	case "unready":
		p.gateway.notReady = strings.Join(args[1:], " ")
	case "pass":
		d, err := time.ParseDuration(args[1])
		must(p.t, err)
		p.gateway.time = p.gateway.time.Add(d)
	default:
		p.t.Fatalf("there is no command %q in transcripts", args[0])
	}
}

// remora runs the program.
func (p *player) remora(args []string) {
	var stdout, stderr bytes.Buffer
	url := ""
	if p.gateway != nil {
		url = p.gateway.server.URL
	}
	status := Main("v0.0.0-test", args, Env{
		Stdin: strings.NewReader(`{"username":"stdin","target":"backend-3"}`), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(name string) string { return map[string]string{gatewayVariable: url}[name] },
		Notify: func(...os.Signal) <-chan os.Signal { return nil },
	})
	p.out.WriteString(p.shown(stdout.String()))
	for line := range strings.Lines(p.shown(stderr.String())) {
		p.out.WriteString("! " + line)
	}
	if status != exitOK {
		fmt.Fprintf(&p.out, "exit %d\n", status)
	}
}

// shown is what was printed, without the gateway's port, which differs from run to run.
func (p *player) shown(text string) string {
	if p.gateway == nil {
		return text
	}
	url := p.gateway.server.URL
	colon := strings.LastIndex(url, ":")
	return strings.ReplaceAll(text, url, url[:colon+1]+strings.Repeat("P", len(url)-colon-1))
}

// request lets the gateway decide a request and says where it went.
func (p *player) request(args []string, hold bool) {
	cmd := newExplain("", Env{})
	must(p.t, cmd.ParseFlags(args))
	var flags explainFlags
	flags.body, _ = cmd.Flags().GetString("body")
	flags.path, _ = cmd.Flags().GetString("path")
	flags.host, _ = cmd.Flags().GetString("host")
	flags.port, _ = cmd.Flags().GetInt("port")
	flags.headers, _ = cmd.Flags().GetStringArray("header")
	ask, err := flags.request(Env{}, flags.body != "")
	must(p.t, err)
	dec, err := p.gateway.decide(ask)
	must(p.t, err)
	if !hold {
		p.gateway.engine.Release(dec, session.InstantOf(p.gateway.time))
	}
	fmt.Fprintf(&p.out, "%s %s\n", dec.Endpoint.Addr, dec.Session)
}

// paperGateway is an engine with its admin API and a clock of its own: all of a gateway but its sockets.
type paperGateway struct {
	engine *affinity.Engine
	server *httptest.Server
	time   time.Time

	notReady string           // why it is not
	lastLoad admin.LoadStatus // that was refused
}

func newPaperGateway(t *testing.T, file string) *paperGateway {
	t.Helper()
	g := &paperGateway{time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	loaded := app.Load([]string{file}, nil)
	must(t, loaded.Diagnostics.Err())
	engine, err := loaded.Paper(g.time, "")
	must(t, err)
	g.engine = engine
	now, began := func() time.Time { return g.time }, g.time
	g.server = httptest.NewServer(admin.New(admin.Config{
		Engine: engine, Metrics: prometheus.NewRegistry(), Now: now,
		Status: func() admin.Status {
			st := admin.Status{Version: "v0.0.0-test", Now: g.time, StartedAt: began, Ready: g.notReady == "", NotReady: g.notReady}
			st.Config.LastLoad = g.lastLoad
			st.Config.Routes, st.Config.Services, st.Config.Endpoints = loaded.Routes, loaded.Services, loaded.Endpoints
			return st
		},
		Swept: func() <-chan struct{} { return nil },
	}).Handler())
	t.Cleanup(g.server.Close)
	return g
}

// refuse loads a file that is refused.
func (g *paperGateway) refuse(file string) {
	g.lastLoad = admin.LoadStatus{At: g.time}
	for _, d := range app.Load([]string{file}, nil).Diagnostics {
		g.lastLoad.Diagnostics = append(g.lastLoad.Diagnostics, admin.Diagnostic{Severity: "error", File: d.Pos.File, Line: d.Pos.Line, Object: d.Object, Field: d.Field, What: d.What, Remedy: d.Remedy})
	}
}

// decide is what a front door does with a request.
func (g *paperGateway) decide(ask *admin.ExplainRequest) (*affinity.Decision, error) {
	req, err := ask.Read(g.engine)
	if err != nil {
		return nil, err
	}
	var dec affinity.Decision
	g.engine.Decide(req, &dec, session.InstantOf(g.time))
	dec.Sent = true
	if !dec.Problem.IsZero() {
		return nil, errors.New(dec.Problem.Detail)
	}
	return &dec, nil
}

// words splits a command line as a shell would, as far as single and double quotes go.
func words(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	var word strings.Builder
	in, quote := false, rune(0)
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			in, quote = true, c
		case c == ' ':
			if in {
				out = append(out, word.String())
				word.Reset()
			}
			in = false
		default:
			in = true
			word.WriteRune(c)
		}
	}
	if quote != 0 {
		t.Fatalf("a quote is not closed in %q", line)
	}
	if in {
		out = append(out, word.String())
	}
	return out
}

// firstDifference shows where two texts begin to differ.
func firstDifference(want, got []byte) string {
	w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(i-3, 0)
	return fmt.Sprintf("want:\n%s\n\ngot:\n%s", strings.Join(w[from:min(i+6, len(w))], "\n"), strings.Join(g[from:min(i+6, len(g))], "\n"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

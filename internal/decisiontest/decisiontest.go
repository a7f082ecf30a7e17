// Package decisiontest holds the decision scripts: configurations as users write them, sequences of requests and events with times,
// and the decisions that must come of them. Every front door, and the engine by itself, runs the same scripts, so a difference
// between two doors is a failure. It is for tests only, and knows a door by the Door interface alone.
//
// A script is a txtar archive (golang.org/x/tools/txtar): a comment that says what it specifies, YAML files, and a file "script"
// of lines:
//
//	load FILE …                     configure the door with these files of the archive, or of testdata/common
//	at 59s                          set the clock, counted from the beginning
//	POST /path name:value … | BODY  a request; a body is JSON unless a content-type says otherwise; \xNN and \n work in it
//	hold NAME POST …                a request that stays in flight until: release NAME
//	drain ENDPOINT, undrain ENDPOINT
//	down ENDPOINT, up ENDPOINT      the replica refuses connections, or takes them again
//	many N POST … %d …              N requests; %d counts from 0
//
// and, after each request, what must come of it:
//
//	= backend-1 new $ann            service, session state, endpoint: ip:port, *, $name (bound when new, else the same one) or !$name
//	= 404 no_route                  status and problem code
//	= share backend-1 80..100       after many: percent of the requests that the service got
//	= most backend-1 63             after many: no endpoint of the service got more than that
//	= some $ann                     after many: the endpoint got at least one
package decisiontest

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

//go:embed testdata/*.script testdata/common/*.yaml
var scripts embed.FS

// Request is a request of a script.
type Request struct {
	Method, Path, Host string
	Headers            [][2]string // in order, names in lower case; without Host
	Body               string
	HasBody            bool
}

// Outcome is what became of a request. Either Problem is set, or the others.
type Outcome struct {
	Status   int
	Problem  string // code
	Service  string // as the backend or the engine names it: "backend-1", "reviews/v1"
	Endpoint string // ip:port
	Session  string // new | existing | moved | none
}

// Door is a front door under test.
type Door interface {
	// Load replaces the configuration: file name → content.
	Load(t *testing.T, files map[string]string)
	// At sets the clock to an offset from the beginning of the script. It never goes back.
	At(t *testing.T, offset time.Duration)
	// Do makes a request and waits for its end.
	Do(t *testing.T, r Request) Outcome
	// Hold makes a request that stays in flight, once it has been decided, until release is called and has returned.
	Hold(t *testing.T, r Request) (o Outcome, release func())
	// Drain marks an endpoint as draining, or takes the mark back.
	Drain(t *testing.T, endpoint string, on bool)
	// Down makes a replica refuse connections, or take them again.
	Down(t *testing.T, endpoint string, down bool)
}

// Run runs every script against doors that open makes, one for each script.
func Run(t *testing.T, open func(t *testing.T) Door) {
	files, err := fs.Glob(scripts, "testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".script")
		t.Run(name, func(t *testing.T) {
			data, err := scripts.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := &run{t: t, door: open(t), files: map[string]string{}, names: map[string]string{}, held: map[string]func(){}}
			if err := r.play(txtar.Parse(data)); err != nil {
				t.Fatalf("%s: %v", path.Base(file), err)
			}
		})
	}
}

// run is one script on its way.
type run struct {
	t     *testing.T
	door  Door
	files map[string]string
	names map[string]string // $name → endpoint
	held  map[string]func()
	last  []Outcome // of the last request line
}

func (r *run) play(a *txtar.Archive) error {
	var lines []string
	for _, f := range a.Files {
		if f.Name == "script" {
			lines = strings.Split(string(f.Data), "\n")
		} else {
			r.files[f.Name] = string(f.Data)
		}
	}
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := r.step(line); err != nil {
			return fmt.Errorf("script line %d: %s\n\t%w", i+1, line, err)
		}
	}
	for _, release := range r.held {
		release()
	}
	return nil
}

func (r *run) step(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "=":
		return r.expect(strings.Fields(rest))
	case "load":
		return r.load(strings.Fields(rest))
	case "at":
		d, err := time.ParseDuration(rest)
		r.door.At(r.t, d)
		return err
	case "drain", "undrain", "down", "up":
		ep, err := r.endpoint(rest)
		if err != nil {
			return err
		}
		if word == "drain" || word == "undrain" {
			r.door.Drain(r.t, ep, word == "drain")
		} else {
			r.door.Down(r.t, ep, word == "down")
		}
		return nil
	case "hold":
		name, rest, _ := strings.Cut(rest, " ")
		req, err := parseRequest(rest)
		if err != nil {
			return err
		}
		o, release := r.door.Hold(r.t, req)
		r.last, r.held[name] = []Outcome{o}, release
		return nil
	case "release":
		release, ok := r.held[rest]
		if !ok {
			return fmt.Errorf("nothing is held as %q", rest)
		}
		delete(r.held, rest)
		release()
		return nil
	case "many":
		return r.many(rest)
	}
	req, err := parseRequest(line)
	if err != nil {
		return err
	}
	r.last = []Outcome{r.door.Do(r.t, req)}
	return nil
}

func (r *run) load(names []string) error {
	files := map[string]string{}
	for _, n := range names {
		if data, ok := r.files[n]; ok {
			files[n] = data
			continue
		}
		data, err := scripts.ReadFile("testdata/common/" + n)
		if err != nil {
			return err
		}
		files[n] = string(data)
	}
	r.door.Load(r.t, files)
	return nil
}

func (r *run) many(line string) error {
	var n int
	count, rest, _ := strings.Cut(line, " ")
	if _, err := fmt.Sscan(count, &n); err != nil {
		return err
	}
	r.last = nil
	for i := range n {
		req, err := parseRequest(strings.ReplaceAll(rest, "%d", fmt.Sprint(i)))
		if err != nil {
			return err
		}
		r.last = append(r.last, r.door.Do(r.t, req))
	}
	return nil
}

// endpoint resolves a name that a script bound.
func (r *run) endpoint(s string) (string, error) {
	if !strings.HasPrefix(s, "$") {
		return s, nil
	}
	if ep, ok := r.names[s]; ok {
		return ep, nil
	}
	return "", fmt.Errorf("%s is not bound", s)
}

package simulate

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	mutations  = flag.String("mutations", "", "run the schedules on the code with each of these breaks: a regular expression of their names")
	mutantRuns = flag.Int("mutant-schedules", 20_000, "how many schedules a break may survive")
)

// mutation breaks the code in one place. Its file says in a line with # what the code does not do any more, in one with --- which file of the module
// it changes, and then, as in a unified diff, the lines that are there (' '), those that go ('-') and those that come ('+').
type mutation struct {
	name, says, file string
	old, changed     string
}

// root is the module's folder, as tests see it.
const root = "../.."

func readMutation(path string) (mutation, error) {
	m := mutation{name: strings.TrimSuffix(filepath.Base(path), ".diff")}
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		switch rest := line[1:]; {
		case strings.HasPrefix(line, "# "):
			m.says = strings.TrimSpace(rest)
		case strings.HasPrefix(line, "--- "):
			m.file = strings.TrimSpace(line[4:])
		case line[0] == ' ':
			m.old, m.changed = m.old+rest, m.changed+rest
		case line[0] == '-':
			m.old += rest
		case line[0] == '+':
			m.changed += rest
		default:
			return m, fmt.Errorf("%s: the line %q has no place in it", path, line)
		}
	}
	if m.says == "" || m.file == "" || m.old == m.changed {
		return m, fmt.Errorf("%s: it does not say what it changes", path)
	}
	return m, nil
}

// apply is the text of the file with the break.
func (m *mutation) apply() (string, error) {
	text, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("%s: what it changes is in %s %d times, want once: write it anew", m.name, m.file, n)
	}
	broken := strings.Replace(string(text), m.old, m.changed, 1)
	_, err = parser.ParseFile(token.NewFileSet(), m.file, broken, 0)
	return broken, err
}

// TestBreaksOfTheRulesAreFound breaks the code on purpose, each time in one place, and expects the schedules to find it. Without -mutations it
// only checks that the breaks still fit the code.
func TestBreaksOfTheRulesAreFound(t *testing.T) {
	files, err := filepath.Glob("testdata/mutations/*.diff")
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutations: %v", err)
	}
	wanted, err := regexp.Compile(*mutations)
	if err != nil {
		t.Fatal(err)
	}
	table := "| what the code does not do any more | found by the rule | after schedules |\n|---|---|---|\n"
	for _, file := range files {
		m, err := readMutation(file)
		if err != nil {
			t.Fatal(err)
		}
		broken, err := m.apply()
		if err != nil {
			t.Error(err)
			continue
		}
		if *mutations == "" || !wanted.MatchString(m.name) {
			continue
		}
		rule, after, err := m.run(t.TempDir(), broken)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		row := fmt.Sprintf("| %s (%s) | %s | %d |\n", m.says, m.name, rule, after)
		table += row
		t.Log(row)
	}
	if *mutations != "" {
		t.Log("\n" + table)
	}
}

var found = regexp.MustCompile(`seed \d+, schedule (\d+): ([^:]+): `)

// run runs the schedules on the broken code.
func (m *mutation) run(dir, broken string) (rule string, after int, err error) {
	there, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		return "", 0, err
	}
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {there: changed}})
	if err == nil {
		err = errors.Join(os.WriteFile(changed, []byte(broken), 0o600), os.WriteFile(overlay, list, 0o600))
	}
	if err != nil {
		return "", 0, err
	}
	out, err := exec.Command("go", "test", "-overlay", overlay, "-run", "^TestSchedules$", "-count=1", ".",
		"-args", "-seed=1", "-schedules="+strconv.Itoa(*mutantRuns)).CombinedOutput()
	if err == nil {
		return "", 0, fmt.Errorf("no schedule of %d finds that %s", *mutantRuns, m.says)
	}
	at := found.FindSubmatch(out)
	if at == nil {
		return "", 0, fmt.Errorf("the schedules do not run: %w\n%s", err, out[:min(len(out), 3000)])
	}
	after, err = strconv.Atoi(string(at[1]))
	return string(at[2]), after, err
}

package clustertest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	_ "github.com/remora-proxy/remora/internal/cli" // what is built: the go command takes no result from before it changed
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/programtest"
)

func TestMain(m *testing.M) {
	os.Exit(programtest.Main(func() int { return kubetest.Main(m) }))
}

// TestTheUseCaseInACluster runs the scenarios one after the other: what users see of one does not depend on how busy the machine is
// with another.
func TestTheUseCaseInACluster(t *testing.T) {
	s := newStage(t)
	rows := &table{}
	defer rows.write(t)
	for _, scenario := range []struct {
		name string
		run  func(t *testing.T, s *stage, add func(row))
	}{
		{"the HPA", testScaling},
		{"a rollout of all three Deployments", testRollout},
		{"a pod's process is killed", testKill},
		{"the gateway restarts", testRestart},
		{"1,000 services with 10 replicas each", testSize},
		{"the API server is away for 30 s", testServerAway}, // the last one: the server that it starts again ends with it
	} {
		t.Run(scenario.name, func(t *testing.T) {
			scenario.run(t, s, func(r row) {
				if r.scenario == "" {
					r.scenario = scenario.name
				}
				if t.Failed() {
					r.figures += " **FAILED**"
				}
				rows.add(r)
			})
		})
	}
}

// row is what a scenario has shown.
type row struct {
	scenario string
	tally    tally
	figures  string
}

// table is what the scenarios have shown.
type table struct{ rows []row }

func (b *table) add(r row) { b.rows = append(b.rows, r) }

// write writes the table to the log, and to the file that Table names.
func (b *table) write(t *testing.T) {
	t.Helper()
	var text strings.Builder
	text.WriteString("| scenario | sessions | broken | moved | failed calls | figures |\n|---|---|---|---|---|---|\n")
	for _, r := range b.rows {
		n := r.tally
		if n.sessions == 0 {
			fmt.Fprintf(&text, "| %s | | | | | %s |\n", r.scenario, r.figures)
			continue
		}
		if n.expired > 0 {
			r.figures += fmt.Sprintf("; %d sessions expired, for the machine was too busy to call in time", n.expired)
		}
		fmt.Fprintf(&text, "| %s | %d | %d | %d | %d | %s |\n", r.scenario, n.sessions, n.broken, n.moved, n.failed, r.figures)
	}
	t.Log("\n" + text.String())
	if file := os.Getenv(Table); file != "" {
		must(t, os.WriteFile(file, []byte(text.String()), 0o644))
	}
}

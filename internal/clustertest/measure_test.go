package clustertest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// metric is the value of a metric without labels in Prometheus' text format, or -1.
func metric(text, name string) float64 {
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(line, name+" "); is {
			if f, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				return f
			}
		}
	}
	return -1
}

// cpu is what the gateway has used of it since it started.
func (g *gateway) cpu() time.Duration {
	g.t.Helper()
	var text string
	g.ask("/metrics", &text)
	return time.Duration(metric(text, "process_cpu_seconds_total") * float64(time.Second))
}

// loads counts the configurations that have come into force, by the log at level debug: to ask costs the gateway what is to be measured.
func (g *gateway) loads() int {
	return strings.Count(g.program.Log(), `"msg":"configuration applied"`)
}

// resident is the gateway's memory, in bytes.
func (g *gateway) resident() int64 {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.program.PID()))
	must(g.t, err)
	for line := range strings.Lines(string(text)) {
		if value, is := strings.CutPrefix(line, "VmRSS:"); is {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			must(g.t, err)
			return n << 10
		}
	}
	g.t.Fatal("/proc does not say how much memory the gateway has")
	return 0
}

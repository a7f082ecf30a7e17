//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/peers"
)

// printVersions finds all programs and prints which they are, so that a missing one is told before any time is spent.
func (b *bench) printVersions() error {
	all := append(slices.Clone(b.peers), peers.Backends)
	for _, p := range b.peers {
		if p.Beside != nil {
			all = append(all, *p.Beside)
		}
	}
	for _, p := range all {
		command, err := p.VersionCommand(b.Root)
		if err != nil {
			return err
		}
		out, err := exec.Command(command.Program, command.Args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("asking %s for its version: %w: %s", p.Name, err, out)
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		b.versions = append(b.versions, p.Name+": "+shortVersion(line))
	}
	for _, tool := range []string{"wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w; bench/install installs it (make bench does that)", err)
		}
	}
	fmt.Println(strings.Join(b.versions, "\n"))
	return nil
}

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+[^/\s]*`)

// shortVersion is the version number in a line that a program printed about itself, or else its last word.
func shortVersion(line string) string {
	if v := versionNumber.FindString(line); v != "" {
		return v
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return "unknown"
	}
	return words[len(words)-1]
}

// halfOfTheSlowest is half of the requests per second of the slowest peer.
func (b *bench) halfOfTheSlowest() float64 {
	var all []float64
	for _, r := range b.results {
		all = append(all, median(r.saturated, func(s saturatedRun) float64 { return s.rate }))
	}
	return slices.Min(all) / 2
}

// report is the table and what one has to know to read it.
func (b *bench) report(now time.Time) string {
	var t strings.Builder
	fmt.Fprintf(&t, "# Remora beside other proxies, %s\n\n", now.UTC().Format("2006-01-02"))
	fmt.Fprintf(&t, "Work: POST %s with a JSON body of %d bytes, 1,000 users, 3 services, 2 replicas each. CPU and requests/s: `wrk -t1 -c%d`, runs of %d s. "+
		"Latency: %.0f requests/s, open loop, Poisson arrivals, measured from when a request was due. Medians of %d rounds; in parentheses the lowest and the highest.\n\n",
		peers.Path, peers.BodyBytes, b.conns, b.seconds, b.fixedRate, b.rounds)
	t.WriteString("| proxy | CPU µs/request | user + system | ratio to HAProxy | requests/s | p50 µs | p99 µs | CPU µs/request at this rate |\n|---|---|---|---|---|---|---|---|\n")
	for _, p := range b.peers {
		r := b.results[p.Name]
		fmt.Fprintf(&t, "| %s | %s | %s + %s | %s | %.0f | %s | %s | %s |\n", p.What,
			spread(r.saturated, saturatedRun.cpu),
			micros(medianTime(r.saturated, func(s saturatedRun) time.Duration { return s.user })),
			micros(medianTime(r.saturated, func(s saturatedRun) time.Duration { return s.system })),
			b.ratio(r),
			median(r.saturated, func(s saturatedRun) float64 { return s.rate }),
			spread(r.latency, func(l latencyRun) time.Duration { return l.p50 }),
			spread(r.latency, func(l latencyRun) time.Duration { return l.p99 }),
			micros(medianTime(r.latency, func(l latencyRun) time.Duration { return l.cpu })))
	}
	t.WriteString(b.besides())
	late := 0 * time.Second
	for _, r := range b.results {
		for _, l := range r.latency {
			late = max(late, l.late)
		}
	}
	pinned := "proxy on one core, load and replicas on another"
	if !b.pin {
		pinned = "cores shared by all"
	}
	fmt.Fprintf(&t, "\nMachine: %s, %d cores, %s, %s; %s; the load was sent at most %s µs late (p99).\n\nVersions: %s.\n",
		cpuModel(), runtime.NumCPU(), kernel(), runtime.Version(), pinned, micros(late), strings.Join(b.versions, ", "))
	return t.String()
}

// besides is the table of the peers that ask a program beside them: what each part costs, against Envoy without it, and against Envoy with Lua
// for the same work.
func (b *bench) besides() string {
	var t strings.Builder
	for _, p := range b.peers {
		if p.Beside == nil {
			continue
		}
		r := b.results[p.Name]
		fmt.Fprintf(&t, "\n## %s\n\n| | CPU µs/request | ratio to Envoy alone | ratio to Envoy + Lua | at %.0f requests/s |\n|---|---|---|---|---|\n", p.What, b.fixedRate)
		for _, part := range []struct {
			name      string
			saturated func(saturatedRun) time.Duration
			latency   func(latencyRun) time.Duration
		}{
			{p.Beside.What, func(s saturatedRun) time.Duration { return s.beside }, func(l latencyRun) time.Duration { return l.beside }},
			{"Envoy", saturatedRun.own, func(l latencyRun) time.Duration { return l.cpu - l.beside }},
			{"both", saturatedRun.cpu, func(l latencyRun) time.Duration { return l.cpu }},
		} {
			fmt.Fprintf(&t, "| %s | %s | %s | %s | %s |\n", part.name, spread(r.saturated, part.saturated),
				b.ratioOf(r, "envoy-header", part.saturated), b.ratioOf(r, "envoy", part.saturated), micros(medianTime(r.latency, part.latency)))
		}
	}
	return t.String()
}

// ratio is a peer's CPU per request over HAProxy's.
func (b *bench) ratio(r *result) string { return b.ratioOf(r, "haproxy", saturatedRun.cpu) }

// ratioOf is what f gives of a peer's runs over another peer's CPU per request in the same round: the median of the rounds, since what
// disturbs a round disturbs both.
func (b *bench) ratioOf(r *result, other string, f func(saturatedRun) time.Duration) string {
	over := b.results[other]
	if over == nil {
		return "-"
	}
	ratios := make([]float64, len(r.saturated))
	for i := range ratios {
		ratios[i] = float64(f(r.saturated[i])) / float64(over.saturated[i].cpu())
	}
	return fmt.Sprintf("%.2f", median(ratios, func(f float64) float64 { return f }))
}

// median is the middle of what f gives of the runs, or the mean of the two in the middle.
func median[T any](runs []T, f func(T) float64) float64 {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = f(r)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func medianTime[T any](runs []T, f func(T) time.Duration) time.Duration {
	return time.Duration(median(runs, func(r T) float64 { return float64(f(r)) }))
}

// spread is the median with the lowest and the highest.
func spread[T any](runs []T, f func(T) time.Duration) string {
	byF := func(a, b T) int { return cmp.Compare(f(a), f(b)) }
	return fmt.Sprintf("%s (%s-%s)", micros(medianTime(runs, f)), micros(f(slices.MinFunc(runs, byF))), micros(f(slices.MaxFunc(runs, byF))))
}

// micros prints a duration as microseconds: three figures are enough.
func micros(d time.Duration) string {
	us := float64(d) / float64(time.Microsecond)
	if us < 100 {
		return fmt.Sprintf("%.1f", us)
	}
	return fmt.Sprintf("%.0f", us)
}

// cpuModel is the processor's name for the report.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// kernel is the kernel's version without what names the machine.
func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "Linux"
	}
	release, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
	return "Linux " + release
}

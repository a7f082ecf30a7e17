package session

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmarks of the figures that are promised for ten million sessions. The first part makes the table that the others use:
//
//	go test -run '^$' -bench TenMillion ./internal/session
const (
	tenMillion = 10_000_000
	benchNow   = Instant(1_800_000_000_000)
)

// benchKey is the n-th of a sequence of keys that looks random and needs no memory (SplitMix64).
func benchKey(n uint64) Key {
	x := (n + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return Key(x ^ x>>31)
}

// boundKey is the key of one of the ten million sessions, another one for each n.
func boundKey(n uint64) Key { return benchKey(uint64(benchKey(n)) % tenMillion) }

// benchEndpoint binds to 30 endpoints.
func benchEndpoint(n uint64) EndpointID { return EndpointID(1 + n%30) }

func BenchmarkTenMillion(b *testing.B) {
	var table *Table
	b.Run("fill", func(b *testing.B) {
		for b.Loop() {
			table = nil
			runtime.GC()
			table = benchFill(b)
		}
	})
	if table == nil {
		return
	}
	now := benchNow
	ops := []struct {
		name string
		op   func(n uint64)
	}{
		{"renew", func(n uint64) { table.Acquire(boundKey(n), now, time.Minute) }},
		{"bind or renew", func(n uint64) { table.Bind(boundKey(n), 1, now, time.Minute) }},
		{"renew and release", func(n uint64) {
			k := boundKey(n)
			table.Acquire(k, now, time.Minute)
			table.Release(k, now)
		}},
		{"end and bind anew", func(n uint64) {
			k := boundKey(n)
			table.Forget(k)
			table.Bind(k, benchEndpoint(n), now, time.Minute)
		}},
	}
	for _, o := range ops {
		b.Run(o.name, func(b *testing.B) {
			n, start := uint64(0), processorTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)
			for b.Loop() {
				o.op(n)
				n++
			}
			b.ReportMetric(float64(processorTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)-start)/float64(n), "cpu-ns/op")
		})
	}
	for _, o := range ops {
		b.Run("two cores/"+o.name, func(b *testing.B) { benchTwoCores(b, o.op) })
	}
	b.Run("sweep", func(b *testing.B) { benchSweep(b, table) })
}

// benchFill binds ten million sessions and reports, besides the time of one, the memory that became resident for each
// session in the end and the most that it was on the way; the slowest call by the clock, which counts what other programs
// and the host of a virtual machine took from it; and by the processor time of its thread those that make a shard grow, the
// only ones that do more than a fixed amount of work: the median, the 99.9th percentile and the slowest of the last ten
// thousand. (Time that the host of a virtual machine takes counts as processor time.)
func benchFill(b *testing.B) *Table {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := resident(b)
	table := NewTable(Options{})
	var slowest, total time.Duration
	var growths []time.Duration
	most := 0.0
	for n := range uint64(tenMillion) {
		sh := table.shard(mix(benchKey(n)))
		grows, cpu := sh.mustGrow(), time.Duration(0)
		if grows {
			cpu = processorTime(b, unix.CLOCK_THREAD_CPUTIME_ID)
		}
		start := time.Now()
		table.Bind(benchKey(n), benchEndpoint(n), benchNow, time.Minute)
		took := time.Since(start)
		slowest = max(slowest, took)
		total += took
		if grows {
			growths = append(growths, processorTime(b, unix.CLOCK_THREAD_CPUTIME_ID)-cpu)
		}
		if n%(tenMillion/100) == 0 && n >= tenMillion/5 {
			most = max(most, float64(resident(b)-before)/float64(n))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total.Nanoseconds())/tenMillion, "ns/bind")
	b.ReportMetric(float64(slowest.Microseconds()), "slowest-µs")
	growths = growths[max(0, len(growths)-10_000):]
	slices.Sort(growths)
	b.ReportMetric(float64(growths[len(growths)/2].Microseconds()), "growth-median-cpu-µs")
	b.ReportMetric(float64(growths[len(growths)*999/1000].Microseconds()), "growth-p99.9-cpu-µs")
	b.ReportMetric(float64(growths[len(growths)-1].Microseconds()), "growth-slowest-cpu-µs")
	b.ReportMetric(float64(resident(b)-before)/tenMillion, "B/session")
	b.ReportMetric(most, "most-B/session")
	return table
}

// benchTwoCores reports how much more gets done with two goroutines than with one, the median of several rounds: by the
// clock, and by the processor time that a call costs, which counts what the two do to each other and not what other
// programs do to them.
func benchTwoCores(b *testing.B, op func(n uint64)) {
	const turns, rounds = 200_000, 15
	run := func(from uint64) {
		for n := range uint64(turns) {
			op(from + n)
		}
	}
	var clock, processor []float64
	for b.Loop() {
		for round := range uint64(rounds) {
			start, cpu := time.Now(), processorTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)
			run(round << 32)
			one, oneCPU := time.Since(start), processorTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)-cpu
			start, cpu = time.Now(), processorTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)
			var both sync.WaitGroup
			both.Go(func() { run(round<<32 + 1<<30) })
			both.Go(func() { run(round<<32 + 1<<31) })
			both.Wait()
			clock = append(clock, 2*float64(one)/float64(time.Since(start)))
			processor = append(processor, 4*float64(oneCPU)/float64(processorTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)-cpu))
		}
	}
	slices.Sort(clock)
	slices.Sort(processor)
	b.ReportMetric(clock[len(clock)/2], "x")
	b.ReportMetric(processor[len(processor)/2], "cpu-x")
	b.ReportMetric(0, "ns/op")
}

// benchSweep sweeps the whole table, of which nothing has expired, and reports the time for a session and the longest that
// a shard was locked.
func benchSweep(b *testing.B, table *Table) {
	var longest time.Duration
	for b.Loop() {
		for part := range table.shards {
			start := time.Now()
			table.Sweep(part, len(table.shards), benchNow, always(time.Minute))
			longest = max(longest, time.Since(start))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(table.Len()), "ns/session")
	b.ReportMetric(float64(longest.Microseconds()), "longest-lock-µs")
}

func BenchmarkSnapshotOfAMillion(b *testing.B) {
	table := NewTable(Options{})
	for n := range uint64(1_000_000) {
		k := benchKey(n)
		table.Bind(k, benchEndpoint(n), benchNow, time.Minute)
		table.Release(k, benchNow)
	}
	describe := func(id EndpointID) (EndpointName, bool) {
		return EndpointName{Service: "cart.default.svc.cluster.local:8080", Addr: fmt.Sprintf("127.0.1.%d:8080", id)}, true
	}
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if _, err := table.Save(io.Discard, nil, describe, benchNow, always(time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		var snapshot bytes.Buffer
		if _, err := table.Save(&snapshot, nil, describe, benchNow, always(time.Minute)); err != nil {
			b.Fatal(err)
		}
		resolve := func(EndpointName) EndpointID { return 1 }
		for b.Loop() {
			if _, err := NewTable(Options{}).Load(bytes.NewReader(snapshot.Bytes()), accept, resolve, benchNow); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// resident is the memory of this process that is in RAM, in bytes.
func resident(b *testing.B) int {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// processorTime is what this process (CLOCK_PROCESS_CPUTIME_ID) or thread (CLOCK_THREAD_CPUTIME_ID) has used.
func processorTime(b *testing.B, clock int32) time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Nano())
}

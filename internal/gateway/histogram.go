package gateway

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are log-linear: each doubling from 32 µs on is cut in four, so that a bucket is at
// most a quarter wider than its lower end; up to 34 s, with one bucket for what is longer.
const (
	histogramBase    = 5 // log2 of the first doubling, in microseconds
	histogramOctaves = 20
	histogramBuckets = 1 + 4*histogramOctaves + 1 // below the first doubling, the doublings, above
)

type histogram struct {
	counts [histogramBuckets]uint64
	sum    time.Duration
}

// add counts one duration.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.sum += d
	us := uint64(d / time.Microsecond)
	h.counts[bucketOf(us)]++
}

func bucketOf(us uint64) int {
	octave := bits.Len64(us) - 1 - histogramBase
	switch {
	case octave < 0:
		return 0
	case octave >= histogramOctaves:
		return histogramBuckets - 1
	}
	quarter := int(us>>(histogramBase+octave-2)) & 3
	return 1 + 4*octave + quarter
}

// upperBound is the end of the i-th bucket, exclusive, in microseconds. The last bucket has none.
func upperBound(i int) uint64 {
	octave, quarter := i/4, uint64(i%4)
	return (4 + quarter) << (histogramBase + octave) >> 2
}

// merge adds what o has counted.
func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.sum += o.sum
}

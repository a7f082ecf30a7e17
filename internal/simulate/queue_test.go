package simulate

import "math/bits"

// millis is a time or a duration on the schedule's true clock, which no gateway knows exactly.
type millis = int64

// event is something that happens at a time. What a and b mean is up to its kind.
type event struct {
	at   millis
	seq  uint32 // of two events at one time the one that was planned first happens first
	kind eventKind
	a, b int32
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// queue is a heap of events. Its memory is used again by the next schedule.
type queue struct {
	heap []event
	seq  uint32
}

func (q *queue) reset() { q.heap, q.seq = q.heap[:0], 0 }

func (q *queue) push(at millis, kind eventKind, a, b int32) {
	q.seq++
	q.heap = append(q.heap, event{at: at, seq: q.seq, kind: kind, a: a, b: b})
	h := q.heap
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// pop takes out the first event. The queue must have one.
func (q *queue) pop() event {
	h := q.heap
	first := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	q.heap = h
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && h[child+1].before(&h[child]) {
			child++
		}
		if !h[child].before(&h[i]) {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	return first
}

// chance draws everything that a schedule leaves to chance (SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
type chance struct{ state uint64 }

func (c *chance) next() uint64 {
	c.state += 0x9e3779b97f4a7c15
	x := c.state
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below is a number in 0 … n-1.
func (c *chance) below(n int) int {
	hi, _ := bits.Mul64(c.next(), uint64(n))
	return int(hi)
}

// between is a duration in from … to.
func (c *chance) between(from, to millis) millis { return from + millis(c.below(int(to-from)+1)) }

// oneIn is true once in n times; never for 0.
func (c *chance) oneIn(n int) bool { return n > 0 && c.below(n) == 0 }

package loop

import (
	"math"
	"math/bits"
	"time"
)

// The wheel's resolution and reach. A timer fires up to one tick late. One that is due beyond the horizon waits in the last
// slot and is put on again when that comes: 100,000 idle connections cost the loop some 12,000 such steps a second, a
// thousandth of a core.
const (
	tick    = 8 * time.Millisecond
	slots   = 1024
	horizon = slots - 1
)

// Never is the deadline of a timer that is not set.
const Never = time.Duration(math.MaxInt64)

// Timer calls its owner when its deadline has come. Moving a deadline further away costs one store, so it can be done for
// every read: the timer stays in the slot that it is in, and the deadline is looked at when that slot comes. The zero value is
// not set. It must stay where it is while linked to a loop.
type Timer struct {
	owner      Expirer
	deadline   time.Duration
	at         int64 // tick of the slot that it is linked in
	prev, next *Timer
}

// Expirer is told when a timer of its has come to its deadline. The timer is no longer set then.
type Expirer interface{ Expired(*Timer) }

// wheel is a timing wheel (G. Varghese, T. Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, scheme 6) with one
// level.
type wheel struct {
	heads [slots]Timer // sentinels of the lists
	used  [slots / 64]uint64
	done  int64 // the last tick whose slot was emptied
}

func (w *wheel) init() {
	for i := range w.heads {
		h := &w.heads[i]
		h.prev, h.next = h, h
	}
}

// SetTimer sets when t is due, in the time of Now; Never takes it back. owner is told.
func (l *Loop) SetTimer(t *Timer, owner Expirer, deadline time.Duration) {
	t.owner, t.deadline = owner, deadline
	if t.next != nil {
		if deadline == Never || t.at <= l.wheel.slotTick(deadline) {
			return // looked at in time where it is
		}
		l.wheel.unlink(t)
	}
	if deadline != Never {
		l.wheel.link(t)
	}
}

// StopTimer takes t off the loop, so that nothing refers to it any more.
func (l *Loop) StopTimer(t *Timer) {
	if t.next != nil {
		l.wheel.unlink(t)
	}
	t.owner, t.deadline = nil, Never
}

// slotTick is the tick at which a timer with this deadline is looked at next.
func (w *wheel) slotTick(deadline time.Duration) int64 {
	at := int64((deadline + tick - 1) / tick)
	return max(min(at, w.done+horizon), w.done+1)
}

func (w *wheel) link(t *Timer) {
	t.at = w.slotTick(t.deadline)
	i := t.at & (slots - 1)
	h := &w.heads[i]
	t.prev, t.next = h.prev, h
	t.prev.next, h.prev = t, t
	w.used[i/64] |= 1 << (i % 64)
}

func (w *wheel) unlink(t *Timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
}

// expire tells the owners of the timers that are due at now.
func (w *wheel) expire(now time.Duration) {
	last := int64(now / tick)
	if last-w.done > slots {
		w.done = last - slots // every slot is visited once
	}
	for w.done < last {
		i := (w.done + 1) & (slots - 1)
		if w.used[i/64]&(1<<(i%64)) == 0 {
			w.done++
			continue
		}
		w.expireSlot(i, now)
	}
}

// expireSlot empties the slot of the tick after done. Timers are put on again only after done has moved, so that none comes
// back into the list that is being emptied, unless its slot comes round once more.
func (w *wheel) expireSlot(i int64, now time.Duration) {
	w.used[i/64] &^= 1 << (i % 64)
	w.done++
	h := &w.heads[i]
	if h.next == h {
		return
	}
	var due Timer // takes the list over: an owner may set and stop any timer while it is worked off
	due.next, due.prev = h.next, h.prev
	due.next.prev, due.prev.next = &due, &due
	h.next, h.prev = h, h
	for due.next != &due {
		t := due.next
		w.unlink(t)
		switch {
		case t.deadline == Never:
		case t.deadline > now:
			w.link(t)
		default:
			t.deadline = Never
			t.owner.Expired(t)
		}
	}
}

// patience is how long until the next slot with timers; negative when there is none.
func (w *wheel) patience(now time.Duration) time.Duration {
	from := w.done + 1
	for d := int64(0); d < slots; {
		i := (from + d) & (slots - 1)
		if rest := w.used[i/64] >> (i % 64); rest != 0 {
			d += int64(bits.TrailingZeros64(rest))
			return max(time.Duration(from+d)*tick-now, 0)
		}
		d += 64 - i%64
	}
	return -1
}

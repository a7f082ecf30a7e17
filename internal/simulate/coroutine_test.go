package simulate

import "iter"

// coroutine runs one job at a time, and stops in it wherever the code under test waits: then the schedule goes on. Exactly one of the
// scheduler and the coroutines runs at any time.
type coroutine struct {
	id     int32
	resume func() (struct{}, bool)
	yield  func(struct{}) bool
	job    job
	busy   bool
}

// job is what a coroutine does. What n means is up to its kind.
type job struct {
	kind    jobKind
	gateway *gateway
	n       int32
}

// coroutines are those of a worker. They outlive schedules: making one costs more than a hundred switches.
type coroutines struct {
	all     []*coroutine
	idle    []*coroutine
	current *coroutine // nil: the scheduler runs
	run     func(job)
}

// start begins a job and returns when it waits or is done.
func (cs *coroutines) start(j job) {
	if len(cs.idle) == 0 {
		cs.grow()
	}
	c := cs.idle[len(cs.idle)-1]
	cs.idle = cs.idle[:len(cs.idle)-1]
	c.job, c.busy = j, true
	cs.proceed(c)
}

// proceed lets a coroutine go on until it waits again or is done.
func (cs *coroutines) proceed(c *coroutine) {
	before := cs.current
	cs.current = c
	c.resume()
	cs.current = before
	if !c.busy {
		cs.idle = append(cs.idle, c)
	}
}

func (cs *coroutines) grow() {
	c := &coroutine{id: int32(len(cs.all))}
	c.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		for {
			cs.run(c.job)
			c.busy = false
			if !yield(struct{}{}) {
				return
			}
		}
	})
	cs.all = append(cs.all, c)
	cs.idle = append(cs.idle, c)
}

package loop

import (
	"math/rand/v2"
	"testing"
	"time"
)

// probe is a timer that remembers when it fired.
type probe struct {
	Timer
	due   time.Duration // Never: not set
	from  time.Duration // not looked at before
	fired func(*probe)
}

func (p *probe) Expired(*Timer) { p.fired(p) }

// A wheel beside the plainest timers there are: a list of deadlines. Time goes on in steps as a loop's rounds do, at times only
// as far as patience says.
func TestTimersFireInTimeAndNotBefore(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	l := &Loop{}
	l.wheel.init()
	var now time.Duration
	fired := 0
	timers := make([]*probe, 200)
	random := func() time.Duration {
		switch rng.IntN(4) {
		case 0:
			return now + time.Duration(rng.Int64N(int64(20*time.Millisecond)))
		case 1:
			return now + time.Duration(rng.Int64N(int64(30*time.Second))) // beyond the horizon
		case 2:
			return now - time.Duration(rng.Int64N(int64(time.Second))) // due already
		}
		return now + time.Duration(rng.Int64N(int64(time.Second)))
	}
	set := func(p *probe, d time.Duration) {
		p.due, p.from = d, max(d, now)
		l.SetTimer(&p.Timer, p, d)
	}
	for i := range timers {
		timers[i] = &probe{due: Never}
		timers[i].fired = func(p *probe) {
			fired++
			if p.due > now {
				t.Fatalf("at %v a timer fired that is due at %v", now, p.due)
			}
			p.due = Never
			switch rng.IntN(4) { // an owner may do anything to any timer
			case 0:
				set(p, random())
			case 1:
				set(timers[rng.IntN(len(timers))], random())
			case 2:
				other := timers[rng.IntN(len(timers))]
				other.due = Never
				l.StopTimer(&other.Timer)
			}
		}
	}
	for range 20_000 {
		for range rng.IntN(5) {
			p := timers[rng.IntN(len(timers))]
			switch rng.IntN(6) {
			case 0:
				set(p, Never)
			case 1:
				p.due = Never
				l.StopTimer(&p.Timer)
			default:
				set(p, random())
			}
		}
		patience := l.wheel.patience(now)
		for _, p := range timers {
			if p.due != Never && (patience < 0 || now+patience > max(p.from, now)+2*tick) {
				t.Fatalf("at %v the loop would wait %v, and a timer is due at %v", now, patience, p.due)
			}
		}
		switch {
		case rng.IntN(100) == 0:
			now += time.Duration(rng.Int64N(int64(20 * time.Second))) // a round that took very long
		case patience >= 0 && rng.IntN(2) == 0:
			now += patience
		default:
			now += time.Duration(rng.Int64N(int64(50 * time.Millisecond)))
		}
		l.wheel.expire(now)
		for _, p := range timers {
			if p.due != Never && p.from+2*tick <= now {
				t.Fatalf("at %v a timer has not fired that was due at %v", now, p.due)
			}
		}
	}
	if fired < 1000 {
		t.Errorf("only %d timers fired", fired)
	}
}

func TestMovingADeadlineAwayLeavesTheTimerWhereItIs(t *testing.T) {
	l := &Loop{}
	l.wheel.init()
	p := &probe{}
	l.SetTimer(&p.Timer, p, time.Second)
	at := p.at
	l.SetTimer(&p.Timer, p, 2*time.Second)
	if p.at != at {
		t.Error("a later deadline moved the timer")
	}
	l.SetTimer(&p.Timer, p, time.Second/2)
	if p.at >= at {
		t.Error("an earlier deadline did not move the timer")
	}
	l.StopTimer(&p.Timer)
	if p.next != nil || p.prev != nil {
		t.Error("a stopped timer is still linked")
	}
}

func TestAnEmptyWheelHasNoEndOfPatience(t *testing.T) {
	l := &Loop{}
	l.wheel.init()
	if d := l.wheel.patience(0); d >= 0 {
		t.Errorf("patience %v", d)
	}
	p := &probe{fired: func(*probe) { t.Error("fired") }}
	l.SetTimer(&p.Timer, p, time.Second)
	l.SetTimer(&p.Timer, p, Never)
	l.wheel.expire(2 * time.Second)
	if d := l.wheel.patience(2 * time.Second); d >= 0 {
		t.Errorf("patience %v with a timer that was taken back", d)
	}
}

func BenchmarkSetTimer(b *testing.B) {
	l := &Loop{}
	l.wheel.init()
	timers := make([]probe, 10_000)
	b.ReportAllocs()
	now := time.Duration(0)
	for i := 0; b.Loop(); i++ {
		p := &timers[i%len(timers)]
		l.SetTimer(&p.Timer, p, now+75*time.Second)
		if i%100 == 0 {
			now += time.Millisecond
			l.wheel.expire(now)
		}
	}
}

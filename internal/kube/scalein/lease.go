package scalein

import (
	"context"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Lease's times, those of Kubernetes' own controllers. Its holder stops to write when it has not renewed it for renewDeadline, and a
// write takes at most writeTimeout: nothing of it is under way any more when another takes the Lease after leaseDuration.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second // lengthened by up to a fifth at random
)

// lease is what a gateway knows of the Lease. The algorithm is that of client-go's leader election, without it: that package builds in
// the clients of all kinds that Kubernetes has. Times are this machine's own, those in the Lease are for people: the clocks of others
// need not agree.
type lease struct {
	seen   *coordinationv1.Lease // nil: none
	seenAt time.Time             // when it was first seen as it is
	heldAt time.Time             // when the last renewal that has succeeded began; zero: this gateway does not hold it
}

// elect takes part in the election until ctx is done, and then gives the Lease back.
func (s *Scaler) elect(ctx context.Context) {
	for ctx.Err() == nil {
		s.renew(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(retryPeriod + rand.N(retryPeriod/5)):
		}
	}
	s.giveBack(context.WithoutCancel(ctx))
}

// renew takes the Lease or renews it, where it is this gateway's or nobody's.
func (s *Scaler) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	now := time.Now()
	found, err := s.c.Leases.GetLease(ctx, s.c.Lease)
	if err == nil {
		s.see(found, now)
		if holder := holderOf(found); holder == "" || holder == s.c.Identity || now.Sub(s.lease.seenAt) >= leaseDuration {
			err = s.put(ctx, s.claim(now), now)
		} else {
			s.keep(time.Time{}) // another has taken it
		}
	}
	switch {
	case err == nil:
		s.ends(&s.leaseError, "the Lease of scale-in can be had again")
	case ctx.Err() != context.Canceled:
		s.begins(&s.leaseError, err, "the Lease of scale-in cannot be had; without it pods are not written, and requests are served on")
	}
}

// giveBack lets another gateway take the Lease at once.
func (s *Scaler) giveBack(ctx context.Context) {
	if !s.leads(time.Now()) {
		return
	}
	s.keep(time.Time{})
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	free := s.lease.seen.DeepCopy()
	free.Spec.HolderIdentity = new(string)
	_, _, _ = s.c.Leases.PutLease(ctx, free) // else another takes it in a while
}

// claim is the Lease as it is to be when this gateway holds it.
func (s *Scaler) claim(now time.Time) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: s.c.Lease}}
	if s.lease.seen != nil {
		l = s.lease.seen.DeepCopy()
	}
	seconds, stamp := int32(leaseDuration/time.Second), metav1.NewMicroTime(now)
	if before := holderOf(s.lease.seen); before != s.c.Identity {
		l.Spec.AcquireTime = &stamp
		transitions := int32(0)
		if l.Spec.LeaseTransitions != nil {
			transitions = *l.Spec.LeaseTransitions + 1
		}
		l.Spec.LeaseTransitions = &transitions
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &s.c.Identity, &seconds, &stamp
	return l
}

// put writes the Lease. When another was faster, it is looked at again in a while.
func (s *Scaler) put(ctx context.Context, l *coordinationv1.Lease, now time.Time) error {
	stored, taken, err := s.c.Leases.PutLease(ctx, l)
	if err != nil || taken {
		return err
	}
	s.keep(now)
	s.see(stored, now)
	return nil
}

// see notes the Lease as it is; nil: there is none.
func (s *Scaler) see(l *coordinationv1.Lease, now time.Time) {
	if l == nil || s.lease.seen == nil || l.ResourceVersion != s.lease.seen.ResourceVersion {
		s.lease.seen, s.lease.seenAt = l, now
	}
	holder := holderOf(l)
	s.mu.Lock()
	before := s.st.Holder
	s.st.Holder = holder
	s.mu.Unlock()
	if holder != before && holder != "" {
		s.c.Log.Info("scale-in has a leader", "lease", s.st.Lease, "holder", holder, "self", holder == s.c.Identity)
	}
}

func holderOf(l *coordinationv1.Lease) string {
	if l == nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// keep notes since when this gateway holds the Lease for sure; zero: it does not.
func (s *Scaler) keep(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease.heldAt = since
}

// leads reports whether this gateway holds the Lease at a time, for as long as a write may take.
func (s *Scaler) leads(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.lease.heldAt.IsZero() && now.Sub(s.lease.heldAt) < renewDeadline
}

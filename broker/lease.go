package broker

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// keeper keeps the leases of a broker's holders, and sweeps those that ran out. One goroutine does both, one after the
// other, so that what it could not renew in time is renewed before anything is swept.
//
// When the roster could not be reached, or the process stood still, nobody could come back to it meanwhile. Each lease then
// gets one fresh term, those included whose holder was closed or lost, before the next sweep.
type keeper struct {
	// Static.
	roster        Roster
	term          time.Duration
	retryAfter    time.Duration
	maxRetryAfter time.Duration
	signal        chan struct{} // has an item if a lease is due that was not when the keeper last looked

	mu   sync.Mutex
	kept map[*Holder]struct{} // protected by mu; those whose lease the roster may still have
}

// tenure is what the keeper knows of a holder's lease.
type tenure struct {
	held   time.Time // when the term that it has was asked for: it is over a term later, or a bit after that
	due    time.Time // when it is to be renewed
	closed bool      // the holder is closed, or lost: it is not renewed any more, but after an outage
}

func newKeeper(roster Roster, c *Config) *keeper {
	return &keeper{
		roster:        roster,
		term:          c.LeaseTerm,
		retryAfter:    c.RetryAfter,
		maxRetryAfter: c.MaxRetryAfter,
		signal:        make(chan struct{}, 1),
		kept:          map[*Holder]struct{}{},
	}
}

// add keeps a lease that was asked for at a time. Those of earlier holders with the name are looked at now, so that they
// hear of it.
func (k *keeper) add(h *Holder, asked time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for other := range k.kept {
		if other.lease.Holder == h.lease.Holder && !other.tenure.closed {
			other.tenure.due = asked
			k.wake()
		}
	}
	h.tenure = tenure{held: asked, due: asked.Add(k.term / 3)}
	k.kept[h] = struct{}{}
	k.wake()
}

func (k *keeper) wake() {
	select {
	case k.signal <- struct{}{}:
	default:
	}
}

func (k *keeper) close(h *Holder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h.tenure.closed = true
}

// run renews and sweeps until ctx ends.
func (k *keeper) run(ctx context.Context) {
	var (
		sweep = time.Now().Add(k.term) // when it is to be swept
		wake  = sweep                  // when the keeper wanted to look
		away  = false                  // the roster could not be reached since all leases were last renewed
		wait  = k.retryAfter
	)
	for ctx.Err() == nil {
		now := time.Now()
		away = away || now.Sub(wake) > k.term/3
		failed := k.renew(ctx, now, away)
		if !failed {
			away = false
		}
		if !failed && !now.Before(sweep) {
			var next time.Time
			next, failed = k.sweep(ctx)
			// A lease that begins from now on lasts for a term, and one that another broker began may end at any time.
			if sweep = time.Now().Add(k.term); !next.IsZero() && next.Before(sweep) {
				sweep = next
			}
		}
		if failed {
			away = true
			wake = time.Now().Add(min(jitter(wait), k.term/6))
			sweep = wake
			wait = min(2*wait, k.maxRetryAfter)
		} else {
			wait = k.retryAfter
			wake = k.next(sweep)
		}
		k.rest(ctx, wake)
	}
}

// rest waits until a time, or until another lease is due.
func (k *keeper) rest(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-k.signal:
	case <-ctx.Done():
	}
}

// next returns when the keeper is to look again: at a time, or when the first lease is due.
func (k *keeper) next(at time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.kept {
		if !h.tenure.closed && h.tenure.due.Before(at) {
			at = h.tenure.due
		}
	}
	return at
}

// renew renews the leases that are due, after an outage all, and reports whether the roster could not be reached for one.
func (k *keeper) renew(ctx context.Context, now time.Time, all bool) (failed bool) {
	for _, h := range k.dueAt(now, all) {
		asked := time.Now()
		err := k.ask(ctx, func(ctx context.Context) error { return k.roster.Renew(ctx, h.lease, k.term) })
		if ctx.Err() != nil {
			return true
		}
		if k.renewed(h, asked, err) {
			continue
		}
		failed = true
		if millrace.AsError(err).Reason == millrace.ReasonDeadline {
			break // the others would wait for as long
		}
	}
	return failed
}

// dueAt returns the holders whose lease is to be renewed.
func (k *keeper) dueAt(now time.Time, all bool) []*Holder {
	k.mu.Lock()
	defer k.mu.Unlock()
	var due []*Holder
	for h := range k.kept {
		if all || !h.tenure.closed && !now.Before(h.tenure.due) {
			due = append(due, h)
		}
	}
	return due
}

// renewed takes the roster's answer to a renewal, and reports whether it could be reached.
func (k *keeper) renewed(h *Holder, asked time.Time, err error) bool {
	e := millrace.AsError(err)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case e == nil:
		h.tenure.held, h.tenure.due = asked, asked.Add(k.term/3)
		if h.tenure.closed {
			delete(k.kept, h) // this was its one fresh term
		}
	case !e.Reason.Outcome().Retryable:
		delete(k.kept, h)
		h.lose()
	default:
		h.tenure.due = asked.Add(min(k.retryAfter, k.term/6))
		if over := h.tenure.over(asked, k.term); over && !h.tenure.closed {
			h.tenure.closed = true
			h.lose()
		} else if over && e.Reason == millrace.ReasonInternal {
			delete(k.kept, h)
		}
		return e.Reason == millrace.ReasonInternal // a fault with this one is no outage, and must not keep others from being swept
	}
	return true
}

// over reports whether the lease has run out, as far as the keeper knows.
func (t *tenure) over(now time.Time, term time.Duration) bool { return !now.Before(t.held.Add(term)) }

// sweep makes those leave whose lease has run out, and reports when the next one does, and whether it failed.
func (k *keeper) sweep(ctx context.Context) (next time.Time, failed bool) {
	now := time.Now()
	err := k.ask(ctx, func(ctx context.Context) (err error) {
		next, err = k.roster.Sweep(ctx)
		return err
	})
	if err != nil {
		return time.Time{}, true
	}
	k.forget(now)
	// Where the clock of the roster is another one than ours, this keeps it from being swept without a pause.
	if soonest := time.Now().Add(min(k.retryAfter, k.term/6)); !next.IsZero() && next.Before(soonest) {
		next = soonest
	}
	return next, false
}

// forget lets go of holders that are closed and whose lease had run out at a time: it was swept.
func (k *keeper) forget(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.kept {
		if h.tenure.closed && h.tenure.over(now, k.term) {
			delete(k.kept, h)
		}
	}
}

// ask bounds how long the roster is waited for, so that other leases have their turn in time.
func (k *keeper) ask(ctx context.Context, what func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.term/3)
	defer cancel()
	return what(ctx)
}

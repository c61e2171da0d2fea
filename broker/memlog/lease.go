package memlog

import (
	"cmp"
	"context"
	"runtime"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// holder is one who has members, under its newest lease. All of it is protected by the roster's mu.
type holder struct {
	name  string
	lease uint64
	until time.Time // when the lease runs out
	over  bool      // it ran out or was ended: whoever is left leaves
	why   string    // then: the reason of their leave
	data  string    // of the member before, see share

	members crew
	stuck   crew // those whose leave the log has refused, until the one who asked for it has tried all others
}

// crew is a ring of members, in which those who were told under the lease stand behind the others.
type crew struct{ end membership }

func newHolder(name string) *holder {
	h := &holder{name: name}
	for _, c := range []*crew{&h.members, &h.stuck} {
		c.end.prev, c.end.next = &c.end, &c.end
	}
	return h
}

// first returns the member at the front, nil if there is none.
func (c *crew) first() *membership {
	if c.end.next == &c.end {
		return nil
	}
	return c.end.next
}

// pushFront lets a member stand before all others, and in no other ring.
func (c *crew) pushFront(m *membership) {
	m.unlink()
	m.link(&c.end, c.end.next)
}

// pushBack lets a member stand behind all others, and in no other ring.
func (c *crew) pushBack(m *membership) {
	m.unlink()
	m.link(c.end.prev, &c.end)
}

func (m *membership) link(prev, next *membership) {
	m.prev, m.next = prev, next
	prev.next, next.prev = m, m
}

// unlink takes a member out of the ring that it stands in, if it does.
func (m *membership) unlink() {
	if m.next != nil {
		m.prev.next, m.next.prev = m.next, m.prev
		m.prev, m.next = nil, nil
	}
}

// take makes a member the holder's, told under its lease.
func (h *holder) take(m *membership) {
	m.holder, m.told = h, h.lease
	h.members.pushBack(m)
}

// retry puts those back whose leave was refused, to the front: they were not told under the lease, or it is over.
func (h *holder) retry() {
	for m := h.stuck.first(); m != nil; m = h.stuck.first() {
		h.members.pushFront(m)
	}
}

// holding returns the holder of a lease, under which it may do as it likes.
func (r *Roster) holding(l broker.Lease) (*holder, *millrace.Error) {
	h, err := r.leased(l)
	if err == nil && h.over {
		return nil, errRanOut()
	}
	return h, err
}

// leased returns the holder of a lease, which may be over as long as members are left.
func (r *Roster) leased(l broker.Lease) (*holder, *millrace.Error) {
	if r.closed {
		return nil, errRosterClosed()
	}
	switch h := r.holders[l.Holder]; {
	case h == nil:
		return nil, errRanOut()
	case h.lease != l.Number:
		return nil, millrace.Errorf(millrace.ReasonConflict, "a newer lease of the holder has begun")
	default:
		return h, nil
	}
}

func errRanOut() *millrace.Error {
	return millrace.Errorf(millrace.ReasonNotFound, "the lease has ended")
}

// Begin implements broker.Roster.
func (r *Roster) Begin(ctx context.Context, name string, term time.Duration) (broker.Lease, error) {
	if err := ctx.Err(); err != nil {
		return broker.Lease{}, millrace.AsError(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return broker.Lease{}, errRosterClosed()
	}
	h := r.holders[name]
	if h == nil {
		h = newHolder(name)
		r.holders[name] = h
	}
	r.leases++
	h.lease, h.until, h.over, h.why = r.leases, r.now().Add(term), false, ""
	return broker.Lease{Holder: name, Number: h.lease}, nil
}

// Renew implements broker.Roster. A lease whose time is up can be renewed as long as nobody has noticed.
func (r *Roster) Renew(ctx context.Context, l broker.Lease, term time.Duration) error {
	if err := ctx.Err(); err != nil {
		return millrace.AsError(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h, err := r.holding(l)
	if err != nil {
		return err
	}
	h.until = r.now().Add(term)
	return nil
}

// Settle implements broker.Roster.
func (r *Roster) Settle(ctx context.Context, l broker.Lease) error {
	r.mu.Lock()
	h, err := r.holding(l)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.empty(ctx, h, l, func() (*membership, string) {
		if m := h.members.first(); m != nil && m.told != l.Number {
			return m, millrace.LeftLost
		}
		return nil, ""
	})
}

// End implements broker.Roster.
func (r *Roster) End(ctx context.Context, l broker.Lease, reason string) error {
	r.mu.Lock()
	h, err := r.leased(l)
	if err == nil {
		h.over, h.why = true, reason
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.disband(ctx, h, l)
}

// Sweep implements broker.Roster. The time is of the roster's clock.
func (r *Roster) Sweep(ctx context.Context) (next time.Time, err error) {
	over, err := r.expire()
	for l, h := range over {
		if failed := r.disband(ctx, h, l); failed != nil && err == nil {
			err = failed
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.holders {
		if !h.over && (next.IsZero() || h.until.Before(next)) {
			next = h.until
		}
	}
	return next, err
}

// expire ends the leases whose time is up, and returns them with those that are over already.
func (r *Roster) expire() (map[broker.Lease]*holder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errRosterClosed()
	}
	now, over := r.now(), map[broker.Lease]*holder{}
	for _, h := range r.holders {
		if !h.over && !now.Before(h.until) {
			h.over, h.why = true, millrace.LeftLease
		}
		if h.over {
			over[broker.Lease{Holder: h.name, Number: h.lease}] = h
		}
	}
	return over, nil
}

// disband makes all members of a holder leave whose lease is over. If a newer one begins meanwhile the rest stays.
func (r *Roster) disband(ctx context.Context, h *holder, l broker.Lease) error {
	err := r.empty(ctx, h, l, func() (*membership, string) { return h.members.first(), h.why })
	if e := millrace.AsError(err); e != nil && (e.Reason == millrace.ReasonConflict || e.Reason == millrace.ReasonNotFound) {
		return nil
	}
	return err
}

// empty makes members leave for as long as there is a next one and the lease is the holder's, some at a time. Those whose
// leave the log refuses stay, and the first such error is returned once all were tried.
func (r *Roster) empty(ctx context.Context, h *holder, l broker.Lease, next func() (*membership, string)) error {
	var refused *millrace.Error
	for {
		runtime.Gosched() // else this goroutine has the lock again before those who wait for it are awake: BenchmarkSweep
		done, err := r.emptySome(ctx, h, l, next, &refused)
		if err != nil {
			return err
		}
		if done && refused != nil {
			return refused
		}
		if done {
			return nil
		}
	}
}

// emptySome is one turn of empty.
func (r *Roster) emptySome(ctx context.Context, h *holder, l broker.Lease, next func() (*membership, string), refused **millrace.Error) (done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		h.retry()
		return false, millrace.AsError(err)
	}
	if _, err := r.leased(l); err != nil {
		h.retry()
		return false, err
	}
	for range turnMembers {
		m, why := next()
		if m == nil {
			r.emptied(h, refused)
			return true, nil
		}
		if err := r.leave(ctx, m, why); err != nil {
			h.stuck.pushBack(m)
			*refused = cmp.Or(*refused, err)
		}
	}
	return false, nil
}

// emptied puts those back who did not leave, or forgets a holder of whom nothing is left.
func (r *Roster) emptied(h *holder, refused **millrace.Error) {
	if h.stuck.first() != nil && *refused == nil {
		*refused = millrace.Errorf(millrace.ReasonUnavailable, "members who should leave could not yet")
	}
	h.retry()
	if h.over && h.members.first() == nil {
		delete(r.holders, h.name)
	}
}

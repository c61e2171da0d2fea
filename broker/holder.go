package broker

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// Holder is the members of one gateway or bot, which it holds under a lease. The broker renews the lease until Close; then
// it runs out, and who was not told by another holder meanwhile leaves. All methods may be called concurrently.
type Holder struct {
	// Static.
	broker *Broker
	lease  Lease
	lost   chan struct{}

	losing sync.Once // closes lost

	tenure tenure // protected by keeper.mu
}

// Hold begins a lease for the holder with a name, and supersedes an earlier Holder of that name. It must be closed.
func (b *Broker) Hold(ctx context.Context, name string) (*Holder, error) {
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	if err := admitPart("holder's name", name); err != nil {
		return nil, err
	}
	asked := time.Now()
	lease, err := b.roster.Begin(ctx, name, b.config.LeaseTerm)
	if err != nil {
		return nil, err
	}
	h := &Holder{broker: b, lease: lease, lost: make(chan struct{})}
	b.keeper.add(h, asked)
	return h, nil
}

// Enroll does what is asked of memberships, and answers each alone, in order. What is wrong with a change is refused by
// name: topics and data are checked here. The error says that none was tried.
func (h *Holder) Enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	if err := h.gone(); err != nil {
		return nil, err
	}
	acks := make([]millrace.MemberAck, len(changes))
	admitted, places := make([]millrace.MemberChange, 0, len(changes)), make([]int, 0, len(changes))
	for i := range changes {
		c, err := admitChange(changes[i], h.broker.config.MaxMemberBytes)
		if err != nil {
			acks[i].Err = err
			continue
		}
		admitted, places = append(admitted, c), append(places, i)
	}
	if len(admitted) == 0 {
		return acks, nil
	}
	for i, ack := range h.broker.roster.Change(ctx, h.lease, admitted) {
		acks[places[i]] = ack
		if kind := admitted[i].Kind; ack.Err != nil && ack.Err.Reason == millrace.ReasonNotFound && (kind == millrace.MemberJoin || kind == millrace.MemberLeave) {
			h.lose() // it is the lease that was not found
		}
	}
	return acks, nil
}

// gone reports why nothing can be asked under the lease any more, or nil.
func (h *Holder) gone() error {
	if h.broker.ctx.Err() != nil {
		return context.Cause(h.broker.ctx)
	}
	select {
	case <-h.lost:
		return millrace.Errorf(millrace.ReasonConflict, "the lease of %q is gone", h.lease.Holder)
	default:
		return nil
	}
}

// Settle says that all members were told: those leave that were not, since the holder began.
func (h *Holder) Settle(ctx context.Context) error {
	if err := h.gone(); err != nil {
		return err
	}
	return h.broker.roster.Settle(ctx, h.lease)
}

// Lost is closed when the lease is gone, because another Holder of that name has begun or it could not be renewed. Who wants
// its members to stay begins anew and tells of all of them. A broker that stops does not close it.
func (h *Holder) Lost() <-chan struct{} { return h.lost }

func (h *Holder) lose() { h.losing.Do(func() { close(h.lost) }) }

// Close stops renewing the lease. It may be called more than once.
func (h *Holder) Close() { h.broker.keeper.close(h) }

// End makes the members leave at once, with a reason, and closes the holder. Where it fails some members may have stayed: it
// can be called again, and else they leave once the broker sweeps.
func (h *Holder) End(ctx context.Context, reason string) error {
	h.Close()
	if h.broker.ctx.Err() != nil {
		return context.Cause(h.broker.ctx)
	}
	return h.broker.roster.End(ctx, h.lease, reason)
}

// Members returns a page of a topic's members. A limit of 0 is Config.ListedMembers, and a larger one than
// Config.MaxListedMembers is cut to that. The caller owns the slice.
func (b *Broker) Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	if b.ctx.Err() != nil {
		return millrace.MemberPage{}, context.Cause(b.ctx)
	}
	if err := admitRoom(topic); err != nil {
		return millrace.MemberPage{}, err
	}
	if r.Limit == 0 {
		r.Limit = b.config.ListedMembers
	}
	r.Limit = min(r.Limit, b.config.MaxListedMembers)
	return b.roster.Members(ctx, topic, r)
}

// LeaseTerm returns how long members outlive their holder, unless they are told by another.
func (b *Broker) LeaseTerm() time.Duration { return b.config.LeaseTerm }

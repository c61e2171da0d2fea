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

	closing sync.Once
}

// Hold begins a lease for the holder with a name, and supersedes an earlier Holder of that name. It must be closed.
func (b *Broker) Hold(ctx context.Context, name string) (*Holder, error) {
	lease, err := b.roster.Begin(ctx, name, b.config.LeaseTerm)
	if err != nil {
		return nil, err
	}
	return &Holder{broker: b, lease: lease, lost: make(chan struct{})}, nil
}

// Enroll does what is asked of memberships, and answers each alone, in order. What is wrong with a change is refused by
// name: topics and data are checked here. The error says that none was tried.
func (h *Holder) Enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	return h.broker.roster.Change(ctx, h.lease, changes), nil
}

// Settle says that all members were told: those leave that were not, since the holder began.
func (h *Holder) Settle(ctx context.Context) error { return h.broker.roster.Settle(ctx, h.lease) }

// Lost is closed when the lease is gone, because another Holder of that name has begun or it could not be renewed. Who wants
// its members to stay begins anew and tells of all of them.
func (h *Holder) Lost() <-chan struct{} { return h.lost }

// Close stops renewing the lease. It may be called more than once.
func (h *Holder) Close() { h.closing.Do(func() {}) }

// End makes the members leave at once, with a reason, and closes the holder.
func (h *Holder) End(ctx context.Context, reason string) error {
	h.Close()
	return h.broker.roster.End(ctx, h.lease, reason)
}

// Members returns a page of a topic's members. A limit of 0 is Config.ListedMembers, and a larger one than
// Config.MaxListedMembers is cut to that.
func (b *Broker) Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	return b.roster.Members(ctx, topic, r)
}

// LeaseTerm returns how long members outlive their holder, unless they are told by another.
func (b *Broker) LeaseTerm() time.Duration { return b.config.LeaseTerm }

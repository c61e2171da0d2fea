package broker

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace"
)

// Roster is who is a member of which topic, held under leases: what a broker needs of an engine beside a Log. Package
// brokertest has the test that any Roster must pass.
//
// A member is held by one holder at a time: a gateway, or a bot. A holder has one lease for all of its members, so that what
// keeps them costs nothing for each. When the lease runs out they leave, each exactly once, but for those that another
// holder has told meanwhile.
//
// Each change appends its events to the lifecycle log of the topic (millrace.PresenceTopic) in the same atomic step: whoever
// has read the members as of a position of that log, and applies the events after it, has the list. A change that makes no
// difference to the list has no event.
//
// All methods may be called concurrently. Errors are a *millrace.Error, or wrap one, where the engine knows the reason;
// those whose reason is not retryable are final.
type Roster interface {
	// Begin gives a holder a lease for a term. One that it had is superseded: what is asked under that one from then on fails
	// with ReasonConflict. The holder's members stay.
	Begin(ctx context.Context, holder string, term time.Duration) (Lease, error)

	// Renew lets a lease last for a term from now. ReasonConflict says that it is superseded, ReasonNotFound that it ran out.
	Renew(ctx context.Context, l Lease, term time.Duration) error

	// Change does what a holder asks and answers each alone, in order. It keeps nothing of the slice. A change whose event the
	// log refuses is not done, with the log's error, a leave included: it is to be asked again. The errors of a lease are those of Renew.
	Change(ctx context.Context, l Lease, changes []millrace.MemberChange) []millrace.MemberAck

	// Settle makes those members of the holder leave, with the reason millrace.LeftLost, that were not told under this lease.
	Settle(ctx context.Context, l Lease) error

	// End makes all members leave that are held under the lease, with a reason, and ends it.
	End(ctx context.Context, l Lease, reason string) error

	// Sweep makes the members leave whose lease has run out, with the reason millrace.LeftLease, and returns when the next
	// lease does unless it is renewed; the zero time if there is none. Any number of brokers may sweep at once.
	Sweep(ctx context.Context) (next time.Time, err error)

	// Members returns a page of a topic's members. It takes no longer with more of them, for a page of the same size and for
	// the counts. The caller owns the slice. A topic that has none is no error; a Page that is not the roster's is ReasonBadRequest.
	Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error)

	// Close lets go of what the engine holds. Other methods fail with ReasonUnavailable from then on.
	Close() error
}

// Lease is what a holder's members are held under.
type Lease struct {
	Holder string
	Number uint64 // unlike that of any other lease of the holder
}

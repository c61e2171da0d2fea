package memlog

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// Roster is a broker.Roster in memory, over any log.
type Roster struct{ log broker.Log }

// NewRoster returns a roster without members, whose lifecycle events go to a log.
func NewRoster(log broker.Log) *Roster { return &Roster{log: log} }

var errNotYet = millrace.Errorf(millrace.ReasonUnavailable, "not yet")

func (r *Roster) Begin(context.Context, string, time.Duration) (broker.Lease, error) {
	return broker.Lease{}, nil
}
func (r *Roster) Renew(context.Context, broker.Lease, time.Duration) error { return nil }
func (r *Roster) Change(context.Context, broker.Lease, []millrace.MemberChange) []millrace.MemberAck {
	return nil
}
func (r *Roster) Settle(context.Context, broker.Lease) error      { return nil }
func (r *Roster) End(context.Context, broker.Lease, string) error { return nil }
func (r *Roster) Sweep(context.Context) (time.Time, error)        { return time.Time{}, nil }
func (r *Roster) Members(context.Context, string, millrace.MemberRange) (millrace.MemberPage, error) {
	return millrace.MemberPage{}, errNotYet
}
func (r *Roster) Close() error { return nil }

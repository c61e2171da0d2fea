package brokertest

import (
	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func (b bench) ephemeral() {
	l := b.open(b.T, broker.Rule{Class: millrace.ClassEphemeral})
	r := newRecorder()
	head, stop, err := l.Follow(b.Context(), "a", r)
	if err != nil || !head.IsZero() {
		b.Fatalf("followed from %s, %v", head, err)
	}
	defer stop()
	zero := millrace.Position{}
	acks := l.Append(b.Context(), []millrace.Publish{
		{Event: named("a", "x", 1)},
		{Event: named("a", "x", 2)}, // there is nothing to know it by
		{Event: Event("a", 3), Expect: &zero},
		{Event: Event("a", 4)},
	})
	b.refused(acks[2].Err, millrace.ReasonUnsupported)
	for _, i := range []int{0, 1, 3} {
		if ack := acks[i]; ack.Err != nil || ack.Repeated || !ack.Position.IsZero() || ack.Time.IsZero() {
			b.Fatalf("publish %d was answered %+v", i, ack)
		}
	}
	for i, e := range r.wait(b, 3) {
		if want := []string{"1", "2", "4"}[i]; string(e.Data) != want || !e.Position.IsZero() || e.Prev != 0 || !e.Time.Equal(acks[0].Time) {
			b.Fatalf("event %d is %q at %s of %s, want %s", i, e.Data, e.Position, e.Time, want)
		}
	}
	_, err = l.Read(b.Context(), "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	b.refused(err, millrace.ReasonUnsupported)
	if states, err := l.Topics(b.Context(), "", 1); err != nil || len(states) > 0 {
		b.Fatalf("topics: %v, %v", states, err)
	}
}

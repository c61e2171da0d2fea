package broker_test

import (
	"context"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// ledger is a consumer of a feed that holds every update to the promise: each event follows on the position that the
// updates before it led to, and what is left out is told before.
type ledger struct {
	t    testing.TB
	feed *broker.Feed

	accounts map[string]*account
	batches  int
}

// account is what a ledger knows of one topic.
type account struct {
	first    millrace.Position // where it was attached first
	pos      millrace.Position
	attached bool
	attaches int
	detaches int
	class    millrace.Class
	events   []*millrace.Event
	gaps     []millrace.Gap
	advances int    // how often the position was moved on
	passed   uint64 // offsets that it was moved on over
	older    uint64 // those of them that were left out as older ones of their key
	dropped  uint64 // in class ephemeral: what gaps count
	matched  []millrace.Update
	refused  *millrace.Error
}

// skipped says how many of the offsets were passed over because the filter took them.
func (a *account) skipped() uint64 { return a.passed - a.older }

func newLedger(t testing.TB, b *broker.Broker) *ledger {
	t.Helper()
	f := b.NewFeed()
	t.Cleanup(f.Close)
	return &ledger{t: t, feed: f, accounts: map[string]*account{}}
}

func (l *ledger) subscribe(topic string, start millrace.Start) {
	l.t.Helper()
	l.want(millrace.Subscription{Topic: topic, Start: start})
}

// want subscribes to what is wanted of a topic or pattern.
func (l *ledger) want(s millrace.Subscription) *account {
	l.t.Helper()
	if err := l.feed.Subscribe(s); err != nil {
		l.t.Fatal(err)
	}
	l.accounts[s.Topic] = new(account)
	return l.accounts[s.Topic]
}

// next takes one batch.
func (l *ledger) next() []millrace.Update {
	l.t.Helper()
	updates, err := l.feed.Next(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	if len(updates) == 0 {
		l.t.Fatal("a batch without updates")
	}
	l.batches++
	for i := range updates {
		l.apply(&updates[i])
	}
	return updates
}

func (l *ledger) apply(u *millrace.Update) {
	l.t.Helper()
	subscribed := u.Topic
	if u.Kind == millrace.UpdateMatched {
		subscribed = u.Pattern
	}
	a := l.accounts[subscribed]
	if a == nil {
		l.t.Fatalf("an update of topic %q, which is not subscribed: %+v", subscribed, u)
	}
	switch u.Kind {
	case millrace.UpdateAttached:
		l.attached(a, u)
	case millrace.UpdateDetached:
		if a.attaches > 0 && u.Position != a.pos || u.Err == nil {
			l.t.Fatalf("%s is at %s and is told %+v", u.Topic, a.pos, u)
		}
		a.attached = false
		a.detaches++
	case millrace.UpdateEvents:
		l.took(a, u)
	case millrace.UpdateAdvanced:
		passed := u.Position.Offset - a.pos.Offset
		if !a.attached || u.Position.Offset <= a.pos.Offset || u.Conflated > passed || a.class != millrace.ClassLatest && u.Conflated > 0 {
			l.t.Fatalf("%s is at %s (attached %v) and is moved on to %s over %d older events", u.Topic, a.pos, a.attached, u.Position, u.Conflated)
		}
		a.advances++
		a.passed += passed
		a.older += u.Conflated
		a.pos = u.Position
	case millrace.UpdateGap:
		l.missed(a, u)
	case millrace.UpdateMatched:
		a.matched = append(a.matched, *u)
	case millrace.UpdateRefused:
		a.attached, a.refused = false, u.Err
	default:
		l.t.Fatalf("an update of kind %d", u.Kind)
	}
}

func (l *ledger) attached(a *account, u *millrace.Update) {
	l.t.Helper()
	switch {
	case a.attached:
		l.t.Fatalf("%s is attached twice", u.Topic)
	case a.attaches > 0 && u.Position != a.pos:
		l.t.Fatalf("%s was at %s and is attached again at %s", u.Topic, a.pos, u.Position)
	case a.attaches == 0:
		a.first, a.class = u.Position, u.Class
	}
	a.attached, a.pos = true, u.Position
	a.attaches++
}

func (l *ledger) took(a *account, u *millrace.Update) {
	l.t.Helper()
	for _, e := range u.Events {
		follows := a.pos.Precedes(e)
		if a.class == millrace.ClassEphemeral {
			follows = e.Position.IsZero()
		}
		if !a.attached || !follows || e.Topic != u.Topic {
			l.t.Fatalf("%s is at %s (attached %v) and gets %s after mark %d", u.Topic, a.pos, a.attached, e.Position, e.Prev)
		}
		a.pos = e.Position
	}
	if len(u.Events) == 0 || u.Position != a.pos {
		l.t.Fatalf("%d events until %s are said to end at %s", len(u.Events), a.pos, u.Position)
	}
	a.events = append(a.events, u.Events...)
}

func (l *ledger) missed(a *account, u *millrace.Update) {
	l.t.Helper()
	if !a.attached || u.Gap.After != a.pos || u.Gap.Topic != u.Topic || u.Position != u.Gap.Until {
		l.t.Fatalf("%s is at %s and gets %v", u.Topic, a.pos, u.Gap)
	}
	a.gaps = append(a.gaps, *u.Gap)
	a.dropped += u.Gap.Count
	a.pos = u.Gap.Until
}

// until takes batches until done says so.
func (l *ledger) until(done func() bool) {
	l.t.Helper()
	for !done() {
		l.next()
	}
}

// reach takes batches until the topic is attached at a position.
func (l *ledger) reach(topic string, pos millrace.Position) *account {
	l.t.Helper()
	a := l.accounts[topic]
	l.until(func() bool { return a.attached && a.pos == pos })
	return a
}

// attach subscribes and takes batches until the topic is attached.
func (l *ledger) attach(topic string, start millrace.Start) *account {
	l.t.Helper()
	l.subscribe(topic, start)
	a := l.accounts[topic]
	l.until(func() bool { return a.attached })
	return a
}

// quiet checks that there is nothing to take.
func (l *ledger) quiet() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	cancel()
	if updates, err := l.feed.Next(ctx); err == nil {
		l.t.Fatalf("there is more: %+v", updates)
	}
}

func sameEvents(t testing.TB, got, want []*millrace.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("event %d is %s, want %s", i, got[i].Position, want[i].Position)
		}
	}
}

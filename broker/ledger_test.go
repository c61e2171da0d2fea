package broker_test

import (
	"context"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// ledger is a consumer of a feed that holds every update to the promise: each event follows on the one before, and what
// is missing is named by a gap.
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
	events   []*millrace.Event
	gaps     []millrace.Gap
	refused  *millrace.Error
}

func newLedger(t testing.TB, b *broker.Broker) *ledger {
	t.Helper()
	f := b.NewFeed()
	t.Cleanup(f.Close)
	return &ledger{t: t, feed: f, accounts: map[string]*account{}}
}

func (l *ledger) subscribe(topic string, start millrace.Start) {
	l.t.Helper()
	if err := l.feed.Subscribe(millrace.Subscription{Topic: topic, Start: start}); err != nil {
		l.t.Fatal(err)
	}
	l.accounts[topic] = new(account)
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
	a := l.accounts[u.Topic]
	if a == nil {
		l.t.Fatalf("an update of topic %q, which is not subscribed: %+v", u.Topic, u)
	}
	switch u.Kind {
	case millrace.UpdateAttached:
		switch {
		case a.attached:
			l.t.Fatalf("%s is attached twice", u.Topic)
		case a.attaches > 0 && u.Position != a.pos:
			l.t.Fatalf("%s was at %s and is attached again at %s", u.Topic, a.pos, u.Position)
		case a.attaches == 0:
			a.first = u.Position
		}
		a.attached, a.pos = true, u.Position
		a.attaches++
	case millrace.UpdateDetached:
		if a.attaches > 0 && u.Position != a.pos || u.Err == nil {
			l.t.Fatalf("%s is at %s and is told %+v", u.Topic, a.pos, u)
		}
		a.attached = false
		a.detaches++
	case millrace.UpdateEvents:
		for _, e := range u.Events {
			if !a.attached || !a.pos.Precedes(e) || e.Topic != u.Topic {
				l.t.Fatalf("%s is at %s (attached %v) and gets %s after mark %d", u.Topic, a.pos, a.attached, e.Position, e.Prev)
			}
			a.pos = e.Position
		}
		if len(u.Events) == 0 || u.Position != a.pos {
			l.t.Fatalf("%d events until %s are said to end at %s", len(u.Events), a.pos, u.Position)
		}
		a.events = append(a.events, u.Events...)
	case millrace.UpdateGap:
		if !a.attached || u.Gap.After != a.pos || u.Gap.Topic != u.Topic || u.Position != u.Gap.Until {
			l.t.Fatalf("%s is at %s and gets %v", u.Topic, a.pos, u.Gap)
		}
		a.gaps = append(a.gaps, *u.Gap)
		a.pos = u.Gap.Until
	case millrace.UpdateRefused:
		a.attached, a.refused = false, u.Err
	default:
		l.t.Fatalf("an update of kind %d", u.Kind)
	}
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

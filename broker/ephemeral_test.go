package broker_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
)

var ephemeral = broker.Rule{Class: millrace.ClassEphemeral}

// have takes batches until the topic has so many events, those counted by gaps among them.
func (l *ledger) have(topic string, n int) {
	l.t.Helper()
	a := l.accounts[topic]
	l.until(func() bool { return len(a.events)+int(a.dropped) >= n })
}

// Promise: docs/delivery.md 3.1.
func TestAnEphemeralEventGoesToThoseWhoAreThere(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, ephemeral))
	fill(t, b, "a", 5)
	for _, start := range []millrace.Start{{}, {Kind: millrace.StartEarliest}, millrace.After(millrace.Position{Offset: 3, Mark: 3})} {
		l := newLedger(t, b)
		a := l.attach("a", start)
		if a.class != millrace.ClassEphemeral || !a.first.IsZero() {
			t.Fatalf("attached in class %s at %s", a.class, a.first)
		}
		events := fill(t, b, "a", 3)
		l.have("a", 3)
		sameEvents(t, a.events, events)
		l.quiet()
	}
}

// Promise: docs/delivery.md 3.2.
func TestWhatASlowSubscriberMissesIsCountedExactly(t *testing.T) {
	for seed := range uint64(20) {
		chance := rand.New(rand.NewPCG(seed, seed))
		b := newBroker(t, broker.Config{TailEvents: 10, BatchEvents: 7}, newLog(t, ephemeral))
		l := newLedger(t, b)
		a := l.attach("a", millrace.Start{})
		var all []*millrace.Event
		for range 50 {
			all = append(all, fill(t, b, "a", 1+chance.IntN(30))...)
			l.next()
		}
		l.have("a", len(all))
		at, missed := 0, 0
		for _, e := range a.events { // each is the one that the count says
			for all[at] != e {
				at++
				missed++
			}
			at++
		}
		if len(a.events)+int(a.dropped) != len(all) || missed != int(a.dropped) || a.dropped == 0 {
			t.Fatalf("%d events and %d counted, %d missed, of %d", len(a.events), a.dropped, missed, len(all))
		}
		for _, g := range a.gaps {
			if g.Cause != millrace.CauseSlow || !g.After.IsZero() || !g.Until.IsZero() {
				t.Fatalf("the gap is %v", &g)
			}
		}
		l.quiet()
	}
}

func TestAnEphemeralEventThatIsOldIsLetGoOfAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{TailAge: time.Second}, newLog(t, ephemeral))
		l := newLedger(t, b)
		a := l.attach("a", millrace.Start{})
		fill(t, b, "a", 5)
		<-time.After(time.Minute)
		synctest.Wait()
		events := fill(t, b, "a", 2)
		l.have("a", 7)
		sameEvents(t, a.events, events)
		if a.dropped != 5 {
			t.Fatalf("%d are counted as missed", a.dropped)
		}
	})
}

// Promise: docs/delivery.md 3.3.
func TestAfterAnOutageEphemeralEventsMayBeMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		torn := &brokertest.Torn{Log: newLog(t, ephemeral)}
		torn.Tear(millrace.Errorf(millrace.ReasonUnavailable, "not there yet"))
		b := newBroker(t, broker.Config{}, torn)
		l := newLedger(t, b)
		l.subscribe("a", millrace.Start{})
		a := l.accounts["a"]
		l.until(func() bool { return a.detaches == 1 })
		torn.Mend()
		l.until(func() bool { return len(a.gaps) == 1 })
		if a.gaps[0] != (millrace.Gap{Topic: "a", Cause: millrace.CauseReset}) {
			t.Fatalf("the gap is %v", &a.gaps[0])
		}
		events := fill(t, b, "a", 2)
		l.have("a", 2)
		sameEvents(t, a.events, events)
	})
}

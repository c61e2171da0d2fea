package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// paced takes batches until done says so, checks that no event of the topic comes sooner than interval after the one
// before, and returns how long the first and last are apart.
func (l *ledger) paced(topic string, interval time.Duration, done func() bool) time.Duration {
	l.t.Helper()
	a := l.accounts[topic]
	var first, last time.Time
	for !done() {
		before := len(a.events)
		l.next()
		switch n := len(a.events) - before; {
		case n > 1:
			l.t.Fatalf("%d events at once", n)
		case n == 0:
		case first.IsZero():
			first, last = time.Now(), time.Now()
		default:
			if since := time.Since(last); since < interval {
				l.t.Fatalf("an event comes %v after the one before", since)
			}
			last = time.Now()
		}
	}
	return last.Sub(first)
}

// Promise: docs/delivery.md 4.3.
func TestALatestTopicIsPacedAndItsLastValuesArrive(t *testing.T) {
	for _, tail := range []int{10_000, 10} {
		for _, text := range []string{"", `name == "wanted"`} {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, broker.Config{TailEvents: tail}, newLog(t, broker.Rule{Class: millrace.ClassLatest, MaxEvents: 1_000}))
				l := newLedger(t, b)
				a := l.want(millrace.Subscription{Topic: "a", MaxRate: 10, Filter: filter(t, text)})
				l.until(func() bool { return a.attached })
				var all []*millrace.Event
				published := make(chan struct{})
				go func() {
					defer close(published)
					for i := range 2_000 {
						e := keyed("a", fmt.Sprint(i%3), i)
						e.Name = "wanted"
						all = append(all, publish(t, b, e))
						<-time.After(time.Millisecond)
					}
				}()
				took := l.paced("a", 100*time.Millisecond, func() bool { return a.pos.Offset == 2_000 })
				<-published
				state := map[string]*millrace.Event{}
				for _, e := range a.events {
					state[e.Key] = e
				}
				for _, e := range all[1_997:] {
					if state[e.Key] != e {
						t.Errorf("of key %s came %s last, want %s", e.Key, state[e.Key].Position, e.Position)
					}
				}
				if n := len(a.events); n < 20 || n > 24 || took > 2_400*time.Millisecond {
					t.Errorf("%d events in %v", n, took)
				}
				if uint64(len(a.events))+a.older != 2_000 || len(a.gaps) > 0 {
					t.Errorf("%d events and %d older ones, gaps %v", len(a.events), a.older, a.gaps)
				}
				l.feed.Close()
			})
		}
	}
}

func TestAStateIsPacedAndHoldsUpNoOtherTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{FeedReads: 1}, newLog(t, broker.Rule{Pattern: "a", Class: millrace.ClassLatest}))
		state := fillKeys(t, b, "a", 50, 50)
		other := fill(t, b, "other", 300)
		l := newLedger(t, b)
		a := l.want(millrace.Subscription{Topic: "a", MaxRate: 100, Filter: filter(t, `key != "7"`)})
		l.until(func() bool { return len(a.events) == 1 })
		begin := time.Now()
		l.attach("other", millrace.Start{Kind: millrace.StartEarliest})
		l.reach("other", other[299].Position)
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("another topic waited %v", waited)
		}
		if took := l.paced("a", 10*time.Millisecond, func() bool { return a.pos == state[49].Position }); took != 470*time.Millisecond {
			t.Errorf("the second to the last of 49 events took %v", took)
		}
		sameEvents(t, a.events, append(state[:7:7], state[8:]...))
		l.feed.Close()
	})
}

func TestOfAPacedEphemeralTopicTheNewestTakesThePlaceOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{TailEvents: 5}, newLog(t, ephemeral))
		l := newLedger(t, b)
		a := l.want(millrace.Subscription{Topic: "a", MaxRate: 2})
		l.until(func() bool { return a.attached })
		var all []*millrace.Event
		published := make(chan struct{})
		go func() {
			defer close(published)
			for range 100 {
				all = append(all, fill(t, b, "a", 20)...) // four times what the tail has
				<-time.After(30 * time.Millisecond)
			}
		}()
		l.paced("a", 500*time.Millisecond, func() bool { return len(a.events) == 7 })
		<-published
		if last := a.events[6]; last != all[len(all)-1] || len(a.gaps) > 0 {
			t.Errorf("the last event has %s, gaps %v", last.Data, a.gaps)
		}
		l.quiet()
		l.feed.Close()
	})
}

func TestAFilteredEphemeralEventWaitsForItsTurnHoweverMuchPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{TailEvents: 5}, newLog(t, ephemeral))
		l := newLedger(t, b)
		a := l.want(millrace.Subscription{Topic: "a", MaxRate: 1, Filter: filter(t, `name == "wanted"`)})
		l.until(func() bool { return a.attached })
		wanted := func() *millrace.Event {
			e := event("a", 0)
			e.Name = "wanted"
			return publish(t, b, e)
		}
		first := wanted()
		l.until(func() bool { return len(a.events) == 1 })
		second := wanted()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 100 {
				publish(t, b, event("a", 1))
				<-time.After(5 * time.Millisecond)
			}
		}()
		l.until(func() bool { return len(a.events) == 2 })
		<-done
		sameEvents(t, a.events, []*millrace.Event{first, second})
		if len(a.gaps) > 0 {
			t.Errorf("gaps %v", a.gaps)
		}
		l.feed.Close()
	})
}

// Promise: docs/delivery.md 4.3.
func TestARateIsRefusedWhereEveryEventIsOwed(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, broker.Rule{Pattern: "latest", Class: millrace.ClassLatest}))
	for _, c := range []struct {
		topic string
		rate  float64
		want  millrace.Reason
	}{
		{"a", 1, millrace.ReasonUnsupported},
		{"latest", -1, millrace.ReasonBadRequest},
		{"latest", 1e9, millrace.ReasonBadRequest},
		{"a:*", -1, millrace.ReasonBadRequest},
	} {
		l := newLedger(t, b)
		a := l.want(millrace.Subscription{Topic: c.topic, MaxRate: c.rate})
		l.until(func() bool { return a.refused != nil })
		if a.refused.Reason != c.want || a.attaches > 0 {
			t.Errorf("%g a second of %s is refused with %v", c.rate, c.topic, a.refused)
		}
	}
}

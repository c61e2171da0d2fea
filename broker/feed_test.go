package broker_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func TestASubscriptionBeginsWhereItsStartSays(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, broker.Rule{MaxEvents: 10}))
	all := fill(t, b, "a", 15)
	head := all[14].Position
	for _, c := range []struct {
		start millrace.Start
		first millrace.Position
		want  []*millrace.Event
	}{
		{millrace.Start{}, head, nil},
		{millrace.Start{Kind: millrace.StartEarliest}, all[4].Position, all[5:]},
		{millrace.Start{Kind: millrace.StartLast, Count: 3}, all[11].Position, all[12:]},
		{millrace.Start{Kind: millrace.StartLast, Count: 0}, head, nil},
		{millrace.Start{Kind: millrace.StartSince, Since: all[14].Time.Add(1)}, head, nil},
		{millrace.Start{Kind: millrace.StartSince, Since: all[0].Time}, all[4].Position, all[5:]},
		{millrace.After(all[9].Position), all[9].Position, all[10:]},
		{millrace.After(head), head, nil},
	} {
		l := newLedger(t, b)
		a := l.attach("a", c.start)
		l.reach("a", head)
		if a.first != c.first || len(a.gaps) > 0 {
			t.Fatalf("start %+v: attached at %s with gaps %v, want %s", c.start, a.first, a.gaps, c.first)
		}
		sameEvents(t, a.events, c.want)
		l.feed.Close()
	}
}

func TestASubscriptionFollowsItsTopicLive(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{})
	if !a.first.IsZero() {
		t.Fatalf("a topic without events is attached at %s", a.first)
	}
	var want []*millrace.Event
	for i := range 20 {
		want = append(want, publish(t, b, event("a", i)))
		publish(t, b, event("other", i))
		l.reach("a", want[i].Position)
	}
	sameEvents(t, a.events, want)
	l.quiet()
}

func TestWhatALogNoLongerHasIsAGapWithItsExactRange(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, broker.Rule{MaxEvents: 10}))
	all := fill(t, b, "a", 25)
	for _, c := range []struct {
		what  string
		after millrace.Position
		want  millrace.Gap
	}{
		{"trimmed", all[3].Position, millrace.Gap{Topic: "a", After: all[3].Position, Until: all[14].Position, Cause: millrace.CauseTrimmed}},
		{"trimmed from the beginning", millrace.Position{}, millrace.Gap{Topic: "a", Until: all[14].Position, Cause: millrace.CauseTrimmed}},
		{"of another lineage", millrace.Position{Offset: 20, Mark: 1}, millrace.Gap{Topic: "a", After: millrace.Position{Offset: 20, Mark: 1}, Until: all[14].Position, Cause: millrace.CauseReset}},
		{"ahead", millrace.Position{Offset: 99, Mark: 1}, millrace.Gap{Topic: "a", After: millrace.Position{Offset: 99, Mark: 1}, Until: all[14].Position, Cause: millrace.CauseReset}},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := newLedger(t, b)
			a := l.attach("a", millrace.After(c.after))
			l.reach("a", all[24].Position)
			if a.first != c.after || len(a.gaps) != 1 || a.gaps[0] != c.want {
				t.Fatalf("attached at %s with gaps %v, want %v", a.first, a.gaps, c.want)
			}
			sameEvents(t, a.events, all[15:])
		})
	}
	t.Run("of a topic that is not there", func(t *testing.T) {
		l := newLedger(t, b)
		a := l.attach("new", millrace.After(all[3].Position))
		l.reach("new", millrace.Position{})
		if len(a.gaps) != 1 || a.gaps[0].Cause != millrace.CauseReset {
			t.Fatalf("gaps %v", a.gaps)
		}
		l.reach("new", publish(t, b, event("new", 1)).Position)
	})
}

func TestATopicThatIsSubscribedIsNotSubscribedAgain(t *testing.T) {
	l := newLedger(t, newBroker(t, broker.Config{}, newLog(t)))
	l.subscribe("a", millrace.Start{})
	if err := l.feed.Subscribe(millrace.Subscription{Topic: "a"}); reason(err) != millrace.ReasonConflict {
		t.Fatalf("the error is %v", err)
	}
	l.reach("a", millrace.Position{})
}

func TestATopicThatIsNoneIsRefused(t *testing.T) {
	l := newLedger(t, newBroker(t, broker.Config{}, newLog(t)))
	for range 2 {
		l.subscribe("a::b", millrace.Start{})
		a := l.accounts["a::b"]
		l.until(func() bool { return a.refused != nil })
		if a.refused.Reason != millrace.ReasonTopicInvalid {
			t.Fatalf("refused with %v", a.refused)
		}
	}
}

func TestAnUnsubscribedTopicIsSilentAndCanBeSubscribedAnew(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	l := newLedger(t, b)
	l.attach("other", millrace.Start{})
	for i := range 50 {
		// What was under way for the old subscription must not surface as news of the new one: the ledger would see
		// events before an attach, or an attach at a position that was not asked for.
		l.subscribe("a", millrace.Start{Kind: millrace.StartEarliest})
		if i%2 == 0 {
			a := l.accounts["a"]
			l.until(func() bool { return a.attached })
		}
		fill(t, b, "a", 3)
		l.feed.Unsubscribe("a")
		l.feed.Unsubscribe("a")
		delete(l.accounts, "a")
		l.reach("other", publish(t, b, event("other", i)).Position)
	}
	a := l.attach("a", millrace.Start{Kind: millrace.StartEarliest})
	l.until(func() bool { return len(a.events) == 150 })
	l.quiet()
}

// Promise: docs/delivery.md 1.3.
func TestAttachingWhilePublishingAtFullSpeedLeavesNoHoleAndNoRepeat(t *testing.T) {
	const attaches, keep, ahead = 1_000, 5_000, 4_000
	b := newBroker(t, broker.Config{TailEvents: 16, BatchEvents: 32}, newLog(t, broker.Rule{MaxEvents: keep}))
	fill(t, b, "a", 50)

	// The publisher waits only where it would overrun the log, so that any gap is a fault.
	var taken atomic.Uint64 // offset that the readers have got to
	progress, stop := make(chan struct{}, 1), make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for i := 0; ; i++ {
			acks, err := b.Publish(t.Context(), []millrace.Publish{{Event: event("a", i)}})
			if err != nil || acks[0].Err != nil {
				t.Errorf("publish: %v, %v", err, acks)
				return
			}
			for acks[0].Position.Offset > taken.Load()+ahead {
				select {
				case <-progress:
				case <-stop:
					return
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	defer publisher.Wait()
	defer close(stop)

	starts := []millrace.Start{{}, {Kind: millrace.StartLast, Count: 20}, {Kind: millrace.StartLast, Count: 200}}
	var resume millrace.Position
	for i := range attaches {
		start := starts[i%len(starts)]
		if i%4 == 3 {
			start = millrace.After(resume)
		}
		l := newLedger(t, b)
		l.subscribe("a", start)
		a := l.accounts["a"]
		l.until(func() bool {
			taken.Store(max(taken.Load(), a.pos.Offset))
			select {
			case progress <- struct{}{}:
			default:
			}
			return len(a.events) >= 40
		})
		if len(a.gaps) > 0 {
			t.Fatalf("attach %d: gaps %v", i, a.gaps)
		}
		resume = a.pos
		l.feed.Close()
	}
}

// Promise: docs/delivery.md 1.2, 6.1.
func TestAReaderSlowerThanThePublisherGetsEverythingOrExactGaps(t *testing.T) {
	for _, keep := range []int{100, 1_000_000} {
		t.Run(fmt.Sprintf("a log of %d", keep), func(t *testing.T) {
			const total = 6_000
			b := newBroker(t, broker.Config{TailEvents: 8, BatchEvents: 10}, newLog(t, broker.Rule{MaxEvents: keep}))
			l := newLedger(t, b)
			a := l.attach("a", millrace.Start{})
			var all []*millrace.Event
			for len(all) < total {
				all = append(all, fill(t, b, "a", 30)...) // three times what a batch holds
				l.next()
			}
			l.reach("a", all[total-1].Position)
			missed := 0
			for _, g := range a.gaps {
				missed += int(g.Until.Offset - g.After.Offset)
			}
			if len(a.events)+missed != total {
				t.Fatalf("%d events and %d missed of %d", len(a.events), missed, total)
			}
			if kept := keep >= total; kept != (missed == 0) {
				t.Fatalf("%d events are missed", missed)
			}
		})
	}
}

func TestABatchIsBoundedAndTopicsTakeTurns(t *testing.T) {
	for _, tail := range []int{10, 1_000} { // the large topic is served by the log, and by its tail
		t.Run(fmt.Sprintf("a tail of %d", tail), func(t *testing.T) {
			b := newBroker(t, broker.Config{BatchEvents: 200, TailEvents: tail}, newLog(t))
			l := newLedger(t, b)
			large := l.attach("large", millrace.Start{})
			one := l.attach("small:1", millrace.Start{})
			two := l.attach("small:2", millrace.Start{})
			fill(t, b, "large", 1_000)
			fill(t, b, "small:1", 10)
			fill(t, b, "small:2", 10)
			l.next()
			if len(one.events) != 10 || len(two.events) != 10 {
				t.Error("the small topics waited for the large one")
			}
			for len(large.events) < 1_000 {
				n := 0
				for _, u := range l.next() {
					n += len(u.Events)
				}
				if n > 200 {
					t.Fatalf("a batch of %d events", n)
				}
			}
		})
	}
}

func TestABatchIsBoundedInBytesButHasAtLeastOneEvent(t *testing.T) {
	b := newBroker(t, broker.Config{BatchBytes: 1_000}, newLog(t))
	for range 10 {
		publish(t, b, &millrace.Event{Topic: "a", ContentType: "application/octet-stream", Data: make([]byte, 4_000)})
	}
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{Kind: millrace.StartEarliest})
	for len(a.events) < 10 {
		before := len(a.events)
		l.next()
		if n := len(a.events) - before; n > 1 {
			t.Fatalf("%d events of 4,000 bytes in a batch of 1,000", n)
		}
	}
}

func TestManyFeedsOfOneTopicAreAllWoken(t *testing.T) {
	const feeds, events = 100, 50
	b := newBroker(t, broker.Config{}, newLog(t))
	var ledgers []*ledger
	for range feeds {
		l := newLedger(t, b)
		l.attach("a", millrace.Start{})
		ledgers = append(ledgers, l)
	}
	var readers sync.WaitGroup
	for _, l := range ledgers {
		readers.Go(func() {
			a := l.accounts["a"]
			for len(a.events) < events {
				updates, err := l.feed.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for _, u := range updates {
					a.events = append(a.events, u.Events...)
				}
			}
		})
	}
	var all []*millrace.Event
	for i := range events {
		all = append(all, publish(t, b, event("a", i)))
	}
	readers.Wait()
	for _, l := range ledgers {
		sameEvents(t, l.accounts["a"].events, all)
	}
}

func TestManyTopicsOfOneFeedAllArrive(t *testing.T) {
	const topics = 3_000
	b := newBroker(t, broker.Config{}, newLog(t))
	l := newLedger(t, b)
	name := func(i int) string { return fmt.Sprintf("t:%d", i) }
	for i := range topics {
		publish(t, b, event(name(i), i))
		l.subscribe(name(i), millrace.Start{Kind: millrace.StartEarliest})
	}
	for i := range topics {
		publish(t, b, event(name(i), i))
	}
	complete := 0
	for complete < topics {
		for _, u := range l.next() {
			if len(u.Events) > 0 && len(l.accounts[u.Topic].events) == 2 {
				complete++
			}
		}
	}
}

func TestWhenTailsAreOverTheirBoundTheLogServes(t *testing.T) {
	b := newBroker(t, broker.Config{TailsBytes: 1, BatchEvents: 7}, newLog(t))
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{})
	var all []*millrace.Event
	for range 20 {
		all = append(all, fill(t, b, "a", 13)...)
	}
	l.reach("a", all[len(all)-1].Position)
	sameEvents(t, a.events, all)
}

func TestTheCallerOwnsTheSlicesOfABatch(t *testing.T) {
	b := newBroker(t, broker.Config{BatchEvents: 100}, newLog(t))
	all := fill(t, b, "a", 300)
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{Kind: millrace.StartEarliest})
	for a.pos != all[299].Position {
		for _, u := range l.next() {
			clear(u.Events)
			_ = append(u.Events, nil) // must not reach what is yet to come
		}
		a.events = slices.DeleteFunc(a.events, func(e *millrace.Event) bool { return e == nil })
	}
}

// upstream is how a gateway in the same process takes a broker: the five methods it needs, from one value.
type upstream struct {
	*broker.Broker
	*broker.Feed
}

func TestABrokerAndAFeedAreAnUpstream(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	up := upstream{b, b.NewFeed()}
	defer up.Feed.Close()
	if err := up.Subscribe(millrace.Subscription{Topic: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := up.Publish(t.Context(), []millrace.Publish{{Event: event("a", 1)}}); err != nil {
		t.Fatal(err)
	}
	if updates, err := up.Next(t.Context()); err != nil || updates[0].Kind != millrace.UpdateAttached {
		t.Fatalf("%+v, %v", updates, err)
	}
	if page, err := up.History(t.Context(), "a", millrace.Range{Backward: true}); err != nil || len(page.Events) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	up.Unsubscribe("a")
}

package broker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

// tells makes a decision about each news of an append that a lossy log asks for.
type tells struct {
	mu     sync.Mutex
	decide func() int
}

func (d *tells) ask([]*millrace.Event) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.decide()
}

func (d *tells) set(decide func() int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decide = decide
}

func TestALogWhoseNewsGetLostOrRepeatedStillDeliversAll(t *testing.T) {
	for seed := range uint64(20) {
		chance := rand.New(rand.NewPCG(seed, seed))
		news := &tells{decide: func() int { return chance.IntN(4) % 3 }} // half are lost or repeated
		b := newBroker(t, broker.Config{TailEvents: 5}, brokertest.Lossy(newLog(t), news.ask))
		l := newLedger(t, b)
		a := l.attach("a", millrace.Start{})
		var all []*millrace.Event
		var resumed []*ledger
		for i := range 400 {
			all = append(all, publish(t, b, event("a", i)))
			if i%7 == 0 {
				late := newLedger(t, b)
				late.attach("a", millrace.After(all[max(0, i-3)].Position))
				resumed = append(resumed, late)
			}
		}
		// That the last news arrive at some time is the engine's part.
		news.set(func() int { return 1 })
		all = append(all, publish(t, b, event("a", 400)))
		l.reach("a", all[400].Position)
		sameEvents(t, a.events, all)
		for i, late := range resumed {
			a := late.reach("a", all[400].Position)
			sameEvents(t, a.events, all[max(0, 7*i-3)+1:])
		}
	}
}

// late holds news back, to tell them out of order.
type late struct {
	broker.Log
	mu   sync.Mutex
	held []func()
}

type lateFollower struct {
	to  broker.Follower
	log *late
}

func (l *late) Follow(ctx context.Context, topic string, f broker.Follower) (millrace.Position, func(), error) {
	return l.Log.Follow(ctx, topic, lateFollower{f, l})
}

func (f lateFollower) Appended(events []*millrace.Event) {
	kept := append([]*millrace.Event(nil), events...)
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	f.log.held = append(f.log.held, func() { f.to.Appended(kept) })
}

func (l *late) tell(order func([]func())) {
	l.mu.Lock()
	defer l.mu.Unlock()
	order(l.held)
	for _, tell := range l.held {
		tell()
	}
	l.held = nil
}

func TestNewsOutOfOrderAreDeliveredInOrder(t *testing.T) {
	for seed := range uint64(20) {
		chance := rand.New(rand.NewPCG(seed, seed))
		log := &late{Log: newLog(t)}
		b := newBroker(t, broker.Config{TailEvents: 8}, log)
		l := newLedger(t, b)
		a := l.attach("a", millrace.Start{})
		var all []*millrace.Event
		for range 40 {
			for range 1 + chance.IntN(20) {
				all = append(all, publish(t, b, event("a", len(all))))
			}
			log.tell(func(held []func()) {
				chance.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
			})
			l.reach("a", all[len(all)-1].Position)
		}
		sameEvents(t, a.events, all)
		l.quiet()
	}
}

func TestATornLogIsToldAndNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		torn := &brokertest.Torn{Log: newLog(t)}
		b := newBroker(t, broker.Config{TailEvents: 4}, torn)
		all := fill(t, b, "a", 10)
		l := newLedger(t, b)
		a := l.attach("a", millrace.After(all[4].Position))
		l.reach("a", all[9].Position)

		cause := errors.New("connection refused")
		torn.Tear(cause)
		all = append(all, fill(t, b, "a", 50)...) // more than the tail has: only the log can serve it
		l.until(func() bool { return a.detaches == 1 })
		if a.pos != all[9].Position {
			t.Fatalf("detached at %s", a.pos)
		}
		<-time.After(time.Minute)
		all = append(all, fill(t, b, "a", 50)...)
		<-time.After(time.Minute)
		if torn.Mend(); a.detaches != 1 {
			t.Fatalf("told %d times of one outage", a.detaches)
		}
		l.reach("a", all[len(all)-1].Position)
		if a.attaches != 2 || a.detaches != 1 || len(a.gaps) > 0 {
			t.Fatalf("attached %d times, detached %d times, gaps %v", a.attaches, a.detaches, a.gaps)
		}
		sameEvents(t, a.events, all[5:])
	})
}

func TestALogThatCantBeReachedAtFirstIsAttachedLater(t *testing.T) {
	for _, start := range []millrace.Start{{}, {Kind: millrace.StartEarliest}, {Kind: millrace.StartAfter}} {
		synctest.Test(t, func(t *testing.T) {
			torn := &brokertest.Torn{Log: newLog(t)}
			torn.Tear(millrace.Errorf(millrace.ReasonUnavailable, "not there yet"))
			b := newBroker(t, broker.Config{}, torn)
			l := newLedger(t, b)
			l.subscribe("a", start)
			a := l.accounts["a"]
			l.until(func() bool { return a.detaches == 1 })
			<-time.After(time.Minute)
			torn.Mend()
			l.until(func() bool { return a.attached })
			l.reach("a", publish(t, b, event("a", 1)).Position)
			if a.attaches != 1 || a.detaches != 1 || len(a.events) != 1 {
				t.Fatalf("attached %d times, detached %d times, %d events", a.attaches, a.detaches, len(a.events))
			}
		})
	}
}

func TestAFirstReadThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		torn := &brokertest.Torn{Log: newLog(t)}
		b := newBroker(t, broker.Config{}, torn)
		all := fill(t, b, "a", 10)
		other := newLedger(t, b)
		other.attach("a", millrace.Start{}) // so that the topic is followed already
		torn.Tear(errors.New("connection refused"))
		l := newLedger(t, b)
		l.subscribe("a", millrace.Start{Kind: millrace.StartLast, Count: 4})
		a := l.accounts["a"]
		l.until(func() bool { return a.detaches == 1 })
		torn.Mend()
		l.reach("a", all[9].Position)
		if a.first != all[5].Position || a.attaches != 1 {
			t.Fatalf("attached %d times, first at %s", a.attaches, a.first)
		}
		sameEvents(t, a.events, all[6:])
	})
}

func TestAFaultThatIsFinalEndsTheSubscription(t *testing.T) {
	final := millrace.Errorf(millrace.ReasonForbidden, "not this one")
	t.Run("when following", func(t *testing.T) {
		torn := &brokertest.Torn{Log: newLog(t)}
		torn.Tear(final)
		l := newLedger(t, newBroker(t, broker.Config{}, torn))
		l.subscribe("a", millrace.Start{})
		a := l.accounts["a"]
		l.until(func() bool { return a.refused != nil })
		if a.refused.Reason != millrace.ReasonForbidden {
			t.Fatalf("refused with %v", a.refused)
		}
		torn.Mend()
		l.attach("a", millrace.Start{})
	})
	t.Run("when reading", func(t *testing.T) {
		torn := &brokertest.Torn{Log: newLog(t)}
		b := newBroker(t, broker.Config{}, torn)
		l := newLedger(t, b)
		l.attach("a", millrace.Start{})
		torn.Tear(final)
		other := newLedger(t, b)
		other.subscribe("a", millrace.Start{Kind: millrace.StartEarliest})
		a := other.accounts["a"]
		other.until(func() bool { return a.refused != nil })
		l.reach("a", publish(t, b, event("a", 1)).Position)
	})
}

// Promise: docs/delivery.md 1.5.
func TestALogThatForgetsIsAResetForEveryone(t *testing.T) {
	log := brokertest.NewForgetful(func() broker.Log {
		l, err := memlog.New(memlog.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	})
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, count := range []int{1, 9, 10, 11, 30} { // before it got to the old head, at it, and beyond
		b := newBroker(t, broker.Config{}, log)
		old := fill(t, b, "a", 10)
		live, idle := newLedger(t, b), newLedger(t, b)
		live.attach("a", millrace.After(old[4].Position))
		live.reach("a", old[9].Position)
		idle.attach("other", millrace.Start{})
		if err := log.Forget(); err != nil {
			t.Fatal(err)
		}
		fresh := fill(t, b, "a", count)
		a := live.reach("a", fresh[count-1].Position)
		want := millrace.Gap{Topic: "a", After: old[9].Position, Until: fresh[0].Before(), Cause: millrace.CauseReset}
		if len(a.gaps) != 1 || a.gaps[0] != want {
			t.Fatalf("after %d events: gaps %v, want %v", count, a.gaps, want)
		}
		sameEvents(t, a.events, append(old[5:], fresh...))
		if again := newLedger(t, b).attach("a", millrace.After(old[2].Position)); again.first != old[2].Position {
			t.Fatalf("attached at %s", again.first)
		}
		idle.quiet()
		if err := log.Forget(); err != nil {
			t.Fatal(err)
		}
		b.Stop()
	}
}

func TestASlowLogDelaysOnlyThoseWhoReadIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{FeedReads: 2}, brokertest.Slow(newLog(t), time.Second))
		names := []string{"a", "b", "c", "d", "e", "f"}
		for _, name := range names {
			fill(t, b, name, 10)
		}
		l := newLedger(t, b)
		l.attach("live", millrace.Start{})
		begin := time.Now()
		for _, name := range names {
			l.subscribe(name, millrace.Start{Kind: millrace.StartEarliest})
		}
		for i := range 10 {
			l.reach("live", publish(t, b, event("live", i)).Position)
		}
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("a live topic waited %v for the reads of others", waited)
		}
		complete := func() bool {
			for _, name := range names {
				if len(l.accounts[name].events) < 10 {
					return false
				}
			}
			return true
		}
		l.until(complete)
		// Two at a time.
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("six reads of one second took %v", took)
		}
	})
}

func TestSubscriptionsThatEndWhileTheyReadMakeRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{FeedReads: 1}, brokertest.Slow(newLog(t), time.Second))
		for _, name := range []string{"a", "b", "c", "d"} {
			fill(t, b, name, 3)
		}
		l := newLedger(t, b)
		l.attach("live", millrace.Start{})
		earliest := millrace.Start{Kind: millrace.StartEarliest}
		for _, name := range []string{"a", "b", "c", "d"} {
			l.subscribe(name, earliest)
		}
		l.reach("live", publish(t, b, event("live", 1)).Position) // all of them have got to the point of reading
		synctest.Wait()
		l.feed.Unsubscribe("a") // reads
		l.feed.Unsubscribe("b") // waits for its turn
		delete(l.accounts, "a")
		delete(l.accounts, "b")
		c, d := l.accounts["c"], l.accounts["d"]
		l.until(func() bool { return len(c.events) == 3 })
		l.feed.Unsubscribe("c") // holds what it read, perhaps
		delete(l.accounts, "c")
		l.until(func() bool { return len(d.events) == 3 })
	})
}

func TestTailsLetGoOfWhatIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{TailAge: 10 * time.Second}, newLog(t, broker.Rule{MaxAge: 5 * time.Second}))
		l := newLedger(t, b)
		l.attach("a", millrace.Start{})
		all := fill(t, b, "a", 10)
		l.reach("a", all[9].Position)
		<-time.After(time.Minute)
		synctest.Wait()
		if n := b.TailsCharged(); n != 0 {
			t.Errorf("tails are charged for %d bytes", n)
		}
		resumed := newLedger(t, b)
		a := resumed.attach("a", millrace.After(all[3].Position))
		resumed.reach("a", all[9].Position)
		if len(a.gaps) != 1 || len(a.events) != 0 {
			t.Errorf("%d events and gaps %v", len(a.events), a.gaps)
		}
		l.feed.Unsubscribe("a")
		resumed.feed.Unsubscribe("a")
	})
}

func TestTailsAreChargedForWhatTheyHold(t *testing.T) {
	b := newBroker(t, broker.Config{TailEvents: 10}, newLog(t))
	l := newLedger(t, b)
	l.attach("a", millrace.Start{})
	all := fill(t, b, "a", 100)
	size := int64(0)
	for _, e := range all[90:] {
		size += int64(e.Size())
	}
	if n := b.TailsCharged(); n != size {
		t.Errorf("tails are charged for %d bytes, hold %d", n, size)
	}
	l.feed.Unsubscribe("a")
	if n := b.TailsCharged(); n != 0 {
		t.Errorf("without a subscription tails are charged for %d bytes", n)
	}
	if n := b.Followed(); n != 0 {
		t.Errorf("without a subscription %d topics are followed", n)
	}
}

package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

var latest = broker.Rule{Class: millrace.ClassLatest}

// keyed returns an event of a key whose data is the number n.
func keyed(topic, key string, n int) *millrace.Event {
	e := event(topic, n)
	e.Key = key
	return e
}

// fillKeys publishes n events that take turns over so many keys and returns the newest of each, in order.
func fillKeys(t testing.TB, b *broker.Broker, topic string, keys, n int) []*millrace.Event {
	t.Helper()
	var all []*millrace.Event
	for i := range n {
		all = append(all, publish(t, b, keyed(topic, fmt.Sprint(i%keys), i)))
	}
	return all[n-keys:]
}

// Promise: docs/delivery.md 2.1.
func TestANewSubscriberGetsTheStateAndThenTheChanges(t *testing.T) {
	b := newBroker(t, broker.Config{BatchEvents: 3}, newLog(t, latest))
	state := fillKeys(t, b, "a", 10, 95)
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{})
	if a.class != millrace.ClassLatest || a.first != state[0].Before() {
		t.Fatalf("attached in class %s at %s, want %s", a.class, a.first, state[0].Before())
	}
	l.reach("a", state[9].Position)
	for i := range 5 {
		state = append(state, publish(t, b, keyed("a", "0", 100+i)))
		l.reach("a", state[len(state)-1].Position)
	}
	sameEvents(t, a.events, state)
	if a.advances > 0 || len(a.gaps) > 0 {
		t.Fatalf("moved on %d times, gaps %v", a.advances, a.gaps)
	}
	l.quiet()
}

func TestASubscriberFromTheBeginningIsToldHowManyOlderEventsThereWere(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, latest))
	state := fillKeys(t, b, "a", 10, 95)
	l := newLedger(t, b)
	a := l.attach("a", millrace.After(millrace.Position{}))
	l.reach("a", state[9].Position)
	sameEvents(t, a.events, state)
	if a.passed != 85 || a.older != 85 || len(a.gaps) > 0 {
		t.Fatalf("passed over %d, of them %d as older ones, gaps %v", a.passed, a.older, a.gaps)
	}
}

// Promise: docs/delivery.md 2.2, 2.3.
func TestASlowSubscriberGetsOnlyTheNewestOfEachKeyAndTheExactCountOfTheOthers(t *testing.T) {
	for _, tail := range []int{1_000, 20, 3} { // served by the tail, by log and tail, by the log
		t.Run(fmt.Sprintf("a tail of %d", tail), func(t *testing.T) {
			b := newBroker(t, broker.Config{TailEvents: tail}, newLog(t, latest))
			l := newLedger(t, b)
			a := l.attach("a", millrace.Start{Kind: millrace.StartNow})
			state := fillKeys(t, b, "a", 7, 200)
			l.reach("a", state[6].Position)
			sameEvents(t, a.events, state)
			if a.passed != 193 || a.older != 193 || a.advances != 1 {
				t.Fatalf("passed over %d at %d times, of them %d as older ones", a.passed, a.advances, a.older)
			}
		})
	}
}

func TestASubscriberThatKeepsUpGetsEveryEvent(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, latest))
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{})
	for i := range 100 {
		l.reach("a", publish(t, b, keyed("a", "k", i)).Position)
	}
	if len(a.events) != 100 || a.advances > 0 {
		t.Fatalf("%d events, moved on %d times", len(a.events), a.advances)
	}
}

func TestAKeyThatIsDeletedIsAnEvent(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, latest))
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{})
	publish(t, b, keyed("a", "x", 1))
	other := publish(t, b, keyed("a", "y", 1))
	gone := publish(t, b, &millrace.Event{Topic: "a", Key: "x", Tombstone: true})
	l.reach("a", gone.Position)
	sameEvents(t, a.events, []*millrace.Event{other, gone})
	late := newLedger(t, b)
	late.attach("a", millrace.Start{})
	late.reach("a", gone.Position)
	sameEvents(t, late.accounts["a"].events, []*millrace.Event{other, gone})
}

// Promise: docs/delivery.md 2.4.
func TestASubscriberFromBeforeAKeyThatWasLetGoOfBeginsTheStateAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := broker.Rule{Class: millrace.ClassLatest, MaxAge: time.Minute}
		b := newBroker(t, broker.Config{TailAge: time.Second}, newLog(t, rule))
		l := newLedger(t, b)
		a := l.attach("a", millrace.Start{})
		first := publish(t, b, keyed("a", "old", 1))
		l.reach("a", first.Position)
		publish(t, b, keyed("a", "lost", 2))
		<-time.After(50 * time.Second)
		kept := publish(t, b, keyed("a", "kept", 3))
		<-time.After(20 * time.Second)
		synctest.Wait()
		last := publish(t, b, keyed("a", "new", 4))
		l.reach("a", last.Position)
		want := millrace.Gap{Topic: "a", After: first.Position, Until: kept.Before(), Cause: millrace.CauseTrimmed}
		if len(a.gaps) != 1 || a.gaps[0] != want {
			t.Fatalf("gaps %v, want %v", a.gaps, &want)
		}
		sameEvents(t, a.events, []*millrace.Event{first, kept, last})
	})
}

func TestAStateInPagesIsWholeWhereSomethingWasLetGoOfBefore(t *testing.T) {
	b := newBroker(t, broker.Config{TailEvents: 1, BatchEvents: 4}, newLog(t, broker.Rule{Class: millrace.ClassLatest, MaxEvents: 20}))
	state := fillKeys(t, b, "a", 19, 19)
	publish(t, b, keyed("a", "x", 1))
	gone := publish(t, b, &millrace.Event{Topic: "a", Key: "x", Tombstone: true})
	state = append(state, publish(t, b, keyed("a", "y", 1))) // for which the tombstone makes room
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{})
	l.reach("a", state[19].Position)
	sameEvents(t, a.events, state)
	if len(a.gaps) > 0 {
		t.Fatalf("gaps %v", a.gaps)
	}
	// Who was away and comes back without the state that it read up to there can't be told apart from who has it.
	back := newLedger(t, b)
	a = back.attach("a", millrace.After(state[9].Position))
	back.reach("a", state[19].Position)
	if len(a.gaps) != 1 || a.gaps[0].After.Offset > gone.Position.Offset {
		t.Fatalf("gaps %v", a.gaps)
	}
	sameEvents(t, a.events, state)
}

func TestAStateThatIsGoneIsToldAsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, broker.Config{}, newLog(t, broker.Rule{Class: millrace.ClassLatest, MaxAge: time.Minute}))
		state := fillKeys(t, b, "a", 5, 5)
		<-time.After(2 * time.Minute)
		l := newLedger(t, b)
		a := l.attach("a", millrace.After(millrace.Position{}))
		l.reach("a", state[4].Position)
		if len(a.events) > 0 || len(a.gaps) != 1 || a.gaps[0].Until != state[4].Position {
			t.Fatalf("%d events, gaps %v", len(a.events), a.gaps)
		}
		l.feed.Close()
	})
}

func TestAStateThatIsForgottenIsAResetAndThenTheNewState(t *testing.T) {
	log := brokertest.NewForgetful(func() broker.Log {
		l, err := memlog.New(memlog.Config{Rules: []broker.Rule{latest}})
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
	b := newBroker(t, broker.Config{TailEvents: 4}, log)
	l := newLedger(t, b)
	a := l.attach("a", millrace.Start{})
	old := fillKeys(t, b, "a", 3, 3)
	l.reach("a", old[2].Position)
	if err := log.Forget(); err != nil {
		t.Fatal(err)
	}
	fresh := fillKeys(t, b, "a", 5, 20)
	l.reach("a", fresh[4].Position)
	if len(a.gaps) != 1 || a.gaps[0].Cause != millrace.CauseReset || a.gaps[0].Until != fresh[0].Before() {
		t.Fatalf("gaps %v", a.gaps)
	}
	sameEvents(t, a.events, append(old, fresh...))
	b.Stop()
}

// Promise: docs/delivery.md 1.5, 2.4. The former lineage had let go of more than the new one has.
func TestWhatALostLogHadLetGoOfExcusesNothingInTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := broker.Rule{Class: millrace.ClassLatest, MaxAge: time.Minute}
		log := brokertest.NewForgetful(func() broker.Log { return newLog(t, rule) })
		b := newBroker(t, broker.Config{TailEvents: 2}, log)
		fillKeys(t, b, "a", 50, 50)
		<-time.After(2 * time.Minute)
		fresh := publish(t, b, keyed("a", "fresh", 1))
		l := newLedger(t, b)
		a := l.attach("a", millrace.Start{})
		l.reach("a", fresh.Position)
		if err := log.Forget(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			l.reach("a", publish(t, b, keyed("a", fmt.Sprint("new", i), i)).Position)
		}
		for i := range 8 {
			publish(t, b, keyed("a", fmt.Sprint("missed", i), i))
		}
		<-time.After(2 * time.Minute)
		last := publish(t, b, keyed("a", "last", 1))
		l.reach("a", last.Position)
		if len(a.gaps) != 2 || a.gaps[0].Cause != millrace.CauseReset || a.gaps[1].Cause != millrace.CauseTrimmed {
			t.Fatalf("gaps %v", a.gaps)
		}
		l.feed.Close()
	})
}

// Promise: docs/delivery.md 2.1, 2.3.
func TestAStateIsAttachedWholeWhileItChangesAtFullSpeed(t *testing.T) {
	const keys, attaches, each = 40, 100, 200
	rule := broker.Rule{Class: millrace.ClassLatest, MaxEvents: 1_000_000} // and marks of all that is published
	b := newBroker(t, broker.Config{TailEvents: 32, BatchEvents: 16}, newLog(t, rule))
	newest := map[string]*millrace.Event{}
	for i, e := range fillKeys(t, b, "a", keys, keys) {
		newest[fmt.Sprint(i)] = e
	}
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			e := keyed("a", fmt.Sprint((i*i/7)%keys), i)
			if acks, err := b.Publish(t.Context(), []millrace.Publish{{Event: e}}); err != nil || acks[0].Err != nil {
				t.Errorf("publish: %v, %v", err, acks)
				return
			}
			newest[e.Key] = e
		}
	})
	defer publisher.Wait()
	ended := sync.OnceFunc(func() { close(stop) })
	defer ended()

	whole := func(a *account) {
		t.Helper()
		if len(a.gaps) > 0 || uint64(len(a.events))+a.older != a.pos.Offset-a.first.Offset || a.skipped() > 0 {
			t.Fatalf("%d events and %d older ones of %d, gaps %v", len(a.events), a.older, a.pos.Offset-a.first.Offset, a.gaps)
		}
	}
	var last *ledger
	for range attaches {
		last = newLedger(t, b)
		a := last.attach("a", millrace.Start{})
		last.until(func() bool { return len(a.events) >= each })
		whole(a)
	}
	ended()
	publisher.Wait()
	head := millrace.Position{}
	for _, e := range newest {
		if e.Position.Offset > head.Offset {
			head = e.Position
		}
	}
	a := last.reach("a", head)
	whole(a)
	state := map[string]*millrace.Event{}
	for _, e := range a.events {
		state[e.Key] = e
	}
	for key, e := range newest {
		if state[key] != e {
			t.Fatalf("of key %s came %v, want %s", key, state[key], e.Position)
		}
	}
}

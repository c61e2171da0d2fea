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

// follow takes a batch and subscribes to each topic that a pattern matched: those that there were from the beginning of
// their log, and those that were born from their birth, which is the same.
func (l *ledger) follow(pattern string) {
	l.t.Helper()
	l.next()
	a := l.accounts[pattern]
	for _, m := range a.matched {
		if l.accounts[m.Topic] == nil {
			l.subscribe(m.Topic, millrace.After(millrace.Position{}))
		}
	}
}

func TestAPatternTellsOfTheTopicsThatThereAreAndOfThoseThatAreBorn(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, broker.Rule{Pattern: "a:latest", Class: millrace.ClassLatest}, broker.Rule{Pattern: "a:typing", Class: millrace.ClassEphemeral}))
	one := fill(t, b, "a:1", 3)
	two := publish(t, b, keyed("a:latest", "k", 1))
	fill(t, b, "b:1", 1)
	l := newLedger(t, b)
	a := l.attach("a:*", millrace.Start{})
	heads := map[string]millrace.Position{}
	classes := map[string]millrace.Class{}
	for _, m := range a.matched {
		heads[m.Topic], classes[m.Topic] = m.Position, m.Class
	}
	if len(a.matched) != 2 || heads["a:1"] != one[2].Position || heads["a:latest"] != two.Position || classes["a:latest"] != millrace.ClassLatest {
		t.Fatalf("matched are %+v", a.matched)
	}
	for _, topic := range []string{"a:2", "a:1", "b:2", "a:2", "a:typing", "a:typing", "a:deep:1"} {
		fill(t, b, topic, 2)
	}
	l.until(func() bool { return len(a.matched) == 4 })
	for i, want := range []millrace.Update{
		{Kind: millrace.UpdateMatched, Topic: "a:2", Pattern: "a:*"},
		{Kind: millrace.UpdateMatched, Topic: "a:typing", Pattern: "a:*", Class: millrace.ClassEphemeral},
	} {
		if got := a.matched[2+i]; got.Topic != want.Topic || !got.Position.IsZero() || got.Class != want.Class {
			t.Errorf("born is %+v, want %+v", got, want)
		}
	}
	l.quiet()
	l.feed.Unsubscribe("a:*")
	fill(t, b, "a:3", 1)
	l.quiet()
	delete(l.accounts, "a:*")
	if again := l.attach("a:*", millrace.Start{}); len(again.matched) != 4 { // nobody keeps ephemeral ones
		t.Errorf("matched again are %+v", again.matched)
	}
}

func TestAPatternThatIsNoneIsRefused(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	for _, pattern := range []string{"**:a", "a:b*", "a::*"} {
		l := newLedger(t, b)
		l.subscribe(pattern, millrace.Start{})
		a := l.accounts[pattern]
		l.until(func() bool { return a.refused != nil })
		if a.refused.Reason != millrace.ReasonTopicInvalid {
			t.Errorf("%q is refused with %v", pattern, a.refused)
		}
	}
}

// Promise: docs/delivery.md 5.1.
func TestTopicsThatAreBornWhileAPatternIsSubscribedAreToldOnceAndFollowedFromTheirBirth(t *testing.T) {
	const publishers, topics, each, consumers = 4, 300, 5, 4
	b := newBroker(t, broker.Config{TailEvents: 4}, newLog(t))
	var births sync.WaitGroup
	for p := range publishers {
		births.Go(func() {
			for i := range topics {
				for n := range each {
					e := event(fmt.Sprintf("t:%d", (i+p*topics/publishers)%topics), n)
					if acks, err := b.Publish(t.Context(), []millrace.Publish{{Event: e}}); err != nil || acks[0].Err != nil {
						t.Errorf("publish: %v, %v", err, acks)
						return
					}
				}
			}
		})
	}
	defer births.Wait()
	for range consumers {
		l := newLedger(t, b)
		l.subscribe("t:*", millrace.Start{})
		complete := func() bool {
			n := 0
			for topic, a := range l.accounts {
				if topic != "t:*" && len(a.events) == publishers*each {
					n++
				}
			}
			return n == topics
		}
		for !complete() {
			l.follow("t:*")
		}
		told := map[string]int{}
		for _, m := range l.accounts["t:*"].matched {
			told[m.Topic]++
		}
		for topic, n := range told {
			if n != 1 || len(l.accounts[topic].gaps) > 0 {
				t.Fatalf("%s was told %d times, gaps %v", topic, n, l.accounts[topic].gaps)
			}
		}
		l.feed.Close()
	}
}

func TestAPatternThatCoversTooMuchEnds(t *testing.T) {
	b := newBroker(t, broker.Config{MaxMatched: 3}, newLog(t))
	l := newLedger(t, b)
	a := l.attach("a:*", millrace.Start{})
	for i := range 3 {
		fill(t, b, fmt.Sprint("a:", i), 1)
	}
	l.until(func() bool { return len(a.matched) == 3 })
	fill(t, b, "a:2", 1)
	l.quiet()
	fill(t, b, "a:3", 1)
	l.until(func() bool { return a.refused != nil })
	if a.refused.Reason != millrace.ReasonTooManyTopics {
		t.Fatalf("refused with %v", a.refused)
	}
	delete(l.accounts, "a:*")
	a = l.want(millrace.Subscription{Topic: "a:*"})
	l.until(func() bool { return a.refused != nil })
	if len(a.matched) != 3 {
		t.Fatalf("of the three that were matched before the limit %d were told", len(a.matched))
	}
	l.quiet()
}

func TestAPatternThatCantBeWatchedIsToldAndMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		torn := &brokertest.Torn{Log: newLog(t)}
		torn.Tear(millrace.Errorf(millrace.ReasonUnavailable, "not there yet"))
		b := newBroker(t, broker.Config{}, torn)
		fill(t, b, "a:1", 1)
		l := newLedger(t, b)
		l.subscribe("a:*", millrace.Start{})
		a := l.accounts["a:*"]
		l.until(func() bool { return a.detaches == 1 })
		fill(t, b, "a:2", 1)
		<-time.After(time.Minute)
		torn.Mend()
		l.until(func() bool { return a.attached })
		fill(t, b, "a:3", 1)
		l.until(func() bool { return len(a.matched) == 3 })
		if a.detaches != 1 || a.attaches != 1 {
			t.Fatalf("detached %d times, attached %d times", a.detaches, a.attaches)
		}
	})
	t.Run("for good", func(t *testing.T) {
		torn := &brokertest.Torn{Log: newLog(t)}
		torn.Tear(millrace.Errorf(millrace.ReasonForbidden, "not this one"))
		l := newLedger(t, newBroker(t, broker.Config{}, torn))
		a := l.want(millrace.Subscription{Topic: "a:*"})
		l.until(func() bool { return a.refused != nil })
		if a.refused.Reason != millrace.ReasonForbidden {
			t.Fatalf("refused with %v", a.refused)
		}
	})
}

func TestATopicThatIsMadeAnewIsNotToldAgain(t *testing.T) {
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
	b := newBroker(t, broker.Config{}, log)
	fill(t, b, "a:1", 1)
	l := newLedger(t, b)
	a := l.attach("a:*", millrace.Start{})
	if err := log.Forget(); err != nil {
		t.Fatal(err)
	}
	fill(t, b, "a:1", 1)
	fill(t, b, "a:2", 1)
	l.until(func() bool { return len(a.matched) == 2 })
	l.quiet()
	b.Stop()
}

func TestManyTopicsOfAPatternTakeTurnsWithOthers(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	for i := range 5_000 {
		fill(t, b, fmt.Sprint("a:", i), 1)
	}
	l := newLedger(t, b)
	l.attach("live", millrace.Start{})
	a := l.want(millrace.Subscription{Topic: "a:*"})
	l.until(func() bool { return len(a.matched) > 0 })
	l.reach("live", publish(t, b, event("live", 1)).Position)
	if a.attached {
		t.Error("the live topic waited for all of the pattern's")
	}
	l.until(func() bool { return a.attached })
	if len(a.matched) != 5_000 {
		t.Errorf("%d topics were told before the pattern was attached", len(a.matched))
	}
}

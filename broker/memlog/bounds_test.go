package memlog_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

func appendOne(t *testing.T, l broker.Log, e *millrace.Event) millrace.Ack {
	t.Helper()
	return l.Append(t.Context(), []millrace.Publish{{Event: e, Principal: "p"}})[0]
}

func TestATopicBeyondTheBoundIsFull(t *testing.T) {
	l := open(t, memlog.Config{MaxTopics: 2})
	for _, topic := range []string{"a", "b"} {
		if ack := appendOne(t, l, brokertest.Event(topic, 1)); ack.Err != nil {
			t.Fatal(ack.Err)
		}
	}
	if ack := appendOne(t, l, brokertest.Event("c", 1)); ack.Err == nil || ack.Err.Reason != millrace.ReasonFull {
		t.Fatalf("a third topic was answered %+v", ack)
	}
	if ack := appendOne(t, l, brokertest.Event("a", 2)); ack.Err != nil {
		t.Fatalf("a topic that is there was refused: %v", ack.Err)
	}
	if l.Counted() != 2 {
		t.Fatalf("%d topics are counted", l.Counted())
	}
}

func TestBytesBeyondTheBoundAreFull(t *testing.T) {
	l := open(t, memlog.Config{MaxBytes: 100_000, Rules: []broker.Rule{{MaxEvents: 20}}})
	large := func(topic string) *millrace.Event { return &millrace.Event{Topic: topic, Data: make([]byte, 2_000)} }
	stored := 0
	for i := range 100 {
		ack := appendOne(t, l, large(fmt.Sprint(i%4)))
		if ack.Err == nil {
			stored++
		} else if ack.Err.Reason != millrace.ReasonFull {
			t.Fatal(ack.Err)
		}
		if l.Bytes() > 100_000 {
			t.Fatalf("charged for %d bytes", l.Bytes())
		}
	}
	if stored < 30 || stored > 50 {
		t.Fatalf("%d events of 2,256 bytes are stored in 100,000", stored)
	}
	if ack := appendOne(t, l, &millrace.Event{Topic: "new", Data: make([]byte, 2_000)}); ack.Err == nil {
		t.Fatal("a new topic got in")
	}
}

func TestATopicThatReplacesItsOwnEventsIsNotFull(t *testing.T) {
	l := open(t, memlog.Config{MaxBytes: 14_000, Rules: []broker.Rule{{MaxEvents: 4}}})
	for i := range 200 {
		if ack := appendOne(t, l, &millrace.Event{Topic: "a", Data: make([]byte, 2_000)}); ack.Err != nil {
			t.Fatalf("event %d: %v, charged for %d", i, ack.Err, l.Bytes())
		}
	}
}

func TestWhatLeftIsNotChargedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, memlog.Config{Rules: []broker.Rule{{MaxEvents: 7, DedupIDs: 5, MaxAge: 10 * time.Second, HeadRetention: time.Hour}}})
		for i := range 500 {
			e := brokertest.Event(fmt.Sprint(i%9), i)
			e.ID = strings.Repeat("x", i%40)
			if ack := appendOne(t, l, e); ack.Err != nil {
				t.Fatal(ack.Err)
			}
		}
		if l.Counted() != 9 || l.Bytes() < 9*7*256 {
			t.Fatalf("%d topics are charged for %d bytes", l.Counted(), l.Bytes())
		}
		<-time.After(30 * time.Minute)
		synctest.Wait()
		// Heads and marks are there yet, events and ids are not.
		if l.Counted() != 9 || l.Bytes() > 9*(600+8*56) {
			t.Fatalf("after the events, %d topics are charged for %d bytes", l.Counted(), l.Bytes())
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if l.Counted() != 0 || l.Bytes() != 0 {
			t.Fatalf("after the heads, %d topics are charged for %d bytes", l.Counted(), l.Bytes())
		}
	})
}

type deaf struct{}

func (deaf) Appended([]*millrace.Event) {}

func TestAHeadThatIsFollowedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, memlog.Config{SweepInterval: time.Hour})
		head := appendOne(t, l, brokertest.Event("a", 1)).Position
		_, stop, err := l.Follow(t.Context(), "a", deaf{})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(100 * time.Hour)
		e := brokertest.Event("a", 2)
		if appendOne(t, l, e); !head.Precedes(e) {
			t.Fatalf("%s does not follow on %s", e.Position, head)
		}
		stop()
		<-time.After(100 * time.Hour)
		synctest.Wait()
		if l.Counted() != 0 {
			t.Fatal("a head that nobody follows stayed")
		}
	})
}

func TestMarksAreNeverZeroAndComeFromTheConfig(t *testing.T) {
	next := uint64(0)
	l := open(t, memlog.Config{Mark: func() uint64 { next++; return next / 2 }})
	e := brokertest.Event("a", 1)
	appendOne(t, l, e)
	if e.Prev != 1 || e.Position.Mark != 1 {
		t.Fatalf("the marks are %d and %d", e.Prev, e.Position.Mark)
	}
}

func TestABadConfigIsRefusedWithAllItsFaults(t *testing.T) {
	_, err := memlog.New(memlog.Config{
		MaxTopics:     -1,
		MaxBytes:      -2,
		SweepInterval: -3,
		Rules: []broker.Rule{
			{Pattern: "a::b", MaxEvents: -4},
			{MaxAge: -5, DedupWindow: -6, HeadRetention: -7, MaxBytes: -8, DedupIDs: -9},
			{MaxAge: time.Hour, HeadRetention: time.Minute},
		},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"MaxTopics", "MaxBytes", "SweepInterval", `"a::b"`, "MaxEvents", "MaxAge", "DedupWindow", "HeadRetention", "DedupIDs", "less than MaxAge"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
}

func TestTheFirstRuleThatMatchesCounts(t *testing.T) {
	l := openRules(t, broker.Rule{Pattern: "a:*", MaxEvents: 2}, broker.Rule{Pattern: "a:**", MaxEvents: 3}, broker.Rule{Pattern: "**", MaxEvents: 4})
	for topic, want := range map[string]int{"a:b": 2, "a:b:c": 3, "c": 4, "$own": 5} {
		for i := range 5 {
			appendOne(t, l, brokertest.Event(topic, i))
		}
		page, err := l.Read(t.Context(), topic, millrace.Range{Backward: true})
		if err != nil || len(page.Events) != want {
			t.Errorf("topic %s keeps %d events, %v; want %d", topic, len(page.Events), err, want)
		}
	}
}

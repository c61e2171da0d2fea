package brokertest

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func brief() broker.Rule {
	return broker.Rule{MaxAge: 10 * time.Second, DedupWindow: 20 * time.Second, HeadRetention: 60 * time.Second}
}

func (b bench) aged(elapse func(time.Duration)) {
	l := b.open(b.T, brief())
	old := b.put(l, "a", 3)
	elapse(6 * time.Second)
	young := b.put(l, "a", 2)
	elapse(6 * time.Second)
	page := b.after(l, "a", old[0].Position)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: old[0].Position, Until: old[2].Position, Cause: millrace.CauseTrimmed})
	b.same(page.Events, young)
	page = b.read(l, "a", millrace.Range{Backward: true})
	if len(page.Events) != 2 || page.More {
		b.Fatalf("backward: %+v", page)
	}
}

func (b bench) headOutlives(elapse func(time.Duration)) {
	l := b.open(b.T, brief())
	events := b.put(l, "a", 3)
	head := events[2].Position
	elapse(30 * time.Second)
	page := b.after(l, "a", head)
	if page.Gap != nil || len(page.Events) > 0 || page.Next != head || page.Head != head {
		b.Fatalf("at the head: %+v", page)
	}
	page = b.after(l, "a", events[0].Position)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: events[0].Position, Until: head, Cause: millrace.CauseTrimmed})
	page = b.after(l, "a", millrace.Position{})
	b.gap(page.Gap, millrace.Gap{Topic: "a", Until: head, Cause: millrace.CauseTrimmed})
	next := b.put(l, "a", 1)
	if !head.Precedes(next[0]) {
		b.Fatalf("%s does not follow on %s", next[0].Position, head)
	}
	states, err := l.Topics(b.Context(), "", 10)
	if err != nil || len(states) != 1 || states[0].Oldest != head {
		b.Fatalf("topics: %+v, %v", states, err)
	}
}

func (b bench) headLeaves(elapse func(time.Duration)) {
	l := b.open(b.T, brief())
	head := b.put(l, "a", 3)[2].Position
	elapse(2 * time.Minute)
	page := b.after(l, "a", head)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: head, Cause: millrace.CauseReset})
	if states, err := l.Topics(b.Context(), "", 10); err != nil || len(states) > 0 {
		b.Fatalf("topics: %v, %v", states, err)
	}
	events := b.put(l, "a", 5)
	page = b.after(l, "a", head)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: head, Until: events[0].Before(), Cause: millrace.CauseReset})
	b.same(page.Events, events)
}

func (b bench) dedupWindow(elapse func(time.Duration)) {
	l := b.open(b.T, brief())
	first := b.append(l, millrace.Publish{Event: named("a", "x", 1)})
	elapse(15 * time.Second) // longer than the event is kept
	if again := b.append(l, millrace.Publish{Event: named("a", "x", 1)}); !again.Repeated || again.Position != first.Position {
		b.Fatalf("inside the window: %+v", again)
	}
	elapse(10 * time.Second)
	if again := b.append(l, millrace.Publish{Event: named("a", "x", 1)}); again.Err != nil || again.Repeated || again.Position.Offset != 2 {
		b.Fatalf("after the window: %+v", again)
	}
}

func (b bench) startSince(elapse func(time.Duration)) {
	l := b.open(b.T, brief())
	var events []*millrace.Event
	for range 4 {
		events = append(events, b.put(l, "a", 2)...)
		elapse(time.Second)
	}
	for i, e := range events {
		first := i - i%2
		page := b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartSince, Since: e.Time}})
		b.same(page.Events, events[first:])
		page = b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartSince, Since: e.Time.Add(1)}})
		b.same(page.Events, events[first+2:])
	}
}

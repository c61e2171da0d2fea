package brokertest

import (
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func (b bench) order() {
	l := b.open(b.T)
	events := append(b.put(l, "a", 5), b.put(l, "a", 5)...)
	for i, e := range events {
		if e.Position.Offset != uint64(i+1) || e.Position.Mark == 0 {
			b.Fatalf("event %d is at %s", i, e.Position)
		}
		if e.Time.IsZero() || e.Time.Nanosecond()%int(time.Millisecond) != 0 {
			b.Fatalf("event %d has time %s", i, e.Time)
		}
	}
	page := b.after(l, "a", millrace.Position{})
	b.same(page.Events, events)
	b.whole(millrace.Position{}, page.Events)
	if events[0].Prev == 0 {
		b.Fatal("the topic's birth has no mark")
	}
	if page.Head != events[9].Position || page.Next != page.Head || page.More || page.Gap != nil {
		b.Fatalf("the page is %+v", page)
	}
}

func (b bench) fills() {
	l := b.open(b.T)
	e := Event("a", 1)
	e.Position, e.Prev, e.Time = millrace.Position{Offset: 7, Mark: 7}, 7, time.Unix(7, 0)
	ack := b.append(l, millrace.Publish{Event: e})
	if ack.Err != nil || ack.Position.Offset != 1 || ack.Position.Mark == 7 || ack.Time.Equal(time.Unix(7, 0)) {
		b.Fatalf("the ack is %+v", ack)
	}
	b.whole(millrace.Position{}, b.after(l, "a", millrace.Position{}).Events)
}

func (b bench) concurrent() {
	l := b.open(b.T)
	const writers, each = 8, 100
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := range each {
				if ack := l.Append(b.Context(), []millrace.Publish{{Event: Event("a", i)}})[0]; ack.Err != nil {
					b.Errorf("append: %v", ack.Err)
				}
			}
		})
	}
	wg.Wait()
	page := b.after(l, "a", millrace.Position{})
	if b.whole(millrace.Position{}, page.Events).Offset != writers*each {
		b.Fatalf("the head is %s after %d appends", page.Head, writers*each)
	}
}

func (b bench) batch() {
	l := b.open(b.T, broker.Rule{MaxBytes: 4096})
	b.put(l, "a", 1)
	elsewhere := millrace.Position{Offset: 9, Mark: 9}
	acks := l.Append(b.Context(), []millrace.Publish{
		{Event: Event("a", 2)},
		{Event: Event("a", 0), Expect: &elsewhere},
		{Event: &millrace.Event{Topic: "a", Data: make([]byte, 5000)}},
		{Event: Event("b", 1)},
		{Event: Event("a", 3)},
	})
	if len(acks) != 5 {
		b.Fatalf("%d acks for 5 publishes", len(acks))
	}
	b.refused(acks[1].Err, millrace.ReasonConflict)
	b.refused(acks[2].Err, millrace.ReasonTooLarge)
	for i, want := range map[int]uint64{0: 2, 3: 1, 4: 3} {
		if acks[i].Err != nil || acks[i].Position.Offset != want {
			b.Fatalf("publish %d was answered %+v, want offset %d", i, acks[i], want)
		}
	}
	for i, topic := range []string{"a", "a", "a", "b", "a"} {
		if acks[i].Topic != topic {
			b.Fatalf("ack %d names topic %q, want %q", i, acks[i].Topic, topic)
		}
	}
	b.whole(millrace.Position{}, b.after(l, "a", millrace.Position{}).Events)
}

func (b bench) gone() {
	l := b.open(b.T)
	acks := l.Append(canceled(b.Context()), []millrace.Publish{{Event: Event("a", 1)}})
	b.refused(acks[0].Err, millrace.ReasonCanceled)
	if head := b.read(l, "a", millrace.Range{}).Head; !head.IsZero() {
		b.Fatalf("the head is %s", head)
	}
}

func named(topic, id string, n int) *millrace.Event {
	e := Event(topic, n)
	e.ID = id
	return e
}

func (b bench) dedup() {
	l := b.open(b.T)
	first := b.append(l, millrace.Publish{Event: named("a", "x", 1), Principal: "p"})
	b.put(l, "a", 3)
	again := b.append(l, millrace.Publish{Event: named("a", "x", 1), Principal: "p"})
	if first.Err != nil || first.Repeated {
		b.Fatalf("the first was answered %+v", first)
	}
	if again.Err != nil || !again.Repeated || again.Position != first.Position || !again.Time.Equal(first.Time) {
		b.Fatalf("the repeat was answered %+v, the first %+v", again, first)
	}
	acks := l.Append(b.Context(), []millrace.Publish{{Event: named("a", "y", 5)}, {Event: named("a", "y", 5)}})
	if !acks[1].Repeated || acks[1].Position != acks[0].Position {
		b.Fatalf("in one batch: %+v, then %+v", acks[0], acks[1])
	}
	if head := b.read(l, "a", millrace.Range{}).Head.Offset; head != 5 {
		b.Fatalf("%d events are stored, want 5", head)
	}
}

func (b bench) dedupScope() {
	l := b.open(b.T)
	for i, p := range []millrace.Publish{
		{Event: named("a", "x", 1), Principal: "p"},
		{Event: named("a", "x", 2), Principal: "q"},
		{Event: named("b", "x", 3), Principal: "p"},
		{Event: named("a", "", 4), Principal: "p"},
		{Event: named("a", "", 5), Principal: "p"},
	} {
		if ack := b.append(l, p); ack.Err != nil || ack.Repeated {
			b.Fatalf("publish %d was answered %+v", i, ack)
		}
	}
}

func (b bench) dedupBound() {
	l := b.open(b.T, broker.Rule{DedupIDs: 2})
	for _, id := range []string{"x", "y", "z"} {
		if ack := b.append(l, millrace.Publish{Event: named("a", id, 1)}); ack.Err != nil {
			b.Fatal(ack.Err)
		}
	}
	for id, want := range map[string]bool{"y": true, "z": true} {
		if ack := b.append(l, millrace.Publish{Event: named("a", id, 1)}); ack.Repeated != want {
			b.Fatalf("id %s was answered %+v", id, ack)
		}
	}
	if ack := b.append(l, millrace.Publish{Event: named("a", "x", 1)}); ack.Repeated {
		b.Fatalf("the oldest id was answered %+v", ack)
	}
}

func (b bench) expect() {
	l := b.open(b.T)
	zero := millrace.Position{}
	first := b.append(l, millrace.Publish{Event: Event("a", 1), Expect: &zero})
	if first.Err != nil {
		b.Fatalf("at birth: %v", first.Err)
	}
	b.refused(b.append(l, millrace.Publish{Event: Event("a", 2), Expect: &zero}).Err, millrace.ReasonConflict)
	forged := millrace.Position{Offset: 1, Mark: first.Position.Mark + 1}
	b.refused(b.append(l, millrace.Publish{Event: Event("a", 2), Expect: &forged}).Err, millrace.ReasonConflict)
	if ack := b.append(l, millrace.Publish{Event: Event("a", 2), Expect: &first.Position}); ack.Err != nil {
		b.Fatalf("at the head: %v", ack.Err)
	}
	b.refused(b.append(l, millrace.Publish{Event: Event("a", 3), Expect: &first.Position}).Err, millrace.ReasonConflict)
	b.refused(b.append(l, millrace.Publish{Event: Event("new", 1), Expect: &first.Position}).Err, millrace.ReasonConflict)
	if head := b.read(l, "new", millrace.Range{}).Head; !head.IsZero() {
		b.Fatalf("a refused publish gave birth to a topic at %s", head)
	}
}

func (b bench) dedupBeforeExpect() {
	l := b.open(b.T)
	zero := millrace.Position{}
	first := b.append(l, millrace.Publish{Event: named("a", "x", 1), Expect: &zero})
	again := b.append(l, millrace.Publish{Event: named("a", "x", 1), Expect: &zero})
	if again.Err != nil || !again.Repeated || again.Position != first.Position {
		b.Fatalf("the repeat was answered %+v", again)
	}
}

func (b bench) tooLarge() {
	l := b.open(b.T, broker.Rule{MaxBytes: 1024})
	b.refused(b.append(l, millrace.Publish{Event: &millrace.Event{Topic: "a", Data: make([]byte, 1024)}}).Err, millrace.ReasonTooLarge)
	if head := b.read(l, "a", millrace.Range{}).Head; !head.IsZero() {
		b.Fatalf("the head is %s", head)
	}
}

func (b bench) bytes() {
	l := b.open(b.T, broker.Rule{MaxBytes: 10_000})
	for range 50 {
		if ack := b.append(l, millrace.Publish{Event: &millrace.Event{Topic: "a", Data: make([]byte, 1000)}}); ack.Err != nil {
			b.Fatal(ack.Err)
		}
	}
	states, err := l.Topics(b.Context(), "", 10)
	if err != nil || len(states) != 1 {
		b.Fatalf("topics: %v, %v", states, err)
	}
	page := b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	size := 0
	for _, e := range page.Events {
		size += e.Size()
	}
	if size > 10_000 || size < 5_000 || states[0].Bytes != int64(size) || states[0].Events != len(page.Events) {
		b.Fatalf("the kept events count %d bytes, the state is %+v", size, states[0])
	}
	b.gap(b.after(l, "a", millrace.Position{}).Gap, millrace.Gap{Topic: "a", Until: page.Events[0].Before(), Cause: millrace.CauseTrimmed})
}

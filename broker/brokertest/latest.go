package brokertest

import (
	"slices"
	"strconv"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func latest(keys int) broker.Rule { return broker.Rule{Class: millrace.ClassLatest, MaxEvents: keys} }

// set publishes an event for each key and returns them; a key that begins with a minus is buried.
func (b bench) set(l broker.Log, keys ...string) []*millrace.Event {
	b.Helper()
	events := make([]*millrace.Event, len(keys))
	for i, key := range keys {
		events[i] = Event("a", i)
		events[i].Key = key
		if key[0] == '-' {
			events[i].Key, events[i].Tombstone, events[i].Data = key[1:], true, nil
		}
		if ack := b.append(l, millrace.Publish{Event: events[i]}); ack.Err != nil || ack.Position != events[i].Position {
			b.Fatalf("key %s was answered %+v", key, ack)
		}
	}
	return events
}

// stands checks that a page is the events, in their order, and ends at a position.
func (b bench) stands(page millrace.Page, want []*millrace.Event, next millrace.Position) {
	b.Helper()
	b.same(page.Events, want)
	if page.Next != next || page.More || page.Class != millrace.ClassLatest {
		b.Fatalf("the page goes on at %s, more %v, class %s; want %s", page.Next, page.More, page.Class, next)
	}
}

func (b bench) newest() {
	l := b.open(b.T, latest(10))
	e := b.set(l, "x", "y", "x", "z", "y", "x")
	head := e[5].Position
	if head.Offset != 6 {
		b.Fatalf("six events end at %s", head)
	}
	state := []*millrace.Event{e[3], e[4], e[5]}
	for _, start := range []millrace.Start{{}, {Kind: millrace.StartEarliest}, millrace.After(millrace.Position{}), millrace.After(e[0].Before())} {
		page := b.read(l, "a", millrace.Range{Start: start})
		b.stands(page, state, head)
		if page.Gap != nil {
			b.Fatalf("start %+v: %v", start, page.Gap)
		}
	}
	b.stands(b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartNow}}), nil, head)
	b.stands(b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartLast, Count: 2}}), state[1:], head)
	b.stands(b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartSince, Since: e[0].Time}}), state, head)
	states, err := l.Topics(b.Context(), "", 1)
	if err != nil || states[0].Events != 3 || states[0].Oldest != e[3].Before() {
		b.Fatalf("topics: %+v, %v", states, err)
	}
}

func (b bench) changes() {
	l := b.open(b.T, latest(10))
	e := b.set(l, "x", "y", "z", "x", "x", "y", "w", "x")
	kept := []*millrace.Event{e[2], e[5], e[6], e[7]}
	for i, from := range e {
		var want []*millrace.Event
		for _, k := range kept {
			if k.Position.Offset > from.Position.Offset {
				want = append(want, k)
			}
		}
		page := b.after(l, "a", from.Position)
		b.stands(page, want, e[7].Position)
		if page.Gap != nil {
			b.Fatalf("after event %d: %v", i, page.Gap)
		}
	}
}

func (b bench) statePages() {
	l := b.open(b.T, latest(100))
	var keys []string
	for i := range 300 {
		keys = append(keys, strconv.Itoa(i*7%40))
	}
	e := b.set(l, keys...)
	want := e[260:] // 7 and 40 have no common divisor: each key once
	var forward, backward []*millrace.Event
	start := millrace.Start{Kind: millrace.StartEarliest}
	for {
		page := b.read(l, "a", millrace.Range{Start: start, Limit: 7})
		forward, start = append(forward, page.Events...), page.Resume()
		if page.Gap != nil {
			b.Fatalf("paging met a gap: %v", page.Gap)
		}
		if !page.More {
			break
		}
	}
	b.same(forward, want)
	start = millrace.Start{}
	for {
		page := b.read(l, "a", millrace.Range{Start: start, Limit: 7, Backward: true})
		backward, start = append(backward, page.Events...), millrace.After(page.Next)
		if !page.More {
			break
		}
	}
	slices.Reverse(backward)
	b.same(backward, want)
}

func (b bench) tombstones() {
	l := b.open(b.T, latest(2))
	e := b.set(l, "x", "y", "-x")
	head := e[2].Position
	b.stands(b.after(l, "a", e[0].Position), e[1:], head)
	b.stands(b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}, State: true}), e[1:2], head)
	page := b.read(l, "a", millrace.Range{Backward: true, State: true})
	b.same(page.Events, e[1:2])

	again := b.set(l, "x")[0] // has the room of its own tombstone
	b.stands(b.after(l, "a", head), []*millrace.Event{again}, again.Position)
	gone := b.set(l, "-y")[0]
	fresh := b.set(l, "z")[0] // has the room of y's tombstone, so who has not read that is told
	page = b.after(l, "a", again.Position)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: again.Position, Until: again.Before(), Cause: millrace.CauseTrimmed})
	b.stands(page, []*millrace.Event{again, fresh}, fresh.Position)
	page = b.after(l, "a", gone.Position)
	b.stands(page, []*millrace.Event{fresh}, fresh.Position)
	if page.Gap != nil {
		b.Fatalf("a reader of the tombstone has a gap: %v", page.Gap)
	}
	page = b.after(l, "a", millrace.Position{}) // of who was there before the topic was born
	b.gap(page.Gap, millrace.Gap{Topic: "a", Until: again.Before(), Cause: millrace.CauseTrimmed})
	b.stands(page, []*millrace.Event{again, fresh}, fresh.Position)
	if page = b.read(l, "a", millrace.Range{}); page.Gap != nil {
		b.Fatalf("a state that begins has a gap: %v", page.Gap)
	}
}

func (b bench) oldKeys() {
	rule := latest(50)
	l := b.open(b.T, rule)
	var keys []string
	for i := range 49 {
		keys = append(keys, "still"+strconv.Itoa(i))
	}
	want := b.set(l, keys...)
	for range rule.MaxMarks() + 100 {
		hot := Event("a", 1)
		hot.Key = "hot"
		if ack := b.append(l, millrace.Publish{Event: hot}); ack.Err != nil {
			b.Fatal(ack.Err)
		}
		want = append(want[:49], hot)
	}
	for _, limit := range []int{1, 7, 49} {
		var forward, backward []*millrace.Event
		start := millrace.Start{}
		for {
			page := b.read(l, "a", millrace.Range{Start: start, Limit: limit})
			if page.Gap != nil {
				b.Fatalf("in pages of %d there is a gap: %v", limit, page.Gap)
			}
			forward, start = append(forward, page.Events...), page.Resume()
			if !page.More {
				break
			}
		}
		b.same(forward, want)
		start = millrace.Start{}
		for {
			page := b.read(l, "a", millrace.Range{Start: start, Limit: limit, Backward: true})
			backward, start = append(backward, page.Events...), millrace.After(page.Next)
			if !page.More {
				break
			}
		}
		slices.Reverse(backward)
		b.same(backward, want)
	}
}

func (b bench) keyBound() {
	l := b.open(b.T, latest(3))
	e := b.set(l, "x", "y", "z")
	fourth := Event("a", 4)
	fourth.Key = "w"
	b.refused(b.append(l, millrace.Publish{Event: fourth}).Err, millrace.ReasonFull)
	b.stands(b.read(l, "a", millrace.Range{}), e, e[2].Position)
	next := b.set(l, "y")[0]
	b.stands(b.read(l, "a", millrace.Range{}), []*millrace.Event{e[0], e[2], next}, next.Position)

	keyed := func(key string) *millrace.Event {
		e := Event("a", 1)
		e.Key = key
		return e
	}
	for _, ack := range l.Append(b.Context(), tie(keyed("x"), keyed("w"))) {
		b.refused(ack.Err, millrace.ReasonFull)
	}
	for i, ack := range l.Append(b.Context(), tie(keyed("x"), keyed("y"), keyed("x"))) {
		if ack.Err != nil {
			b.Fatalf("tied keys that are there, publish %d: %v", i, ack.Err)
		}
	}
	if head := b.read(l, "a", millrace.Range{}).Head; head.Offset != next.Position.Offset+3 {
		b.Fatalf("the head is %s", head)
	}
}

func (b bench) stateReset() {
	l := b.open(b.T, latest(5))
	e := b.set(l, "x", "y", "x")
	p := millrace.Position{Offset: 2, Mark: e[1].Position.Mark + 1}
	page := b.after(l, "a", p)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: p, Until: e[1].Before(), Cause: millrace.CauseReset})
	b.stands(page, e[1:], e[2].Position)
}

func (b bench) stateAged(elapse func(time.Duration)) {
	rule := brief()
	rule.Class = millrace.ClassLatest
	l := b.open(b.T, rule)
	old := b.set(l, "x", "y")
	elapse(6 * time.Second)
	young := b.set(l, "z", "x")
	elapse(6 * time.Second)
	page := b.after(l, "a", old[0].Position)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: old[0].Position, Until: young[0].Before(), Cause: millrace.CauseTrimmed})
	b.stands(page, young, young[1].Position)
	page = b.after(l, "a", young[0].Position)
	b.stands(page, young[1:], young[1].Position)
	if page.Gap != nil {
		b.Fatalf("who has read all that left has a gap: %v", page.Gap)
	}
	elapse(20 * time.Second)
	page = b.after(l, "a", young[1].Position)
	b.stands(page, nil, young[1].Position)
	if page.Gap != nil {
		b.Fatalf("at the head there is a gap: %v", page.Gap)
	}
	page = b.after(l, "a", young[0].Position)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: young[0].Position, Until: young[1].Position, Cause: millrace.CauseTrimmed})
}

package brokertest

import (
	"slices"

	"github.com/millrace-dev/millrace"
)

func (b bench) unborn() {
	l := b.open(b.T)
	for _, start := range []millrace.Start{
		{},
		{Kind: millrace.StartEarliest},
		{Kind: millrace.StartLast, Count: 3},
		{Kind: millrace.StartSince},
		{Kind: millrace.StartAfter},
	} {
		page := b.read(l, "a", millrace.Range{Start: start})
		if len(page.Events) > 0 || page.Gap != nil || !page.Next.IsZero() || !page.Head.IsZero() || page.More {
			b.Fatalf("start %+v: %+v", start, page)
		}
	}
	p := millrace.Position{Offset: 3, Mark: 3}
	page := b.after(l, "a", p)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: p, Cause: millrace.CauseReset})
	if !page.Next.IsZero() {
		b.Fatalf("it goes on at %s", page.Next)
	}
	page = b.read(l, "a", millrace.Range{Backward: true})
	if len(page.Events) > 0 || page.More {
		b.Fatalf("backward: %+v", page)
	}
}

func (b bench) strangers() {
	l := b.open(b.T)
	_, stop, err := l.Follow(b.Context(), "a", new(recorder))
	if err != nil {
		b.Fatal(err)
	}
	b.read(l, "b", millrace.Range{})
	for range 2 {
		if states, err := l.Topics(b.Context(), "", 10); err != nil || len(states) > 0 {
			b.Fatalf("topics: %v, %v", states, err)
		}
		stop()
	}
}

func (b bench) pagesForward() {
	l := b.open(b.T)
	events := b.put(l, "a", 23)
	var got []*millrace.Event
	at := millrace.Position{}
	for {
		page := b.read(l, "a", millrace.Range{Start: millrace.After(at), Limit: 5})
		if page.Gap != nil || page.Head != events[22].Position {
			b.Fatalf("the page is %+v", page)
		}
		b.whole(at, page.Events)
		got, at = append(got, page.Events...), page.Next
		if more := len(got) < len(events); page.More != more {
			b.Fatalf("after %d events More is %v", len(got), page.More)
		}
		if !page.More {
			break
		}
	}
	b.same(got, events)
}

func (b bench) pagesBackward() {
	l := b.open(b.T, few(20))
	events := b.put(l, "a", 23)[3:]
	slices.Reverse(events)
	var got []*millrace.Event
	start := millrace.Start{}
	for {
		page := b.read(l, "a", millrace.Range{Start: start, Backward: true, Limit: 6})
		if page.Gap != nil || page.Head != events[0].Position {
			b.Fatalf("the page is %+v", page)
		}
		got, start = append(got, page.Events...), millrace.After(page.Next)
		if page.Next != got[len(got)-1].Before() {
			b.Fatalf("after %s it goes on at %s", got[len(got)-1].Position, page.Next)
		}
		if more := len(got) < len(events); page.More != more {
			b.Fatalf("after %d events More is %v", len(got), page.More)
		}
		if !page.More {
			break
		}
	}
	b.same(got, events)
	// Up to and including the position.
	page := b.read(l, "a", millrace.Range{Start: millrace.After(events[4].Position), Backward: true, Limit: 2})
	b.same(page.Events, events[4:6])
	page = b.read(l, "a", millrace.Range{Start: millrace.After(events[19].Before()), Backward: true})
	if len(page.Events) > 0 || page.More {
		b.Fatalf("before the oldest: %+v", page)
	}
}

func (b bench) pageBytes() {
	l := b.open(b.T)
	for range 6 {
		b.append(l, millrace.Publish{Event: &millrace.Event{Topic: "a", Data: make([]byte, 1000)}})
	}
	for _, backward := range []bool{false, true} {
		start := millrace.Start{Kind: millrace.StartEarliest}
		if backward {
			start = millrace.Start{}
		}
		for bytes, want := range map[int]int{1: 1, 1500: 2, 1 << 20: 6, 0: 6} {
			page := b.read(l, "a", millrace.Range{Start: start, Backward: backward, MaxBytes: bytes})
			if len(page.Events) != want || page.More != (want < 6) {
				b.Fatalf("%d bytes, backward %v: %d events and More %v, want %d", bytes, backward, len(page.Events), page.More, want)
			}
		}
	}
}

func (b bench) starts() {
	l := b.open(b.T, few(10))
	events := b.put(l, "a", 15)
	kept := events[5:]
	for _, c := range []struct {
		start millrace.Start
		want  []*millrace.Event
	}{
		{millrace.Start{}, nil},
		{millrace.Start{Kind: millrace.StartEarliest}, kept},
		{millrace.Start{Kind: millrace.StartLast}, nil},
		{millrace.Start{Kind: millrace.StartLast, Count: 3}, kept[7:]},
		{millrace.Start{Kind: millrace.StartLast, Count: 10}, kept},
		{millrace.Start{Kind: millrace.StartLast, Count: 1000}, kept},
		{millrace.Start{Kind: millrace.StartSince, Since: events[0].Time}, kept},
		{millrace.Start{Kind: millrace.StartSince, Since: events[14].Time.Add(1)}, nil},
		{millrace.After(events[9].Position), events[10:]},
		{millrace.After(events[14].Position), nil},
	} {
		page := b.read(l, "a", millrace.Range{Start: c.start})
		b.same(page.Events, c.want)
		if page.Gap != nil || page.Next != events[14].Position || page.More {
			b.Fatalf("start %+v: %+v", c.start, page)
		}
		// The same start one event at a time: the position that it became shows in the first.
		if len(c.want) > 0 {
			page = b.read(l, "a", millrace.Range{Start: c.start, Limit: 1})
			b.same(page.Events, c.want[:1])
		}
	}
}

func (b bench) zeroFits() {
	l := b.open(b.T, few(10))
	events := b.put(l, "a", 10)
	page := b.after(l, "a", millrace.Position{})
	b.same(page.Events, events)
	if page.Gap != nil {
		b.Fatalf("a gap: %v", page.Gap)
	}
	page = b.after(l, "a", events[0].Before())
	b.same(page.Events, events)
	if page.Gap != nil {
		b.Fatalf("from birth, a gap: %v", page.Gap)
	}
}

func (b bench) trimmed() {
	l := b.open(b.T, few(10))
	events := b.put(l, "a", 25)
	until := events[14].Position
	for _, after := range []millrace.Position{{}, events[0].Before(), events[0].Position, events[13].Position} {
		page := b.after(l, "a", after)
		b.gap(page.Gap, millrace.Gap{Topic: "a", After: after, Until: until, Cause: millrace.CauseTrimmed})
		b.same(page.Events, events[15:])
	}
	page := b.after(l, "a", until)
	if page.Gap != nil {
		b.Fatalf("nothing is missing after %s, and yet: %v", until, page.Gap)
	}
	b.same(page.Events, events[15:])
}

func (b bench) reset() {
	l := b.open(b.T, few(10))
	other := b.open(b.T)
	strange := b.put(other, "a", 30)
	events := b.put(l, "a", 15)
	until := events[4].Position
	for _, after := range []millrace.Position{
		strange[2].Position,                      // trimmed here, in another lineage
		strange[9].Position,                      // kept here, in another lineage
		strange[29].Position,                     // beyond the head
		strange[0].Before(),                      // another birth
		{Offset: 15, Mark: events[14].Prev},      // a mark of this log at another offset
		{Offset: 10},                             // no mark at all
		{Offset: 1 << 63, Mark: 1},               // far out
		{Offset: ^uint64(0), Mark: ^uint64(0)},   // farthest out
		{Offset: 16, Mark: events[14].Prev + 17}, // just beyond the head
	} {
		page := b.after(l, "a", after)
		b.gap(page.Gap, millrace.Gap{Topic: "a", After: after, Until: until, Cause: millrace.CauseReset})
		b.same(page.Events, events[5:])
	}
}

func (b bench) unchecked() {
	l := b.open(b.T, few(2))
	events := b.put(l, "a", 100)
	page := b.after(l, "a", events[10].Position)
	b.gap(page.Gap, millrace.Gap{Topic: "a", After: events[10].Position, Until: events[97].Position, Cause: millrace.CauseReset})
}

func (b bench) marksOutlive() {
	rule := few(2)
	l := b.open(b.T, rule)
	events := b.put(l, "a", 100)
	for _, e := range events[100-rule.MaxMarks() : 97] {
		page := b.after(l, "a", e.Position)
		b.gap(page.Gap, millrace.Gap{Topic: "a", After: e.Position, Until: events[97].Position, Cause: millrace.CauseTrimmed})
	}
}

func (b bench) backwardReset() {
	l := b.open(b.T)
	events := b.put(l, "a", 5)
	p := millrace.Position{Offset: 3, Mark: events[2].Position.Mark + 1}
	_, err := l.Read(b.Context(), "a", millrace.Range{Start: millrace.After(p), Backward: true})
	b.refused(err, millrace.ReasonCursorInvalid)
}

func (b bench) readGone() {
	l := b.open(b.T)
	_, err := l.Read(canceled(b.Context()), "a", millrace.Range{})
	b.refused(err, millrace.ReasonCanceled)
}

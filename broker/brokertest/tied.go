package brokertest

import (
	"slices"
	"strconv"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// tie returns the events as publishes that are stored together.
func tie(events ...*millrace.Event) []millrace.Publish {
	batch := make([]millrace.Publish, len(events))
	for i, e := range events {
		batch[i] = millrace.Publish{Event: e, Principal: "p", Tied: i > 0}
	}
	return batch
}

func (b bench) tied() {
	l := b.open(b.T, broker.Rule{MaxBytes: 4096})
	b.put(l, "a", 1)
	elsewhere := millrace.Position{Offset: 9, Mark: 9}
	refused := tie(Event("a", 2), Event("a", 3))
	refused[0].Expect = &elsewhere
	batch := slices.Concat(refused, tie(Event("a", 4), Event("a", 5), Event("a", 6)),
		tie(Event("a", 0), &millrace.Event{Topic: "a", Data: make([]byte, 5000)}))
	acks := l.Append(b.Context(), batch)
	for i, want := range []millrace.Reason{millrace.ReasonConflict, millrace.ReasonConflict, "", "", "", millrace.ReasonTooLarge, millrace.ReasonTooLarge} {
		if want != "" {
			b.refused(acks[i].Err, want)
		} else if acks[i].Err != nil || acks[i].Position.Offset != uint64(i) {
			b.Fatalf("publish %d was answered %+v", i, acks[i])
		}
	}
	page := b.after(l, "a", millrace.Position{})
	if end := b.whole(millrace.Position{}, page.Events); end.Offset != 4 {
		b.Fatalf("the head is %s, want offset 4", end)
	}
	head := page.Head
	held := tie(Event("a", 7), Event("a", 8))
	held[0].Expect = &head
	for i, ack := range l.Append(b.Context(), held) {
		if ack.Err != nil {
			b.Fatalf("at the head, publish %d: %v", i, ack.Err)
		}
	}
	late := tie(Event("a", 9), Event("a", 10))
	late[1].Expect = &head
	b.refused(l.Append(b.Context(), late)[0].Err, millrace.ReasonConflict)
}

func (b bench) tiedAgain() {
	l := b.open(b.T)
	batch := func(ids ...string) []millrace.Publish {
		var events []*millrace.Event
		for i, id := range ids {
			events = append(events, named("a", id, i))
		}
		return tie(events...)
	}
	first := l.Append(b.Context(), batch("x", "y", "z"))
	b.put(l, "a", 2)
	for i, ack := range l.Append(b.Context(), batch("x", "y", "z")) {
		if ack.Err != nil || !ack.Repeated || ack.Position != first[i].Position {
			b.Fatalf("publish %d was answered %+v, the first time %+v", i, ack, first[i])
		}
	}
	for _, mixed := range [][]string{{"x", "new"}, {"new", "z"}, {"twice", "twice"}} {
		for _, ack := range l.Append(b.Context(), batch(mixed...)) {
			b.refused(ack.Err, millrace.ReasonConflict)
		}
	}
	if head := b.read(l, "a", millrace.Range{}).Head.Offset; head != 5 {
		b.Fatalf("%d events are stored, want 5", head)
	}
}

func (b bench) tiedTooLarge() {
	l := b.open(b.T, few(3))
	b.put(l, "a", 3)
	four := tie(Event("a", 4), Event("a", 5), Event("a", 6), Event("a", 7))
	for _, ack := range l.Append(b.Context(), four) {
		b.refused(ack.Err, millrace.ReasonTooLarge)
	}
	acks := l.Append(b.Context(), four[:3])
	page := b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	if len(page.Events) != 3 || page.Events[0].Position != acks[0].Position {
		b.Fatalf("%d events are kept, from %s on; want those of the batch", len(page.Events), page.Events[0].Position)
	}
}

func (b bench) tiedForgotten() {
	l := b.open(b.T, broker.Rule{DedupIDs: 6})
	batch := func() []millrace.Publish { return tie(named("a", "x", 1), named("a", "y", 2), named("a", "z", 3)) }
	first := l.Append(b.Context(), batch())
	for i := range 6 {
		again := l.Append(b.Context(), batch())
		for j, ack := range again {
			if ack.Err != nil {
				b.Fatalf("after %d other events, publish %d: %v", i, j, ack.Err)
			}
			if ack.Repeated != again[0].Repeated {
				b.Fatalf("after %d other events some of the batch are repeated and some are not", i)
			}
		}
		if again[0].Repeated != (i < 4) || again[0].Repeated && again[0].Position != first[0].Position {
			b.Fatalf("after %d other events the batch is answered %+v", i, again[0])
		}
		if !again[0].Repeated {
			return
		}
		if ack := b.append(l, millrace.Publish{Event: named("a", "other"+strconv.Itoa(i), 1)}); ack.Err != nil {
			b.Fatal(ack.Err)
		}
	}
	many := tie(named("b", "1", 1), named("b", "2", 1), named("b", "3", 1), named("b", "4", 1), named("b", "5", 1), named("b", "6", 1), named("b", "7", 1))
	for _, ack := range l.Append(b.Context(), many) {
		b.refused(ack.Err, millrace.ReasonTooLarge)
	}
}

func (b bench) tiedEphemeral() {
	l := b.open(b.T, broker.Rule{Class: millrace.ClassEphemeral})
	r := newRecorder()
	_, stop, err := l.Follow(b.Context(), "a", r)
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	refused := tie(Event("a", 1), Event("a", 2))
	refused[1].Expect = &millrace.Position{}
	for _, ack := range l.Append(b.Context(), append(refused, millrace.Publish{Event: Event("a", 3)}))[:2] {
		b.refused(ack.Err, millrace.ReasonUnsupported)
	}
	if events := r.wait(b, 1); len(events) != 1 || string(events[0].Data) != "3" {
		b.Fatalf("the follower was told of %d events, first %q", len(events), events[0].Data)
	}
}

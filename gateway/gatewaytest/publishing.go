package gatewaytest

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

func (w *watcher) acks(batch ...millrace.Publish) []millrace.Ack {
	w.Helper()
	acks, err := w.Upstream.Publish(w.ctx, batch)
	if err != nil {
		w.Fatalf("publish: %v", err)
	}
	if len(acks) != len(batch) {
		w.Fatalf("%d acks for %d events", len(acks), len(batch))
	}
	return acks
}

func (w *watcher) publish() {
	conflict := millrace.Publish{Event: textEvent("a", "refused"), Expect: &millrace.Position{Offset: 7, Mark: 7}}
	acks := w.acks(millrace.Publish{Event: textEvent("a", "0")}, conflict, millrace.Publish{Event: textEvent("b", "0")}, millrace.Publish{Event: textEvent("a", "1")})
	for i, offset := range []uint64{1, 0, 1, 2} {
		a := acks[i]
		if offset > 0 && (a.Err != nil || a.Position.Offset != offset || a.Repeated || time.Since(a.Time) > time.Hour) {
			w.Errorf("ack %d is %+v", i, a)
		}
	}
	if acks[1].Err == nil || acks[1].Err.Reason != millrace.ReasonConflict {
		w.Errorf("a condition that does not hold: %+v", acks[1])
	}
	if acks[3].Position != w.head("a") || acks[2].Topic != "b" {
		w.Errorf("acks %+v; the head of a is %s", acks, w.head("a"))
	}
	at := acks[3].Position
	if a := w.acks(millrace.Publish{Event: textEvent("a", "2"), Expect: &at})[0]; a.Err != nil {
		w.Errorf("a condition that holds: %v", a.Err)
	}
}

func (w *watcher) dedup() {
	publish := func(principal string) millrace.Ack {
		e := textEvent("a", "once")
		e.ID = "1"
		return w.acks(millrace.Publish{Event: e, Principal: principal})[0]
	}
	first, again, other := publish("alice"), publish("alice"), publish("bob")
	if first.Err != nil || !again.Repeated || again.Position != first.Position {
		w.Errorf("first %+v, again %+v", first, again)
	}
	if other.Err != nil || other.Repeated || other.Position == first.Position {
		w.Errorf("another principal's %+v", other)
	}
}

func (w *watcher) verbatim() {
	b := w.subscribe("a", millrace.Start{})
	w.attached(b)
	sent := func() *millrace.Event {
		return &millrace.Event{
			Topic: "a", ID: "id", Name: "name", Key: "key", ContentType: "application/octet-stream",
			Headers: []millrace.Header{{Name: "n", Value: "v"}, {Name: "n", Value: ""}},
			Sender:  millrace.Sender{Session: "session", Subject: "subject"},
			NoEcho:  true, Data: []byte{0, 255, '\n', '"'},
		}
	}
	ack := w.acks(millrace.Publish{Event: sent(), Principal: "p"})[0]
	w.until("the event", func() bool { return len(b.events) > 0 })
	page := w.page("a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}, Limit: 1})
	want := sent()
	for _, got := range []*millrace.Event{b.events[0], page.Events[0]} {
		if got.ID != want.ID || got.Name != want.Name || got.Key != want.Key || got.ContentType != want.ContentType ||
			!slices.Equal(got.Headers, want.Headers) || got.Sender != want.Sender || !got.NoEcho || !bytes.Equal(got.Data, want.Data) {
			w.Errorf("got %+v", got)
		}
		if got.Position != ack.Position || !got.Time.Equal(ack.Time) || got.Time.IsZero() {
			w.Errorf("got position %s and time %v; acked %s and %v", got.Position, got.Time, ack.Position, ack.Time)
		}
	}
}

func (w *watcher) history() {
	const events = 15
	w.put("a", 0, events)
	head := w.head("a")
	want := numbers(0, events)
	for _, limit := range []int{1, 4, events, 100} {
		var forward, backward []string
		r := millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}, Limit: limit}
		for more := true; more; {
			page := w.page("a", r)
			forward = append(forward, data(page.Events)...)
			if page.Gap != nil || page.Head != head || page.More != (len(forward) < events) {
				w.Fatalf("page %+v after %d of %d", page, len(forward), events)
			}
			r.Start, more = millrace.After(page.Next), page.More
		}
		r = millrace.Range{Backward: true, Limit: limit}
		for more := true; more; {
			page := w.page("a", r)
			backward = append(backward, data(page.Events)...)
			r.Start, more = millrace.After(page.Next), page.More
		}
		slices.Reverse(backward)
		if !slices.Equal(forward, want) || !slices.Equal(backward, want) {
			w.Errorf("in pages of %d: forward %q, backward %q", limit, forward, backward)
		}
	}
	page := w.page("a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}, MaxBytes: 1})
	if len(page.Events) != 1 || !page.More {
		w.Errorf("a page of one byte has %d events, more: %v", len(page.Events), page.More)
	}
	if page := w.page("nothing", millrace.Range{Backward: true, Limit: 5}); len(page.Events) > 0 || page.More || !page.Head.IsZero() {
		w.Errorf("the history of nothing: %+v", page)
	}
}

func (w *watcher) historyGap() {
	w.put("a", 0, 3)
	at := w.head("a")
	w.put("a", 3, w.Keeps+10)
	page := w.page("a", millrace.Range{Start: millrace.After(at), Limit: 5})
	if page.Gap == nil || page.Gap.Cause != millrace.CauseTrimmed || page.Gap.After != at || page.Gap.Until != page.Events[0].Before() {
		w.Errorf("trimmed: %+v", page.Gap)
	}
	if got := data(page.Events); !slices.Equal(got, numbers(10, 15)) {
		w.Errorf("got %q", got)
	}
	stranger := millrace.Position{Offset: at.Offset, Mark: at.Mark + 1}
	if page := w.page("a", millrace.Range{Start: millrace.After(stranger), Limit: 5}); page.Gap == nil || page.Gap.Cause != millrace.CauseReset {
		w.Errorf("another lineage: %+v", page.Gap)
	}
	_, err := w.Upstream.History(w.ctx, "a", millrace.Range{Start: millrace.After(stranger), Backward: true, Limit: 5})
	if e, ok := errors.AsType[*millrace.Error](err); !ok || e.Reason != millrace.ReasonCursorInvalid {
		w.Errorf("backward from another lineage: %v", err)
	}
}

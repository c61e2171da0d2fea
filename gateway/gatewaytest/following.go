package gatewaytest

import (
	"sync"

	"github.com/millrace-dev/millrace"
)

func (w *watcher) now() {
	w.put("a", 0, 5)
	head := w.head("a")
	b := w.subscribe("a", millrace.Start{})
	w.attached(b)
	if b.pos != head {
		w.Errorf("attached at %s; the head is %s", b.pos, head)
	}
	w.put("a", 5, 8)
	w.have(b, numbers(5, 8)...)
}

func (w *watcher) earliest() {
	w.put("a", 0, 5)
	b := w.subscribe("a", millrace.Start{Kind: millrace.StartEarliest})
	w.have(b, numbers(0, 5)...)
	w.put("a", 5, 8)
	w.have(b, numbers(0, 8)...)
	if len(b.gaps) > 0 {
		w.Errorf("gaps %v", b.gaps)
	}
}

func (w *watcher) after() {
	w.put("a", 0, 3)
	at := w.head("a")
	w.put("a", 3, 6)
	b := w.subscribe("a", millrace.After(at))
	w.attached(b)
	w.have(b, numbers(3, 6)...)
	w.put("a", 6, 8)
	w.have(b, numbers(3, 8)...)
	zero := w.subscribe("b", millrace.After(millrace.Position{}))
	w.put("b", 0, 2)
	w.have(zero, numbers(0, 2)...)
	if n := len(b.gaps) + len(zero.gaps); n > 0 {
		w.Errorf("%d gaps", n)
	}
}

func (w *watcher) trimmed() {
	w.put("a", 0, 3)
	at := w.head("a")
	w.put("a", 3, w.Keeps+10)
	b := w.subscribe("a", millrace.After(at))
	w.have(b, numbers(10, w.Keeps+10)...)
	want := millrace.Gap{Topic: "a", After: at, Until: b.events[0].Before(), Cause: millrace.CauseTrimmed}
	if len(b.gaps) != 1 || b.gaps[0] != want {
		w.Errorf("gaps %v, want %v", b.gaps, want)
	}
}

func (w *watcher) reset() {
	w.put("a", 0, 3)
	at := w.head("a")
	w.Reset("a")
	w.put("a", 3, 9)
	b := w.subscribe("a", millrace.After(at))
	w.have(b, numbers(3, 9)...)
	if len(b.gaps) != 1 || b.gaps[0].Cause != millrace.CauseReset || b.gaps[0].After != at {
		w.Errorf("gaps %v, want a reset after %s", b.gaps, at)
	}
}

func (w *watcher) liveReset() {
	b := w.subscribe("a", millrace.Start{})
	w.put("a", 0, 3)
	w.attached(b)
	w.until("the events", func() bool { return b.pos.Offset == 3 })
	n := len(b.events)
	w.Reset("a")
	w.put("a", 3, 9)
	w.until("the new lineage", func() bool { return len(b.events) == n+6 })
	if got := data(b.events[n:]); got[0] != "3" || len(b.gaps) != 1 || b.gaps[0].Cause != millrace.CauseReset {
		w.Errorf("got %q, gaps %v", got, b.gaps)
	}
}

func (w *watcher) unborn() {
	b := w.subscribe("a", millrace.Start{})
	w.attached(b)
	if !b.pos.IsZero() {
		w.Errorf("attached at %s", b.pos)
	}
	w.put("a", 0, 2)
	w.have(b, numbers(0, 2)...)
}

func (w *watcher) topics() {
	books := map[string]*watched{}
	for _, topic := range []string{"a", "b:1", "b:2", "ü"} {
		books[topic] = w.subscribe(topic, millrace.Start{Kind: millrace.StartEarliest})
	}
	for i := range 10 {
		for topic := range books {
			w.put(topic, i, i+1)
		}
	}
	for topic, b := range books {
		w.have(b, numbers(0, 10)...)
		for _, e := range b.events {
			if e.Topic != topic {
				w.Errorf("an event of %s in %s", e.Topic, topic)
			}
		}
	}
}

func (w *watcher) attach() {
	const events = 2000
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for i := range events {
			w.put("a", i, i+1)
		}
		w.put("end", 0, 1)
	})
	defer publisher.Wait()
	end := w.subscribe("end", millrace.Start{Kind: millrace.StartEarliest})
	at := millrace.Position{}
	for len(end.events) == 0 {
		b := w.subscribe("a", millrace.After(at)) // its books check what comes
		w.until("some events", func() bool { return len(b.events) > 5 || len(end.events) > 0 })
		at = b.pos
		w.Upstream.Unsubscribe("a")
	}
	b := w.subscribe("a", millrace.After(at))
	w.until("the last event", func() bool { return b.pos.Offset == events })
}

func (w *watcher) again() {
	w.put("a", 0, 1)
	at := w.head("a")
	for i := range 20 {
		w.put("a", i+1, i+2)
		b := w.subscribe("a", millrace.After(at))
		if i%2 == 0 {
			w.have(b, numbers(i+1, i+2)...)
		}
		w.Upstream.Unsubscribe("a")
		at = w.head("a")
	}
	w.put("a", 21, 23)
	b := w.subscribe("a", millrace.After(at))
	w.have(b, "21", "22")
	w.put("a", 23, 24)
	w.have(b, "21", "22", "23")
	w.Upstream.Unsubscribe("never taken")
}

// flood publishes while nobody calls Next.
func (w *watcher) flood() {
	const events = 20_000
	b := w.subscribe("a", millrace.Start{})
	w.attached(b)
	for i := 0; i < events; i += 100 {
		w.put("a", i, i+100)
	}
	w.until("the last event", func() bool { return b.pos.Offset == events })
	told := uint64(len(b.events))
	for _, g := range b.gaps {
		wide := g.Until.Offset - g.After.Offset
		tooOldToTell := g.Cause == millrace.CauseReset && wide > uint64(w.Keeps)
		if g.Cause != millrace.CauseTrimmed && g.Cause != millrace.CauseSlow && !tooOldToTell {
			w.Errorf("%v", g)
		}
		told += wide
	}
	if told != events {
		w.Errorf("%d events of %d were delivered or told", told, events)
	}
	w.put("a", events, events+1)
	w.until("one more", func() bool { return b.pos.Offset == events+1 })
}

func (w *watcher) outage() {
	a, quiet := w.subscribe("a", millrace.Start{}), w.subscribe("quiet", millrace.Start{})
	w.attached(a)
	w.attached(quiet)
	want := 0
	for range 3 {
		w.put("a", want, want+2)
		w.have(a, numbers(0, want+2)...)
		times := a.times
		heal := w.Sever()
		w.until("the outage to be told", func() bool { return a.detached && quiet.detached })
		w.put("a", want+2, want+4)
		heal()
		w.until("the topics to be attached again", func() bool { return a.times > times && !quiet.detached })
		want += 4
		w.have(a, numbers(0, want)...)
	}
	w.put("quiet", 0, 1)
	w.have(quiet, "0")
	if n := len(a.gaps) + len(quiet.gaps); n > 0 {
		w.Errorf("%d gaps", n)
	}
}

func (w *watcher) lateOutage() {
	first := w.subscribe("first", millrace.Start{})
	w.attached(first)
	heal := w.Sever()
	w.until("the outage to be told", func() bool { return first.detached })
	late := w.subscribe("late", millrace.Start{})
	heal()
	w.attached(late)
	w.put("late", 0, 2)
	w.have(late, numbers(0, 2)...)
}

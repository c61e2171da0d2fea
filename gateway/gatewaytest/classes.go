package gatewaytest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/millrace-dev/millrace"
)

// Topics of each class but log.
const (
	aState  = "latest:a"
	passing = "ephemeral:a"
)

// set publishes numbers behind the upstream, from one up to but not including another, of so many keys in turn.
func (w *watcher) set(topic string, from, to, keys int) {
	var events []*millrace.Event
	for i := from; i < to; i++ {
		e := textEvent(topic, fmt.Sprint(i))
		e.Key = fmt.Sprint("key", i%keys)
		events = append(events, e)
	}
	w.Behind(events...)
}

func (w *watcher) classes() {
	for _, topic := range []string{"a", aState, passing} {
		b := w.subscribe(topic, millrace.Start{Kind: millrace.StartNow})
		w.attached(b)
		if b.class != ClassOf(topic) {
			w.Errorf("%s is told to be of class %s", topic, b.class)
		}
	}
}

func (w *watcher) state() {
	w.set(aState, 0, 20, 4)
	b := w.subscribe(aState, millrace.Start{Kind: millrace.StartEarliest})
	w.have(b, "16", "17", "18", "19")
	w.set(aState, 20, 23, 4)
	w.have(b, "16", "17", "18", "19", "20", "21", "22")
	w.Upstream.Unsubscribe(aState)
	now := w.subscribe(aState, millrace.Start{Kind: millrace.StartNow})
	w.attached(now)
	w.set(aState, 23, 25, 4)
	w.have(now, "23", "24")
	if len(b.gaps)+len(now.gaps) > 0 {
		w.Errorf("gaps %v %v", b.gaps, now.gaps)
	}
}

func (w *watcher) stateFlood() {
	const events, keys = 20_000, 5
	b := w.subscribe(aState, millrace.Start{Kind: millrace.StartNow})
	w.attached(b)
	for i := 0; i < events; i += 100 {
		w.set(aState, i, i+100, keys)
	}
	w.until("the last event", func() bool { return b.pos.Offset == events })
	told := uint64(len(b.events)) + b.conflated
	for _, g := range b.gaps {
		wide := g.Until.Offset - g.After.Offset
		if tooOldToTell := g.Cause == millrace.CauseReset && wide > uint64(w.Keeps); !tooOldToTell {
			w.Errorf("%v", g)
		}
		told += wide
	}
	if told != events {
		w.Errorf("%d events of %d were delivered, conflated or told", told, events)
	}
	newest := map[string]string{}
	for _, e := range b.events {
		newest[e.Key] = string(e.Data)
	}
	if got, want := fmt.Sprint(newest), "map[key0:19995 key1:19996 key2:19997 key3:19998 key4:19999]"; got != want {
		w.Errorf("the newest are %s", got)
	}
}

func (w *watcher) stateOutage() {
	b := w.subscribe(aState, millrace.Start{Kind: millrace.StartNow})
	w.attached(b)
	w.set(aState, 0, 3, 3)
	w.have(b, "0", "1", "2")
	times, heal := b.times, w.Sever()
	w.until("the outage to be told", func() bool { return b.detached })
	w.set(aState, 3, 18, 3)
	heal()
	w.until("the topic to be attached again", func() bool { return b.times > times })
	w.have(b, "0", "1", "2", "15", "16", "17")
	if b.conflated != 12 || len(b.gaps) > 0 {
		w.Errorf("%d conflated, gaps %v", b.conflated, b.gaps)
	}
}

func (w *watcher) stateHistory() {
	w.set(aState, 0, 3, 3)
	w.Behind(&millrace.Event{Topic: aState, Key: "key1", Tombstone: true})
	earliest := millrace.Start{Kind: millrace.StartEarliest}
	if page := w.page(aState, millrace.Range{Start: earliest}); len(page.Events) != 3 || !page.Events[2].Tombstone || page.Class != millrace.ClassLatest {
		w.Errorf("with tombstones: %+v", page)
	}
	page := w.page(aState, millrace.Range{Start: earliest, State: true})
	if got := data(page.Events); !slices.Equal(got, []string{"0", "2"}) {
		w.Errorf("without: %q", got)
	}
	w.put("a", 0, 1)
	w.unsupported("a", millrace.Range{Start: earliest, State: true})
}

func (w *watcher) unsupported(topic string, r millrace.Range) {
	w.Helper()
	_, err := w.Upstream.History(w.ctx, topic, r)
	if e, ok := errors.AsType[*millrace.Error](err); !ok || e.Reason != millrace.ReasonUnsupported {
		w.Errorf("reading %s: %v, want %s", topic, err, millrace.ReasonUnsupported)
	}
}

func (w *watcher) ephemeral() {
	w.put(passing, 0, 3)
	b := w.subscribe(passing, millrace.Start{Kind: millrace.StartNow})
	w.attached(b)
	if !b.pos.IsZero() {
		w.Errorf("attached at %s", b.pos)
	}
	w.put(passing, 3, 8)
	w.have(b, numbers(3, 8)...)
	if a := w.acks(millrace.Publish{Event: textEvent(passing, "8")})[0]; a.Err != nil || !a.Position.IsZero() || a.Time.IsZero() {
		w.Errorf("acked %+v", a)
	}
	w.have(b, numbers(3, 9)...)
	w.unsupported(passing, millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
}

func (w *watcher) ephemeralFlood() {
	const events = 20_000
	b := w.subscribe(passing, millrace.Start{Kind: millrace.StartNow})
	w.attached(b)
	for i := 0; i < events; i += 100 {
		w.put(passing, i, i+100)
	}
	w.put(passing, events, events+1) // what was lost may be told only with what follows
	var told uint64
	w.until("the last event", func() bool {
		told = uint64(len(b.events))
		for _, g := range b.gaps {
			if g.Cause != millrace.CauseSlow || g.Count == 0 {
				w.Fatalf("%v", g)
			}
			told += g.Count
		}
		return told > events
	})
	if told != events+1 {
		w.Errorf("%d events were delivered or counted, of %d", told, events+1)
	}
	last := -1
	for _, e := range b.events {
		var n int
		if _, err := fmt.Sscan(string(e.Data), &n); err != nil || n <= last {
			w.Fatalf("event %s after event %d", e.Data, last)
		}
		last = n
	}
}

// match books a topic that a pattern covers, which must be told once.
func (w *watcher) match(u millrace.Update) {
	w.Helper()
	b := w.books[u.Pattern]
	if b == nil {
		return
	}
	again := slices.ContainsFunc(b.matched, func(o millrace.Update) bool { return o.Topic == u.Topic })
	if again || !millrace.Pattern(u.Pattern).Matches(u.Topic) || u.Class != ClassOf(u.Topic) {
		w.Fatalf("%s matches %s, of class %s; before it matched %v", u.Pattern, u.Topic, u.Class, b.matched)
	}
	b.matched = append(b.matched, u)
}

func (b *watched) topics() []string {
	var topics []string
	for _, u := range b.matched {
		topics = append(topics, u.Topic)
	}
	slices.Sort(topics)
	return topics
}

func (w *watcher) pattern() {
	w.put("chat:1", 0, 3)
	w.put("other:1", 0, 1)
	head := w.head("chat:1")
	b := w.subscribe("chat:*", millrace.Start{Kind: millrace.StartNow})
	w.attached(b)
	if len(b.matched) != 1 || b.matched[0].Topic != "chat:1" || b.matched[0].Position != head {
		w.Errorf("matched %+v, the head is %s", b.matched, head)
	}
	for i := range 10 {
		topic := fmt.Sprint("chat:born-", i)
		w.put(topic, 0, 2)
		w.put("other:2", 0, 1)
		w.until("the topic that was born", func() bool { return len(b.matched) == i+2 })
		if u := b.matched[i+1]; u.Topic != topic || !u.Position.IsZero() {
			w.Errorf("matched %+v", u)
		}
		w.have(w.subscribe(topic, millrace.After(millrace.Position{})), "0", "1")
	}
	w.put("chat:1", 3, 5)
	w.have(w.subscribe("chat:1", millrace.After(head)), "3", "4")
}

func (w *watcher) patternAgain() {
	b := w.subscribe("chat:*", millrace.Start{Kind: millrace.StartNow})
	w.attached(b)
	w.Upstream.Unsubscribe("chat:*")
	w.put("chat:1", 0, 1)
	again := w.subscribe("chat:*", millrace.Start{Kind: millrace.StartNow})
	w.until("the topic that there is", func() bool { return again.attached && len(again.matched) == 1 })
	w.put("chat:2", 0, 1)
	w.until("the topic that was born", func() bool { return len(again.matched) == 2 })
}

func (w *watcher) bornInOutage() {
	pattern, events := w.subscribe("chat:*", millrace.Start{Kind: millrace.StartNow}), w.subscribe(passing, millrace.Start{Kind: millrace.StartNow})
	w.attached(pattern)
	w.attached(events)
	w.put("chat:1", 0, 1)
	w.until("the topic that was born", func() bool { return len(pattern.matched) == 1 })
	heal := w.Sever()
	w.until("the outage to be told", func() bool { return pattern.detached && events.detached })
	w.put("chat:2", 0, 2)
	w.put(passing, 0, 3)
	heal()
	w.until("both to be attached again", func() bool { return !pattern.detached && !events.detached })
	if got := pattern.topics(); !slices.Equal(got, []string{"chat:1", "chat:2"}) {
		w.Errorf("matched %q", got)
	}
	w.put(passing, 3, 5)
	w.have(events, "3", "4")
}

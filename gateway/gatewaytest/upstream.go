package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// UpstreamHarness is an Upstream under test and what stands behind it, empty.
type UpstreamHarness struct {
	Upstream gateway.Upstream

	// Behind publishes by another way than the upstream, in order, and returns when the events are stored. Each event's
	// data is of 1 KB at most. Topics are of the class that ClassOf says.
	Behind func(events ...*millrace.Event)

	// Keeps is how many of its newest events a topic's log keeps: 20 to 2,000.
	Keeps int

	// Reset loses a topic's log, so that its next event begins another lineage.
	Reset func(topic string)

	// Sever cuts the upstream off from its broker until heal is called. Nil if nothing can come between them.
	Sever func() (heal func())

	// Second opens another upstream of the same broker, which end closes. Members of either leave soon after it was closed: a
	// lease lasts for a few seconds. Nil if the upstream keeps no members.
	Second func() (_ gateway.Upstream, end func())

	// Close closes the upstream.
	Close func()
}

// patience bounds how long the tests wait for what must come.
const patience = 20 * time.Second

// TestUpstream holds an Upstream to its promises. Each is a subtest with a harness of its own, which open makes and which
// closes what it made when t ends.
func TestUpstream(t *testing.T, open func(t *testing.T) UpstreamHarness) {
	for _, promise := range upstreamPromises {
		t.Run(promise.name, func(t *testing.T) {
			promise.hold(watch(t, open(t)))
		})
	}
	if open(t).Second != nil {
		for _, promise := range memberPromises {
			t.Run(promise.name, func(t *testing.T) { promise.hold(watch(t, open(t))) })
		}
		if open(t).Sever != nil {
			t.Run("members that do not leave in an outage are there after it", func(t *testing.T) { watch(t, open(t)).memberOutage() })
		}
	}
	if open(t).Sever != nil {
		t.Run("an outage loses nothing, and is told", func(t *testing.T) { watch(t, open(t)).outage() })
		t.Run("a subscription made during an outage holds after it", func(t *testing.T) { watch(t, open(t)).lateOutage() })
		t.Run("of a state that changed during an outage the newest of each key is told, and how many are older", func(t *testing.T) { watch(t, open(t)).stateOutage() })
		t.Run("after an outage an ephemeral topic goes on, and a pattern has what was born", func(t *testing.T) { watch(t, open(t)).bornInOutage() })
	}
}

var upstreamPromises = []struct {
	name string
	hold func(w *watcher)
}{
	{"from now on, what was before is not told", (*watcher).now},
	{"from the earliest, all that is kept is told", (*watcher).earliest},
	{"after a position, what follows is told", (*watcher).after},
	{"after a position that was trimmed, the gap is told exactly", (*watcher).trimmed},
	{"after a position of another lineage, the reset is told", (*watcher).reset},
	{"a log that is lost while it is followed is told as a reset", (*watcher).liveReset},
	{"a topic that was never published to begins at zero", (*watcher).unborn},
	{"topics do not mix", (*watcher).topics},
	{"attaching while others publish leaves no hole and no repeat", (*watcher).attach},
	{"a topic can be left and taken again", (*watcher).again},
	{"more events than any queue holds arrive, or are told as a gap", (*watcher).flood},
	{"each publish of a batch is answered alone", (*watcher).publish},
	{"an id is stored once for its principal", (*watcher).dedup},
	{"what is published arrives as it was sent", (*watcher).verbatim},
	{"history is whole forward and backward, in pages", (*watcher).history},
	{"history tells what it does not have", (*watcher).historyGap},
	{"the class of a topic is told when it is attached", (*watcher).classes},
	{"a state is told by the newest of each key, and then its changes", (*watcher).state},
	{"a state that changes faster than it is taken is told by the newest of each key, with every offset accounted for", (*watcher).stateFlood},
	{"a state is read with its tombstones or without", (*watcher).stateHistory},
	{"ephemeral events go to who is there, without positions", (*watcher).ephemeral},
	{"ephemeral events that are not taken in time are counted", (*watcher).ephemeralFlood},
	{"a pattern tells of the topics that there are, and of each that is born before it has events", (*watcher).pattern},
	{"a pattern can be left and taken again", (*watcher).patternAgain},
	{"Next ends with its context, and loses nothing by it", (*watcher).nextEnds},
	{"closing ends Next", (*watcher).closing},
}

// watcher reads an upstream's updates and keeps the books of each topic.
type watcher struct {
	*testing.T
	UpstreamHarness
	ctx   context.Context
	books map[string]*watched
}

// watched is where a subscription is by what was told.
type watched struct {
	start    millrace.Start
	attached bool
	detached bool
	times    int // attached
	pos      millrace.Position
	events   []*millrace.Event
	gaps     []millrace.Gap

	class     millrace.Class
	conflated uint64
	matched   []millrace.Update // of a pattern
}

func watch(t *testing.T, h UpstreamHarness) *watcher {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &watcher{T: t, UpstreamHarness: h, ctx: ctx, books: map[string]*watched{}}
}

// subscribe begins new books for a topic.
func (w *watcher) subscribe(topic string, start millrace.Start) *watched {
	w.Helper()
	b := &watched{start: start}
	w.books[topic] = b
	if err := w.Upstream.Subscribe(millrace.Subscription{Topic: topic, Start: start}); err != nil {
		w.Fatalf("subscribe: %v", err)
	}
	return b
}

// until reads updates until done holds.
func (w *watcher) until(what string, done func() bool) {
	w.Helper()
	for !done() {
		updates, err := w.Upstream.Next(w.ctx)
		if err != nil {
			w.Fatalf("waiting for %s: %v", what, err)
		}
		if len(updates) == 0 {
			w.Fatal("Next returned without an update")
		}
		for _, u := range updates {
			w.note(u)
		}
	}
}

// note books an update. What comes before a topic is attached where it should be may be of a subscription that was ended.
func (w *watcher) note(u millrace.Update) {
	w.Helper()
	if u.Kind == millrace.UpdateMatched {
		w.match(u)
		return
	}
	b := w.books[u.Topic]
	if b == nil {
		return
	}
	begins := u.Kind == millrace.UpdateAttached && (b.start.Kind != millrace.StartAfter || u.Position == b.start.After)
	if !b.attached && !begins && u.Kind != millrace.UpdateRefused {
		return
	}
	switch u.Kind {
	case millrace.UpdateAttached:
		if b.times > 0 && u.Position != b.pos {
			w.Fatalf("%s is attached again at %s; it was at %s", u.Topic, u.Position, b.pos)
		}
		b.attached, b.detached, b.pos, b.class = true, false, u.Position, u.Class
		b.times++
	case millrace.UpdateDetached:
		b.detached = true
	case millrace.UpdateGap:
		if u.Gap.After != b.pos || u.Gap.Topic != u.Topic {
			w.Fatalf("%s, at %s", u.Gap, b.pos)
		}
		b.gaps, b.pos = append(b.gaps, *u.Gap), u.Gap.Until
	case millrace.UpdateAdvanced:
		if n := u.Position.Offset - b.pos.Offset; u.Position.Offset <= b.pos.Offset || u.Conflated != n || b.class != millrace.ClassLatest {
			w.Fatalf("%s, of class %s, advances from %s to %s over %d conflated events", u.Topic, b.class, b.pos, u.Position, u.Conflated)
		}
		b.conflated, b.pos = b.conflated+u.Conflated, u.Position
	case millrace.UpdateEvents:
		for _, e := range u.Events {
			follows := b.pos.Precedes(e)
			if b.class == millrace.ClassEphemeral {
				follows = e.Position.IsZero()
			}
			if b.detached || e.Topic != u.Topic || !follows {
				w.Fatalf("event %s of %s after mark %d; it was at %s of %s (detached: %v)", e.Position, e.Topic, e.Prev, b.pos, u.Topic, b.detached)
			}
			b.events, b.pos = append(b.events, e), e.Position
		}
	default:
		w.Fatalf("update %+v", u)
	}
}

func (w *watcher) attached(b *watched) {
	w.Helper()
	w.until("the topic to be attached", func() bool { return b.attached })
}

// have waits for the last event, and checks that the data of all is as wanted.
func (w *watcher) have(b *watched, want ...string) {
	w.Helper()
	w.until(fmt.Sprintf("%d events", len(want)), func() bool {
		return len(b.events) >= len(want)
	})
	if got := data(b.events); !slices.Equal(got, want) {
		w.Errorf("got %.300q, want %.300q", got, want)
	}
}

func data(events []*millrace.Event) []string {
	var got []string
	for _, e := range events {
		got = append(got, string(e.Data))
	}
	return got
}

// put publishes numbers behind the upstream, from one up to but not including another.
func (w *watcher) put(topic string, from, to int) {
	var events []*millrace.Event
	for _, text := range numbers(from, to) {
		events = append(events, textEvent(topic, text))
	}
	w.Behind(events...)
}

func textEvent(topic, text string) *millrace.Event {
	return &millrace.Event{Topic: topic, ContentType: "text/plain", Data: []byte(text)}
}

func numbers(from, to int) []string {
	var texts []string
	for i := from; i < to; i++ {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}

// page reads a range and fails the test if it can't.
func (w *watcher) page(topic string, r millrace.Range) millrace.Page {
	w.Helper()
	page, err := w.Upstream.History(w.ctx, topic, r)
	if err != nil {
		w.Fatalf("read history: %v", err)
	}
	return page
}

func (w *watcher) head(topic string) millrace.Position {
	w.Helper()
	return w.page(topic, millrace.Range{Limit: 1}).Head
}

func (w *watcher) closing() {
	b := w.subscribe("a", millrace.Start{})
	w.attached(b)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Upstream.Next(w.ctx); err != nil {
				ended <- err
				return
			}
		}
	}()
	w.Close()
	if err := <-ended; w.ctx.Err() != nil {
		w.Errorf("Next went on until the test lost its patience: %v", err)
	}
	if err := w.Upstream.Subscribe(millrace.Subscription{Topic: "b"}); err == nil {
		w.Error("a closed upstream takes a subscription")
	}
}

func (w *watcher) nextEnds() {
	b := w.subscribe("a", millrace.Start{})
	w.attached(b)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := w.Upstream.Next(ctx); !errors.Is(err, context.Canceled) {
		w.Errorf("Next with an ended context: %v", err)
	}
	w.put("a", 0, 5)
	w.have(b, numbers(0, 5)...)
}

// Package brokertest has the tests that any engine of a broker must pass, and wrappers that make an engine fail in the ways
// that engines fail.
package brokertest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// Open returns an empty log that keeps to the rules and is closed when t ends.
type Open func(t *testing.T, rules ...broker.Rule) broker.Log

// TestLog holds an engine to the promises of broker.Log that do not need time to pass. Each is a subtest.
func TestLog(t *testing.T, open Open) {
	for _, promise := range promises {
		t.Run(promise.name, func(t *testing.T) { promise.hold(bench{t, open}) })
	}
}

// Timed runs body where elapse lets time pass for the engine: for real, or in a bubble of testing/synctest.
type Timed func(t *testing.T, body func(t *testing.T, elapse func(time.Duration)))

// TestLogOverTime holds an engine to the promises that are about time. Each is a subtest. The rules are in tens of
// seconds of the engine's time.
func TestLogOverTime(t *testing.T, open Open, timed Timed) {
	for _, promise := range promisesOverTime {
		t.Run(promise.name, func(t *testing.T) {
			timed(t, func(t *testing.T, elapse func(time.Duration)) { promise.hold(bench{t, open}, elapse) })
		})
	}
}

var promises = []struct {
	name string
	hold func(b bench)
}{
	{"events stand in the order of their appends, offsets without holes", bench.order},
	{"what the publisher set in Position, Prev and Time does not count", bench.fills},
	{"appends of many at once to one topic leave no hole and no repeat", bench.concurrent},
	{"each publish of a batch fails alone", bench.batch},
	{"an append whose caller has gone stores nothing", bench.gone},
	{"an id is stored once, and repeated with its first position", bench.dedup},
	{"the same id of another principal, or in another topic, is another event", bench.dedupScope},
	{"as many ids are remembered as the rule says, the newest", bench.dedupBound},
	{"a condition holds at the head and nowhere else", bench.expect},
	{"a repeated id is answered before its condition is looked at", bench.dedupBeforeExpect},
	{"an event beyond what its topic may keep is too large", bench.tooLarge},
	{"a topic keeps no more bytes than its rule says", bench.bytes},
	{"a topic that was never published to is at zero", bench.unborn},
	{"reading and following an unknown topic stores nothing", bench.strangers},
	{"forward paging is whole", bench.pagesForward},
	{"backward paging is whole", bench.pagesBackward},
	{"a page stops at its bytes but has at least one event", bench.pageBytes},
	{"a start becomes a position", bench.starts},
	{"the zero position precedes the first event", bench.zeroFits},
	{"trimmed events are a gap with their exact range", bench.trimmed},
	{"a position of another lineage is a reset", bench.reset},
	{"a position whose mark is too old to check is a reset", bench.unchecked},
	{"marks outlive events", bench.marksOutlive},
	{"backward from a position of another lineage is refused", bench.backwardReset},
	{"a follower gets what comes after the head, in order", bench.follow},
	{"following while others append meets the read part without hole or repeat", bench.attach},
	{"a follower that stopped is not told again", bench.stopped},
	{"topics are listed in pages by name", bench.topics},
	{"tied events are stored one right after the other, or none is", bench.tied},
	{"tied events that are published again are answered with their first positions", bench.tiedAgain},
	{"tied events beyond what a topic keeps are too large", bench.tiedTooLarge},
	{"the ids of tied events are remembered and forgotten together", bench.tiedForgotten},
	{"tied events of class ephemeral are passed on together, or none is", bench.tiedEphemeral},
	{"of each key the newest is kept, where it stands", bench.newest},
	{"what follows on a position is the newest of the keys that changed since", bench.changes},
	{"a state is read in pages, in both directions", bench.statePages},
	{"keys that are older than the marks are read like others", bench.oldKeys},
	{"a tombstone stands for its key until a new key needs the room", bench.tombstones},
	{"a new key beyond the bound is refused, and nothing else is lost", bench.keyBound},
	{"a state that a position does not fit begins anew with a gap", bench.stateReset},
	{"an ephemeral event reaches who follows, and is not kept", bench.ephemeral},
	{"a watcher is told of the topics that there are, and of each that is born", bench.watch},
	{"topics that are born while a watcher comes are all told", bench.watchRace},
	{"a read whose caller has gone fails", bench.readGone},
	{"a closed log fails with a reason", bench.closed},
}

var promisesOverTime = []struct {
	name string
	hold func(b bench, elapse func(time.Duration))
}{
	{"events leave by age and are then a gap with their exact range", bench.aged},
	{"heads outlive events", bench.headOutlives},
	{"a head leaves after its retention, and what follows is a reset", bench.headLeaves},
	{"an id is forgotten after the dedup window", bench.dedupWindow},
	{"a start by time finds the first event from then on", bench.startSince},
	{"a key that has outlived the rule is a gap to who has not read it", bench.stateAged},
}

// bench is what the tests of one promise stand on.
type bench struct {
	*testing.T
	open Open
}

// put appends n events to the topic and returns them. Their data is their number in the topic, counted from 1.
func (b bench) put(l broker.Log, topic string, n int) []*millrace.Event {
	b.Helper()
	head := b.read(l, topic, millrace.Range{}).Head.Offset
	var batch []millrace.Publish
	for i := range n {
		batch = append(batch, millrace.Publish{Event: Event(topic, int(head)+i+1)})
	}
	var events []*millrace.Event
	for i, ack := range l.Append(b.Context(), batch) {
		if ack.Err != nil {
			b.Fatalf("append %d to %s: %v", i, topic, ack.Err)
		}
		if ack.Position != batch[i].Event.Position || !ack.Time.Equal(batch[i].Event.Time) {
			b.Fatalf("the ack is %+v, the event is at %s of %s", ack, batch[i].Event.Position, batch[i].Event.Time)
		}
		events = append(events, batch[i].Event)
	}
	return events
}

// append stores one event and returns the answer.
func (b bench) append(l broker.Log, p millrace.Publish) millrace.Ack {
	b.Helper()
	acks := l.Append(b.Context(), []millrace.Publish{p})
	if len(acks) != 1 {
		b.Fatalf("%d acks for one publish", len(acks))
	}
	return acks[0]
}

func (b bench) read(l broker.Log, topic string, r millrace.Range) millrace.Page {
	b.Helper()
	page, err := l.Read(b.Context(), topic, r)
	if err != nil {
		b.Fatalf("read %s: %v", topic, err)
	}
	return page
}

func (b bench) after(l broker.Log, topic string, p millrace.Position) millrace.Page {
	b.Helper()
	return b.read(l, topic, millrace.Range{Start: millrace.After(p)})
}

func (b bench) refused(err error, want millrace.Reason) {
	b.Helper()
	if err == nil {
		b.Fatalf("it succeeded; want %s", want)
	}
	if e := millrace.AsError(err); e.Reason != want {
		b.Fatalf("the error is %v; want %s", e, want)
	}
}

// same checks that a page has exactly the events, by identity of their positions and data.
func (b bench) same(got, want []*millrace.Event) {
	b.Helper()
	if len(got) != len(want) {
		b.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Position != want[i].Position || got[i].Prev != want[i].Prev || !bytes.Equal(got[i].Data, want[i].Data) {
			b.Fatalf("event %d is %s with %q, want %s with %q", i, got[i].Position, got[i].Data, want[i].Position, want[i].Data)
		}
	}
}

func (b bench) gap(got *millrace.Gap, want millrace.Gap) {
	b.Helper()
	if got == nil {
		b.Fatalf("no gap; want %v", &want)
	}
	if *got != want {
		b.Fatalf("the gap is %v, want %v", got, &want)
	}
}

// whole checks that each event follows on the one before, from a position on, and returns the last position.
func (b bench) whole(from millrace.Position, events []*millrace.Event) millrace.Position {
	b.Helper()
	for _, e := range events {
		if !from.Precedes(e) {
			b.Fatalf("event %s (after mark %d) does not follow on %s", e.Position, e.Prev, from)
		}
		from = e.Position
	}
	return from
}

// Event returns an event whose data is the number n.
func Event(topic string, n int) *millrace.Event {
	return &millrace.Event{Topic: topic, Name: "n", Data: strconv.AppendInt(nil, int64(n), 10)}
}

func few(events int) broker.Rule { return broker.Rule{MaxEvents: events} }

func topicName(i int) string { return fmt.Sprintf("t:%03d", i) }

func canceled(parent context.Context) context.Context {
	ctx, cancel := context.WithCancel(parent)
	cancel()
	return ctx
}

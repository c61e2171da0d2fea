// Package tail keeps the newest events of a topic at hand, for all who follow it.
package tail

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/internal/ring"
)

// Tail is the newest events of a topic, without holes. It is not safe for concurrent use.
type Tail struct {
	events ring.Ring[*millrace.Event]
	bytes  int64 // what they are charged for
	pushed uint64
	newest map[string]uint64 // in class latest: the offset of each key's newest event; nil in the others
}

// New returns an empty tail of a topic of a class.
func New(c millrace.Class) Tail {
	if c == millrace.ClassLatest {
		return Tail{newest: map[string]uint64{}}
	}
	return Tail{}
}

// Push adds an event, which must follow on the newest if there is one, and returns what it is charged for.
func (t *Tail) Push(e *millrace.Event) int64 {
	t.events.Push(e)
	t.pushed++
	if t.newest != nil {
		t.newest[e.Key] = e.Position.Offset
	}
	size := int64(e.Size())
	t.bytes += size
	return size
}

// Pushed returns how many events were ever added, which is what events without positions are counted by.
func (t *Tail) Pushed() uint64 { return t.pushed }

// Trim lets go of the oldest events until there are at most n within bytes, or one, and returns what they were charged for.
func (t *Tail) Trim(n, bytes int) (freed int64) {
	for t.events.Len() > 1 && (t.events.Len() > n || t.bytes > int64(bytes)) {
		freed += t.pop()
	}
	return freed
}

// Expire lets go of events stored before a time and returns what they were charged for.
func (t *Tail) Expire(before time.Time) (freed int64) {
	for t.events.Len() > 0 && t.events.At(0).Time.Before(before) {
		freed += t.pop()
	}
	return freed
}

func (t *Tail) pop() int64 {
	e := t.events.Pop()
	if t.newest != nil && !t.superseded(e) {
		delete(t.newest, e.Key)
	}
	size := int64(e.Size())
	t.bytes -= size
	return size
}

// Clear lets go of all events and returns what they were charged for.
func (t *Tail) Clear() int64 {
	freed := t.bytes
	t.events.Clear()
	t.bytes = 0
	clear(t.newest)
	return freed
}

// index returns where the event with an offset stands, if it does.
func (t *Tail) index(offset uint64) (int, bool) {
	if t.events.Len() == 0 {
		return 0, false
	}
	first := t.events.At(0).Position.Offset
	if offset < first || offset-first >= uint64(t.events.Len()) {
		return 0, false
	}
	return int(offset - first), true
}

// Holds reports whether the event at a position is in the tail.
func (t *Tail) Holds(p millrace.Position) bool {
	i, ok := t.index(p.Offset)
	return ok && t.events.At(i).Position == p
}

// superseded reports whether, in class latest, the tail has a newer event of the same key.
func (t *Tail) superseded(e *millrace.Event) bool { return t.newest[e.Key] != e.Position.Offset }

// After returns up to n events, or bytes of them but at least one, that follow on a position; nil if the tail does not
// have the very next one. In class latest it leaves out those that are superseded; the newest of all never is.
func (t *Tail) After(p millrace.Position, n, bytes int) []*millrace.Event {
	i, ok := t.index(p.Offset + 1)
	if !ok || !p.Precedes(t.events.At(i)) {
		return nil
	}
	if t.newest == nil {
		return t.from(i, n, bytes)
	}
	events, size := make([]*millrace.Event, 0, min(n, t.events.Len()-i)), 0
	for ; i < t.events.Len() && len(events) < n && (len(events) == 0 || size < bytes); i++ {
		if e := t.events.At(i); !t.superseded(e) {
			size += e.Size()
			events = append(events, e)
		}
	}
	return events
}

// Since returns up to n events, or bytes of them but at least one, that were added after so many others, and how many of
// those that come before them are here no more.
func (t *Tail) Since(pushed uint64, n, bytes int) (events []*millrace.Event, missed uint64) {
	oldest := t.pushed - uint64(t.events.Len())
	if pushed < oldest {
		missed, pushed = oldest-pushed, oldest
	}
	if pushed == t.pushed {
		return nil, missed
	}
	return t.from(int(pushed-oldest), n, bytes), missed
}

// from returns up to n events, or bytes of them but at least one, from a place in the tail on.
func (t *Tail) from(i, n, bytes int) []*millrace.Event {
	until, size := i, 0
	for until < t.events.Len() && until-i < n && (until == i || size < bytes) {
		size += t.events.At(until).Size()
		until++
	}
	return t.events.AppendTo(make([]*millrace.Event, 0, until-i), i, until)
}

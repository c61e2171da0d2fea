package broker

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/internal/ring"
)

// tail is the newest events of a topic, without holes. It is protected by its hub's mu.
type tail struct {
	events ring.Ring[*millrace.Event]
	bytes  int64 // what they are charged for
}

// push adds an event, which must follow on the newest if there is one, and returns what it is charged for.
func (t *tail) push(e *millrace.Event) int64 {
	t.events.Push(e)
	size := int64(e.Size())
	t.bytes += size
	return size
}

// trim lets go of the oldest events until there are at most n within bytes, or one, and returns what they were charged for.
func (t *tail) trim(n, bytes int) (freed int64) {
	for t.events.Len() > 1 && (t.events.Len() > n || t.bytes > int64(bytes)) {
		freed += t.pop()
	}
	return freed
}

// expire lets go of events stored before a time and returns what they were charged for.
func (t *tail) expire(before time.Time) (freed int64) {
	for t.events.Len() > 0 && t.events.At(0).Time.Before(before) {
		freed += t.pop()
	}
	return freed
}

func (t *tail) pop() int64 {
	size := int64(t.events.Pop().Size())
	t.bytes -= size
	return size
}

// clear lets go of all events and returns what they were charged for.
func (t *tail) clear() int64 {
	freed := t.bytes
	t.events.Clear()
	t.bytes = 0
	return freed
}

// index returns where the event with an offset stands, if it does.
func (t *tail) index(offset uint64) (int, bool) {
	if t.events.Len() == 0 {
		return 0, false
	}
	first := t.events.At(0).Position.Offset
	if offset < first || offset-first >= uint64(t.events.Len()) {
		return 0, false
	}
	return int(offset - first), true
}

// holds reports whether the event at a position is in the tail.
func (t *tail) holds(p millrace.Position) bool {
	i, ok := t.index(p.Offset)
	return ok && t.events.At(i).Position == p
}

// after returns up to n events, or bytes of them but at least one, that follow on a position; nil if the tail does not
// have the very next one.
func (t *tail) after(p millrace.Position, n, bytes int) []*millrace.Event {
	i, ok := t.index(p.Offset + 1)
	if !ok || !p.Precedes(t.events.At(i)) {
		return nil
	}
	until, size := i, 0
	for until < t.events.Len() && until-i < n && (until == i || size < bytes) {
		size += t.events.At(until).Size()
		until++
	}
	return t.events.AppendTo(make([]*millrace.Event, 0, until-i), i, until)
}

// sweep lets go of what tails have kept for long enough, where nothing new pushes it out. It runs until the broker stops.
func (b *Broker) sweep() {
	ticker := time.NewTicker(b.config.TailAge)
	defer ticker.Stop()
	var hubs []*hub
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-ticker.C:
		}
		b.mu.Lock()
		for _, h := range b.hubs {
			hubs = append(hubs, h)
		}
		b.mu.Unlock()
		before := time.Now().Add(-b.config.TailAge)
		for _, h := range hubs {
			h.mu.Lock()
			b.tails.Add(-h.tail.expire(before))
			h.mu.Unlock()
		}
		clear(hubs)
		hubs = hubs[:0]
	}
}

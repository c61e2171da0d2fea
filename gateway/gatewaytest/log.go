package gatewaytest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
)

// ClassOf returns the class of a topic in these tests: it is the topic's first segment, if that is one, else log.
func ClassOf(topic string) millrace.Class {
	word, _, _ := strings.Cut(topic, ":")
	if c, ok := millrace.ParseClass(word); ok {
		return c
	}
	return millrace.ClassLog
}

// log is one topic's log, complete and small. It keeps every mark of its lineage, and every event that it ever stored for
// those who check; what it says to readers is bounded by trim. It is not safe for concurrent use.
type log struct {
	topic  string
	class  millrace.Class
	birth  uint64            // mark of offset 0; 0 until the first event
	marks  []uint64          // by offset - 1
	events []*millrace.Event // that are kept: the last ones, in class latest of each key only the newest
	base   uint64            // offset of the newest that was trimmed
	lost   uint64            // in class latest: offset of the newest that was let go of without a newer one of its key
	resets int               // lineages that were lost
	stored map[uint64]*millrace.Event
	passed []*millrace.Event // in class ephemeral

	forgotten map[string]bool // keys
}

func newLog(topic string) *log {
	return &log{topic: topic, class: ClassOf(topic), stored: map[uint64]*millrace.Event{}, forgotten: map[string]bool{}}
}

func mark() uint64 { return rand.Uint64() | 1 }

// head is the position after the newest event.
func (l *log) head() millrace.Position {
	if len(l.marks) == 0 {
		return millrace.Position{}
	}
	return l.at(uint64(len(l.marks)))
}

// at is the position of an offset in the lineage at hand.
func (l *log) at(offset uint64) millrace.Position {
	if offset == 0 {
		return millrace.Position{Mark: l.birth}
	}
	return millrace.Position{Offset: offset, Mark: l.marks[offset-1]}
}

// floor is the position before the oldest event that is kept, or the head.
func (l *log) floor() millrace.Position {
	switch {
	case l.class == millrace.ClassLatest && len(l.events) > 0:
		return l.events[0].Before()
	case l.class == millrace.ClassLatest, len(l.marks) == 0:
		return l.head()
	}
	return l.at(l.base)
}

// append stores an event. In class ephemeral it passes, with its number in place of the mark before it.
func (l *log) append(e *millrace.Event) {
	if l.class == millrace.ClassEphemeral {
		l.passed = append(l.passed, e)
		e.Prev, e.Time = uint64(len(l.passed)), time.Now().Truncate(time.Millisecond)
		return
	}
	if l.class == millrace.ClassLatest {
		l.events = slices.DeleteFunc(slices.Clone(l.events), func(o *millrace.Event) bool { return o.Key == e.Key })
	}
	if l.birth == 0 {
		l.birth = mark()
	}
	prev := l.at(uint64(len(l.marks)))
	l.marks = append(l.marks, mark())
	e.Position, e.Prev, e.Time = l.head(), prev.Mark, time.Now().Truncate(time.Millisecond)
	l.events = append(l.events, e)
	l.stored[e.Position.Mark] = e
}

func (l *log) trim(keep int) {
	if n := len(l.events) - keep; n > 0 {
		l.base = l.events[n-1].Position.Offset
		l.lose(l.events[n-1])
		l.events = slices.Clone(l.events[n:])
	}
}

// forget lets go of a key in class latest, as a log does of a tombstone for want of room.
func (l *log) forget(key string) {
	l.forgotten[key] = true
	l.events = slices.DeleteFunc(slices.Clone(l.events), func(e *millrace.Event) bool {
		gone := e.Key == key
		if gone {
			l.lose(e)
		}
		return gone
	})
}

func (l *log) lose(e *millrace.Event) {
	if l.class == millrace.ClassLatest {
		l.lost = max(l.lost, e.Position.Offset)
	}
}

// reset loses the lineage.
func (l *log) reset() {
	l.birth, l.marks, l.events, l.base, l.lost = 0, nil, nil, 0, 0
	l.resets++
}

// after returns the events that follow on a start's position, and the gap before them. In class latest the rest of a
// state that was begun when as much was lost as now is whole.
func (l *log) after(start millrace.Start) ([]*millrace.Event, *millrace.Gap) {
	p, floor, head := start.After, l.floor(), l.head()
	gap := func(c millrace.Cause) *millrace.Gap {
		return &millrace.Gap{Topic: l.topic, After: p, Until: floor, Cause: c}
	}
	switch {
	case p.IsZero() && (floor.Offset == 0 || l.class == millrace.ClassLatest && l.base == 0):
		return l.events, nil
	case p.IsZero():
		return l.events, gap(millrace.CauseTrimmed)
	case p.Offset > head.Offset || l.birth == 0 || l.at(p.Offset) != p:
		return l.events, gap(millrace.CauseReset)
	case l.class == millrace.ClassLatest && p.Offset < l.lost && start.Lost < l.lost:
		return l.events, gap(millrace.CauseTrimmed)
	case l.class == millrace.ClassLog && p.Offset < floor.Offset:
		return l.events, gap(millrace.CauseTrimmed)
	}
	i, _ := slices.BinarySearchFunc(l.events, p.Offset+1, func(e *millrace.Event, offset uint64) int { return cmp.Compare(e.Position.Offset, offset) })
	return l.events[i:], nil
}

// resolve turns a start other than after into a position.
func (l *log) resolve(s millrace.Start) millrace.Position {
	floor := l.floor()
	switch s.Kind {
	case millrace.StartEarliest:
		return floor
	case millrace.StartLast:
		if n := len(l.events); s.Count > 0 && n > 0 {
			return l.events[max(0, n-s.Count)].Before()
		}
	case millrace.StartSince:
		i := slices.IndexFunc(l.events, func(e *millrace.Event) bool { return !e.Time.Before(s.Since) })
		if i >= 0 {
			return l.events[i].Before()
		}
	}
	return l.head()
}

// read answers a range.
func (l *log) read(r millrace.Range) (millrace.Page, error) {
	if l.class == millrace.ClassEphemeral || r.State && l.class != millrace.ClassLatest {
		return millrace.Page{}, millrace.Errorf(millrace.ReasonUnsupported, "there is no such thing in class %s", l.class)
	}
	if r.Backward {
		return l.readBackward(r)
	}
	var page millrace.Page
	start := r.Start
	if start.Kind != millrace.StartAfter {
		start = millrace.Start{After: l.resolve(start), Lost: l.lost}
	}
	events, gap := l.after(start)
	page = millrace.Page{Gap: gap, Next: start.After, Head: l.head(), Class: l.class, Lost: l.lost}
	if gap != nil {
		page.Next = gap.Until
	}
	n := count(events, r)
	page.Events, page.More = slices.Clone(events[:n]), n < len(events)
	if n > 0 {
		page.Next = events[n-1].Position
	}
	if r.State {
		page.Events = slices.DeleteFunc(page.Events, func(e *millrace.Event) bool { return e.Tombstone })
	}
	return page, nil
}

func (l *log) readBackward(r millrace.Range) (millrace.Page, error) {
	until := l.head()
	if r.Start.Kind == millrace.StartAfter {
		until = r.Start.After
		if _, gap := l.after(millrace.After(until)); gap != nil && gap.Cause == millrace.CauseReset {
			return millrace.Page{}, millrace.Errorf(millrace.ReasonCursorInvalid, "the position is not of this log")
		}
	}
	events := slices.DeleteFunc(slices.Clone(l.events), func(e *millrace.Event) bool { return e.Position.Offset > until.Offset })
	slices.Reverse(events)
	n := count(events, r)
	page := millrace.Page{Events: events[:n:n], Next: until, Head: l.head(), More: n < len(events), Class: l.class}
	if n > 0 {
		page.Next = events[n-1].Before()
	}
	return page, nil
}

// count returns how many of the events fit a range, at least one if there is one.
func count(events []*millrace.Event, r millrace.Range) int {
	n, size := 0, 0
	for _, e := range events {
		if r.Limit > 0 && n == r.Limit || r.MaxBytes > 0 && size >= r.MaxBytes {
			break
		}
		n++
		size += e.Size()
	}
	return n
}

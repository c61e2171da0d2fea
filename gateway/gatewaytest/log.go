package gatewaytest

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// log is one topic's log, complete and small. It keeps every mark of its lineage, and every event that it ever stored for
// those who check; what it says to readers is bounded by trim. It is not safe for concurrent use.
type log struct {
	topic  string
	birth  uint64            // mark of offset 0; 0 until the first event
	marks  []uint64          // by offset - 1
	events []*millrace.Event // that are kept, the last ones
	resets int               // lineages that were lost
	stored map[uint64]*millrace.Event
}

func newLog(topic string) *log { return &log{topic: topic, stored: map[uint64]*millrace.Event{}} }

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
	if len(l.marks) == 0 {
		return millrace.Position{}
	}
	return l.at(uint64(len(l.marks) - len(l.events)))
}

func (l *log) append(e *millrace.Event) {
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
	l.events = slices.Clone(l.events[max(0, len(l.events)-keep):])
}

// reset loses the lineage.
func (l *log) reset() {
	l.birth, l.marks, l.events = 0, nil, nil
	l.resets++
}

// after returns the events that follow on a position, and the gap before them.
func (l *log) after(p millrace.Position) ([]*millrace.Event, *millrace.Gap) {
	floor, head := l.floor(), l.head()
	gap := func(c millrace.Cause) *millrace.Gap {
		return &millrace.Gap{Topic: l.topic, After: p, Until: floor, Cause: c}
	}
	switch {
	case p.IsZero() && floor.Offset == 0:
		return l.events, nil
	case p.IsZero():
		return l.events, gap(millrace.CauseTrimmed)
	case p.Offset > head.Offset || l.birth == 0 || l.at(p.Offset) != p:
		return l.events, gap(millrace.CauseReset)
	case p.Offset < floor.Offset:
		return l.events, gap(millrace.CauseTrimmed)
	}
	return l.events[p.Offset-floor.Offset:], nil
}

// resolve turns a start other than after into a position.
func (l *log) resolve(s millrace.Start) millrace.Position {
	floor := l.floor()
	switch s.Kind {
	case millrace.StartEarliest:
		return floor
	case millrace.StartLast:
		return l.at0(floor.Offset + uint64(max(0, len(l.events)-s.Count)))
	case millrace.StartSince:
		i := slices.IndexFunc(l.events, func(e *millrace.Event) bool { return !e.Time.Before(s.Since) })
		if i >= 0 {
			return l.at0(floor.Offset + uint64(i))
		}
	}
	return l.head()
}

func (l *log) at0(offset uint64) millrace.Position {
	if l.birth == 0 {
		return millrace.Position{}
	}
	return l.at(offset)
}

// read answers a range.
func (l *log) read(r millrace.Range) (millrace.Page, error) {
	if r.Backward {
		return l.readBackward(r)
	}
	var page millrace.Page
	from := r.Start.After
	if r.Start.Kind != millrace.StartAfter {
		from = l.resolve(r.Start)
	}
	events, gap := l.after(from)
	page = millrace.Page{Gap: gap, Next: from, Head: l.head()}
	if gap != nil {
		page.Next = gap.Until
	}
	n := count(events, r)
	page.Events, page.More = slices.Clone(events[:n]), n < len(events)
	if n > 0 {
		page.Next = events[n-1].Position
	}
	return page, nil
}

func (l *log) readBackward(r millrace.Range) (millrace.Page, error) {
	until := l.head()
	if r.Start.Kind == millrace.StartAfter {
		until = r.Start.After
		if _, gap := l.after(until); gap != nil && gap.Cause == millrace.CauseReset {
			return millrace.Page{}, millrace.Errorf(millrace.ReasonCursorInvalid, "the position is not of this log")
		}
	}
	floor := l.floor()
	events := slices.Clone(l.events[:max(until.Offset, floor.Offset)-floor.Offset])
	slices.Reverse(events)
	n := count(events, r)
	page := millrace.Page{Events: events[:n:n], Next: until, Head: l.head(), More: n < len(events)}
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

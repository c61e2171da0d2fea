package memlog

import (
	"cmp"

	"github.com/millrace-dev/millrace"
)

// read returns the page of a range.
func (t *topic) read(r millrace.Range) (millrace.Page, error) {
	switch class := t.rule.Class; {
	case class == millrace.ClassEphemeral:
		return millrace.Page{}, millrace.Errorf(millrace.ReasonUnsupported, "topic %q is of class ephemeral, which keeps nothing", t.name)
	case r.State && class != millrace.ClassLatest:
		return millrace.Page{}, millrace.Errorf(millrace.ReasonUnsupported, "topic %q is of class %s, which has no state", t.name, class)
	case r.Backward:
		return t.readBackward(r)
	}
	return t.readForward(r), nil
}

// pageEvents is how many events there is room for on a page of which only the bytes are bounded.
const pageEvents = 256

// readForward returns the page after r.Start.
func (t *topic) readForward(r millrace.Range) millrace.Page {
	s := t.shelf
	page := millrace.Page{Head: t.head, Class: t.rule.Class, Lost: t.stateLost()}
	var from int // slot of the first event of the page
	switch start := r.Start.In(t.rule.Class); start.Kind {
	case millrace.StartEarliest:
		from = 0
	case millrace.StartLast:
		from = t.back(s.slots(), start.Count)
	case millrace.StartSince:
		from = s.since(start.Since)
	case millrace.StartAfter:
		page.Next = start.After
		if page.Gap = t.gapAfter(start); page.Gap != nil {
			page.Next = page.Gap.Until
		}
		from = s.behind(page.Next.Offset)
	default:
		from = s.slots()
	}
	if r.Start.Kind != millrace.StartAfter {
		page.Next = t.place(from)
	}
	if n := min(s.slots()-from, cmp.Or(r.Limit, pageEvents)); n > 0 {
		page.Events = make([]*millrace.Event, 0, n)
	}
	bytes := 0
	for ; from < s.slots(); from++ {
		e := s.at(from)
		if e == nil {
			continue
		}
		if n := len(page.Events); r.Limit > 0 && n >= r.Limit || r.MaxBytes > 0 && bytes >= r.MaxBytes {
			page.More = true
			return page
		}
		page.Next = e.Position
		if !e.Tombstone || !r.State {
			page.Events = append(page.Events, e)
			bytes += e.Size()
		}
	}
	if page.Next.Offset < t.head.Offset {
		page.Next = t.head // in class latest the newest event may have been let go of
	}
	return page
}

// stateLost is what Page.Lost says of the topic.
func (t *topic) stateLost() uint64 {
	if t.rule.Class != millrace.ClassLatest {
		return 0
	}
	return t.shelf.lost()
}

// gapAfter returns what a reader can't have, or nil. In class latest the rest of a state is whole that was begun when as much
// was lost as now.
func (t *topic) gapAfter(start millrace.Start) *millrace.Gap {
	p, lost := start.After, t.shelf.lost()
	gap := func(cause millrace.Cause) *millrace.Gap {
		return &millrace.Gap{Topic: t.name, After: p, Until: t.base(), Cause: cause}
	}
	switch {
	case p.IsZero():
		if lost > start.Lost {
			return gap(millrace.CauseTrimmed)
		}
	case !t.fits(p):
		return gap(millrace.CauseReset)
	case p.Offset < lost && (t.rule.Class == millrace.ClassLog || start.Lost < lost):
		return gap(millrace.CauseTrimmed)
	}
	return nil
}

// place returns the position before the event of a slot, or of the next one that is not empty; the head for the one that
// is to come.
func (t *topic) place(slot int) millrace.Position {
	for ; slot < t.shelf.slots(); slot++ {
		if e := t.shelf.at(slot); e != nil {
			return e.Before()
		}
	}
	return t.head
}

// back returns the slot that is so many events before another.
func (t *topic) back(slot, events int) int {
	for slot > 0 && events > 0 {
		slot--
		if t.shelf.at(slot) != nil {
			events--
		}
	}
	return slot
}

// readBackward returns the page up to r.Start, newest event first.
func (t *topic) readBackward(r millrace.Range) (millrace.Page, error) {
	s := t.shelf
	page := millrace.Page{Next: t.head, Head: t.head, Class: t.rule.Class}
	slot := s.slots() // those before it are to be read
	if r.Start.Kind == millrace.StartAfter {
		p := r.Start.After
		if !p.IsZero() && !t.fits(p) {
			return millrace.Page{}, millrace.Errorf(millrace.ReasonCursorInvalid, "position %s is not of this log of the topic, or too old to tell", p)
		}
		page.Next = p
		slot = s.behind(p.Offset)
	}
	bytes := 0
	for slot > 0 {
		e := s.at(slot - 1)
		if e == nil || e.Tombstone && r.State {
			slot--
			continue
		}
		if n := len(page.Events); r.Limit > 0 && n >= r.Limit || r.MaxBytes > 0 && bytes >= r.MaxBytes {
			break
		}
		slot--
		page.Events = append(page.Events, e)
		page.Next = e.Before()
		bytes += e.Size()
	}
	page.More = slot > 0
	return page, nil
}

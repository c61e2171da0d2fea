package memlog

import (
	"github.com/millrace-dev/millrace"
)

// readForward returns the page after r.Start.
func (t *topic) readForward(r millrace.Range) millrace.Page {
	base := t.base()
	page := millrace.Page{Head: t.head}
	var from int // place of the first event of the page
	switch r.Start.Kind {
	case millrace.StartEarliest:
		from = 0
	case millrace.StartLast:
		from = max(0, t.events.Len()-max(0, r.Start.Count))
	case millrace.StartSince:
		from = t.since(r.Start.Since)
	case millrace.StartAfter:
		p := r.Start.After
		page.Gap = t.gapAfter(p)
		switch {
		case page.Gap != nil:
			page.Next = page.Gap.Until
		case p.Offset > base.Offset:
			from = int(p.Offset - base.Offset)
			page.Next = p
		default:
			page.Next = p
		}
	default:
		from = t.events.Len()
	}
	if r.Start.Kind != millrace.StartAfter {
		page.Next = t.place(from)
	}
	until := t.extent(from, r)
	page.Events = t.events.AppendTo(make([]*millrace.Event, 0, until-from), from, until)
	if until > from {
		page.Next = t.events.At(until - 1).Position
	}
	page.More = until < t.events.Len()
	return page
}

// gapAfter returns what a reader at p can't have, or nil.
func (t *topic) gapAfter(p millrace.Position) *millrace.Gap {
	base := t.base()
	gap := func(cause millrace.Cause) *millrace.Gap {
		return &millrace.Gap{Topic: t.name, After: p, Until: base, Cause: cause}
	}
	switch {
	case p.IsZero():
		if base.Offset > 0 {
			return gap(millrace.CauseTrimmed)
		}
	case !t.fits(p):
		return gap(millrace.CauseReset)
	case p.Offset < base.Offset:
		return gap(millrace.CauseTrimmed)
	}
	return nil
}

// place returns the position before the i-th event that is kept; the head for the one that is to come.
func (t *topic) place(i int) millrace.Position {
	if i == t.events.Len() {
		return t.head
	}
	return t.events.At(i).Before()
}

// extent returns the end of a page of r that begins with the event at from.
func (t *topic) extent(from int, r millrace.Range) int {
	bytes := 0
	for i := from; i < t.events.Len(); i++ {
		if r.Limit > 0 && i-from >= r.Limit || r.MaxBytes > 0 && bytes >= r.MaxBytes {
			return i
		}
		bytes += t.events.At(i).Size()
	}
	return t.events.Len()
}

// readBackward returns the page up to r.Start, newest event first.
func (t *topic) readBackward(r millrace.Range) (millrace.Page, error) {
	page := millrace.Page{Head: t.head, Next: t.head}
	count := t.events.Len() // how many events stand before the start
	if r.Start.Kind == millrace.StartAfter {
		p := r.Start.After
		if !p.IsZero() && !t.fits(p) {
			return millrace.Page{}, millrace.Errorf(millrace.ReasonCursorInvalid, "position %s is not of this log of the topic, or too old to tell", p)
		}
		base := t.base()
		page.Next = p
		count = 0
		if p.Offset > base.Offset {
			count = int(p.Offset - base.Offset)
		}
	}
	bytes := 0
	for ; count > 0; count-- {
		if n := len(page.Events); r.Limit > 0 && n >= r.Limit || r.MaxBytes > 0 && bytes >= r.MaxBytes {
			break
		}
		e := t.events.At(count - 1)
		page.Events = append(page.Events, e)
		page.Next = e.Before()
		bytes += e.Size()
	}
	page.More = count > 0
	return page, nil
}

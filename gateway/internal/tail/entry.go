package tail

import (
	"sync/atomic"

	"github.com/millrace-dev/millrace"
)

// Forms is in how many forms an entry can keep its bytes.
const Forms = 4

// Move moves a topic's position over what was left out.
type Move struct {
	Topic     string
	Position  millrace.Position
	Conflated uint64 // how many of the events passed over were older ones of their key
}

// Entry is one step of a topic: an event, a gap, or a move over events that were left out. It is shared by all sessions, as
// are its bytes, and immutable but for what the tail notes in them. One of Event, Gap and Moved is set.
type Entry struct {
	Event *millrace.Event
	Gap   *millrace.Gap
	Moved *Move
	Count Count // as of the entry, itself included

	later uint64 // number of the next entry of the same key, 0 if there is none; protected like the tail

	forms [Forms]atomic.Pointer[[]byte]
}

// Position is the topic's position after the entry.
func (e *Entry) Position() millrace.Position {
	switch {
	case e.Gap != nil:
		return e.Gap.Until
	case e.Moved != nil:
		return e.Moved.Position
	}
	return e.Event.Position
}

// Before is the position that the entry, an event or a gap, follows on.
func (e *Entry) Before() millrace.Position {
	if e.Gap != nil {
		return e.Gap.After
	}
	return e.Event.Before()
}

// IsGap reports whether the entry is a gap.
func (e *Entry) IsGap() bool { return e.Gap != nil }

// Follows reports whether the entry, an event or a gap, is the next for whoever is at a position.
func (e *Entry) Follows(at millrace.Position) bool {
	if e.Gap != nil {
		return e.Gap.After == at
	}
	return at.Precedes(e.Event)
}

// Bytes returns the entry's bytes in a form, if SetBytes was called for it.
func (e *Entry) Bytes(form int) (b []byte, ok bool) {
	if p := e.forms[form].Load(); p != nil {
		return *p, true
	}
	return nil, false
}

// SetBytes keeps the entry's bytes in a form for all who come later. They must be immutable from then on.
// Where two do it at once, either's are as good.
func (e *Entry) SetBytes(form int, b []byte) { e.forms[form].Store(&b) }

// Size is what the entry is charged for in a tail, in bytes: the event and one encoding of it.
func (e *Entry) Size() int {
	if e.Event == nil {
		return 256
	}
	return e.Event.Size() + len(e.Event.Data)
}

// WithheldFrom reports whether the entry is the own event of a session, which it asked not to get.
func (e *Entry) WithheldFrom(session string) bool {
	return e.Event != nil && e.Event.NoEcho && e.Event.Sender.Session == session
}

// Count says how many events there were, delivered or lost, and how many losses nobody could count. In class ephemeral it
// is the only way to know what somebody did not get.
type Count struct {
	Events  uint64
	Unknown uint64
}

// Add counts an entry.
func (c *Count) Add(e *Entry) {
	switch {
	case e.Event != nil:
		c.Events++
	case e.Gap != nil && e.Gap.Count > 0:
		c.Events += e.Gap.Count
	case e.Gap != nil:
		c.Unknown++
	}
}

// Since returns what came after an earlier count.
func (c Count) Since(earlier Count) Count {
	return Count{Events: c.Events - earlier.Events, Unknown: c.Unknown - earlier.Unknown}
}

// Gaps tells what somebody did not get.
func (c Count) Gaps(topic string) []*Entry {
	var gaps []*Entry
	if c.Events > 0 {
		gaps = append(gaps, &Entry{Gap: &millrace.Gap{Topic: topic, Cause: millrace.CauseSlow, Count: c.Events}})
	}
	if c.Unknown > 0 {
		gaps = append(gaps, &Entry{Gap: &millrace.Gap{Topic: topic, Cause: millrace.CauseReset}})
	}
	return gaps
}

package gateway

import (
	"sync/atomic"

	"github.com/millrace-dev/millrace"
)

// entry is one step of a topic: an event, a gap, or a move over events that were left out. It is shared by all sessions, as
// are its bytes, and immutable but for later.
type entry struct {
	event *millrace.Event
	gap   *millrace.Gap
	moved *Advanced
	count count // as of the entry, itself included

	later uint64 // number of the next entry of the same key, 0 if there is none; protected by the topic's mutex

	chunks [MaxWires]atomic.Pointer[[]byte]
}

// position is the topic's position after the entry.
func (e *entry) position() millrace.Position {
	switch {
	case e.gap != nil:
		return e.gap.Until
	case e.moved != nil:
		return e.moved.Position
	}
	return e.event.Position
}

// before is the position that the entry, an event or a gap, follows on.
func (e *entry) before() millrace.Position {
	if e.gap != nil {
		return e.gap.After
	}
	return e.event.Before()
}

// follows reports whether the entry, an event or a gap, is the next for whoever is at a position.
func (e *entry) follows(at millrace.Position) bool {
	if e.gap != nil {
		return e.gap.After == at
	}
	return at.Precedes(e.event)
}

// chunk returns the entry's bytes on a wire, encoded at the first call.
func (e *entry) chunk(index int, w *Wire) []byte {
	if p := e.chunks[index].Load(); p != nil {
		return *p
	}
	var b []byte
	switch {
	case e.gap != nil:
		b = w.AppendGap(nil, e.gap)
	case e.moved != nil:
		b = w.AppendAdvanced(nil, e.moved)
	default:
		b = w.AppendEvent(make([]byte, 0, len(e.event.Data)+256), e.event)
	}
	e.chunks[index].Store(&b)
	return b
}

// size is what the entry is charged for in a tail, in bytes: the event and one encoding of it.
func (e *entry) size() int {
	if e.event == nil {
		return 256
	}
	return e.event.Size() + len(e.event.Data)
}

// withheldFrom reports whether the entry is the session's own event, which it asked not to get.
func (e *entry) withheldFrom(s *Session) bool {
	return e.event != nil && e.event.NoEcho && e.event.Sender.Session == s.name
}

// count says how many events there were, delivered or lost, and how many losses nobody could count. In class ephemeral it
// is the only way to know what somebody did not get.
type count struct {
	events  uint64
	unknown uint64
}

// add counts an entry.
func (c *count) add(e *entry) {
	switch {
	case e.event != nil:
		c.events++
	case e.gap != nil && e.gap.Count > 0:
		c.events += e.gap.Count
	case e.gap != nil:
		c.unknown++
	}
}

// since returns what came after an earlier count.
func (c count) since(earlier count) count {
	return count{events: c.events - earlier.events, unknown: c.unknown - earlier.unknown}
}

// gaps tells what somebody did not get.
func (c count) gaps(topic string) []*entry {
	var gaps []*entry
	if c.events > 0 {
		gaps = append(gaps, &entry{gap: &millrace.Gap{Topic: topic, Cause: millrace.CauseSlow, Count: c.events}})
	}
	if c.unknown > 0 {
		gaps = append(gaps, &entry{gap: &millrace.Gap{Topic: topic, Cause: millrace.CauseReset}})
	}
	return gaps
}

// tail is the newest entries of a topic, bounded by count and bytes; at least one entry stays. Entries have numbers,
// which go up by one for each and never come again. From the number run on they follow on the position start without a
// gap, so that a position's entry is found by counting; those before run end in another lineage, at a gap or where events
// were left out, and are found by number only. It is not safe for concurrent use.
type tail struct {
	maxEntries int
	maxBytes   int

	entries []*entry
	first   uint64 // number of entries[0]; numbers begin at 1
	run     uint64 // first <= run <= end
	start   millrace.Position
	bytes   int
	count   count

	newest map[string]uint64 // number of the newest event of each key; nil but in class latest
}

// end is the number of the next entry.
func (t *tail) end() uint64 { return t.first + uint64(len(t.entries)) }

// restart empties the tail; it goes on from a position. Numbers go on as well, with one left out, so that whoever waits for
// the next of the old entries finds that it is behind.
func (t *tail) restart(at millrace.Position) {
	t.first = t.end() + 1
	t.run = t.first
	t.start = at
	clear(t.entries)
	t.entries = nil
	t.bytes = 0
	clear(t.newest)
}

// add appends an entry. An event must follow on the position before it.
func (t *tail) add(e *entry) {
	t.supersede(e)
	t.count.add(e)
	e.count = t.count
	t.entries = append(t.entries, e)
	t.bytes += e.size()
	if e.event == nil {
		t.run = t.end()
		t.start = e.position()
	}
	for len(t.entries) > 1 && (len(t.entries) > t.maxEntries || t.bytes > t.maxBytes) {
		t.dropFirst()
	}
}

func (t *tail) dropFirst() {
	e := t.entries[0]
	t.bytes -= e.size()
	if t.run == t.first {
		t.start = e.position()
		t.run++
	}
	if t.newest != nil && e.event != nil && t.newest[e.event.Key] == t.first {
		delete(t.newest, e.event.Key)
	}
	t.entries[0] = nil
	t.entries = t.entries[1:]
	t.first++
}

// supersede notes with the entry of the same key that another comes.
func (t *tail) supersede(e *entry) {
	if t.newest == nil || e.event == nil {
		return
	}
	if n, ok := t.newest[e.event.Key]; ok {
		t.entries[n-t.first].later = t.end()
	}
	t.newest[e.event.Key] = t.end()
}

// seek returns the number of the entry that follows on a position. It fails, with 0, if the tail does not reach back to it,
// or the position is not of the lineage at hand; then only the log can tell. Of the zero position it can never be told which
// lineage is meant, and a tail that has events may be what is left of a log that was lost since.
func (t *tail) seek(pos millrace.Position) (uint64, bool) {
	if pos.IsZero() {
		if t.start.Offset != 0 || t.end() != t.run {
			return 0, false
		}
		return t.run, true
	}
	if pos.Offset < t.start.Offset {
		return 0, false
	}
	steps := pos.Offset - t.start.Offset
	if steps > t.end()-t.run {
		return 0, false
	}
	at := t.start
	if steps > 0 {
		at = t.entries[t.run+steps-1-t.first].position()
	}
	if at != pos {
		return 0, false
	}
	return t.run + steps, true
}

// collect appends the entries from number from on until they have maxBytes.
func (t *tail) collect(dst []*entry, from uint64, maxBytes int) []*entry {
	size := 0
	for ; from < t.end() && size < maxBytes; from++ {
		e := t.entries[from-t.first]
		dst = append(dst, e)
		size += e.size()
	}
	return dst
}

// survivors appends the entries from number from, up to but not including number to, until they have maxBytes. In class
// latest those are left out of whose key there is a later one among them.
func (t *tail) survivors(dst []*entry, from, to uint64, maxBytes int) []*entry {
	size := 0
	for ; from < to && from < t.end() && size < maxBytes; from++ {
		e := t.entries[from-t.first]
		if e.later != 0 && e.later < to {
			continue
		}
		dst = append(dst, e)
		size += e.size()
	}
	return dst
}

package gateway

import (
	"sync/atomic"

	"github.com/millrace-dev/millrace"
)

// entry is one step of a topic: an event or a gap. It is immutable and shared by all sessions, as are its bytes.
type entry struct {
	event *millrace.Event
	gap   *millrace.Gap

	chunks [MaxWires]atomic.Pointer[[]byte]
}

// position is the topic's position after the entry.
func (e *entry) position() millrace.Position {
	if e.gap != nil {
		return e.gap.Until
	}
	return e.event.Position
}

// chunk returns the entry's bytes on a wire, encoded at the first call.
func (e *entry) chunk(index int, w *Wire) []byte {
	if p := e.chunks[index].Load(); p != nil {
		return *p
	}
	var b []byte
	if e.gap != nil {
		b = w.AppendGap(nil, e.gap)
	} else {
		b = w.AppendEvent(make([]byte, 0, len(e.event.Data)+256), e.event)
	}
	e.chunks[index].Store(&b)
	return b
}

// size is what the entry is charged for in a tail, in bytes: the event and one encoding of it.
func (e *entry) size() int {
	if e.gap != nil {
		return 256
	}
	return e.event.Size() + len(e.event.Data)
}

// withheldFrom reports whether the entry is the session's own event, which it asked not to get.
func (e *entry) withheldFrom(s *Session) bool {
	return e.event != nil && e.event.NoEcho && e.event.Sender.Session == s.name
}

// tail is the newest entries of a topic, numbered from 1 in the order of their coming. It is the queue of everyone who
// follows the topic here, so it is bounded once and not per session. The topic's mutex protects it.
type tail struct {
	entries []*entry
	first   uint64 // number of entries[0], or of the next entry if there is none
	run     uint64 // number of the first entry after the last gap or break: from here on positions follow on
	start   millrace.Position
	bytes   int

	maxEntries int
	maxBytes   int
}

// end is the number that the next entry will have.
func (t *tail) end() uint64 { return t.first + uint64(len(t.entries)) }

// restart empties the tail and goes on at a position. A reader of the old entries finds that it is behind.
func (t *tail) restart(at millrace.Position) {
	t.first = t.end() + 1
	t.run = t.first
	t.start = at
	clear(t.entries)
	t.entries = nil
	t.bytes = 0
}

// add appends an entry. An event must follow on the position before it.
func (t *tail) add(e *entry) {
	t.entries = append(t.entries, e)
	t.bytes += e.size()
	if e.gap != nil {
		t.run = t.end()
		t.start = e.gap.Until
	}
	for len(t.entries) > 1 && (len(t.entries) > t.maxEntries || t.bytes > t.maxBytes) {
		t.bytes -= t.entries[0].size()
		if t.run == t.first {
			t.start = t.entries[0].position()
			t.run++
		}
		t.entries[0] = nil
		t.entries = t.entries[1:]
		t.first++
	}
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

// collect appends the entries from number from, up to but not including number to, until they have maxBytes.
func (t *tail) collect(dst []*entry, from, to uint64, maxBytes int) []*entry {
	size := 0
	for ; from < to && from < t.end() && size < maxBytes; from++ {
		e := t.entries[from-t.first]
		dst = append(dst, e)
		size += e.size()
	}
	return dst
}

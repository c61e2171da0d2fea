// Package tail is the newest entries of a topic, and the arithmetic by which the entry that follows on a position is found
// in them: by counting, without a search. Who is served from a tail needs no queue, only a position; who asks for one that
// the tail does not reach back to, or that is of another lineage, is told so and has to read the log.
//
// An entry keeps its bytes too, in each form that it was ever asked for, so that nothing is encoded twice.
package tail

import "github.com/millrace-dev/millrace"

// Tail is the newest entries of a topic, bounded by count and bytes; at least one entry stays. Entries have numbers,
// which go up by one for each and never come again. From the number run on they follow on the position start without a
// gap, so that a position's entry is found by counting; those before run end in another lineage, at a gap or where events
// were left out, and are found by number only. It is not safe for concurrent use.
type Tail struct {
	maxEntries int
	maxBytes   int

	entries []*Entry
	first   uint64 // number of entries[0]; numbers begin at 1
	run     uint64 // first <= run <= end
	start   millrace.Position
	bytes   int
	count   Count

	newest map[string]uint64 // number of the newest event of each key; nil unless Conflate was called
}

// New returns an empty tail of so many entries and bytes at most.
func New(maxEntries, maxBytes int) *Tail {
	return &Tail{maxEntries: maxEntries, maxBytes: maxBytes, first: 1, run: 1}
}

// Conflate lets the tail note which entries have a later one of their key, for Survivors. It must be empty.
func (t *Tail) Conflate() { t.newest = map[string]uint64{} }

// First is the number of the oldest entry.
func (t *Tail) First() uint64 { return t.first }

// Count is the count as of the newest entry.
func (t *Tail) Count() Count { return t.count }

// End is the number of the next entry.
func (t *Tail) End() uint64 { return t.first + uint64(len(t.entries)) }

// Restart empties the tail; it goes on from a position. Numbers go on as well, with one left out, so that whoever waits for
// the next of the old entries finds that it is behind.
func (t *Tail) Restart(at millrace.Position) {
	t.first = t.End() + 1
	t.run = t.first
	t.start = at
	clear(t.entries)
	t.entries = nil
	t.bytes = 0
	clear(t.newest)
}

// Add appends an entry. An event must follow on the position before it.
func (t *Tail) Add(e *Entry) {
	t.supersede(e)
	t.count.Add(e)
	e.Count = t.count
	t.entries = append(t.entries, e)
	t.bytes += e.Size()
	if e.Event == nil {
		t.run = t.End()
		t.start = e.Position()
	}
	for len(t.entries) > 1 && (len(t.entries) > t.maxEntries || t.bytes > t.maxBytes) {
		t.dropFirst()
	}
}

func (t *Tail) dropFirst() {
	e := t.entries[0]
	t.bytes -= e.Size()
	if t.run == t.first {
		t.start = e.Position()
		t.run++
	}
	if t.newest != nil && e.Event != nil && t.newest[e.Event.Key] == t.first {
		delete(t.newest, e.Event.Key)
	}
	t.entries[0] = nil
	t.entries = t.entries[1:]
	t.first++
}

// supersede notes with the entry of the same key that another comes.
func (t *Tail) supersede(e *Entry) {
	if t.newest == nil || e.Event == nil {
		return
	}
	if n, ok := t.newest[e.Event.Key]; ok {
		t.entries[n-t.first].later = t.End()
	}
	t.newest[e.Event.Key] = t.End()
}

// Seek returns the number of the entry that follows on a position. It fails, with 0, if the tail does not reach back to it,
// or the position is not of the lineage at hand; then only the log can tell. Of the zero position it can never be told which
// lineage is meant, and a tail that has events may be what is left of a log that was lost since.
func (t *Tail) Seek(pos millrace.Position) (uint64, bool) {
	if pos.IsZero() {
		if t.start.Offset != 0 || t.End() != t.run {
			return 0, false
		}
		return t.run, true
	}
	if pos.Offset < t.start.Offset {
		return 0, false
	}
	steps := pos.Offset - t.start.Offset
	if steps > t.End()-t.run {
		return 0, false
	}
	at := t.start
	if steps > 0 {
		at = t.entries[t.run+steps-1-t.first].Position()
	}
	if at != pos {
		return 0, false
	}
	return t.run + steps, true
}

// Collect appends the entries from number from on until they have maxBytes.
func (t *Tail) Collect(dst []*Entry, from uint64, maxBytes int) []*Entry {
	size := 0
	for ; from < t.End() && size < maxBytes; from++ {
		e := t.entries[from-t.first]
		dst = append(dst, e)
		size += e.Size()
	}
	return dst
}

// Survivors appends the entries from number from, up to but not including number to, until they have maxBytes. After
// Conflate those are left out of whose key there is a later one among them.
func (t *Tail) Survivors(dst []*Entry, from, to uint64, maxBytes int) []*Entry {
	size := 0
	for ; from < to && from < t.End() && size < maxBytes; from++ {
		e := t.entries[from-t.first]
		if e.later != 0 && e.later < to {
			continue
		}
		dst = append(dst, e)
		size += e.Size()
	}
	return dst
}

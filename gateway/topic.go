package gateway

import (
	"slices"
	"sync"

	"github.com/millrace-dev/millrace"
)

// topic is one topic that sessions of this gateway follow, with the tail that all of them are served from.
type topic struct {
	interest

	mu       sync.Mutex
	known    bool // was attached once: class, head and tail mean something
	attached bool // the upstream is there: head and tail are verified
	refused  *millrace.Error
	class    millrace.Class
	head     millrace.Position
	tail     tail
	watched  []*audience
}

func newTopic(g *Gateway, name string) source {
	t := &topic{tail: tail{first: 1, run: 1, maxEntries: g.config.TailEvents, maxBytes: g.config.TailBytes}}
	t.name = name
	return t
}

// apply takes an update from upstream and gives the audiences a turn if it has something for them.
func (t *topic) apply(u *millrace.Update) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch u.Kind {
	case millrace.UpdateAttached:
		t.attach(u)
	case millrace.UpdateDetached:
		t.attached = false
		return
	case millrace.UpdateRefused:
		t.refuse(u.Err)
	default:
		if !t.known {
			return
		}
		t.move(u)
	}
	for _, a := range t.watched {
		a.schedule()
	}
}

func (t *topic) attach(u *millrace.Update) {
	switch {
	case !t.known:
		t.class = u.Class
		if t.class == millrace.ClassLatest {
			t.tail.newest = map[string]uint64{}
		}
		t.restart(u.Position)
	case t.class != u.Class:
		t.refuse(millrace.Errorf(millrace.ReasonUnavailable, "the class of %s has changed: subscribe again", t.name))
		return
	case t.class == millrace.ClassEphemeral && !t.attached: // nobody knows what went by meanwhile
		t.tail.add(&entry{gap: &millrace.Gap{Topic: t.name, Cause: millrace.CauseReset}})
	case t.head != u.Position:
		t.restart(u.Position)
	}
	t.known, t.attached = true, true
}

func (t *topic) refuse(err *millrace.Error) {
	t.refused = err
	t.attached = false
}

// move takes an update that moves the topic on.
func (t *topic) move(u *millrace.Update) {
	switch u.Kind {
	case millrace.UpdateGap:
		if u.Gap.After != t.head { // not everyone who is at the head lacks just this
			t.restart(u.Gap.Until)
			return
		}
		t.tail.add(&entry{gap: u.Gap})
		t.head = u.Gap.Until
	case millrace.UpdateAdvanced:
		if u.Position == t.head || t.class == millrace.ClassEphemeral {
			return
		}
		t.tail.add(&entry{moved: &Advanced{Topic: t.name, Position: u.Position, Conflated: u.Conflated}})
		t.head = u.Position
	case millrace.UpdateEvents:
		for _, e := range u.Events {
			t.add(e)
		}
	}
}

// add appends an event if it follows on. One that was there before is left out; anything else breaks the tail, and
// everyone reads the log, which knows.
func (t *topic) add(e *millrace.Event) {
	switch {
	case t.class == millrace.ClassEphemeral:
		t.tail.add(&entry{event: e})
	case t.head.Precedes(e):
		t.tail.add(&entry{event: e})
		t.head = e.Position
	case e.Position.Offset <= t.head.Offset && t.has(e.Position):
	default:
		t.restart(e.Position)
	}
}

// has reports whether the tail reaches back to a position. The caller holds t.mu.
func (t *topic) has(pos millrace.Position) bool {
	_, ok := t.tail.seek(pos)
	return ok
}

func (t *topic) restart(at millrace.Position) {
	t.tail.restart(at)
	t.head = at
}

// view is what an audience sees of its topic at one moment.
type view struct {
	known    bool
	attached bool
	refused  *millrace.Error
	class    millrace.Class
	head     millrace.Position
	count    count
	first    uint64   // number of the oldest entry
	end      uint64   // number of the next entry
	behind   bool     // the tail does not reach back to what was asked for
	entries  []*entry // what was asked for
}

// since returns the entries from a number on, up to maxBytes, in dst's space.
func (t *topic) since(from uint64, dst []*entry, maxBytes int) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{
		known: t.known, attached: t.attached, refused: t.refused, class: t.class, head: t.head, count: t.tail.count,
		first: t.tail.first, end: t.tail.end(), behind: from < t.tail.first,
	}
	if !v.behind {
		v.entries = t.tail.collect(dst, from, maxBytes)
	}
	return v
}

// after returns the entries that follow on a position, up to but not including number to and up to maxBytes; in class
// latest without those that a later one of their key makes needless. It has none, and says found, for a position at or
// past to.
func (t *topic) after(pos millrace.Position, to uint64, dst []*entry, maxBytes int) (entries []*entry, attached, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.attached {
		return nil, false, false
	}
	from, found := t.tail.seek(pos)
	if !found {
		return nil, true, false
	}
	return t.tail.survivors(dst, from, to, maxBytes), true, true
}

// locate returns the number of the entry that follows on a position.
func (t *topic) locate(pos millrace.Position) (uint64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tail.seek(pos)
}

// holds reports whether the tail has what follows on a position.
func (t *topic) holds(pos millrace.Position) bool {
	_, ok := t.locate(pos)
	return ok
}

// verified reports whether the upstream is there, so that head and tail are what the log has.
func (t *topic) verified() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attached
}

// over implements source.
func (t *topic) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused != nil
}

func (t *topic) watch(a *audience) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watched = append(t.watched, a)
}

func (t *topic) unwatch(a *audience) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.watched, a); i >= 0 {
		t.watched = slices.Delete(t.watched, i, i+1)
	}
}

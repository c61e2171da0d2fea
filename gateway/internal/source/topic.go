package source

import (
	"slices"
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// Topic is one topic that sessions of this gateway follow, with the tail that all of them are served from.
type Topic struct {
	interest

	mu       sync.Mutex
	known    bool // was attached once: class, head and tail mean something
	attached bool // the upstream is there: head and tail are verified
	times    uint64
	lost     uint64
	refused  *millrace.Error
	class    millrace.Class
	head     millrace.Position
	tail     *tail.Tail
	watched  []Watcher
}

func newTopic(c *Config, name string) *Topic {
	return &Topic{interest: interest{name: name}, tail: tail.New(c.TailEvents, c.TailBytes)}
}

// apply takes an update from upstream and gives the audiences a turn if it has something for them.
func (t *Topic) apply(u *millrace.Update) {
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
	for _, w := range t.watched {
		w.Schedule()
	}
}

func (t *Topic) attach(u *millrace.Update) {
	switch {
	case !t.known:
		t.class = u.Class
		if t.class == millrace.ClassLatest {
			t.tail.Conflate()
		}
		t.restart(u.Position)
	case t.class != u.Class:
		t.refuse(millrace.Errorf(millrace.ReasonUnavailable, "the class of %s has changed: subscribe again", t.name))
		return
	case t.class == millrace.ClassEphemeral && !t.attached: // nobody knows what went by meanwhile
		t.tail.Add(&tail.Entry{Gap: &millrace.Gap{Topic: t.name, Cause: millrace.CauseReset}})
	case t.head != u.Position:
		t.restart(u.Position)
	}
	t.known, t.attached = true, true
	t.times++
}

func (t *Topic) refuse(err *millrace.Error) {
	t.refused = err
	t.attached = false
}

// move takes an update that moves the topic on.
func (t *Topic) move(u *millrace.Update) {
	switch u.Kind {
	case millrace.UpdateGap:
		if u.Gap.Cause == millrace.CauseReset {
			t.lost++
		}
		if u.Gap.After != t.head { // not everyone who is at the head lacks just this
			t.restart(u.Gap.Until)
			return
		}
		t.tail.Add(&tail.Entry{Gap: u.Gap})
		t.head = u.Gap.Until
	case millrace.UpdateAdvanced:
		if u.Position == t.head || t.class == millrace.ClassEphemeral {
			return
		}
		t.tail.Add(&tail.Entry{Moved: &tail.Move{Topic: t.name, Position: u.Position, Conflated: u.Conflated}})
		t.head = u.Position
	case millrace.UpdateEvents:
		for _, e := range u.Events {
			t.add(e)
		}
	}
}

// add appends an event if it follows on. One that was there before is left out; anything else breaks the tail, and
// everyone reads the log, which knows.
func (t *Topic) add(e *millrace.Event) {
	switch {
	case t.class == millrace.ClassEphemeral:
		t.tail.Add(&tail.Entry{Event: e})
	case t.head.Precedes(e):
		t.tail.Add(&tail.Entry{Event: e})
		t.head = e.Position
	case e.Position.Offset <= t.head.Offset && t.has(e.Position):
	default:
		t.restart(e.Position)
	}
}

// has reports whether the tail reaches back to a position. The caller holds t.mu.
func (t *Topic) has(pos millrace.Position) bool {
	_, ok := t.tail.Seek(pos)
	return ok
}

func (t *Topic) restart(at millrace.Position) {
	if at.Offset < t.head.Offset { // no log goes back
		t.lost++
	}
	t.tail.Restart(at)
	t.head = at
}

// View is what is to be seen of a topic at one moment.
type View struct {
	Known    bool
	Attached bool
	Times    uint64 // how often it was attached
	Lost     uint64 // how often the log turned out to be another one
	Refused  *millrace.Error
	Class    millrace.Class
	Head     millrace.Position
	Count    tail.Count
	First    uint64        // number of the oldest entry
	End      uint64        // number of the next entry
	Behind   bool          // the tail does not reach back to what was asked for
	Entries  []*tail.Entry // what was asked for
}

// Since returns the entries from a number on, up to maxBytes, in dst's space.
func (t *Topic) Since(from uint64, dst []*tail.Entry, maxBytes int) View {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := View{
		Known: t.known, Attached: t.attached, Times: t.times, Lost: t.lost, Refused: t.refused, Class: t.class, Head: t.head, Count: t.tail.Count(),
		First: t.tail.First(), End: t.tail.End(), Behind: from < t.tail.First(),
	}
	if !v.Behind {
		v.Entries = t.tail.Collect(dst, from, maxBytes)
	}
	return v
}

// After returns the entries that follow on a position, up to but not including number to and up to maxBytes; in class
// latest without those that a later one of their key makes needless. It has none, and says found, for a position at or
// past to.
func (t *Topic) After(pos millrace.Position, to uint64, dst []*tail.Entry, maxBytes int) (entries []*tail.Entry, attached, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.attached {
		return nil, false, false
	}
	from, found := t.tail.Seek(pos)
	if !found {
		return nil, true, false
	}
	return t.tail.Survivors(dst, from, to, maxBytes), true, true
}

// Locate returns the number of the entry that follows on a position.
func (t *Topic) Locate(pos millrace.Position) (uint64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tail.Seek(pos)
}

// Holds reports whether the tail has what follows on a position.
func (t *Topic) Holds(pos millrace.Position) bool {
	_, ok := t.Locate(pos)
	return ok
}

// Verified reports whether the upstream is there, so that head and tail are what the log has.
func (t *Topic) Verified() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attached
}

// over implements source.
func (t *Topic) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused != nil
}

// Watch gives the watcher a turn whenever there is something new.
func (t *Topic) Watch(w Watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watched = append(t.watched, w)
}

// Unwatch ends Watch.
func (t *Topic) Unwatch(w Watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.watched, w); i >= 0 {
		t.watched = slices.Delete(t.watched, i, i+1)
	}
}

package memlog

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/internal/ring"
)

// What things are charged for beside the events themselves, in bytes; approximately what they occupy.
const (
	topicBytes = 512
	markBytes  = 8
	idBytes    = 160
)

// topic is one topic's log. All of it is protected by its shard's mu.
type topic struct {
	name string
	rule *broker.Rule

	head  millrace.Position // zero: not born
	last  int64             // when the newest event was stored, in Unix milliseconds
	shelf shelf             // the events that are kept
	marks ring.Ring[uint64] // marks of the newest offsets up to head's, reaching back before the oldest event
	ids   map[ident]first   // what was published under an id
	order ring.Ring[ident]  // the keys of ids, oldest first

	followers []*follower
}

// ident is what dedup goes by, within a topic.
type ident struct{ principal, id string }

// first is how the first publish under an id was answered.
type first struct {
	position millrace.Position
	at       int64 // Unix milliseconds
	tied     bool  // it is remembered as long as the one before it
}

func newTopic(name string, rule *broker.Rule) *topic {
	return &topic{name: name, rule: rule, shelf: newShelf(rule)}
}

func (t *topic) born() bool { return !t.head.IsZero() }

func (t *topic) birth(mark uint64) {
	t.head = millrace.Position{Mark: mark}
	t.marks.Push(mark)
}

// base returns the position before the oldest event that is kept; the head if none is.
func (t *topic) base() millrace.Position { return t.place(0) }

func (t *topic) state() broker.TopicState {
	return broker.TopicState{Topic: t.name, Head: t.head, Oldest: t.base(), Events: t.shelf.count(), Bytes: t.shelf.bytes()}
}

// seen returns the answer to the first publish under p's id, if the id is remembered.
func (t *topic) seen(p *millrace.Publish) (first, bool) {
	if p.Event.ID == "" || t.ids == nil {
		return first{}, false
	}
	f, ok := t.ids[ident{p.Principal, p.Event.ID}]
	return f, ok
}

// repeats answers events whose ids were all seen before, and reports whether they were. Some and not others is an error:
// the events were then not stored as one.
func (t *topic) repeats(tied []millrace.Publish, acks []millrace.Ack) (bool, *millrace.Error) {
	seen := 0
	for i := range tied {
		if first, ok := t.seen(&tied[i]); ok {
			acks[i] = millrace.Ack{Topic: t.name, Position: first.position, Time: time.UnixMilli(first.at).UTC(), Repeated: true}
			seen++
		}
	}
	switch {
	case seen == 0 && len(tied) > t.rule.DedupIDs:
		return false, millrace.Errorf(millrace.ReasonTooLarge, "%d events are published as one; the topic remembers %d ids", len(tied), t.rule.DedupIDs)
	case seen == 0:
		return false, twins(tied, t.name)
	case seen < len(tied):
		return false, millrace.Errorf(millrace.ReasonConflict, "of the %d events that were published as one %d ids were seen before", len(tied), seen)
	}
	return true, nil
}

// twins reports an id that stands twice among events that are to be stored as one: one of them would not be.
func twins(tied []millrace.Publish, topic string) *millrace.Error {
	if len(tied) == 1 {
		return nil
	}
	ids := map[ident]bool{}
	for i := range tied {
		id := ident{tied[i].Principal, tied[i].Event.ID}
		if id.id != "" && ids[id] {
			return millrace.Errorf(millrace.ReasonConflict, "two events that are published to %s as one have the id %.64q", topic, id.id)
		}
		ids[id] = true
	}
	return nil
}

func (t *topic) idCharge(p *millrace.Publish) int64 {
	if p.Event.ID == "" {
		return 0
	}
	return ident{p.Principal, p.Event.ID}.charge()
}

func (id ident) charge() int64 { return idBytes + int64(len(id.principal)+len(id.id)) }

// store keeps the event of p, which is charged for already, and returns what marks and ids that left were charged for.
func (t *topic) store(p *millrace.Publish, mark uint64, now int64) (freed int64) {
	// Times never run backward within a topic, whatever the clock does, so that they can be searched.
	t.last = max(t.last, now)
	e := p.Event
	e.Prev = t.head.Mark
	e.Position = millrace.Position{Offset: t.head.Offset + 1, Mark: mark}
	e.Time = time.UnixMilli(t.last).UTC()
	t.head = e.Position
	t.shelf.put(e)
	t.marks.Push(mark)
	for t.marks.Len() > t.rule.MaxMarks()+1 {
		t.marks.Pop()
		freed += markBytes
	}
	if e.ID == "" {
		return freed
	}
	if t.ids == nil {
		t.ids = map[ident]first{}
	}
	id := ident{p.Principal, e.ID}
	t.ids[id] = first{position: e.Position, at: t.last, tied: p.Tied}
	t.order.Push(id)
	if t.order.Len() > t.rule.DedupIDs {
		freed += t.forgetID()
		for t.order.Len() > 0 && t.ids[t.order.At(0)].tied {
			freed += t.forgetID()
		}
	}
	return freed
}

func (t *topic) forgetID() (freed int64) {
	id := t.order.Pop()
	delete(t.ids, id)
	return id.charge()
}

// expire lets go of events and ids that have outlived the rule and returns what they were charged for.
func (t *topic) expire(now int64) (freed int64) {
	if t.shelf.count() > 0 {
		before := t.shelf.bytes()
		t.shelf.expire(now - t.rule.MaxAge.Milliseconds())
		freed = before - t.shelf.bytes()
	}
	window := t.rule.DedupWindow.Milliseconds()
	for t.order.Len() > 0 && now-t.ids[t.order.At(0)].at >= window {
		freed += t.forgetID()
	}
	if t.order.Len() == 0 {
		t.ids = nil
	}
	return freed
}

// outlived reports whether even the head may be let go of. A head that someone follows is not: they would be told of a
// reset where nothing was lost.
func (t *topic) outlived(now int64) bool {
	return t.shelf.count() == 0 && t.order.Len() == 0 && len(t.followers) == 0 && now-t.last >= t.rule.HeadRetention.Milliseconds()
}

// charge returns what the topic is charged for beside events and ids.
func (t *topic) charge() int64 {
	return topicBytes + int64(len(t.name)) + markBytes*int64(t.marks.Len()-1)
}

// fits reports whether p is a place in this lineage, as far as marks are kept. The place right behind or before an event
// that is kept is one, however old it is.
func (t *topic) fits(p millrace.Position) bool {
	if !t.born() || p.Offset > t.head.Offset {
		return p == t.head
	}
	if back := t.head.Offset - p.Offset; back < uint64(t.marks.Len()) {
		return t.marks.At(t.marks.Len()-1-int(back)) == p.Mark
	}
	next := t.shelf.behind(p.Offset)
	if next > 0 {
		if e := t.shelf.at(next - 1); e != nil && e.Position == p {
			return true
		}
	}
	return next < t.shelf.slots() && t.shelf.at(next) != nil && t.shelf.at(next).Before() == p
}

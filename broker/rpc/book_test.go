package rpc_test

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// book keeps what a stream says of each alias, and holds it to the rule: each event follows on the position that was told.
type book struct {
	*tap
	entries map[uint32]*entry
}

// entry is what is known of one alias.
type entry struct {
	topic    string
	class    millrace.Class
	by       uint32 // alias of the pattern
	attached bool
	pattern  bool
	position bool // there was one in attached
	first    millrace.Position
	pos      millrace.Position
	events   []*millrace.Event
	matched  []*millracev1.Matched
	gaps     []*millrace.Gap
	passed   uint64
	older    uint64
	refused  millrace.Reason
}

func newBook(s *tap) *book { return &book{tap: s, entries: map[uint32]*entry{}} }

// of returns the entry of a topic that is known under one alias, nil if there is none.
func (b *book) of(topic string) *entry {
	for _, e := range b.entries {
		if e.topic == topic {
			return e
		}
	}
	return nil
}

// until takes updates until done says so.
func (b *book) until(done func() bool) {
	b.Helper()
	for !done() {
		b.enter(b.next())
	}
}

func (b *book) enter(u *millracev1.Update) {
	b.Helper()
	e := b.entries[u.GetAlias()]
	if e == nil {
		e = new(entry)
		b.entries[u.GetAlias()] = e
	}
	switch kind := u.GetKind().(type) {
	case *millracev1.Update_Attached:
		m := kind.Attached
		e.topic, e.class, e.by, e.pattern = m.GetTopic(), wire.ParseClass(m.GetClass()), m.GetPatternAlias(), m.GetPattern()
		e.position = m.GetPosition() != nil
		e.attached, e.pos = true, wire.ParsePosition(m.GetPosition())
		e.first = e.pos
	case *millracev1.Update_Events:
		for _, event := range wire.ParseEvents(e.topic, kind.Events.GetEvents()) {
			if !e.attached || !e.pos.Precedes(event) && e.class != millrace.ClassEphemeral {
				b.Fatalf("%s is at %s and gets %s", e.topic, e.pos, event.Position)
			}
			e.pos = event.Position
			e.events = append(e.events, event)
		}
	case *millracev1.Update_Advanced:
		to := wire.ParsePosition(kind.Advanced.GetPosition())
		if !e.attached || to.Offset <= e.pos.Offset {
			b.Fatalf("%s is at %s and is moved on to %s", e.topic, e.pos, to)
		}
		e.passed += to.Offset - e.pos.Offset
		e.older += kind.Advanced.GetConflated()
		e.pos = to
	case *millracev1.Update_Gap:
		gap := wire.ParseGap(kind.Gap)
		if !e.attached || gap.After != e.pos {
			b.Fatalf("%s is at %s and gets %v", e.topic, e.pos, gap)
		}
		e.gaps = append(e.gaps, gap)
		e.pos = gap.Until
	case *millracev1.Update_Matched:
		e.matched = append(e.matched, kind.Matched)
	case *millracev1.Update_Refused:
		e.refused = millrace.Reason(kind.Refused.GetReason())
	default:
		b.Fatalf("got %v", u)
	}
}

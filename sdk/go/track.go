package sdk

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// remembered is how many marks a track keeps, so as to tell a repeated event from one of another lineage.
const remembered = 16

// track is one topic of a stream: up to where it was received, and whether what comes next follows on.
type track struct {
	topic string
	start millrace.Start // where to begin, until attached

	attached bool // the topic was attached once: position means something, also on the next stream
	position millrace.Position
	class    class
	marks    [remembered]uint64 // of the newest events, by offset; zero: not known

	told bool // the application knows that the topic is out of reach

	// Only for a link.
	alias    uint32 // on the stream at hand; zero: not subscribed there
	failures int    // repairs in a row
	refused  bool   // by the broker; the application is about to be told
	ended    bool   // by the application, or it was told of the refusal
}

// class is how continuity is checked.
type class int

const (
	classLog       class = iota // each event follows on the one before it
	classLatest                 // events are in order, some are left out
	classEphemeral              // events have no positions
)

// resume is where the next stream has to begin.
func (t *track) resume() millrace.Start {
	if t.attached {
		return millrace.After(t.position)
	}
	return t.start
}

// attach takes the broker's word for where the topic stands. A topic that was attached before goes on exactly there;
// only the position of a topic that nobody had published to gets its mark with the topic's birth.
func (t *track) attach(at millrace.Position, c class) *millrace.Error {
	if t.attached && c != classEphemeral && at != t.position && (!t.position.IsZero() || at.Offset != 0) {
		return fault("the broker attached %s at %s instead of %s", t.topic, at, t.position)
	}
	t.attached = c != classEphemeral
	t.class = c
	if at != t.position {
		t.moveTo(at)
	}
	return nil
}

// follow takes events and returns those that are new. A hole, or an event of another lineage, is an error; what came
// before it is returned and counts. The result shares the space of events.
func (t *track) follow(events []*millrace.Event) ([]*millrace.Event, *millrace.Error) {
	if t.class == classEphemeral {
		return events, nil
	}
	fresh := events[:0]
	for _, e := range events {
		switch {
		case !t.attached || e.Position.IsZero():
			return fresh, fault("the broker sent an event of %s before its position", t.topic)
		case t.position.Precedes(e):
		case t.repeated(e):
			continue
		case t.class == classLatest && e.Position.Offset > t.position.Offset:
		default:
			return fresh, fault("the broker sent %s of %s, which does not follow on %s", e.Position, t.topic, t.position)
		}
		t.position = e.Position
		t.marks[e.Position.Offset%remembered] = e.Position.Mark
		fresh = append(fresh, e)
	}
	return fresh, nil
}

// repeated reports whether the event came before.
func (t *track) repeated(e *millrace.Event) bool {
	switch at := e.Position; {
	case at == t.position:
		return true
	case at.Offset < t.position.Offset && t.position.Offset-at.Offset < remembered:
		return at.Mark != 0 && t.marks[at.Offset%remembered] == at.Mark
	}
	return false
}

// skip takes a gap, which must begin where the topic stands.
func (t *track) skip(g *millrace.Gap) *millrace.Error {
	switch {
	case t.class == classEphemeral:
		return nil
	case !t.attached:
		return fault("the broker told a gap in %s before its position", t.topic)
	case g.After != t.position && (g.After.Offset != 0 || t.position.Offset != 0):
		return fault("the broker told a gap in %s after %s instead of %s", t.topic, g.After, t.position)
	}
	t.moveTo(g.Until)
	return nil
}

// advance takes the broker's word that there is nothing for this subscriber up to a position.
func (t *track) advance(to millrace.Position) *millrace.Error {
	if !t.attached || to.Offset < t.position.Offset || to.Offset == t.position.Offset && to != t.position {
		return fault("the broker moved %s back from %s to %s", t.topic, t.position, to)
	}
	if to != t.position {
		t.moveTo(to)
	}
	return nil
}

func (t *track) moveTo(at millrace.Position) {
	t.position = at
	clear(t.marks[:])
	t.marks[at.Offset%remembered] = at.Mark
}

// updateAdvanced moves a cursor and is otherwise not shown to the application.
const updateAdvanced millrace.UpdateKind = 0

// receive checks what the broker says of the topic, takes it for its position, and appends to dst what the application
// is to be told. What came before a fault is appended and counts. The update must not be changed any more.
func (t *track) receive(dst []item, u *millracev1.Update) ([]item, *millrace.Error) {
	switch kind := u.GetKind().(type) {
	case *millracev1.Update_Attached:
		at := wire.ParsePosition(kind.Attached.GetPosition())
		if err := t.attach(at, classOf(kind.Attached.GetClass())); err != nil {
			return dst, err
		}
		t.told = false
		return t.tell(dst, millrace.Update{Kind: millrace.UpdateAttached, Position: at}), nil
	case *millracev1.Update_Events:
		events, err := t.follow(wire.ParseEvents(t.topic, kind.Events.GetEvents()))
		if len(events) > 0 {
			t.failures = 0
			dst = t.tell(dst, millrace.Update{Kind: millrace.UpdateEvents, Events: events, Position: t.position})
		}
		return dst, err
	case *millracev1.Update_Gap:
		gap := wire.ParseGap(kind.Gap)
		gap.Topic = t.topic
		if err := t.skip(gap); err != nil {
			return dst, err
		}
		return t.tell(dst, millrace.Update{Kind: millrace.UpdateGap, Gap: gap, Position: gap.Until}), nil
	case *millracev1.Update_Advanced:
		return t.move(dst, wire.ParsePosition(kind.Advanced.GetPosition()))
	case *millracev1.Update_Detached:
		return t.detach(dst, nil), nil
	}
	return dst, nil
}

// detach appends that the topic is out of reach, unless the application knows.
func (t *track) detach(dst []item, why *millrace.Error) []item {
	if t.told {
		return dst
	}
	t.told = true
	return t.tell(dst, millrace.Update{Kind: millrace.UpdateDetached, Position: t.position, Err: why})
}

func (t *track) move(dst []item, to millrace.Position) ([]item, *millrace.Error) {
	if err := t.advance(to); err != nil {
		return dst, err
	}
	return t.tell(dst, millrace.Update{Kind: updateAdvanced, Position: to}), nil
}

func (t *track) tell(dst []item, u millrace.Update) []item {
	u.Topic = t.topic
	return append(dst, item{update: u, track: t})
}

func classOf(c millracev1.DeliveryClass) class {
	switch c {
	case millracev1.DeliveryClass_DELIVERY_CLASS_LATEST:
		return classLatest
	case millracev1.DeliveryClass_DELIVERY_CLASS_EPHEMERAL:
		return classEphemeral
	default:
		return classLog
	}
}

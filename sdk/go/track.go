package sdk

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	"github.com/millrace-dev/millrace/sdk/go/internal/holding"
	"github.com/millrace-dev/millrace/sdk/go/internal/queue"
)

// remembered is how many marks a track keeps, so as to tell a repeated event from one of another lineage.
const remembered = 16

// item is an update on its way to the application.
type item struct {
	update millrace.Update
	track  *track
}

func newQueue(maxBytes int) *queue.Queue[item] {
	return queue.New(maxBytes, func(i *item) int { return updateSize(&i.update) })
}

// updateSize is what an update is charged for, in bytes.
func updateSize(u *millrace.Update) int {
	const overhead = 128
	size := overhead + len(u.Topic)
	for _, e := range u.Events {
		size += e.Size()
	}
	return size
}

// track is one topic or pattern of a stream: up to where it was received, and whether what comes next follows on.
type track struct {
	// Static.
	want    millrace.Subscription // its start is where to begin, until attached
	pattern bool                  // what comes of it are topics

	attached bool // it was attached once: position means something, also on the next stream
	position millrace.Position
	class    millrace.Class
	marks    [remembered]uint64 // of the newest events, by offset; zero: not known
	passed   bool               // it was attached once in class ephemeral: what goes by from then on is missed

	told  bool   // the application knows that the topic is out of reach
	alias uint32 // on the stream at hand; zero: not subscribed there

	// Only for a subscription.
	matched bool // static; a pattern brought it

	// Only for a link.
	topics   map[string]struct{} // of a pattern: those that the application was told of
	failures int                 // repairs in a row
	refused  bool                // by the broker; the application is about to be told
	ended    bool                // by the application, or it was told of the refusal
}

func newTrack(want millrace.Subscription) *track {
	t := &track{want: want, pattern: !millrace.Pattern(want.Topic).IsTopic()}
	if want.Start.Kind == millrace.StartAfter {
		t.attached, t.position = true, want.Start.After
	}
	return t
}

// subject is what the topic was asked for as.
func (t *track) subject() holding.Subject { return holding.Subject{Want: t.want, Matched: t.matched} }

// request asks for the topic on the next stream, from where this one ended.
func (t *track) request(alias uint32) *millracev1.Subscription {
	s := t.want
	if t.attached {
		s.Start = millrace.After(t.position)
	}
	return wire.Subscription(alias, s)
}

// attach takes the broker's word for where the topic stands. A topic that was attached before goes on exactly there;
// only the position of a topic that nobody had published to gets its mark with the topic's birth.
func (t *track) attach(at millrace.Position, c millrace.Class) *millrace.Error {
	positioned := c != millrace.ClassEphemeral
	if t.attached && positioned && at != t.position && (!t.position.IsZero() || at.Offset != 0) {
		return fault("the broker attached %s at %s instead of %s", t.want.Topic, at, t.position)
	}
	t.attached, t.passed = positioned, !positioned
	t.class = c
	if at != t.position {
		t.moveTo(at)
	}
	return nil
}

// follow takes events and returns those that are new. A hole, or an event of another lineage, is an error; what came
// before it is returned and counts. The result shares the space of events.
func (t *track) follow(events []*millrace.Event) ([]*millrace.Event, *millrace.Error) {
	if t.class == millrace.ClassEphemeral {
		return events, nil
	}
	fresh := events[:0]
	for _, e := range events {
		switch {
		case !t.attached || e.Position.IsZero():
			return fresh, fault("the broker sent an event of %s before its position", t.want.Topic)
		case t.position.Precedes(e):
		case t.repeated(e):
			continue
		default:
			return fresh, fault("the broker sent %s of %s, which does not follow on %s", e.Position, t.want.Topic, t.position)
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
	case t.class == millrace.ClassEphemeral:
		return nil
	case !t.attached:
		return fault("the broker told a gap in %s before its position", t.want.Topic)
	case g.After != t.position && (g.After.Offset != 0 || t.position.Offset != 0):
		return fault("the broker told a gap in %s after %s instead of %s", t.want.Topic, g.After, t.position)
	}
	t.moveTo(g.Until)
	return nil
}

// advance takes the broker's word that there is nothing for this subscriber up to a position. The zero position may get
// its mark by it.
func (t *track) advance(to millrace.Position) *millrace.Error {
	switch {
	case t.class == millrace.ClassEphemeral, t.attached && to == t.position:
		return nil
	case !t.attached:
		return fault("the broker moved %s before its position", t.want.Topic)
	case to.Offset < t.position.Offset, to.Offset == t.position.Offset && !t.position.IsZero():
		return fault("the broker moved %s back from %s to %s", t.want.Topic, t.position, to)
	}
	t.moveTo(to)
	return nil
}

func (t *track) moveTo(at millrace.Position) {
	t.position = at
	clear(t.marks[:])
	t.marks[at.Offset%remembered] = at.Mark
}

// receive checks what the broker says of the topic, takes it for its position, and appends to dst what the application
// is to be told. What came before a fault is appended and counts. The update must not be changed any more.
func (t *track) receive(dst []item, u *millracev1.Update) ([]item, *millrace.Error) {
	if t.pattern {
		return t.receiveTopics(dst, u)
	}
	switch kind := u.GetKind().(type) {
	case *millracev1.Update_Attached:
		if t.passed {
			dst = t.detach(dst, nil) // nobody knows what went by between two streams
		}
		at := wire.ParsePosition(kind.Attached.GetPosition())
		if err := t.attach(at, wire.ParseClass(kind.Attached.GetClass())); err != nil {
			return dst, err
		}
		t.told = false
		return t.tell(dst, millrace.Update{Kind: millrace.UpdateAttached, Position: at, Class: t.class}), nil
	case *millracev1.Update_Events:
		events, err := t.follow(wire.ParseEvents(t.want.Topic, kind.Events.GetEvents()))
		if len(events) > 0 {
			t.failures = 0
			dst = t.tell(dst, millrace.Update{Kind: millrace.UpdateEvents, Events: events, Position: t.position})
		}
		return dst, err
	case *millracev1.Update_Gap:
		gap := wire.ParseGap(kind.Gap)
		gap.Topic = t.want.Topic
		if err := t.skip(gap); err != nil {
			return dst, err
		}
		return t.tell(dst, millrace.Update{Kind: millrace.UpdateGap, Gap: gap, Position: gap.Until}), nil
	case *millracev1.Update_Advanced:
		to := wire.ParsePosition(kind.Advanced.GetPosition())
		if err := t.advance(to); err != nil {
			return dst, err
		}
		return t.tell(dst, millrace.Update{Kind: millrace.UpdateAdvanced, Position: to, Conflated: kind.Advanced.GetConflated()}), nil
	case *millracev1.Update_Detached:
		return t.detach(dst, nil), nil
	}
	return dst, nil
}

// receiveTopics is receive for a pattern. A link is told each topic once, over all streams. Those that are new to a
// pattern that was attached before were born while the link was away, so they are followed from their birth.
func (t *track) receiveTopics(dst []item, u *millracev1.Update) ([]item, *millrace.Error) {
	switch kind := u.GetKind().(type) {
	case *millracev1.Update_Attached:
		t.attached, t.position, t.told = true, millrace.Position{}, false
		return t.tell(dst, millrace.Update{Kind: millrace.UpdateAttached}), nil
	case *millracev1.Update_Matched:
		topic := kind.Matched.GetTopic()
		if !t.covers(topic) {
			return dst, fault("the broker told %s of %.64q", t.want.Topic, topic)
		}
		if _, known := t.topics[topic]; known {
			return dst, nil
		}
		if t.topics == nil {
			t.topics = map[string]struct{}{}
		}
		t.topics[topic] = struct{}{}
		t.failures = 0
		at := wire.ParsePosition(kind.Matched.GetPosition())
		if t.attached {
			at = millrace.Position{}
		}
		return append(dst, item{track: t, update: millrace.Update{
			Kind: millrace.UpdateMatched, Topic: topic, Pattern: t.want.Topic, Position: at, Class: wire.ParseClass(kind.Matched.GetClass()),
		}}), nil
	case *millracev1.Update_Gap: // topics may have been missed, and nobody knows which
		return t.tell(dst, millrace.Update{Kind: millrace.UpdateGap, Gap: &millrace.Gap{Topic: t.want.Topic, Cause: wire.ParseGap(kind.Gap).Cause}}), nil
	case *millracev1.Update_Detached:
		return t.detach(dst, nil), nil
	case *millracev1.Update_Events, *millracev1.Update_Advanced:
		return dst, fault("the broker sent events of the pattern %s", t.want.Topic)
	}
	return dst, nil
}

// covers reports whether the pattern may have brought a topic.
func (t *track) covers(topic string) bool {
	return millrace.ValidateTopic(topic) == nil && millrace.Pattern(t.want.Topic).Matches(topic)
}

// detach appends that the topic is out of reach, unless the application knows.
func (t *track) detach(dst []item, why *millrace.Error) []item {
	if t.told {
		return dst
	}
	t.told = true
	return t.tell(dst, millrace.Update{Kind: millrace.UpdateDetached, Position: t.position, Err: why})
}

func (t *track) tell(dst []item, u millrace.Update) []item {
	u.Topic = t.want.Topic
	return append(dst, item{update: u, track: t})
}

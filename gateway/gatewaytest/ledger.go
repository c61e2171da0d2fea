package gatewaytest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// ledger is the books of one session: where it is in each topic by what it was told. It holds the gateway to the promise:
// each event follows on the one before, and each hole is named, by its exact ends.
type ledger struct {
	broker  *Broker
	session string
	seal    string
	places  map[string]place
	resumed map[string]millrace.Position // where topics are to go on
	resets  map[string]int
}

// place is where the session is in one topic.
type place struct {
	pos      millrace.Position
	attached bool
}

func newLedger(b *Broker) *ledger {
	return &ledger{broker: b, places: map[string]place{}, resumed: map[string]millrace.Position{}, resets: map[string]int{}}
}

// expect books where an opening wants its topics to go on. What is wrong with it is for the gateway to say.
func (l *ledger) expect(o gateway.Opening) {
	for _, t := range o.Topics {
		if t.Start.Kind == millrace.StartAfter {
			l.resumed[t.Topic] = t.Start.After
		}
	}
	c, err := millrace.ParseCursor(o.Cursor)
	if err != nil {
		return
	}
	clear(l.resumed)
	for _, piece := range c.Pieces {
		if piece.Attached {
			l.resumed[piece.Topic] = piece.Position
		}
	}
}

// note books a line.
func (l *ledger) note(line Line) error {
	switch {
	case line.Event != nil:
		return l.event(line.Event)
	case line.Gap != nil:
		return l.gap(line.Gap)
	}
	switch f := line.Frame.(type) {
	case *gateway.Connected:
		l.session, l.seal = f.Session, f.Seal
	case *gateway.Subscribed:
		return l.subscribed(f)
	case *gateway.Unsubscribed:
		delete(l.places, f.Topic)
		delete(l.resumed, f.Topic)
	case *gateway.Advanced:
		return l.advanced(f)
	}
	return nil
}

func (l *ledger) subscribed(f *gateway.Subscribed) error {
	p, known := l.places[f.Topic]
	if f.Pending {
		if p.attached || !f.Position.IsZero() {
			return fmt.Errorf("%s is told as pending, at %s; it was at %v", f.Topic, f.Position, p)
		}
		l.places[f.Topic] = place{}
		return nil
	}
	if known && p.attached && p.pos != f.Position {
		return fmt.Errorf("%s is at %s, but told to be at %s", f.Topic, p.pos, f.Position)
	}
	if pos, ok := l.resumed[f.Topic]; ok && !p.attached && pos != f.Position {
		return fmt.Errorf("%s was to go on at %s, but goes on at %s", f.Topic, pos, f.Position)
	}
	l.places[f.Topic] = place{pos: f.Position, attached: true}
	delete(l.resumed, f.Topic)
	return nil
}

func (l *ledger) event(e *millrace.Event) error {
	p := l.places[e.Topic]
	switch {
	case !p.attached:
		return fmt.Errorf("event %s of %s before the topic is attached", e.Position, e.Topic)
	case !p.pos.Precedes(e):
		return fmt.Errorf("event %s of %s (after mark %d) does not follow on %s", e.Position, e.Topic, e.Prev, p.pos)
	case e.NoEcho && e.Sender.Session == l.session:
		return fmt.Errorf("event %s of %s is the session's own", e.Position, e.Topic)
	}
	l.places[e.Topic] = place{pos: e.Position, attached: true}
	return nil
}

func (l *ledger) gap(g *millrace.Gap) error {
	p, r := l.places[g.Topic], l.broker.record(g.Topic)
	if !p.attached || p.pos != g.After {
		return fmt.Errorf("%s, but the session is at %v", g, p)
	}
	switch g.Cause {
	case millrace.CauseReset:
		if l.resets[g.Topic]++; l.resets[g.Topic] > r.resets {
			return fmt.Errorf("%s, told %d times; the log was reset %d times", g, l.resets[g.Topic], r.resets)
		}
	case millrace.CauseTrimmed:
		if _, ok := l.broker.between(g.Topic, g.After, g.Until); !ok {
			return fmt.Errorf("%s, but there is no such run of events", g)
		}
		if r.resets == 0 && g.Until.Offset > r.floor.Offset {
			return fmt.Errorf("%s, but events from %s are kept", g, r.floor)
		}
	default:
		return fmt.Errorf("%s: nothing here has that cause", g)
	}
	l.places[g.Topic] = place{pos: g.Until, attached: true}
	return nil
}

func (l *ledger) advanced(f *gateway.Advanced) error {
	p := l.places[f.Topic]
	events, ok := l.broker.between(f.Topic, p.pos, f.Position)
	if !p.attached || !ok || len(events) == 0 {
		return fmt.Errorf("%s advances from %v to %s, which does not follow", f.Topic, p, f.Position)
	}
	for _, e := range events {
		if !e.NoEcho || e.Sender.Session != l.session {
			return fmt.Errorf("%s advances to %s over event %s, which is for the session", f.Topic, f.Position, e.Position)
		}
	}
	l.places[f.Topic] = place{pos: f.Position, attached: true}
	return nil
}

// check holds a cursor that the session was told against the books.
func (l *ledger) check(text string) error {
	c, err := millrace.ParseCursor(text)
	if err != nil {
		return fmt.Errorf("parse cursor %q: %w", text, err)
	}
	if c.Seal != l.seal {
		return fmt.Errorf("cursor %q does not begin with the session's seal %q", text, l.seal)
	}
	open := maps.Clone(l.places)
	for topic, pos := range l.resumed {
		open[topic] = place{pos: pos, attached: true}
	}
	for _, piece := range c.Pieces {
		p, known := open[piece.Topic]
		if piece.Attached != p.attached || piece.Position != p.pos {
			return fmt.Errorf("cursor %q has %v; the books say %v (known: %v)", text, piece, p, known)
		}
		delete(open, piece.Topic)
	}
	if len(open) > 0 {
		return fmt.Errorf("cursor %q lacks %v", text, open)
	}
	return nil
}

// cursor is what a peer would come back with that keeps the pieces itself.
func (l *ledger) cursor() string {
	c := millrace.Cursor{Seal: l.seal}
	for _, topic := range slices.Sorted(maps.Keys(l.places)) {
		if _, resumed := l.resumed[topic]; !resumed {
			p := l.places[topic]
			c.Pieces = append(c.Pieces, millrace.Piece{Topic: topic, Position: p.pos, Attached: p.attached})
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(l.resumed)) {
		c.Pieces = append(c.Pieces, millrace.Piece{Topic: topic, Position: l.resumed[topic], Attached: true})
	}
	return c.String()
}

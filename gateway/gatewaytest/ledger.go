package gatewaytest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// ledger is the books of one session: where it is in each topic by what it was told. It holds the gateway to the promise:
// each event follows on the one before, and each hole is named, by its exact ends or, in class ephemeral, its exact count.
type ledger struct {
	broker  *Broker
	session string
	seal    string
	prefix  string
	options map[string]millrace.Option
	places  map[string]place
	resumed map[string]millrace.Position // where topics are to go on
	heldFor map[string]string            // pattern of the cursor that they are held for, if they are for one
	resets  map[string]int
}

// place is where the session is in one topic, or whether it has a pattern.
type place struct {
	pos      millrace.Position
	attached bool // not in class ephemeral, which has no positions
	class    millrace.Class
	pattern  string // that the topic is held for

	// In class ephemeral: the number of the last event, how many were told lost since, and whether that is all.
	last    uint64
	lost    uint64
	unknown bool
}

func newLedger(b *Broker) *ledger {
	return &ledger{
		broker: b, places: map[string]place{}, resumed: map[string]millrace.Position{}, resets: map[string]int{},
		options: map[string]millrace.Option{}, heldFor: map[string]string{},
	}
}

// expect books where an opening wants its topics to go on. What is wrong with it is for the gateway to say.
func (l *ledger) expect(o gateway.Opening) {
	for _, t := range o.Topics {
		if t.Start.Kind == millrace.StartAfter && ClassOf(t.Topic) != millrace.ClassEphemeral {
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
	for topic := range l.resumed {
		i := slices.IndexFunc(c.Pieces, func(p millrace.Piece) bool {
			return !millrace.Pattern(p.Topic).IsTopic() && millrace.Pattern(p.Topic).Matches(topic)
		})
		takesPart := slices.ContainsFunc(c.Parts, func(p millrace.Part) bool { return p.Topic == topic })
		if i >= 0 && !takesPart {
			l.heldFor[topic] = c.Pieces[i].Topic
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
		l.session = f.Session
		return l.begin(f.Prefix)
	case *gateway.Subscribed:
		return l.subscribed(f)
	case *gateway.Unsubscribed:
		return l.unsubscribed(f)
	case *gateway.Joined:
		return l.begin(f.Prefix)
	case *gateway.Left:
		return l.begin(f.Prefix)
	case *gateway.Advanced:
		return l.advanced(f)
	}
	return nil
}

// begin books what cursors begin with from here on.
func (l *ledger) begin(prefix string) error {
	if prefix == "" {
		return nil
	}
	c, err := millrace.ParseCursor(prefix)
	if err != nil {
		return fmt.Errorf("parse the beginning of cursors: %w", err)
	}
	if l.seal != "" && c.Seal != l.seal || len(c.Pieces) > 0 {
		return fmt.Errorf("cursors are to begin with %q; the seal is %q", prefix, l.seal)
	}
	l.prefix, l.seal = prefix, c.Seal
	clear(l.options)
	for _, o := range c.Options {
		l.options[o.Topic] = o
	}
	return nil
}

func (l *ledger) subscribed(f *gateway.Subscribed) error {
	if err := l.begin(f.Prefix); err != nil {
		return err
	}
	delete(l.heldFor, f.Topic) // from here on the place says it
	p, known := l.places[f.Topic]
	now := place{pos: f.Position, attached: f.HasPosition(), class: f.Class, pattern: f.Pattern}
	switch {
	case f.Pending && (p.attached || !f.Position.IsZero()):
		return fmt.Errorf("%s is told as pending, at %s; it was at %v", f.Topic, f.Position, p)
	case f.Pending:
		l.places[f.Topic] = place{pattern: f.Pattern}
		return nil
	case !millrace.Pattern(f.Topic).IsTopic():
		now.attached = true
	case f.Class != ClassOf(f.Topic):
		return fmt.Errorf("%s is told to be of class %s", f.Topic, f.Class)
	case f.Class == millrace.ClassEphemeral:
		if known {
			p.class, p.pattern = f.Class, f.Pattern
			now = p
		}
	case known && p.attached && p.pos != f.Position:
		return fmt.Errorf("%s is at %s, but told to be at %s", f.Topic, p.pos, f.Position)
	}
	if pos, ok := l.resumed[f.Topic]; ok && !p.attached && pos != f.Position {
		return fmt.Errorf("%s was to go on at %s, but goes on at %s", f.Topic, pos, f.Position)
	}
	l.places[f.Topic] = now
	delete(l.resumed, f.Topic)
	return nil
}

// unsubscribed books the end of a topic, or of a pattern: with its topics if it was asked for, else without.
func (l *ledger) unsubscribed(f *gateway.Unsubscribed) error {
	delete(l.places, f.Topic)
	delete(l.resumed, f.Topic)
	maps.DeleteFunc(l.heldFor, func(topic, pattern string) bool {
		if pattern == f.Topic && f.Err == nil {
			delete(l.resumed, topic)
		}
		return pattern == f.Topic || topic == f.Topic
	})
	for topic, p := range l.places {
		switch {
		case p.pattern != f.Topic:
		case f.Err == nil:
			delete(l.places, topic)
			delete(l.resumed, topic)
		default:
			p.pattern = ""
			l.places[topic] = p
		}
	}
	return l.begin(f.Prefix)
}

func (l *ledger) event(e *millrace.Event) error {
	p := l.places[e.Topic]
	switch {
	case e.NoEcho && e.Sender.Session == l.session:
		return fmt.Errorf("event %s of %s is the session's own", e.Position, e.Topic)
	case !l.filter(e.Topic).Passes(e):
		return fmt.Errorf("event %s of %s does not pass %s", e.Position, e.Topic, l.filter(e.Topic))
	case p.class == millrace.ClassEphemeral:
		return l.passing(e, p)
	case !p.attached:
		return fmt.Errorf("event %s of %s before the topic is attached", e.Position, e.Topic)
	case !p.pos.Precedes(e):
		return fmt.Errorf("event %s of %s (after mark %d) does not follow on %s", e.Position, e.Topic, e.Prev, p.pos)
	}
	p.pos = e.Position
	l.places[e.Topic] = p
	return nil
}

// option is what the session wants of a topic: its own option, or else that of a pattern that covers it.
func (l *ledger) option(topic string) millrace.Option {
	if o, ok := l.options[topic]; ok {
		return o
	}
	for pattern, o := range l.options {
		if millrace.Pattern(pattern).Matches(topic) {
			return o
		}
	}
	return millrace.Option{}
}

func (l *ledger) filter(topic string) *millrace.Filter { return l.option(topic).Filter }

// passing books an event of class ephemeral: those between it and the last one must have been told lost, or not be for the
// session, or have been replaced at its rate.
func (l *ledger) passing(e *millrace.Event, p place) error {
	if p.last != 0 && e.Prev <= p.last {
		return fmt.Errorf("event %d of %s after event %d", e.Prev, e.Topic, p.last)
	}
	if p.last != 0 && !p.unknown && l.option(e.Topic).MaxRate == 0 {
		between := l.broker.passed(e.Topic, p.last+1, e.Prev)
		missing := uint64(len(between))
		kept := uint64(len(slices.DeleteFunc(between, func(b *millrace.Event) bool { return !l.isFor(b) })))
		if p.lost > missing || p.lost < kept {
			return fmt.Errorf("event %d of %s after event %d: of those between %d were for the session, but %d were told lost", e.Prev, e.Topic, p.last, kept, p.lost)
		}
	}
	p.last, p.lost, p.unknown = e.Prev, 0, false
	l.places[e.Topic] = p
	return nil
}

// isFor reports whether an event is for the session at all.
func (l *ledger) isFor(e *millrace.Event) bool {
	return !(e.NoEcho && e.Sender.Session == l.session) && l.filter(e.Topic).Passes(e)
}

func (l *ledger) gap(g *millrace.Gap) error {
	p, r := l.places[g.Topic], l.broker.record(g.Topic)
	if p.class == millrace.ClassEphemeral {
		p.lost += g.Count
		p.unknown = p.unknown || g.Count == 0
		l.places[g.Topic] = p
		return nil
	}
	if !p.attached || p.pos != g.After {
		return fmt.Errorf("%s, but the session is at %v", g, p)
	}
	switch g.Cause {
	case millrace.CauseReset:
		if l.resets[g.Topic]++; l.resets[g.Topic] > r.resets {
			return fmt.Errorf("%s, told %d times; the log was reset %d times", g, l.resets[g.Topic], r.resets)
		}
	case millrace.CauseTrimmed:
		from, to := g.After, g.Until
		if p.class == millrace.ClassLatest && to.Offset < from.Offset {
			from, to = to, from // the state begins anew, with keys that the peer may have
		}
		if _, ok := l.broker.between(g.Topic, from, to); !ok {
			return fmt.Errorf("%s, but there is no such run of events", g)
		}
		if r.resets == 0 && g.Until.Offset > r.floor.Offset {
			return fmt.Errorf("%s, but events from %s are kept", g, r.floor)
		}
	default:
		return fmt.Errorf("%s: nothing here has that cause", g)
	}
	p.pos = g.Until
	l.places[g.Topic] = p
	return nil
}

// advanced books what was passed over: each event either is not for the session or, in class latest, has a later one of its
// key, and so many of the latter as are told.
func (l *ledger) advanced(f *gateway.Advanced) error {
	p := l.places[f.Topic]
	events, ok := l.broker.between(f.Topic, p.pos, f.Position)
	if !p.attached || !ok || len(events) == 0 {
		return fmt.Errorf("%s advances from %v to %s, which does not follow", f.Topic, p, f.Position)
	}
	var notFor, older uint64
	for _, e := range events {
		left, replaced := !l.isFor(e), p.class == millrace.ClassLatest && l.broker.replaced(e)
		if !left && !replaced {
			return fmt.Errorf("%s advances to %s over event %s, which is for the session", f.Topic, f.Position, e.Position)
		}
		if left {
			notFor++
		}
		if replaced {
			older++
		}
	}
	if n := uint64(len(events)); f.Conflated > older || n-f.Conflated > notFor {
		return fmt.Errorf("%s advances over %d events, %d of them conflated; %d are older ones and %d not for the session", f.Topic, n, f.Conflated, older, notFor)
	}
	p.pos = f.Position
	l.places[f.Topic] = p
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
		if !known && piece.Position.IsZero() {
			continue // it was not told yet, or was born under a pattern
		}
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
	b := []byte(l.prefix)
	add := func(p millrace.Piece) {
		b = append(b, ',')
		b = millrace.AppendPiece(b, p)
	}
	for _, topic := range slices.Sorted(maps.Keys(l.places)) {
		if _, resumed := l.resumed[topic]; !resumed {
			p := l.places[topic]
			add(millrace.Piece{Topic: topic, Position: p.pos, Attached: p.attached})
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(l.resumed)) {
		add(millrace.Piece{Topic: topic, Position: l.resumed[topic], Attached: true})
	}
	return string(b)
}

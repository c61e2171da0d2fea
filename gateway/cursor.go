package gateway

import (
	"slices"

	"github.com/millrace-dev/millrace"
)

// Resume returns the subscriptions that a cursor stands for. Those to patterns come first, and topics that one of them
// covers are held for it and, where the cursor has no options of their own, have its options. A wish, if there is one,
// replaces all options of the cursor. A topic that the session takes part in is held for itself, with its part.
func Resume(c millrace.Cursor, wish millrace.Option) SubscribeAll {
	options := map[string]millrace.Option{}
	for _, o := range c.Options {
		options[o.Topic] = o
	}
	if !same(wish, millrace.Option{}) {
		clear(options)
		for _, p := range c.Pieces {
			options[p.Topic] = wish
		}
	}
	parts := map[string]millrace.Part{}
	for _, p := range c.Parts {
		parts[p.Topic] = p
	}
	var patterns, topics SubscribeAll
	for _, p := range c.Pieces {
		one := Subscribe{Topic: p.Topic, Again: true}
		if p.Attached {
			one.Start = millrace.After(p.Position)
		}
		if millrace.Pattern(p.Topic).IsTopic() {
			topics = append(topics, one)
			continue
		}
		one.wish(options[p.Topic])
		patterns = append(patterns, one)
	}
	for i := range topics {
		own, ok := options[topics[i].Topic]
		j := slices.IndexFunc(patterns, func(p Subscribe) bool { return millrace.Pattern(p.Topic).Matches(topics[i].Topic) })
		if j >= 0 {
			topics[i].Pattern = patterns[j].Topic
		}
		switch {
		case ok:
		case j >= 0:
			own = options[patterns[j].Topic]
		default:
			own = ofPattern(options, topics[i].Topic)
		}
		topics[i].wish(own)
		topics[i].takePart(parts[topics[i].Topic])
	}
	return append(patterns, topics...)
}

// takePart gives a subscription the part that its topic has in a cursor.
func (c *Subscribe) takePart(p millrace.Part) {
	if !p.Joined && !p.Told {
		return
	}
	c.Members, c.Pattern = p.Told, ""
	if p.Joined {
		c.entry = &entry{resumes: true}
	}
}

// ofPattern returns the option of a pattern that covers a topic, for a part of a cursor that has the topic and not the pattern.
// The cursor of a session has options of its own for topics that several patterns cover, unless these agree.
func ofPattern(options map[string]millrace.Option, topic string) millrace.Option {
	for name, o := range options {
		if millrace.Pattern(name).Matches(topic) {
			return o
		}
	}
	return millrace.Option{}
}

// wish gives a subscription the filter and rate of an option.
func (c *Subscribe) wish(o millrace.Option) { c.Filter, c.MaxRate = o.Filter, o.MaxRate }

func (c Subscribe) wishes() bool { return c.Filter != nil || c.MaxRate != 0 }

func (c Subscribe) option() millrace.Option {
	return millrace.Option{Topic: c.Topic, Filter: c.Filter, MaxRate: c.MaxRate}
}

// validate reports whether a subscription can be: a topic or a pattern, which has no position but zero.
func (c Subscribe) validate() error {
	if millrace.Pattern(c.Topic).IsTopic() {
		return millrace.ValidateTopic(c.Topic)
	}
	if c.Start.Kind == millrace.StartAfter && !c.Start.After.IsZero() {
		return millrace.Errorf(millrace.ReasonBadRequest, "a pattern can't begin after a position: each topic has its own")
	}
	switch {
	case c.entry != nil:
		return millrace.Errorf(millrace.ReasonTopicInvalid, "a pattern can't be joined: %.255q", c.Topic)
	case c.Members:
		return millrace.Errorf(millrace.ReasonUnsupported, "the members of all topics of a pattern can't be told")
	}
	return millrace.Pattern(c.Topic).Validate()
}

// option is what a subscription wants beside its place, for a cursor.
func (sub *subscription) option() millrace.Option {
	o := millrace.Option{Topic: sub.topic()}
	if sub.wish != nil {
		o.Filter, o.MaxRate = sub.wish.filter, sub.wish.rate
	}
	return o
}

// same reports whether two options want the same.
func same(a, b millrace.Option) bool {
	return a.MaxRate == b.MaxRate && a.Filter.String() == b.Filter.String()
}

// maxBeginning bounds what the session's cursors begin with, seal, options and parts, in bytes: on every wire, since a peer of any
// can take its cursor to the others. The rest of a cursor has room for the longest piece, so one that is too long as a whole
// can be given back in parts.
const maxBeginning = 3072

var errBeginning = millrace.Errorf(millrace.ReasonTooManyTopics, "the session's filters, rates and memberships would take more than %d bytes of its cursor", maxBeginning)

// load is what a session's topics and patterns add up to in its cursors.
type load struct {
	wished  int // of them have options
	pieces  int // bytes of the pieces, at most
	options int // bytes of the options if each had to be there, as those of a pattern's topics have once it has ended
	begun   int // bytes of the options that have to be there now
	parts   int // bytes of the parts
}

// carry adds a topic or pattern to the load, or takes it away.
func (l *load) carry(o millrace.Option, sign int) {
	if !same(o, millrace.Option{}) {
		l.wished += sign
	}
	l.pieces += sign * pieceBound(o.Topic)
	l.options += sign * optionBytes(o)
}

// optionBytes is what an option takes in a cursor, separator included.
func optionBytes(o millrace.Option) int { return len(",") + len(millrace.AppendOption(nil, o)) }

// understood reports whether a topic that the cursor has no option of would be resumed with this one: that of all patterns
// which cover it, or none. Further patterns are those that the session is about to have.
func (s *Session) understood(o millrace.Option, further ...millrace.Option) bool {
	covered := false
	for _, w := range s.wildcards {
		if w.pattern().Matches(o.Topic) {
			further = append(slices.Clip(further), w.want.option())
		}
	}
	for _, p := range further {
		if millrace.Pattern(p.Topic).Matches(o.Topic) {
			if covered = true; !same(o, p) {
				return false
			}
		}
	}
	return covered || same(o, millrace.Option{})
}

// growth is by how many bytes the beginning of the session's cursors grows with one more subscription.
func (s *Session) growth(c Subscribe) int {
	o, n := c.option(), 0
	if millrace.Pattern(c.Topic).IsTopic() {
		if c.takesPart() {
			n += partBytes(c.Topic)
		}
		if !s.understood(o) {
			n += optionBytes(o)
		}
		return n
	}
	if c.wishes() {
		n += optionBytes(o)
	}
	for _, sub := range s.subs {
		if own := sub.option(); !sub.named && !s.understood(own, o) {
			n += optionBytes(own)
		}
	}
	return n
}

// reckon looks anew at which options have to be in the cursors, after the session's patterns changed.
func (s *Session) reckon() {
	s.load.begun = 0
	for _, w := range s.wildcards {
		if w.want.wishes() {
			s.load.begun += optionBytes(w.want.option())
		}
	}
	for _, sub := range s.subs {
		o := sub.option()
		if sub.named = !s.understood(o); sub.named {
			s.load.begun += optionBytes(o)
		}
	}
	s.stale, s.moved = true, nil
}

// beginning is how long the beginning of the session's cursors may be with what it has, in bytes.
func (s *Session) beginning() int { return len(s.seal) + s.load.begun + s.load.parts }

// refresh writes the beginning of the session's cursors anew if its options or parts changed: the seal, the options of each
// pattern and of each topic that would else be resumed with others, and the parts.
func (s *Session) refresh() {
	if !s.stale || s.ending {
		return
	}
	s.stale = false
	b := []byte(s.seal)
	add := func(o millrace.Option) {
		b = append(b, ',')
		b = millrace.AppendOption(b, o)
	}
	for _, w := range s.wildcards {
		if w.want.wishes() {
			add(w.want.option())
		}
	}
	for _, sub := range s.subs {
		if sub.named {
			add(sub.option())
		}
	}
	for _, sub := range s.subs {
		if sub.part == nil {
			continue
		}
		if p := sub.part.text(); p.Joined || p.Told {
			b = millrace.AppendPart(append(b, ','), p)
		}
	}
	if text := string(b); text != s.prefix {
		s.prefix, s.fresh, s.moved = text, true, nil
	}
}

// withPrefix adds to a frame that tells of a subscription what cursors begin with from here on.
func (s *Session) withPrefix(f Frame) Frame {
	switch f := f.(type) {
	case Subscribed:
		f.Prefix, s.fresh = s.prefix, false
		return f
	case Unsubscribed:
		f.Prefix, s.fresh = s.prefix, false
		return f
	case Joined:
		f.Prefix, s.fresh = s.prefix, false
		return f
	case Left:
		f.Prefix, s.fresh = s.prefix, false
		return f
	}
	return f
}

// cursorBound is the longest that the session's cursor can be with one more subscription, in bytes.
func (s *Session) cursorBound(c Subscribe) int {
	l := s.load
	l.carry(c.option(), 1)
	if c.takesPart() {
		l.parts += partBytes(c.Topic)
	}
	return len(s.seal) + l.bytes()
}

// bytes is the longest that the load can be in a cursor.
func (l load) bytes() int {
	if l.wished == 0 {
		l.options = 0
	}
	return l.pieces + l.options + l.parts
}

// appendCursor appends the session's cursor, but for one topic (or none). It runs on the session's loop.
func (s *Session) appendCursor(dst []byte, without *subscription) []byte {
	s.refresh()
	dst = append(dst, s.prefix...)
	for _, sub := range s.subs {
		if sub == without {
			continue
		}
		dst = append(dst, ',')
		dst = millrace.AppendPiece(dst, sub.piece())
	}
	for _, w := range s.wildcards {
		dst = append(dst, ',')
		dst = millrace.AppendPiece(dst, w.piece())
	}
	return dst
}

// piece is the subscription's part of the session's cursor. One that resumes keeps the position that it came with until
// it is attached, so that a peer which is cut off meanwhile has lost nothing.
func (sub *subscription) piece() millrace.Piece {
	if !sub.attached && sub.start.Kind == millrace.StartAfter {
		return millrace.Piece{Topic: sub.topic(), Position: sub.start.After, Attached: true}
	}
	if !sub.attached || sub.audience.class == millrace.ClassEphemeral {
		return millrace.Piece{Topic: sub.topic()}
	}
	return millrace.Piece{Topic: sub.topic(), Position: sub.position(), Attached: true}
}

// appendLead appends what stands before the bytes of the subscription's next event or gap. The session keeps the lead
// until another of its topics moves.
func (sub *subscription) appendLead(dst []byte) []byte {
	s := sub.session
	if s.moved != sub {
		s.moved = sub
		l := s.loop
		l.cursor = s.appendCursor(l.cursor[:0], sub)
		s.lead = s.wire.AppendLead(s.lead[:0], l.cursor)
	}
	return append(dst, s.lead...)
}

// pieceBound is the longest that a topic's piece of a cursor can be, separator included.
func pieceBound(topic string) int {
	const numbers = len(",18446744073709551615-18446744073709551615-")
	return numbers + len(millrace.AppendPiece(nil, millrace.Piece{Topic: topic}))
}

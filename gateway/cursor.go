package gateway

import (
	"slices"

	"github.com/millrace-dev/millrace"
)

// Resume returns the subscriptions that a cursor stands for. Those to patterns come first, and topics that one of them
// covers are held for it and, where the cursor has no options of their own, have its options. A wish, if there is one,
// replaces all options of the cursor.
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
		if j >= 0 && !ok {
			own = options[patterns[j].Topic]
		}
		topics[i].wish(own)
	}
	return append(patterns, topics...)
}

// wish gives a subscription the filter and rate of an option.
func (c *Subscribe) wish(o millrace.Option) { c.Filter, c.MaxRate = o.Filter, o.MaxRate }

func (c Subscribe) wishes() bool { return c.Filter != nil || c.MaxRate != 0 }

func (c Subscribe) option() millrace.Option {
	return millrace.Option{Topic: c.Topic, Filter: c.Filter, MaxRate: c.MaxRate}
}

// subscriptions returns the topics that an opening asks for: those of its cursor, or else its own. A topic that the cursor
// has no position of was never attached, so it still begins where the opening says: the peer has got nothing of it. What
// the opening wishes goes before what the cursor says, for the topics that the opening names or, if it names none, for all.
func (o Opening) subscriptions() (topics []Subscribe, seal string, resumes bool, err error) {
	topics = o.Topics
	if o.Cursor != "" {
		cursor, err := millrace.ParseCursor(o.Cursor)
		if err != nil {
			return nil, "", false, err
		}
		seal = cursor.Seal
		if len(cursor.Pieces) > 0 {
			topics, resumes = o.resume(cursor), true
		}
	}
	for _, t := range topics {
		if err := t.validate(); err != nil {
			return nil, "", false, err
		}
	}
	return topics, seal, resumes, nil
}

func (o Opening) resume(cursor millrace.Cursor) SubscribeAll {
	wish := o.Wish
	if len(o.Topics) > 0 {
		wish = millrace.Option{}
	}
	for _, own := range o.Topics {
		if own.wishes() {
			cursor.Options = append(cursor.Options, own.option())
		}
	}
	topics := Resume(cursor, wish)
	for i := range topics {
		t := &topics[i]
		j := slices.IndexFunc(o.Topics, func(own Subscribe) bool { return own.Topic == t.Topic || own.Topic == t.Pattern })
		if j >= 0 && t.Start.Kind == millrace.StartDefault {
			t.Start = o.Topics[j].Start
		}
	}
	return topics
}

// validate reports whether a subscription can be: a topic or a pattern, which has no position but zero.
func (c Subscribe) validate() error {
	if millrace.Pattern(c.Topic).IsTopic() {
		return millrace.ValidateTopic(c.Topic)
	}
	if c.Start.Kind == millrace.StartAfter && !c.Start.After.IsZero() {
		return millrace.Errorf(millrace.ReasonBadRequest, "a pattern can't begin after a position: each topic has its own")
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

// rewrite makes the beginning of the session's cursors anew after its topics changed: the seal, and the options of each
// pattern and of each topic that would else be resumed with others.
func (s *Session) rewrite() {
	if s.ending || s.prefix == s.seal && !s.wishes() {
		return
	}
	b := []byte(s.seal)
	add := func(o millrace.Option) {
		b = append(b, ',')
		b = millrace.AppendOption(b, o)
	}
	none := millrace.Option{}
	for _, w := range s.wildcards {
		if w.want.wishes() {
			add(w.want.option())
		}
	}
	for _, sub := range s.subs {
		understood := true
		covered := false
		for _, w := range s.wildcards {
			if w.pattern().Matches(sub.topic()) {
				covered = true
				understood = understood && same(sub.option(), w.want.option())
			}
		}
		if !covered {
			understood = same(sub.option(), none)
		}
		if !understood {
			add(sub.option())
		}
	}
	if text := string(b); text != s.prefix {
		s.prefix, s.fresh, s.moved = text, true, nil
	}
}

// wishes reports whether any subscription of the session has options.
func (s *Session) wishes() bool {
	return slices.ContainsFunc(s.subs, func(sub *subscription) bool { return sub.wish != nil }) ||
		slices.ContainsFunc(s.wildcards, func(w *wildcard) bool { return w.want.wishes() })
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
	}
	return f
}

// cursorBound is the longest that the session's cursor can be with one more subscription, in bytes. Each topic is counted
// with its options, which a pattern's topics need once it has ended.
func (s *Session) cursorBound(c Subscribe) int {
	bound := func(o millrace.Option, wished bool) int {
		n := pieceBound(o.Topic)
		if wished {
			n += len(",") + len(millrace.AppendOption(nil, o))
		}
		return n
	}
	wished := c.wishes() || s.wishes()
	n := len(s.seal) + bound(c.option(), wished)
	for _, sub := range s.subs {
		n += bound(sub.option(), wished)
	}
	for _, w := range s.wildcards {
		n += bound(w.want.option(), wished)
	}
	return n
}

// appendCursor appends the session's cursor, but for one topic (or none). It runs on the session's loop.
func (s *Session) appendCursor(dst []byte, without *subscription) []byte {
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

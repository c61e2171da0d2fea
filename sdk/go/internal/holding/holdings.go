// Package holding is where an application is in what it subscribes to.
package holding

import (
	"sync"

	"github.com/millrace-dev/millrace"
)

// Holdings is what an application was given of each topic and pattern of its subscription. Its methods may be called
// concurrently.
type Holdings struct {
	// Static.
	patterns []string                   // in the cursor's order
	options  map[string]millrace.Option // of the patterns

	mu     sync.Mutex
	list   []*holding          // protected by mu, as are the holdings; in the cursor's order
	topics map[string]*holding // protected by mu
}

// holding is one topic, up to where the application has it.
type holding struct {
	piece     millrace.Piece
	option    *millrace.Option // what the cursor says of it; nil: nothing, for the patterns' options say it already
	matched   bool             // a pattern brought it
	conflated uint64           // events that were left out as older ones of their key
}

// Subject is a topic or pattern that a subscription asks for.
type Subject struct {
	Want    millrace.Subscription // its start is where to begin
	Matched bool                  // a pattern brought it
}

func (s *Subject) pattern() bool { return !millrace.Pattern(s.Want.Topic).IsTopic() }

// New returns what an application has before it was given anything.
func New(subjects []Subject) *Holdings {
	h := &Holdings{options: map[string]millrace.Option{}, topics: map[string]*holding{}}
	for i := range subjects {
		if s := &subjects[i]; s.pattern() {
			h.patterns = append(h.patterns, s.Want.Topic)
			h.options[s.Want.Topic], _ = s.Want.Option()
		}
	}
	for i := range subjects {
		h.add(&subjects[i])
	}
	return h
}

// add takes a topic up. h.mu is held, or nobody else has h yet.
func (h *Holdings) add(s *Subject) *holding {
	start := s.Want.Start
	x := &holding{
		piece:   millrace.Piece{Topic: s.Want.Topic, Position: start.After, Attached: start.Kind == millrace.StartAfter},
		matched: s.Matched,
	}
	o, wants := s.Want.Option()
	if s.pattern() && wants || !s.pattern() && !same(o, OptionOf(s.Want.Topic, h.options, h.patterns)) {
		x.option = &o
	}
	h.list = append(h.list, x)
	h.topics[s.Want.Topic] = x
	return x
}

func same(a, b millrace.Option) bool {
	return a.MaxRate == b.MaxRate && a.Filter.String() == b.Filter.String()
}

// Reach moves a topic to where an update leads, all of it. A topic that is new is what the subject says.
func (h *Holdings) Reach(u *millrace.Update, s Subject) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.topics[u.Topic]
	if x == nil {
		x = h.add(&s)
	}
	switch u.Kind {
	case millrace.UpdateAttached:
		x.piece.Attached, x.piece.Position = u.Class != millrace.ClassEphemeral, u.Position
	case millrace.UpdateEvents, millrace.UpdateGap:
		x.piece.Position = u.Position
	case millrace.UpdateAdvanced:
		x.piece.Position = u.Position
		x.conflated += u.Conflated
	case millrace.UpdateDetached, millrace.UpdateRefused, millrace.UpdateMatched:
	}
}

// ReachEvent moves a topic to one of its events.
func (h *Holdings) ReachEvent(e *millrace.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topics[e.Topic].piece.Position = e.Position
}

// Cursor returns where the application is. What a pattern brought without a position is left out: the pattern brings it
// again.
func (h *Holdings) Cursor() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := millrace.Cursor{Pieces: make([]millrace.Piece, 0, len(h.list))}
	for _, x := range h.list {
		if x.matched && !x.piece.Attached {
			continue
		}
		c.Pieces = append(c.Pieces, x.piece)
		if x.option != nil {
			c.Options = append(c.Options, *x.option)
		}
	}
	return c.String()
}

// Conflated returns how many events of a topic were left out as older ones of their key.
func (h *Holdings) Conflated(topic string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.topics[topic]; x != nil {
		return x.conflated
	}
	return 0
}

// OptionOf returns how a cursor wants one of its topics: by an option of its own, or else as the first of the cursor's
// patterns that covers it, which may have brought it. All doors read a cursor so.
func OptionOf(name string, options map[string]millrace.Option, patterns []string) millrace.Option {
	o, own := options[name]
	if own || !millrace.Pattern(name).IsTopic() {
		return o
	}
	for _, p := range patterns {
		if millrace.Pattern(p).Matches(name) {
			return options[p]
		}
	}
	return millrace.Option{}
}

package sdk

import (
	"sync"

	"github.com/millrace-dev/millrace"
)

// holdings is what an application was given of each topic and pattern of its subscription. Its methods may be called
// concurrently.
type holdings struct {
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

func newHoldings(tracks []*track) *holdings {
	h := &holdings{options: map[string]millrace.Option{}, topics: map[string]*holding{}}
	for _, t := range tracks {
		if t.pattern {
			h.patterns = append(h.patterns, t.want.Topic)
			h.options[t.want.Topic], _ = t.want.Option()
		}
	}
	for _, t := range tracks {
		h.add(t)
	}
	return h
}

// add takes a topic up. h.mu is held, or nobody else has h yet.
func (h *holdings) add(t *track) *holding {
	start := t.want.Start
	x := &holding{
		piece:   millrace.Piece{Topic: t.want.Topic, Position: start.After, Attached: start.Kind == millrace.StartAfter},
		matched: t.matched,
	}
	o, wants := t.want.Option()
	if t.pattern && wants || !t.pattern && !same(o, optionOf(t.want.Topic, h.options, h.patterns)) {
		x.option = &o
	}
	h.list = append(h.list, x)
	h.topics[t.want.Topic] = x
	return x
}

func same(a, b millrace.Option) bool {
	return a.MaxRate == b.MaxRate && a.Filter.String() == b.Filter.String()
}

// reach moves a topic to where an update leads, all of it.
func (h *holdings) reach(i *item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := &i.update
	x := h.topics[u.Topic]
	if x == nil {
		x = h.add(i.track)
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

// reachEvent moves a topic to one of its events.
func (h *holdings) reachEvent(e *millrace.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topics[e.Topic].piece.Position = e.Position
}

// cursor returns where the application is. What a pattern brought without a position is left out: the pattern brings it
// again.
func (h *holdings) cursor() string {
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

func (h *holdings) conflated(topic string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.topics[topic]; x != nil {
		return x.conflated
	}
	return 0
}

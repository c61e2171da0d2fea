package ledger

import (
	"slices"
	"sync"

	"github.com/millrace-dev/millrace"
)

// Class is how a topic is delivered to a subscriber.
type Class int

// The classes.
const (
	Log       Class = iota // everything, or a gap
	Latest                 // of each key at least the newest
	Ephemeral              // without positions: none twice, in order, and what is missing is counted
)

// Expectation is what a subscriber of a topic has a right to.
type Expectation struct {
	Class Class

	// Wants reports whether an event is for the subscriber: what passes its filter and is not its own. Nil is every event.
	// It must be pure.
	Wants func(*Publication) bool

	// Bears reports whether an event that is not for the subscriber may come all the same. Nil is none.
	Bears func(*Publication) bool

	// State says, in class latest, that the subscription begins with the state.
	State bool

	// Thinned says, in class ephemeral, that newer events take the place of older ones, as they do with a rate.
	Thinned bool
}

// Delivery is one event as a subscriber got it.
type Delivery struct {
	At     millrace.Position
	Prev   uint64 // the mark before it, by its own word; 0 where the wire does not say it
	Ident  Ident  // as its payload says
	Digest uint64 // of its payload
}

// Chain is the record of one subscriber of one topic, over all its connections. Its methods may be called concurrently,
// but what happened to the subscriber must be entered in order.
type Chain struct {
	book                  *Book
	page                  *page
	subscriber, transport string
	want                  Expectation

	mu         sync.Mutex
	held       millrace.Position
	attached   bool
	holes      []hole
	spans      []span
	recent     [remembered]uint64 // marks of the newest events, by offset
	deliveries uint64
	resumes    uint64
	visits     []visit // in class ephemeral
}

// visit is what came over one connection in class ephemeral, which knows no other.
type visit struct {
	events []Ident
	lost   uint64 // as told
	reset  bool   // it was told that nobody knows what is missing
}

// remembered is how many marks a chain keeps, so as to tell a repeated event from one that comes late.
const remembered = 64

// hole is offsets that were passed over.
type hole struct {
	from, to uint64 // the first and the last
	span     int    // where it was made
}

// Subscriber returns the name that the chain was opened with.
func (c *Chain) Subscriber() string { return c.subscriber }

// Topic returns the topic that the chain is about.
func (c *Chain) Topic() string { return c.page.topic }

// Held returns the position up to which the subscriber has everything or was told.
func (c *Chain) Held() millrace.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// Via enters that the subscriber came back over another transport.
func (c *Chain) Via(transport string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport = transport
}

// Attach enters that the subscriber was told from which position everything comes, the first time or again.
func (c *Chain) Attach(at millrace.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.want.Class == Ephemeral {
		if c.attached {
			c.resumes++
		}
		c.attached = true
		c.visits = append(c.visits, visit{})
		return
	}
	if !c.attached {
		c.attached, c.held = true, at
		c.add(span{kind: spanAttached, to: at, last: at})
		return
	}
	c.resumes++
	switch {
	case at == c.held:
	case c.held.IsZero() && at.Offset == 0: // the topic was born meanwhile
		c.held = at
	default:
		c.move(at)
	}
}

// Born enters that the subscriber was told of a topic that was not there when it began: everything of it is owed.
func (c *Chain) Born(at millrace.Position) {
	c.mu.Lock()
	if c.want.Class != Ephemeral && !c.attached {
		c.attached = true
		c.add(span{kind: spanAttached})
		if at.Offset > 0 {
			c.move(at)
		}
		c.held = at
	}
	c.mu.Unlock()
	c.Attach(at)
}

// Resume enters that the subscriber comes back with a cursor that has its topic at a position.
func (c *Chain) Resume(at millrace.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.want.Class != Ephemeral && c.attached && at != c.held {
		c.move(at)
	}
}

// move takes an attachment or cursor that is not where the subscriber stands. One that is behind is no step: what comes
// twice because of it is counted when it comes.
func (c *Chain) move(at millrace.Position) {
	c.add(span{kind: spanPlaced, from: c.held, to: at, last: at})
	if at.Offset >= c.held.Offset || !c.had(at) {
		c.held = at
	}
}

// Event enters an event.
func (c *Chain) Event(d Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deliveries++
	if c.want.Class == Ephemeral {
		c.page.content(c, &d)
		if len(c.visits) == 0 {
			c.visits = append(c.visits, visit{})
		}
		v := &c.visits[len(c.visits)-1]
		v.events = append(v.events, d.Ident)
		return
	}
	follows := c.attached && d.At.Offset == c.held.Offset+1
	claimed := uint64(0)
	if follows {
		claimed = c.held.Mark
	}
	c.page.see(c, &d, claimed, c.book.epoch.Load())
	switch {
	case follows:
		c.extend(d.At)
	case !c.attached:
		c.attached = true
		c.add(span{kind: spanMoved, to: d.At, last: d.At})
		c.begin(d.At)
	case c.fill(d.At.Offset):
		c.add(span{kind: spanLate, from: c.held, to: d.At, last: d.At})
		c.remember(d.At)
	case d.At.Offset > c.held.Offset:
		c.holes = append(c.holes, hole{from: c.held.Offset + 1, to: d.At.Offset - 1, span: len(c.spans)})
		c.add(span{kind: spanSkipped, from: c.held, to: d.At, last: d.At})
		c.begin(d.At)
	case c.had(d.At):
		c.repeat(d.At)
	default:
		c.add(span{kind: spanMoved, from: c.held, to: d.At, last: d.At})
		c.begin(d.At)
	}
}

// Gap enters that the subscriber was told what it does not get.
func (c *Chain) Gap(g millrace.Gap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.want.Class == Ephemeral {
		c.add(span{kind: spanGap, cause: g.Cause, n: g.Count})
		if len(c.visits) > 0 {
			v := &c.visits[len(c.visits)-1]
			v.lost += g.Count
			v.reset = v.reset || g.Cause == millrace.CauseReset
		}
		return
	}
	c.add(span{kind: spanGap, held: c.held, from: g.After, to: g.Until, last: g.Until, cause: g.Cause})
	c.held = g.Until
}

// Advance enters that the subscriber was moved on over events that are not for it; conflated says how many of them were
// left out because there are newer ones.
func (c *Chain) Advance(to millrace.Position, conflated uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(span{kind: spanAdvanced, held: c.held, from: c.held, to: to, last: to, n: conflated})
	c.held = to
}

// extend takes an event that follows.
func (c *Chain) extend(at millrace.Position) {
	if n := len(c.spans); n > 0 && c.spans[n-1].kind == spanEvents && c.spans[n-1].last == c.held {
		c.spans[n-1].last = at
		c.spans[n-1].n++
		c.held = at
		c.remember(at)
		return
	}
	c.begin(at)
}

// begin takes an event as the first of a run.
func (c *Chain) begin(at millrace.Position) {
	c.add(span{kind: spanEvents, from: c.held, to: at, last: at, n: 1})
	c.held = at
	c.remember(at)
}

// repeat takes an event that came before.
func (c *Chain) repeat(at millrace.Position) {
	if n := len(c.spans); c.spans[n-1].kind == spanRepeated && c.spans[n-1].last.Offset+1 == at.Offset {
		c.spans[n-1].last = at
		c.spans[n-1].n++
		return
	}
	c.add(span{kind: spanRepeated, from: c.held, to: at, last: at, n: 1})
}

// fill takes an offset out of a hole, if it is in one.
func (c *Chain) fill(offset uint64) bool {
	i := slices.IndexFunc(c.holes, func(h hole) bool { return h.from <= offset && offset <= h.to })
	if i < 0 {
		return false
	}
	h := c.holes[i]
	var rest []hole
	if h.from < offset {
		rest = append(rest, hole{from: h.from, to: offset - 1, span: h.span})
	}
	if offset < h.to {
		rest = append(rest, hole{from: offset + 1, to: h.to, span: h.span})
	}
	c.holes = slices.Replace(c.holes, i, i+1, rest...)
	return true
}

func (c *Chain) remember(at millrace.Position) { c.recent[at.Offset%remembered] = at.Mark }

func (c *Chain) had(at millrace.Position) bool {
	return at.Mark != 0 && c.recent[at.Offset%remembered] == at.Mark
}

func (c *Chain) add(s span) { c.spans = append(c.spans, s) }

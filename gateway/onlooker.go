package gateway

import (
	"sync/atomic"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/roster"
)

// gallery is one loop's onlookers of a topic's members. Those who are up to date stand in slices by wire, all at the
// gallery's own edition, so that an edition is looked up once and whoever is in a slice gets its bytes.
type gallery struct {
	topic string
	loop  *loop
	list  *roster.List

	scheduled atomic.Bool // it is in the loop's mailbox

	// Owned by the loop.
	told    uint64 // edition that every live onlooker was told, but for the round under way
	held    int    // onlookers, in any place
	live    [MaxWires][]*onlooker
	waiting []*onlooker // to be brought up to date
	round   round
}

// round is one edition on its way to all live onlookers. It may take several turns of the loop. In the slice of the wire
// under way the first left onlookers have not got it yet; in those of the wires before all have, in those behind none.
type round struct {
	text    *roster.Text // nil: none is under way
	edition uint64
	wire    int
	left    int
}

// onlooker is one session that is told of the members of one topic. Its loop owns it.
type onlooker struct {
	session *Session
	gallery *gallery
	told    uint64 // the edition that it was told, 0 for none; unless it is live
	place   seat
	index   int // in the slice of that place
}

// seat is where an onlooker is. It is in exactly one.
type seat uint8

const (
	seatLive    seat = iota // in its gallery's live slice
	seatWaiting             // in its gallery's waiting slice
	seatAside               // in the loop's list of those whose session's socket takes no more
	seatGone                // in none, for good
)

// lookOn begins to tell a session of a topic's members: first of all of them, then of what changes. Nothing is said before
// it returns. It runs on the loop.
func (l *loop) lookOn(s *Session, topic string) (*onlooker, *millrace.Error) {
	if err := millrace.ValidateTopic(millrace.PresenceTopic(topic)); err != nil {
		return nil, millrace.AsError(err)
	}
	g := l.galleries[topic]
	if g == nil {
		g = &gallery{loop: l}
		g.list = l.gateway.lists.Open(topic, g)
		g.topic = g.list.Topic()
		if l.galleries == nil {
			l.galleries = map[string]*gallery{}
		}
		l.galleries[g.topic] = g
	}
	o := &onlooker{session: s, gallery: g}
	g.held++
	g.list.Count(1)
	g.wait(o)
	return o, nil
}

// end stops telling the session. It runs on the loop.
func (o *onlooker) end() {
	g := o.gallery
	switch o.place {
	case seatLive:
		g.drop(o)
	case seatWaiting:
		g.stopWaiting(o)
	case seatAside:
		g.loop.forgetAside(o)
	case seatGone:
		return
	}
	o.place = seatGone
	g.held--
	g.list.Count(-1)
	if g.held == 0 {
		delete(g.loop.galleries, g.topic)
		g.list.Close(g)
	}
}

// Schedule puts the gallery into its loop's mailbox, once. It may be called by any goroutine.
func (g *gallery) Schedule() {
	if !g.scheduled.Swap(true) {
		g.loop.post(g)
	}
}

// run gives the gallery a turn: first those who are live are told what is new, then those who wait are brought to where these
// are.
func (g *gallery) run(*loop) {
	g.scheduled.Store(false)
	if g.held == 0 {
		return
	}
	budget := g.loop.gateway.config.Slice
	if r := &g.round; r.text == nil {
		if r.text, r.edition = g.list.Since(g.told); r.text != nil {
			r.wire, r.left = 0, len(g.live[0])
		}
	}
	if g.round.text != nil {
		var over bool
		if budget, over = g.tell(budget); !over {
			g.Schedule()
			return
		}
		g.told, g.round = g.round.edition, round{}
	}
	if g.told != 0 { // or the members are still being read
		g.catchUp(budget)
	}
}

// tell goes on with the round for as many onlookers as the budget has, and returns what is left of it and whether the round is
// over.
func (g *gallery) tell(budget int) (left int, over bool) {
	r := &g.round
	wires := g.loop.gateway.wires
	for r.wire < len(wires) {
		for ; r.left > 0; budget-- {
			if budget == 0 {
				return 0, false
			}
			r.left--
			g.tellOne(g.live[r.wire][r.left])
		}
		r.wire++
		if r.wire < len(wires) {
			r.left = len(g.live[r.wire])
		}
	}
	return budget, true
}

func (g *gallery) tellOne(o *onlooker) {
	if o.offer(g.round.text) {
		return
	}
	if !o.session.ending {
		g.drop(o)
		o.told = g.told
		g.loop.setAside(o)
	}
}

// offer writes what there is to tell, if the session is not blocked.
func (o *onlooker) offer(text *roster.Text) bool {
	s := o.session
	if s.blocked || s.ending {
		return false
	}
	return s.offerShared(text.Bytes(s.wireIndex, func(c *roster.Changes) []byte { return s.wire.AppendMembers(nil, (*MemberChanges)(c)) }))
}

// catchUp brings those who wait to where the live ones are, as many as the budget has. Those who stand together are told the
// same bytes.
func (g *gallery) catchUp(budget int) {
	for ; budget > 0 && len(g.waiting) > 0; budget-- {
		o := g.waiting[len(g.waiting)-1]
		text, edition := g.list.Since(o.told)
		if edition != g.told { // that is told to the live ones first
			break
		}
		g.stopWaiting(o)
		switch s := o.session; {
		case text == nil:
			g.join(o)
		case s.blocked:
			g.loop.setAside(o)
		default:
			g.join(o) // before, for the session may end by it, and the onlooker with it
			if !o.offer(text) && o.place == seatLive && !s.ending {
				g.drop(o)
				g.loop.setAside(o)
			}
		}
	}
	if len(g.waiting) > 0 {
		g.Schedule()
	}
}

// join makes an onlooker live. It must be at the gallery's edition, and no round under way.
func (g *gallery) join(o *onlooker) {
	i := o.session.wireIndex
	o.place, o.index = seatLive, len(g.live[i])
	g.live[i] = append(g.live[i], o)
}

// drop takes an onlooker out of the live ones. One that a round under way has yet to reach leaves without the edition.
func (g *gallery) drop(o *onlooker) {
	wire, i := o.session.wireIndex, o.index
	live := g.live[wire]
	swap := func(i, j int) {
		live[i], live[j] = live[j], live[i]
		live[i].index, live[j].index = i, j
	}
	if r := &g.round; r.text != nil && r.wire == wire && i < r.left {
		r.left--
		swap(i, r.left)
		i = r.left
	}
	last := len(live) - 1
	swap(i, last)
	live[last] = nil
	g.live[wire] = live[:last]
}

// wait lets an onlooker be brought up to date.
func (g *gallery) wait(o *onlooker) {
	o.place, o.index = seatWaiting, len(g.waiting)
	g.waiting = append(g.waiting, o)
	g.Schedule()
}

func (g *gallery) stopWaiting(o *onlooker) {
	last := len(g.waiting) - 1
	g.waiting[o.index] = g.waiting[last]
	g.waiting[o.index].index = o.index
	g.waiting[last] = nil
	g.waiting = g.waiting[:last]
}

// setAside keeps an onlooker until its session's socket takes more.
func (l *loop) setAside(o *onlooker) {
	if l.aside == nil {
		l.aside = map[*Session][]*onlooker{}
	}
	list := l.aside[o.session]
	o.place, o.index = seatAside, len(list)
	l.aside[o.session] = append(list, o)
}

func (l *loop) forgetAside(o *onlooker) {
	list := l.aside[o.session]
	last := len(list) - 1
	list[o.index] = list[last]
	list[o.index].index = o.index
	list[last] = nil
	if l.aside[o.session] = list[:last]; last == 0 {
		delete(l.aside, o.session)
	}
}

// bringBack lets the onlookers of a session whose socket takes more be brought up to date.
func (l *loop) bringBack(s *Session) {
	list := l.aside[s]
	delete(l.aside, s)
	for _, o := range list {
		o.gallery.wait(o)
	}
}

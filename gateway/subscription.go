package gateway

import (
	"slices"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/replay"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// place is where a subscription stands. It is in exactly one.
type place uint8

const (
	placeNone    place = iota // being looked at, or ended
	placeLive                 // in its audience's live slice
	placeWaiting              // in its audience's waiting slice
	placeQueued               // in its loop's queue, to be looked at
	placeReading              // a page is on its way from the log
	placeStalled              // in its session's stalled slice, until the socket takes more
	placePaced                // in its loop's agenda, until its rate allows another event
)

// subscription is one session's part in one topic: a position that moves to the topic's head, in step with the others
// (live) or by itself. Its loop owns it.
type subscription struct {
	session  *Session
	audience *audience
	wish     *wish          // nil if it wants every event
	wildcard *wildcard      // that it is held for; nil if it was asked for itself
	part     *part          // the session's in the topic beside its events; nil if it has none
	start    millrace.Start // where it begins; for StartAfter until it is attached

	place    place
	attached bool // the peer was told its position
	told     bool // the peer was told that it is pending
	settling bool // its wildcard waits for it to be attached
	born     bool // it begins at the topic's birth, since a wildcard met it
	again    bool // it comes from a cursor
	named    bool // the session's cursors have its option
	re       uint32
	index    int                        // in the audience's slice or the agenda
	pos      millrace.Position          // unless live
	count    tail.Count                 // likewise, in class ephemeral
	lost     uint64                     // Page.Lost of the last page
	reading  *replay.Seat[*loop, taker] // the read that is on its way, while placeReading
}

func (sub *subscription) topic() string { return sub.audience.topic.Name() }

// reached is where the subscription is in the topic: what was looked at for the session.
func (sub *subscription) reached() millrace.Position {
	switch a := sub.audience; {
	case sub.place != placeLive:
		return sub.pos
	case a.served(sub):
		return a.pass.pos
	default:
		return a.pos
	}
}

// position is where the peer is in the topic by what it was told.
func (sub *subscription) position() millrace.Position {
	if sub.wish != nil {
		return sub.wish.told
	}
	return sub.reached()
}

// subscribed is what there is to say of the subscription.
func (sub *subscription) subscribed() Subscribed {
	f := Subscribed{Topic: sub.topic(), Class: sub.audience.class, Pending: !sub.attached}
	if sub.wildcard != nil {
		f.Pattern = sub.wildcard.name()
	}
	if f.HasPosition() {
		f.Position = sub.position()
	}
	return f
}

// stall sets the subscription aside until its session's socket takes more.
func (sub *subscription) stall() {
	s := sub.session
	sub.place = placeStalled
	s.stalled = append(s.stalled, sub)
}

// advance takes the subscription a step toward its audience: attaches it, serves it from the tail or the log, or makes
// it live. Each step writes at most one batch, so that many who catch up take turns.
func (sub *subscription) advance() {
	s, a := sub.session, sub.audience
	switch {
	case a.refused != nil:
		s.lose(sub, a.refused)
		return
	case s.blocked:
		sub.stall()
		return
	case !a.ready, !sub.attached && !a.topic.Verified():
		a.wait(sub)
		return
	case a.class == millrace.ClassLog && sub.rate() > 0:
		s.yield(sub, millrace.Errorf(millrace.ReasonUnsupported, "%s is of class log, which is delivered whole, at no rate", sub.topic()))
		return
	}
	if !sub.attached {
		switch start := sub.start.In(a.class); start.Kind {
		case millrace.StartNow:
			sub.attach(a.pos)
		case millrace.StartAfter:
			sub.attach(start.After)
		default:
			sub.read(start)
			return
		}
	}
	switch {
	case s.ending || sub.place != placeNone:
	case sub.rate() > 0:
		sub.keepPace()
	case a.class == millrace.ClassEphemeral:
		sub.follow()
	default:
		sub.catchUp()
	}
}

// catchUp serves the subscription from the tail or the log, or makes it live.
func (sub *subscription) catchUp() {
	s, a := sub.session, sub.audience
	switch {
	case s.blocked:
		sub.stall()
		return
	case sub.pos == a.pos && a.pass.active():
		a.wait(sub)
		return
	case sub.pos == a.pos:
		a.join(sub)
		return
	}
	entries, attached, found := a.topic.After(sub.pos, a.next, a.loop.batch[:0], a.loop.gateway.config.BatchBytes)
	switch {
	case len(entries) > 0:
		sub.give(entries)
		clear(entries)
		a.loop.batch = entries[:0]
	case !attached, found:
		a.wait(sub)
	default:
		sub.readOn()
	}
}

// follow makes the subscription live in class ephemeral, once the peer was told what went by meanwhile.
func (sub *subscription) follow() {
	s, a := sub.session, sub.audience
	if a.pass.active() {
		a.wait(sub)
		return
	}
	if missed := a.count.Since(sub.count); missed != (tail.Count{}) && !s.blocked {
		sub.count = a.count
		s.offerCopy(sub.appendEntries(nil, sub.pos, missed.Gaps(sub.topic())))
	}
	switch {
	case s.ending:
	case s.blocked:
		sub.stall()
	default:
		a.join(sub)
	}
}

// attach tells the peer where the subscription begins.
func (sub *subscription) attach(at millrace.Position) {
	s, a := sub.session, sub.audience
	sub.pos, sub.attached, sub.count = at, true, a.count
	if a.pass.active() {
		sub.count = a.pass.count // it is waited for, and nothing of it is owed
	}
	if sub.wish != nil {
		sub.wish.told = at
	}
	if sub.rate() > 0 && sub.resumed() {
		sub.spend() // or whoever comes back again and again gets an event each time
	}
	if sub.isSampled() {
		a.enter(sub)
	}
	s.moved = nil
	s.say(sub.re, sub.subscribed())
	sub.re = 0
	sub.settle()
	sub.proceed()
}

// proceed lets the session's part in the topic go on that waited for the subscription to hold, or for a word that it can't.
func (sub *subscription) proceed() {
	if sub.part != nil {
		sub.part.look()
		sub.part.next()
	}
}

// resumed reports whether the peer may have had events of the topic in a former session.
func (sub *subscription) resumed() bool {
	if sub.audience.class == millrace.ClassEphemeral {
		return sub.again
	}
	return sub.start.Kind == millrace.StartAfter && !sub.start.After.IsZero()
}

// give writes entries to the session and moves the position past them. The session must not be blocked.
func (sub *subscription) give(entries []*tail.Entry) {
	l, s := sub.audience.loop, sub.session
	l.scratch = sub.appendEntries(l.scratch[:0], sub.pos, entries)
	sub.pos = entries[len(entries)-1].Position()
	if slices.ContainsFunc(entries, (*tail.Entry).IsGap) {
		sub.lost = 0 // which was of a state that is over, perhaps of a log that is lost
	}
	sub.place = placeNone
	if len(l.scratch) > 0 {
		s.offerCopy(l.scratch)
	}
	if !s.ending {
		l.queue(sub)
	}
}

// read asks for the next page of the log.
func (sub *subscription) read(start millrace.Start) {
	l := sub.audience.loop
	sub.place = placeReading
	sub.reading = l.gateway.replays.Read(l, sub.topic(), start, sub.pageLimit(), sub)
}

// readOn asks for the page that follows.
func (sub *subscription) readOn() {
	sub.read(millrace.Start{Kind: millrace.StartAfter, After: sub.pos, Lost: sub.lost})
}

// take receives what read asked for.
func (sub *subscription) take(page millrace.Page, err error) {
	if sub.place != placeReading {
		return
	}
	sub.place = placeNone
	a := sub.audience
	if err != nil {
		a.wait(sub)
		return
	}
	if !sub.attached {
		at := page.Next
		if len(page.Events) > 0 {
			at = page.Events[0].Before()
		}
		sub.lost = page.Lost
		sub.attach(at)
	}
	entries := a.appendPage(a.loop.batch[:0], sub.pos, page)
	for i, e := range entries {
		if e.Event != nil && e.Event.Position == a.pos {
			entries = entries[:i+1]
			break
		}
	}
	switch {
	case sub.session.ending || sub.place != placeNone:
	case sub.session.blocked:
		sub.stall()
	case len(entries) > 0:
		sub.give(sub.ration(entries))
		sub.lost = page.Lost // and not of a page that was not given: its gap is still owed
	case sub.pos == a.pos || a.topic.Holds(sub.pos): // the topic may have moved on since the log was read
		a.loop.queue(sub)
	default:
		a.wait(sub)
	}
	clear(entries)
	a.loop.batch = entries[:0]
}

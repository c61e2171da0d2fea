package gateway

import (
	"container/list"

	"github.com/millrace-dev/millrace"
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
)

// subscription is one session's part in one topic: a position that moves to the topic's head, in step with the others
// (live) or by itself. Its loop owns it.
type subscription struct {
	session  *Session
	audience *audience
	start    millrace.Start // where it begins; for StartAfter until it is attached

	place    place
	attached bool // the peer was told its position
	told     bool // the peer was told that it is pending
	re       uint32
	index    int               // in the audience's slice, while placeLive or placeWaiting
	pos      millrace.Position // unless live
	reading  *list.Element     // the read that is on its way, while placeReading
}

func (sub *subscription) topic() string { return sub.audience.topic.name }

// position is where the session is in the topic: what it was given.
func (sub *subscription) position() millrace.Position {
	switch a := sub.audience; {
	case sub.place != placeLive:
		return sub.pos
	case a.served(sub):
		return a.pass.pos
	default:
		return a.pos
	}
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
		s.drop(sub)
		s.say(sub.re, Unsubscribed{Topic: sub.topic(), Err: a.refused})
		return
	case s.blocked:
		sub.stall()
		return
	case !a.ready, !sub.attached && !a.topic.verified():
		a.wait(sub)
		return
	}
	if !sub.attached {
		switch sub.start.Kind {
		case millrace.StartDefault, millrace.StartNow:
			sub.attach(a.pos)
		case millrace.StartAfter:
			sub.attach(sub.start.After)
		default:
			sub.read(sub.start)
			return
		}
	}
	switch {
	case s.ending:
		return
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
	entries, attached, found := a.topic.after(sub.pos, a.next, a.loop.batch[:0], a.loop.gateway.config.BatchBytes)
	switch {
	case len(entries) > 0:
		sub.give(entries)
		clear(entries)
		a.loop.batch = entries[:0]
	case !attached, found:
		a.wait(sub)
	default:
		sub.read(millrace.After(sub.pos))
	}
}

// attach tells the peer where the subscription begins.
func (sub *subscription) attach(at millrace.Position) {
	sub.pos, sub.attached = at, true
	sub.session.moved = nil
	sub.session.say(sub.re, Subscribed{Topic: sub.topic(), Position: at})
	sub.re = 0
}

// give writes entries to the session and moves the position past them. The session must not be blocked.
func (sub *subscription) give(entries []*entry) {
	l, s := sub.audience.loop, sub.session
	l.scratch = sub.appendEntries(l.scratch[:0], entries)
	sub.pos = entries[len(entries)-1].position()
	sub.place = placeNone
	s.offerCopy(l.scratch)
	if !s.ending {
		l.queue(sub)
	}
}

// appendEntries appends the bytes of entries as the session gets them.
func (sub *subscription) appendEntries(dst []byte, entries []*entry) []byte {
	s := sub.session
	for _, e := range entries {
		if e.withheldFrom(s) {
			s.moved = nil
			dst = s.appendAdvanced(dst, sub, e.position())
			continue
		}
		if s.wire.AppendLead != nil {
			dst = sub.appendLead(dst)
		}
		dst = append(dst, e.chunk(s.wireIndex, s.wire)...)
	}
	return dst
}

// read asks for the next page of the log.
func (sub *subscription) read(start millrace.Start) {
	sub.place = placeReading
	sub.reading = sub.audience.loop.gateway.replays.read(sub.audience.loop, sub.topic(), start, sub)
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
		sub.attach(at)
	}
	entries := a.loop.batch[:0]
	if page.Gap != nil {
		entries = append(entries, &entry{gap: page.Gap})
	}
	for _, e := range page.Events {
		entries = append(entries, &entry{event: e})
		if e.Position == a.pos {
			break
		}
	}
	switch {
	case sub.session.ending:
	case sub.session.blocked:
		sub.stall()
	case len(entries) > 0:
		sub.give(entries)
	case sub.pos == a.pos || a.topic.holds(sub.pos): // the topic may have moved on since the log was read
		a.loop.queue(sub)
	default:
		a.wait(sub)
	}
	clear(entries)
	a.loop.batch = entries[:0]
}

package gateway

import (
	"slices"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/enrol"
)

// part is how a session takes part in one of its topics, beside getting the events: it is a member or is about to be, or is
// told of the members. What is asked of the upstream for it goes one by one. Its loop owns it.
type part struct {
	sub  *subscription
	want *entry // how it begins; nil once it has

	member   bool // the session's cursors say so: it was acked, or is yet to be taken over
	acked    bool // by the upstream, to this session
	shows    bool // a member: it is told of the others
	watches  bool // it is told of the members whether it is one or not
	own      bool // the subscription was made to join
	over     bool
	busy     bool // the first of asks is under way
	asks     []*ask
	onlooker *onlooker
}

// entry is how a session becomes a member of a topic that it opens with.
type entry struct {
	resumes bool   // its cursor says that it is one
	joins   bool   // its opening does; if it resumes, in case that there is nothing to take over any more
	data    []byte // likewise
}

// ask is one change that a session wants of its membership.
type ask struct {
	kind     millrace.MemberChangeKind
	data     []byte
	shows    bool // in a join
	entry    bool // nobody asked for it now: it comes from the opening or a cursor
	joins    bool // in a resume: join if there is nothing to take over
	dropped  bool // whoever asked was told that it did not work out in time
	re       uint32
	answered chan struct{}         // closed when the answer was taken; nil if nobody waits for that
	done     func(*millrace.Error) // of an operator who asks: told once what came of it, in place of the peer if it is nothing; else nil
}

// maxAsks is how many changes of one membership may wait; what waits beyond the readers' own was posted.
const maxAsks = 16

var (
	errWentOn = millrace.Errorf(millrace.ReasonConflict, "the session went on with another connection")
	errEnded  = millrace.Errorf(millrace.ReasonNotFound, "the membership ended while the session was away")
)

func notMember(topic string) *millrace.Error {
	return millrace.Errorf(millrace.ReasonNotFound, "the session is not a member of %.255q", topic)
}

func (p *part) topic() string { return p.sub.topic() }

// text is the part as the session's cursors have it.
func (p *part) text() millrace.Part {
	return millrace.Part{Topic: p.topic(), Joined: p.member, Told: p.member && p.shows || p.watches}
}

// stays reports whether the session will be a member once all is done that was asked for.
func (p *part) stays() bool {
	for _, a := range slices.Backward(p.asks) {
		switch {
		case a.kind == millrace.MemberUpdate, a.dropped && p.member: // the latter is no more than other data
		default:
			return a.kind != millrace.MemberLeave && !a.dropped
		}
	}
	return p.member
}

// isMember reports whether the session may act as a member.
func (p *part) isMember() bool { return p != nil && p.acked && p.stays() }

// enter notes how the part begins.
func (p *part) enter(c Subscribe) {
	s := p.sub.session
	s.stale = true
	switch {
	case c.entry != nil:
	case p.isMember() && !s.grant.Allows(millrace.ActionPresence, p.topic()):
		p.shows = true // as a member, and no longer
		return
	default:
		p.watches = true
		return
	}
	p.want, p.shows = c.entry, c.Members
	p.member = c.entry.resumes && s.resumed() && s.mayJoin(p.sub) == nil
}

// begin lets the part begin that the subscription came with, if it did.
func (sub *subscription) begin() {
	if sub.part != nil {
		sub.part.begin()
	}
}

// stand lets the subscription stay whatever becomes of the join that it was made for.
func (sub *subscription) stand() {
	if sub.part != nil {
		sub.part.own = false
	}
}

// begin does what the part is to begin with.
func (p *part) begin() {
	s, want := p.sub.session, p.want
	p.want = nil
	if want != nil {
		a := &ask{data: want.data, shows: p.shows, entry: true, joins: want.joins}
		switch err := s.mayJoin(p.sub); {
		case err != nil:
			p.end(err)
		case p.member:
			a.kind = millrace.MemberResume
			p.asks = append(p.asks, a)
		case want.joins:
			a.kind = millrace.MemberJoin
			p.asks = append(p.asks, a)
		case want.resumes:
			p.end(errEnded)
		}
	}
	if p.watches && !s.grant.Allows(millrace.ActionPresence, p.topic()) {
		p.watches, s.stale = false, true
		s.say(0, Failed{Err: errPresence(p.topic())})
		p.prune()
	}
	p.look()
	p.next()
}

// push asks for a change behind those that wait.
func (p *part) push(a *ask) *millrace.Error {
	if len(p.asks) >= maxAsks {
		return millrace.Errorf(millrace.ReasonRateLimited, "too many changes of the membership in %s wait to be done", p.topic())
	}
	p.asks = append(p.asks, a)
	p.next()
	return nil
}

// next asks the upstream for the next change. A session that joins is attached before, unless it was told that this takes a
// while: the upstream then says why it can't be.
func (p *part) next() {
	if p.busy || p.over || len(p.asks) == 0 {
		return
	}
	a := p.asks[0]
	if a.kind == millrace.MemberJoin && !p.member && !p.sub.attached && !p.sub.told {
		return
	}
	p.busy = true
	p.sub.session.enrol(enrol.Change{
		MemberChange: millrace.MemberChange{Kind: a.kind, Topic: p.topic(), Member: millrace.Member{Data: a.data}, Reason: millrace.LeftAsked},
		Owner:        p, Persists: a.entry,
	})
}

// Enrolled implements enrol.Owner.
func (p *part) Enrolled(_ millrace.MemberChange, ack millrace.MemberAck) {
	p.sub.session.loop.post(call(func() { p.hear(ack) }))
}

// hear takes what the upstream says to the first of asks.
func (p *part) hear(ack millrace.MemberAck) {
	s := p.sub.session
	if p.over {
		return
	}
	a := p.asks[0]
	p.asks, p.busy = p.asks[1:], false
	switch {
	case a.kind == millrace.MemberLeave:
		p.leave(a, nil)
	case ack.Err != nil && ack.Err.Reason == millrace.ReasonConflict:
		s.end(errWentOn)
	case ack.Err != nil:
		p.fail(a, ack.Err)
	case a.kind == millrace.MemberUpdate:
		s.answer(a, Done{})
	default:
		p.succeed(a, ack)
	}
	p.next()
}

// succeed tells that the session is a member.
func (p *part) succeed(a *ask, ack millrace.MemberAck) {
	s := p.sub.session
	if a.dropped && !p.member { // and was told that it is none
		p.asks = append([]*ask{{kind: millrace.MemberLeave, dropped: true}}, p.asks...)
		return
	}
	p.member, p.acked, p.own = true, true, false
	if a.kind == millrace.MemberJoin {
		p.shows = a.shows
	}
	s.stale = true
	if !a.dropped {
		s.answer(a, Joined{Topic: p.topic(), Member: ack.Member, Count: ack.Count, Subjects: ack.Subjects})
	}
	p.look()
}

// fail tells that a change was not done, and what follows from that.
func (p *part) fail(a *ask, err *millrace.Error) {
	s := p.sub.session
	switch gone := err.Reason == millrace.ReasonNotFound; {
	case a.kind == millrace.MemberResume && gone && a.joins:
		a.kind = millrace.MemberJoin
		p.asks = append([]*ask{a}, p.asks...)
	case a.kind == millrace.MemberResume && gone:
		s.enrol(leaving(p.topic(), millrace.LeftLost)) // or the upstream may go on to tell of what a former connection here had
		p.end(errEnded)
	case a.entry:
		p.end(err)
	case p.own:
		s.disown(p.sub, err)
		s.answer(a, Failed{Err: err})
	case a.kind == millrace.MemberUpdate && gone:
		s.enrol(leaving(p.topic(), millrace.LeftLost)) // likewise
		if s.answer(a, Failed{Err: err}); !p.over {
			p.end(notMember(p.topic()))
		}
	default:
		s.answer(a, Failed{Err: err})
		p.prune()
	}
}

// end tells that the membership ended by itself. The subscription stays.
func (p *part) end(err *millrace.Error) { p.leave(&ask{}, err) }

// leave tells that the membership ended.
func (p *part) leave(a *ask, err *millrace.Error) {
	s := p.sub.session
	p.member, p.acked, p.shows = false, false, false
	p.sub.permitted = min(p.sub.permitted, permitSubscribe)
	s.stale = true
	p.look()
	p.prune()
	s.answer(a, Left{Topic: p.topic(), Err: err})
}

// look lets the session be told of the members if it is to be, and no longer if it is not.
func (p *part) look() {
	s := p.sub.session
	wants := p.acked && p.shows || p.watches && p.sub.attached
	switch {
	case s.ending || p.over || wants == (p.onlooker != nil):
	case !wants:
		p.onlooker.end()
		p.onlooker = nil
	default:
		o, err := s.loop.lookOn(s, p.topic())
		if err != nil {
			p.shows, p.watches = false, false
			s.stale = true
			s.say(0, Failed{Err: err})
			p.prune()
			return
		}
		p.onlooker = o
	}
}

// prune ends a part that is for nothing.
func (p *part) prune() {
	if !p.member && !p.watches && len(p.asks) == 0 && !p.over {
		p.close()
	}
}

// close takes the part from its subscription.
func (p *part) close() {
	s := p.sub.session
	p.over = true
	if p.onlooker != nil {
		p.onlooker.end()
		p.onlooker = nil
	}
	p.sub.part = nil
	s.load.parts -= partBytes(p.topic())
	s.stale, s.moved = true, nil
}

// partBytes is what a part takes in a cursor, separator included: as much as any of the topic's.
func partBytes(topic string) int {
	return len(",") + len(millrace.AppendPart(nil, millrace.Part{Topic: topic, Joined: true}))
}

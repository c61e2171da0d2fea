package gateway

import (
	"context"
	"slices"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/absence"
	"github.com/millrace-dev/millrace/gateway/internal/enrol"
)

// seek does a command about a membership. answered, if it is not nil, is closed when the answer was taken.
func (s *Session) seek(re uint32, c Command, answered chan struct{}) {
	if s.ending {
		return // or it would be a member that nobody lets leave
	}
	a := &ask{re: re, answered: answered}
	var err *millrace.Error
	switch c := c.(type) {
	case Join:
		a.kind, a.data, a.shows = millrace.MemberJoin, c.Data, c.Members
		err = s.join(c.Subscribe, a)
	case Update:
		a.kind, a.data = millrace.MemberUpdate, c.Data
		err = s.alter(c.Topic, a)
	case Leave:
		a.kind = millrace.MemberLeave
		err = s.alter(c.Topic, a)
	}
	if err != nil {
		s.answer(a, Failed{Err: err})
	}
}

// mayJoin reports why a grant does not allow to be a member of a topic, or nil.
func mayJoin(grant *millrace.Grant, topic string) *millrace.Error {
	if err := millrace.ValidateTopic(topic); err != nil {
		return millrace.AsError(err)
	}
	if millrace.Reserved(topic) || !grant.Allows(millrace.ActionJoin, topic) {
		return millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to join %s", topic)
	}
	return nil
}

// mayJoin reports why the session may not be a member of a topic that it has, or nil.
func (s *Session) mayJoin(sub *subscription) *millrace.Error {
	if sub.permitted == permitJoin {
		return nil
	}
	return mayJoin(s.grant, sub.topic())
}

// join asks for a membership, or for other data of one. The session holds the topic first, so that it gets what is said to
// it as a member.
func (s *Session) join(c Subscribe, a *ask) *millrace.Error {
	if c.permitted != permitJoin {
		if err := mayJoin(s.grant, c.Topic); err != nil {
			return err
		}
	}
	sub := s.find(c.Topic)
	if sub == nil {
		c.Members, c.entry = false, &entry{joins: true}
		held, err := s.hold(0, c)
		if err != nil {
			return err
		}
		held.part.own, held.part.want = true, nil
		held.part.asks = []*ask{a}
		held.advance()
		if held.part != nil {
			held.part.next()
		}
		return nil
	}
	if err := s.takePart(sub); err != nil {
		return err
	}
	if sub.wildcard != nil {
		if sub.setFree(c.Start); !s.ending {
			s.say(0, sub.subscribed())
		}
	}
	if sub.part == nil { // by what was said
		return nil
	}
	return sub.part.push(a)
}

// alter asks for a change of a membership that there is, or will be.
func (s *Session) alter(topic string, a *ask) *millrace.Error {
	sub := s.find(topic)
	if sub == nil || sub.part == nil || !sub.part.stays() {
		return notMember(topic)
	}
	return sub.part.push(a)
}

// takePart gives a subscription a part, if it has none.
func (s *Session) takePart(sub *subscription) *millrace.Error {
	if sub.part != nil {
		return nil
	}
	n := partBytes(sub.topic())
	if s.beginning()+n > maxBeginning || s.wire.AppendLead != nil && len(s.seal)+permitBytes*len(s.given())+s.load.bytes()+n > millrace.MaxCursorBytes {
		return errBeginning
	}
	s.addPart(sub)
	return nil
}

func (s *Session) addPart(sub *subscription) {
	sub.part = &part{sub: sub}
	s.load.parts += partBytes(sub.topic())
}

// widen adds what a subscribe wants beside the events to a topic that the session has already.
func (s *Session) widen(sub *subscription, c Subscribe) *millrace.Error {
	if c.Members && !sub.part.isMember() && !s.grant.Allows(millrace.ActionPresence, c.Topic) {
		return errPresence(c.Topic)
	}
	if !c.takesPart() {
		return nil
	}
	if err := s.takePart(sub); err != nil {
		return err
	}
	if c.entry == nil || !sub.part.stays() {
		sub.part.enter(c)
	}
	return nil
}

func errPresence(topic string) *millrace.Error {
	return millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to see the members of %s", topic)
}

// takesPart reports whether a subscription comes with a part.
func (c Subscribe) takesPart() bool { return c.Members || c.entry != nil }

// enrol hands over a change of the session's.
func (s *Session) enrol(c enrol.Change) {
	c.Generation, c.Member.Session = s.generation, s.name
	switch c.Kind {
	case millrace.MemberJoin:
		c.Member.Subject = s.grant.Subject
		fallthrough
	case millrace.MemberResume:
		c.Reason = ""
		if s.resumed() {
			s.gateway.absences.Claim(s.name, c.Topic)
		}
	case millrace.MemberUpdate:
		c.Reason = ""
	}
	s.gateway.enroller.Submit(c)
}

// resign ends the part that goes with a subscription which is about to end, and tells the peer if it was a member. It
// reports whether the session goes on.
func (s *Session) resign(sub *subscription, err *millrace.Error) bool {
	p := sub.part
	if p == nil {
		return !s.ending
	}
	tell, asks := p.member, p.asks
	if p.member || p.busy {
		reason := millrace.LeftAsked
		if err != nil {
			reason = string(err.Reason)
		}
		s.enrol(leaving(p.topic(), reason))
	}
	p.close()
	for _, a := range asks {
		switch {
		case a.dropped:
		case a.kind == millrace.MemberLeave && tell:
			tell = false
			s.answer(a, Left{Topic: p.topic(), Err: err})
		case a.entry:
			tell = true
		case err != nil:
			s.answer(a, Failed{Err: err})
		default:
			s.answer(a, Failed{Err: millrace.Errorf(millrace.ReasonCanceled, "the topic was unsubscribed from before it was done")})
		}
	}
	if tell {
		s.say(0, Left{Topic: p.topic(), Err: err})
	}
	return !s.ending
}

// disown ends a subscription that was made for a join which failed.
func (s *Session) disown(sub *subscription, err *millrace.Error) {
	if s.resign(sub, err) {
		s.drop(sub)
		s.say(0, Unsubscribed{Topic: sub.topic(), Err: err})
	}
}

// answer says what became of a change, and lets whoever waits go on once that was taken.
func (s *Session) answer(a *ask, f Frame) {
	if a.dropped {
		return
	}
	if a.done != nil {
		failed, refused := f.(Failed)
		if a.done(failed.Err); refused {
			return
		}
	}
	s.say(a.re, f)
	if a.answered != nil {
		s.owing = append(s.owing, a.answered)
		s.settle()
	}
}

// giveUp answers a change whose asker's time is up. It may still be done; a join that was the first is then undone.
func (s *Session) giveUp(answered chan struct{}, err *millrace.Error) {
	for _, sub := range s.subs {
		if sub.part == nil {
			continue
		}
		p := sub.part
		for i, a := range p.asks {
			if a.answered != answered {
				continue
			}
			if p.own && i == 0 {
				s.disown(sub, err)
				return
			}
			s.answer(a, Failed{Err: err})
			a.dropped, a.answered = a.kind != millrace.MemberLeave, nil
			if a.re = 0; i > 0 || !p.busy { // it was not asked yet
				p.asks = slices.DeleteFunc(p.asks, func(o *ask) bool { return o == a })
				p.prune()
			}
			return
		}
	}
}

// await does a command about a membership and waits until its answer was taken, or ctx ends.
func (s *Session) await(ctx context.Context, re uint32, c Command) {
	answered := make(chan struct{})
	s.loop.post(call(func() { s.seek(re, c, answered) }))
	select {
	case <-answered:
		return
	case <-s.done:
		return
	case <-ctx.Done():
	}
	err := millrace.AsError(ctx.Err())
	s.loop.post(call(func() { s.giveUp(answered, err) }))
	select {
	case <-answered:
	case <-s.done:
	}
}

// sessionsAlone is what a session is a member of that joined nothing.
var sessionsAlone = []string{millrace.SessionsTopic}

// appear makes the session a member of all live sessions.
func (s *Session) appear() {
	s.enrol(enrol.Change{
		MemberChange: millrace.MemberChange{
			Kind: millrace.MemberJoin, Topic: millrace.SessionsTopic, Member: millrace.Member{Data: s.gateway.facts[s.wireIndex]},
		},
		Owner: s, Persists: true,
	})
}

// Enrolled implements enrol.Owner, for what appear asked.
func (s *Session) Enrolled(_ millrace.MemberChange, ack millrace.MemberAck) {
	switch {
	case ack.Err == nil:
	case ack.Err.Reason == millrace.ReasonConflict:
		s.End(errWentOn)
	default:
		s.gateway.warn("a session is not listed", millrace.SessionsTopic, ack.Err)
	}
}

// departure is what becomes of the memberships of a session that ends: at once, or if it does not come back in time, they
// end with a reason.
type departure struct {
	reason  string
	returns bool
}

// departing is what the end of a session with an error means. A peer that may come back as it is, or with a new token, and
// one that did on another connection, is waited for.
func departing(err *millrace.Error) departure {
	switch {
	case err == nil:
		return departure{millrace.LeftLost, true}
	case err.Reason == millrace.ReasonTokenExpired, err.Reason == millrace.ReasonConflict, err.Reason.Outcome().Retryable:
		return departure{string(err.Reason), true}
	}
	return departure{string(err.Reason), false}
}

// depart ends the session's part in all topics.
func (s *Session) depart(d departure) {
	topics := sessionsAlone
	for _, sub := range s.subs {
		p := sub.part
		if p == nil {
			continue
		}
		switch known := p.member || p.busy; {
		case known && p.stays():
			topics = append(slices.Clip(topics), p.topic())
		case known:
			s.enrol(leaving(p.topic(), millrace.LeftAsked))
		}
		p.close()
	}
	if d.returns {
		s.gateway.absences.Add(s.gateway.elapsed(), absence.Absent{Session: s.name, Generation: s.generation, Reason: d.reason, Topics: topics})
		return
	}
	for _, topic := range topics {
		s.enrol(leaving(topic, d.reason))
	}
}

func leaving(topic, reason string) enrol.Change {
	return enrol.Change{MemberChange: millrace.MemberChange{Kind: millrace.MemberLeave, Topic: topic, Reason: reason}}
}

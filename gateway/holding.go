package gateway

import (
	"container/heap"
	"slices"

	"github.com/millrace-dev/millrace"
)

// holdEither takes on a topic or a pattern that the session does not have yet.
func (s *Session) holdEither(c Subscribe) *millrace.Error {
	if !millrace.Pattern(c.Topic).IsTopic() {
		if s.findWildcard(c.Topic) != nil {
			return nil
		}
		return s.holdWildcard(0, c)
	}
	if s.find(c.Topic) != nil {
		return nil
	}
	_, err := s.hold(0, c)
	return err
}

func (s *Session) find(topic string) *subscription {
	for _, sub := range s.subs {
		if sub.topic() == topic {
			return sub
		}
	}
	return nil
}

// subscribe adds a topic or a pattern. One that the session already has is answered with its position and goes on as it
// was, but that a topic which was held for a pattern is held for itself from then on.
func (s *Session) subscribe(re uint32, c Subscribe) {
	switch {
	case s.ending:
		return
	case !millrace.Pattern(c.Topic).IsTopic():
		s.subscribeAll(re, c)
		return
	}
	if sub := s.find(c.Topic); sub != nil {
		if err := s.widen(sub, c); err != nil {
			s.say(re, Failed{Err: err})
			return
		}
		if c.Pattern == "" {
			sub.setFree(c.Start)
			sub.stand()
		}
		s.say(re, sub.subscribed())
		sub.begin()
		return
	}
	if c.Members && c.entry == nil && !c.Again && !s.grant.Allows(millrace.ActionPresence, c.Topic) {
		s.say(re, Unsubscribed{Topic: c.Topic, Err: errPresence(c.Topic)})
		return
	}
	sub, err := s.hold(re, c)
	if err != nil {
		s.say(re, Unsubscribed{Topic: c.Topic, Err: err})
		return
	}
	sub.advance()
	sub.begin()
}

// hold takes a topic on, with a subscription that has yet to advance.
func (s *Session) hold(re uint32, c Subscribe) (*subscription, *millrace.Error) {
	c.permitted = max(c.permitted, s.permittedBy(c))
	if err := s.admits(c); err != nil {
		return nil, err
	}
	a, err := s.loop.audience(c.Topic)
	if err != nil {
		return nil, err
	}
	a.held++
	sub := &subscription{session: s, audience: a, wish: newWish(c), wildcard: s.findWildcard(c.Pattern), start: c.Start, re: re, again: c.Again, permitted: c.permitted}
	s.stale = s.stale || sub.permitted != 0
	if sub.wildcard != nil && c.Start.Kind != millrace.StartAfter {
		sub.settling = true
		sub.wildcard.unsettled++
	}
	s.load.carry(sub.option(), 1)
	if sub.named = !s.understood(sub.option()); sub.named {
		s.load.begun += optionBytes(sub.option())
		s.stale = true
	}
	s.subs = append(s.subs, sub)
	s.moved = nil
	if c.takesPart() {
		s.addPart(sub)
		sub.part.enter(c)
	}
	return sub, nil
}

// admits reports whether the session may have one more topic, this one.
func (s *Session) admits(c Subscribe) *millrace.Error {
	if err := millrace.ValidateTopic(c.Topic); err != nil {
		return millrace.AsError(err)
	}
	if !s.grant.Allows(millrace.ActionSubscribe, c.Topic) && !s.isEntitled(c) {
		return millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to subscribe to %s", c.Topic)
	}
	return s.hasRoom(c)
}

// isEntitled reports whether the session may have a topic without a grant to subscribe to it: as a member, because it is the
// subject's own, or since an operator wants it.
func (s *Session) isEntitled(c Subscribe) bool {
	own, ok := s.personal()
	return c.permitted != 0 || ok && own == c.Topic || c.entry != nil && mayJoin(s.grant, c.Topic) == nil
}

// personal returns the topic that the session has without a grant for it, and whether there is one.
func (s *Session) personal() (string, bool) {
	if !s.gateway.config.PersonalTopics {
		return "", false
	}
	return millrace.PersonalTopic(s.grant.Subject)
}

// hasRoom reports whether the session may have one more topic or pattern.
func (s *Session) hasRoom(c Subscribe) *millrace.Error {
	if err := millrace.ValidateMaxRate(c.MaxRate); err != nil {
		return millrace.AsError(err)
	}
	if n := s.gateway.config.MaxTopics; len(s.subs)+len(s.wildcards) >= n {
		return s.full()
	}
	if s.wire.AppendLead != nil && s.cursorBound(c) > millrace.MaxCursorBytes {
		return millrace.Errorf(millrace.ReasonTooManyTopics, "the session's cursor would be longer than %d bytes", millrace.MaxCursorBytes)
	}
	if n := s.growth(c); n > 0 && s.beginning()+n > maxBeginning {
		return errBeginning
	}
	return nil
}

// full is what a session is told that would have too many topics.
func (s *Session) full() *millrace.Error {
	return millrace.Errorf(millrace.ReasonTooManyTopics, "a session may have at most %d topics", s.gateway.config.MaxTopics)
}

func (s *Session) unsubscribe(re uint32, topic string) {
	if w := s.findWildcard(topic); w != nil {
		s.takeBack(w.re)
		w.end(re, nil)
		return
	}
	sub := s.find(topic)
	switch {
	case sub == nil:
		s.say(re, Failed{Err: millrace.Errorf(millrace.ReasonNotFound, "the session is not subscribed to %.255q", topic)})
	case sub.wildcard != nil: // a cursor that lacks it but has the pattern would bring it back, from its birth
		s.say(re, Failed{Err: millrace.Errorf(millrace.ReasonConflict, "%s is held for %s: subscribe to it, or unsubscribe from the pattern", topic, sub.wildcard.name())})
	case !s.resign(sub, nil):
	case s.covering(topic) != nil: // likewise
		sub.goOver()
		s.say(re, sub.subscribed())
	default:
		if s.takeBack(sub.re); s.ending {
			return
		}
		s.drop(sub)
		s.say(re, Unsubscribed{Topic: topic})
	}
}

// takeBack answers a subscribe that is unsubscribed from before it was answered.
func (s *Session) takeBack(re uint32) {
	if re != 0 {
		s.say(re, Failed{Err: millrace.Errorf(millrace.ReasonCanceled, "it was unsubscribed from before it held")})
	}
}

// lose ends a subscription that can't go on. Patterns that count the topic as theirs end before: a cursor that has such a
// pattern but lacks the topic would bring it back, from its birth.
func (s *Session) lose(sub *subscription, err *millrace.Error) {
	s.endHolders(sub, err)
	if s.find(sub.topic()) != sub || !s.resign(sub, err) { // it ended with them, or with the session
		return
	}
	s.drop(sub)
	s.say(sub.re, Unsubscribed{Topic: sub.topic(), Err: err})
}

// yield ends a subscription that can't be with its rate, which is told for each topic, under a pattern too. A pattern
// without a rate has the topic then.
func (s *Session) yield(sub *subscription, err *millrace.Error) {
	w := sub.wildcard
	if !s.resign(sub, err) {
		return
	}
	s.drop(sub)
	s.say(sub.re, Unsubscribed{Topic: sub.topic(), Err: err})
	if w != nil {
		w.confirm()
	}
	s.takeAfter(sub.topic())
}

// drop takes a subscription out of wherever it is.
func (s *Session) drop(sub *subscription) {
	a := sub.audience
	switch sub.place {
	case placeLive:
		a.drop(sub)
	case placeWaiting:
		a.stopWaiting(sub)
	case placeStalled:
		s.stalled = slices.DeleteFunc(s.stalled, func(o *subscription) bool { return o == sub })
	case placeReading:
		s.gateway.replays.Cancel(sub.reading)
	case placePaced:
		heap.Remove(&s.loop.agenda, sub.index)
	}
	if sub.isSampled() {
		a.exit(sub)
	}
	sub.place = placeNone
	sub.unsettle()
	s.subs = slices.DeleteFunc(s.subs, func(o *subscription) bool { return o == sub })
	s.moved = nil
	s.load.carry(sub.option(), -1)
	s.stale = s.stale || sub.permitted != 0
	if sub.named {
		s.load.begun -= optionBytes(sub.option())
		s.stale = true
	}
	a.held--
	if a.held == 0 {
		s.loop.dismiss(a)
	}
}

package gateway

import (
	"context"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/door"
)

// Steer has the sessions of a target do a command on the authority of an operator: their grants are not looked at, and their
// peers are told as if they had asked. The command is a Subscribe, Unsubscribe, Join or Leave. It returns when each session has
// done it, memberships acked by the upstream, and for how many that is. The error is a *millrace.Error: ctx has ended, so that nothing is known of some; no session did it,
// with the refusal of one; or there is none that could, as ReasonNotFound.
func (g *Gateway) Steer(ctx context.Context, target millrace.Target, c Command) (int, error) {
	return g.eachOf(ctx, target, func(s *Session, done func(*millrace.Error)) { s.steer(c, done) })
}

// Disconnect ends the sessions of a target and tells their peers why. Those that may come back, by the reason, are told
// when, unless the error says it. The others are refused for a while, with the same error, if they bring their cursors all the
// same, here or from another gateway that was asked likewise. It returns how many there were; the error is as that of Steer.
func (g *Gateway) Disconnect(ctx context.Context, target millrace.Target, why *millrace.Error) (int, error) {
	forGood := !why.Reason.Outcome().Retryable
	if forGood && target.Validate() == nil {
		g.bar.Add(target, why)
	}
	return g.eachOf(ctx, target, func(s *Session, done func(*millrace.Error)) {
		if forGood {
			g.bar.Add(millrace.Target{Session: s.name}, why)
		}
		done(nil)
		s.sendAway(why)
	})
}

// barred reports why the session of a seal may not come back, or nil.
func (g *Gateway) barred(seal, subject string) error {
	if g.bar.Empty() {
		return nil
	}
	h, ok := g.sealer.Open(seal, subject)
	if !ok {
		return nil
	}
	if err := g.bar.Refuses(h.ID.String(), subject, h.At); err != nil {
		return err
	}
	return nil
}

// errEnding is what an operator is told of a session whose last words were said.
var errEnding = millrace.Errorf(millrace.ReasonNotFound, "the session has ended")

// targeted returns the sessions of a target.
func (g *Gateway) targeted(target millrace.Target) []*Session {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if target.Session != "" {
		if s := g.sessions[target.Session]; s != nil {
			return []*Session{s}
		}
		return nil
	}
	var sessions []*Session
	for _, s := range g.sessions { // all of them: it is rare
		if s.Subject() == target.Subject {
			sessions = append(sessions, s)
		}
	}
	return sessions
}

// eachOf runs f for the sessions of a target, on their loops, and waits until f has called done for each, or the session is
// over. Each loop is asked once.
func (g *Gateway) eachOf(ctx context.Context, target millrace.Target, f func(s *Session, done func(*millrace.Error))) (int, error) {
	if err := target.Validate(); err != nil {
		return 0, err
	}
	sessions := g.targeted(target)
	answers := make([]chan *millrace.Error, len(sessions))
	shares := map[*loop][]int{}
	for i, s := range sessions {
		answers[i] = make(chan *millrace.Error, 1)
		shares[s.loop] = append(shares[s.loop], i)
	}
	for l, share := range shares {
		l.post(call(func() {
			for _, i := range share {
				if sessions[i].ending {
					answers[i] <- errEnding
					continue
				}
				f(sessions[i], func(err *millrace.Error) { answers[i] <- err })
			}
		}))
	}
	count := 0
	var refusal *millrace.Error
	for i, s := range sessions {
		var err *millrace.Error
		select {
		case err = <-answers[i]:
		case <-s.done:
			select {
			case err = <-answers[i]:
			default:
				continue // it was over before
			}
		case <-ctx.Done():
			return count, millrace.AsError(context.Cause(ctx))
		}
		switch {
		case err == nil:
			count++
		case err.Reason != millrace.ReasonNotFound:
			refusal = err
		}
	}
	switch {
	case count > 0:
		return count, nil
	case refusal != nil:
		return 0, refusal
	case len(sessions) > 0:
		return 0, millrace.Errorf(millrace.ReasonNotFound, "no live %.200s had it", target)
	}
	return 0, millrace.Errorf(millrace.ReasonNotFound, "this gateway has no live %.200s", target)
}

// steer does what an operator asks of the session. It runs on the loop, as does done.
func (s *Session) steer(c Command, done func(*millrace.Error)) {
	switch c := c.(type) {
	case Subscribe:
		done(s.takeOn(c))
	case Unsubscribe:
		done(s.withdraw(c.Topic))
	case Join:
		s.enlist(c, done)
	case Leave:
		a := &ask{kind: millrace.MemberLeave, done: done}
		if err := s.alter(c.Topic, a); err != nil {
			done(err)
		}
	default:
		done(millrace.Errorf(millrace.ReasonUnsupported, "an operator can't ask that of a session"))
	}
}

// takeOn subscribes the session to a topic or a pattern that its grant need not cover. What it has already goes on as it
// was.
func (s *Session) takeOn(c Subscribe) *millrace.Error {
	if err := c.validate(); err != nil {
		return millrace.AsError(err)
	}
	c.permitted = permitSubscribe
	if !millrace.Pattern(c.Topic).IsTopic() {
		if s.findWildcard(c.Topic) != nil {
			return nil
		}
		return s.holdWildcard(0, c)
	}
	if sub := s.find(c.Topic); sub != nil {
		if err := s.give(sub, permitSubscribe); err != nil {
			return err
		}
		s.subscribe(0, c)
		return nil
	}
	sub, err := s.hold(0, c)
	if err != nil {
		return err
	}
	sub.advance()
	return nil
}

// enlist makes the session a member of a topic whose members its grant need not allow it to be. One that is a member already
// shows the new data.
func (s *Session) enlist(c Join, done func(*millrace.Error)) {
	if err := millrace.ValidateTopic(c.Topic); err != nil {
		done(millrace.AsError(err))
		return
	}
	if millrace.Reserved(c.Topic) {
		done(millrace.Errorf(millrace.ReasonForbidden, "%.255s is reserved: nobody joins it", c.Topic))
		return
	}
	c.permitted = permitJoin
	a := &ask{kind: millrace.MemberJoin, data: c.Data, shows: c.Members, done: done}
	if sub := s.find(c.Topic); sub != nil {
		if err := s.give(sub, permitJoin); err != nil {
			done(err)
			return
		}
		if sub.part != nil && sub.part.member {
			a.shows = sub.part.shows
		}
	}
	if err := s.join(c.Subscribe, a); err != nil {
		done(err)
	}
}

// withdraw ends a subscription that an operator does not want the session to have.
func (s *Session) withdraw(topic string) *millrace.Error {
	if s.findWildcard(topic) == nil {
		switch sub := s.find(topic); {
		case sub == nil:
			return millrace.Errorf(millrace.ReasonNotFound, "the session is not subscribed to %.255q", topic)
		case sub.wildcard != nil:
			return millrace.Errorf(millrace.ReasonConflict, "%s is held for %s: unsubscribe from the pattern", topic, sub.wildcard.name())
		}
	}
	s.unsubscribe(0, topic)
	return nil
}

// sendAway ends the session for a reason that is not its own. It runs on the loop.
func (s *Session) sendAway(why *millrace.Error) {
	if why.Reason.Outcome().Retryable && why.RetryAfter == 0 {
		advised := *why
		advised.RetryAfter = door.Return()
		why = &advised
	}
	if why.Reason == millrace.ReasonDraining {
		s.say(0, Goaway{Err: why})
	}
	s.end(why)
}

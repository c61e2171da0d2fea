package gateway

import (
	"slices"
	"sync/atomic"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/source"
)

// wildcard is one session's part in one pattern. The session holds each topic that the pattern matches by a subscription
// of its own, which remembers the wildcard. Its loop owns it.
type wildcard struct {
	session *Session
	circle  *circle
	want    Subscribe

	index     int  // in the circle
	next      int  // of the pattern's topics
	there     int  // so many topics there were when it was first seen that these are all; -1 until then
	unsettled int  // of those, that have yet to be attached
	held      bool // the session has those that there were, and the peer was told
	told      bool // the peer was told that it is pending
	over      bool
	re        uint32
}

func (w *wildcard) name() string              { return w.circle.pattern.Name() }
func (w *wildcard) pattern() millrace.Pattern { return millrace.Pattern(w.circle.pattern.Name()) }
func (w *wildcard) subscribed() Subscribed    { return Subscribed{Topic: w.name(), Pending: !w.held} }

// fromBirth is where the topics begin that were born since the session, or the one that it goes on from, had all.
func fromBirth() millrace.Start { return millrace.After(millrace.Position{}) }

// resumed reports whether the peer has all topics that a cursor names, so that others are new to it.
func (w *wildcard) resumed() bool { return w.want.Start.Kind == millrace.StartAfter }

// piece is the wildcard's part of the session's cursor: the zero position, from which topics begin that have no piece; none
// while the peer lacks topics that there were, which are to begin elsewhere.
func (w *wildcard) piece() millrace.Piece {
	return millrace.Piece{Topic: w.name(), Attached: w.held || w.resumed()}
}

func (s *Session) findWildcard(name string) *wildcard {
	for _, w := range s.wildcards {
		if w.name() == name {
			return w
		}
	}
	return nil
}

// subscribeAll adds a pattern.
func (s *Session) subscribeAll(re uint32, c Subscribe) {
	if w := s.findWildcard(c.Topic); w != nil {
		s.say(re, w.subscribed())
		return
	}
	if err := s.holdWildcard(re, c); err != nil {
		s.say(re, Unsubscribed{Topic: c.Topic, Err: err})
	}
}

// holdWildcard takes a pattern on. Its topics come with the circle's next turn.
func (s *Session) holdWildcard(re uint32, c Subscribe) *millrace.Error {
	if err := c.validate(); err != nil {
		return millrace.AsError(err)
	}
	c.permitted = max(c.permitted, s.permittedBy(c))
	if c.permitted == 0 && !s.grant.AllowsAll(millrace.ActionSubscribe, millrace.Pattern(c.Topic)) {
		return millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to subscribe to %s", c.Topic)
	}
	if err := s.hasRoom(c); err != nil {
		return err
	}
	circle, err := s.loop.circle(c.Topic)
	if err != nil {
		return err
	}
	c.permits = nil // which are parts of the cursor, and would keep the URL that it came with in memory
	w := &wildcard{session: s, circle: circle, want: c, there: -1, re: re}
	s.wildcards = append(s.wildcards, w)
	circle.join(w)
	s.load.carry(c.option(), 1)
	s.reckon()
	return nil
}

// tooMany reports whether the pattern matched more than a session may have. More is then not told of, so that the wildcard
// can't go on, however few of the topics the session holds.
func (w *wildcard) tooMany(topics []string) bool {
	return len(topics) > w.session.gateway.config.MaxTopics
}

// step takes topics on that the pattern matched, so many at most. It returns how many, and whether that is all that there
// is to do.
func (w *wildcard) step(most int) (took int, done bool) {
	topics, attached, refused := w.circle.pattern.Look()
	if refused != nil {
		w.circle.loop.gateway.sources.Discard(w.circle.pattern)
		w.end(w.re, refused)
		return 0, true
	}
	for ; w.next < len(topics); w.next++ {
		if took == most {
			return took, false
		}
		took++
		if !w.take(topics[w.next], w.resumed() || w.there >= 0) {
			return took, true
		}
	}
	if w.tooMany(topics) {
		w.end(w.re, w.session.full())
		return took, true
	}
	if attached && w.there < 0 {
		w.there = len(topics)
		w.confirm()
	}
	return took, true
}

// take holds a topic for the pattern, unless the session has it. It reports whether the wildcard goes on.
func (w *wildcard) take(topic string, born bool) bool {
	s := w.session
	if s.find(topic) != nil {
		return true
	}
	c := Subscribe{Topic: topic, Start: w.want.Start, Filter: w.want.Filter, MaxRate: w.want.MaxRate, Pattern: w.name(), permitted: w.want.permitted}
	if born {
		c.Start = fromBirth()
	}
	sub, err := s.hold(0, c)
	if err != nil {
		w.end(w.re, err)
		return false
	}
	sub.born = born // and need not be told as pending: if the session goes on elsewhere, it begins there again
	sub.advance()
	return !w.over
}

// confirm tells the peer that it has the topics that there were.
func (w *wildcard) confirm() {
	if w.over || w.held || w.there < 0 || w.unsettled > 0 {
		return
	}
	w.held = true
	w.session.moved = nil
	w.session.say(w.re, w.subscribed())
	w.re = 0
}

// settle tells the subscription's wildcard that it is attached.
func (sub *subscription) settle() {
	if sub.settling {
		sub.unsettle()
		sub.wildcard.confirm()
	}
}

// unsettle lets the subscription's wildcard no longer wait for it. Who calls it lets the wildcard look whether it has all.
func (sub *subscription) unsettle() {
	if sub.settling {
		sub.settling = false
		sub.wildcard.unsettled--
	}
}

// setFree holds a topic for itself that was held for a pattern. If it was to begin at the topic's birth, and has yet to, it
// begins where it is asked for.
func (sub *subscription) setFree(start millrace.Start) {
	w := sub.wildcard
	if w == nil {
		return
	}
	sub.unsettle()
	sub.wildcard = nil
	if sub.born && !sub.attached {
		sub.born, sub.start = false, start
	}
	w.confirm()
}

// goOver holds a topic, with the options that it has, for another pattern of the session that covers it, if there is one.
func (sub *subscription) goOver() {
	sub.unsettle()
	sub.wildcard = sub.session.covering(sub.topic())
}

// end ends the wildcard. Its topics go over to another pattern that covers them; or else, if the peer asked for it, they
// end, and with an error they stay, each for itself. It is in the cursor until its end is told: a peer that is cut off before
// that resumes it.
func (w *wildcard) end(re uint32, err *millrace.Error) {
	s := w.session
	w.over = true
	subs := slices.DeleteFunc(slices.Clone(s.subs), func(sub *subscription) bool { return sub.wildcard != w })
	for _, sub := range subs {
		sub.goOver()
		if sub.wildcard == nil || sub.born && !sub.attached {
			continue
		}
		if s.say(0, sub.subscribed()); s.ending {
			return // by what was said: the session is in nothing any more
		}
	}
	s.dropWildcard(w)
	for _, sub := range subs {
		if sub.wildcard == nil && err == nil {
			s.drop(sub)
		}
	}
	s.shed(subs)
	s.say(re, Unsubscribed{Topic: w.name(), Err: err})
}

// shed ends topics that were held for a pattern, which had its option, where their own do not fit the cursor.
func (s *Session) shed(subs []*subscription) {
	var over []*subscription
	for _, sub := range slices.Backward(subs) {
		if !s.ending && s.beginning() > maxBeginning && sub.named && sub.wildcard == nil && s.resign(sub, errBeginning) {
			s.drop(sub)
			over = append(over, sub)
		}
	}
	for _, sub := range over {
		s.say(sub.re, Unsubscribed{Topic: sub.topic(), Err: errBeginning})
	}
}

// covering returns a wildcard that goes on and matches a topic, nil if there is none.
func (s *Session) covering(topic string) *wildcard {
	for _, w := range s.wildcards {
		if !w.over && w.pattern().Matches(topic) {
			return w
		}
	}
	return nil
}

// endHolders ends, with an error, the session's wildcards for which a topic is held, or would be if the session did not have
// it for itself.
func (s *Session) endHolders(sub *subscription, err *millrace.Error) {
	var holders []*wildcard
	for _, w := range s.wildcards {
		if w == sub.wildcard || w.pattern().Matches(sub.topic()) && (w.resumed() || w.passed(sub.topic()) >= 0) {
			w.over = true // before any of them ends, so that none goes over to another
			holders = append(holders, w)
		}
	}
	for _, w := range holders {
		w.end(w.re, err)
	}
}

// takeAfter holds a topic for a wildcard that passed it by while the session had it with a rate.
func (s *Session) takeAfter(topic string) {
	for _, w := range s.wildcards {
		if w.over || w.want.MaxRate > 0 {
			continue
		}
		if i := w.passed(topic); i >= 0 {
			w.take(topic, w.resumed() || w.there >= 0 && i >= w.there)
			return
		}
	}
}

// passed returns which of the topics one is that the pattern matched and the wildcard has looked at, -1 if it is none.
func (w *wildcard) passed(topic string) int {
	topics, _, _ := w.circle.pattern.Look()
	return slices.Index(topics[:w.next], topic)
}

// dropWildcard takes a wildcard out of wherever it still is. Its topics stay.
func (s *Session) dropWildcard(w *wildcard) {
	w.over = true
	i := slices.Index(s.wildcards, w)
	if i < 0 {
		return
	}
	s.wildcards = slices.Delete(s.wildcards, i, i+1)
	w.circle.leave(w)
	s.load.carry(w.want.option(), -1)
	s.reckon()
}

// circle is one loop's part of a pattern: its sessions' wildcards.
type circle struct {
	pattern *source.Pattern
	loop    *loop

	scheduled atomic.Bool // it is in the loop's mailbox

	members []*wildcard // owned by the loop
	turn    int         // of the members, whose turn is next; those before it had theirs; owned by the loop
	sight   sight       // what those have seen; owned by the loop
}

// circle returns the loop's circle of a pattern, made if there is none.
func (l *loop) circle(name string) (*circle, *millrace.Error) {
	if c := l.circles[name]; c != nil {
		return c, nil
	}
	p, err := l.gateway.sources.Pattern(name)
	if err != nil {
		return nil, err
	}
	c := &circle{pattern: p, loop: l}
	l.circles[p.Name()] = c
	p.Watch(c)
	return c, nil
}

// Schedule puts the circle into its loop's mailbox, once. It may be called by any goroutine.
func (c *circle) Schedule() {
	if !c.scheduled.Swap(true) {
		c.loop.post(c)
	}
}

// run gives a few members a turn, so that neither a large circle nor one whose pattern covers much holds up the others: a
// member that is looked at and a topic that is taken on cost one each. It goes round once for whatever is new.
func (c *circle) run(l *loop) {
	c.scheduled.Store(false)
	if c.turn == 0 {
		c.sight = c.look()
	}
	for budget := l.gateway.config.Slice; c.turn < len(c.members); budget-- {
		if budget <= 0 {
			c.Schedule()
			return
		}
		w := c.members[c.turn]
		took, done := w.step(budget)
		budget -= took
		if done && !w.over { // else another is in its place
			c.turn++
		}
	}
	c.turn = 0
	if len(c.members) > 0 && c.sight != c.look() {
		c.Schedule()
	}
}

// sight is what there was to see of a pattern at one moment.
type sight struct {
	topics   int
	attached bool
	refused  *millrace.Error
}

func (c *circle) look() sight {
	topics, attached, refused := c.pattern.Look()
	return sight{topics: len(topics), attached: attached, refused: refused}
}

func (c *circle) join(w *wildcard) {
	w.index = len(c.members)
	c.members = append(c.members, w)
	c.Schedule()
}

// leave takes a member out, and lets go of a circle that nobody is in.
func (c *circle) leave(w *wildcard) {
	last := len(c.members) - 1
	move := func(from, to int) {
		c.members[to] = c.members[from]
		c.members[to].index = to
	}
	at := w.index
	if at < c.turn {
		c.turn--
		move(c.turn, at)
		at = c.turn
	}
	move(last, at)
	c.members[last] = nil
	c.members = c.members[:last]
	if last == 0 {
		delete(c.loop.circles, c.pattern.Name())
		c.pattern.Unwatch(c)
		c.loop.release(c.pattern)
	}
}

// tellPending tells those who wait for the topics that there are that it will take a while.
func (c *circle) tellPending() {
	for _, w := range slices.Clone(c.members) {
		if !w.held && !w.told && !w.over {
			w.told = true
			w.session.say(w.re, w.subscribed())
			w.re = 0
		}
	}
}

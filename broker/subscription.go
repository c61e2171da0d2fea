package broker

import (
	"time"

	"github.com/millrace-dev/millrace"
)

// subscription is one topic of one feed: the position up to which the feed was served, and how it gets on from there.
type subscription struct {
	// Static.
	feed  *Feed
	hub   *hub // nil if the topic is refused outright
	topic string
	start millrace.Start

	place int // protected by hub.mu; where it stands in hub.subs

	links [queueKinds]link // protected by what protects the queue

	// Protected by Feed.mu.
	ended    bool
	phase    phase
	attached bool              // the start became a position
	detached bool              // the consumer was told so and not yet of the end
	pos      millrace.Position // after all that was or is about to be handed out; means something once attached
	news     []millrace.Update // to be handed out first; at most three
	page     []*millrace.Event // to be handed out next, from the log
	holds    bool              // counts among Feed.reads: a page is under way or at hand
	from     millrace.Start    // where the read begins that is due or under way
	version  uint64            // the hub's when the last read began
	more     bool              // the last read did not reach the end of the log
	retry    *time.Timer
	wait     time.Duration // before the next retry
}

// phase is what a subscription is about.
type phase int

const (
	phaseNew     phase = iota // waits for the hub to follow its topic
	phaseLive                 // takes what its hub has
	phaseQueued               // waits for its turn to read the log
	phaseReading              // reads the log
	phaseWaiting              // waits to try a read again
	phaseDue                  // has waited
)

// turn is how many events, and bytes of them, a subscription hands out before another has its turn.
const (
	turnEvents = 64
	turnBytes  = 64 << 10
)

// advance hands out what there is, a turn's worth at most, and sees to what comes next. Feed.mu is held.
func (s *subscription) advance(b *batch) {
	if s.ended {
		return
	}
	f := s.feed
	for _, u := range s.news {
		b.add(u)
		if u.Kind == millrace.UpdateRefused {
			f.drop(s)
			return
		}
	}
	s.news = nil
	if len(s.page) > 0 {
		n := turnOf(s.page, b)
		b.addEvents(s.topic, s.page[:n:n])
		s.page = s.page[n:]
		if len(s.page) > 0 {
			f.ready.push(s)
			return
		}
		s.page = nil
	}
	switch s.phase {
	case phaseNew:
		s.attach(b)
	case phaseLive:
		f.yield(s)
		s.proceed(b)
	case phaseDue:
		f.read(s, s.from)
	}
}

// turnOf returns how many of the events are handed out in one turn: at least one.
func turnOf(events []*millrace.Event, b *batch) int {
	n, size := 0, 0
	for n < len(events) && n < max(1, min(turnEvents, b.events)) && (n == 0 || size < min(turnBytes, b.bytes)) {
		size += events[n].Size()
		n++
	}
	return n
}

// attach turns the start into a position, once the hub follows its topic.
func (s *subscription) attach(b *batch) {
	v := s.hub.look(millrace.Position{}, 0, 0)
	switch {
	case v.refused:
		s.refuse(v.failure)
		s.advance(b)
		return
	case !v.followed:
		if v.failure != nil && !s.detached {
			s.detached = true
			b.add(millrace.Update{Kind: millrace.UpdateDetached, Topic: s.topic, Position: s.start.After, Err: v.failure})
		}
		return
	}
	switch start := s.start.In(s.hub.rule.Class); start.Kind {
	case millrace.StartNow:
		s.pos = v.head
	case millrace.StartAfter:
		s.pos = start.After
	default:
		s.feed.read(s, start)
		return
	}
	s.phase = phaseLive
	s.settle(s.pos)
	s.advance(b)
}

// settle says that the subscription stands at a position and has its source.
func (s *subscription) settle(pos millrace.Position) {
	s.attached, s.detached = true, false
	s.wait = 0
	s.news = append(s.news, millrace.Update{Kind: millrace.UpdateAttached, Topic: s.topic, Position: pos, Class: s.hub.rule.Class})
}

// proceed takes what follows on the position from the hub's tail. Where that has no way on, the log is read, unless the
// position is the hub's head beyond doubt, or the log was read to its end since the hub last changed.
func (s *subscription) proceed(b *batch) {
	v := s.hub.look(s.pos, max(1, min(turnEvents, b.events)), min(turnBytes, b.bytes))
	switch {
	case len(v.events) > 0:
		b.addEvents(s.topic, v.events)
		s.pos = v.events[len(v.events)-1].Position
		if s.pos != v.head || s.version < v.doubt {
			s.feed.ready.push(s)
		}
	case s.pos == v.head && s.version >= v.doubt:
	case s.version == v.version && !s.more:
	default:
		s.feed.read(s, millrace.After(s.pos))
	}
}

// accept takes a page that was read.
func (s *subscription) accept(page millrace.Page) {
	if !s.attached {
		pos := page.Next
		if len(page.Events) > 0 {
			pos = page.Events[0].Before()
		}
		s.settle(pos)
	} else if s.detached {
		s.settle(s.pos)
	}
	if page.Gap != nil {
		s.news = append(s.news, millrace.Update{Kind: millrace.UpdateGap, Topic: s.topic, Position: page.Gap.Until, Gap: page.Gap})
	}
	s.page = page.Events
	s.pos = page.Next
	s.more = page.More
}

// detach says that the log can't be read, and sees to it that it is tried again, if that is of use.
func (s *subscription) detach(err *millrace.Error) {
	f := s.feed
	if f.ctx.Err() != nil {
		return
	}
	if !err.Reason.Outcome().Retryable {
		s.refuse(err)
		return
	}
	if !s.detached {
		s.detached = true
		s.news = append(s.news, millrace.Update{Kind: millrace.UpdateDetached, Topic: s.topic, Position: s.pos, Err: err})
	}
	c := &f.broker.config
	s.wait = min(max(c.RetryAfter, 2*s.wait), c.MaxRetryAfter)
	s.phase = phaseWaiting
	s.retry = time.AfterFunc(jitter(s.wait), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !s.ended && s.phase == phaseWaiting {
			s.phase = phaseDue
			f.ready.push(s)
		}
	})
}

// refuse ends the subscription with its next turn.
func (s *subscription) refuse(err *millrace.Error) {
	s.news = append(s.news, millrace.Update{Kind: millrace.UpdateRefused, Topic: s.topic, Err: err})
}

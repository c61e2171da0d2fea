package broker

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/internal/queue"
)

// subscription is one topic of one feed: the position up to which the feed was served, and how it gets on from there. Or
// it is one pattern of a feed, which has a watch and nothing else.
type subscription struct {
	// Static.
	feed     *Feed
	hub      *hub   // nil if the topic is refused outright, and for a pattern
	watch    *watch // of a pattern; else nil
	topic    string // or the pattern
	start    millrace.Start
	filter   *millrace.Filter
	interval time.Duration // at least so long from one event to the next; 0: as they come

	place int // protected by hub.mu; where it stands in hub.subs

	// Protected by what protects the queue.
	ready   queue.Link[subscription] // for the consumer to look at it
	reading queue.Link[subscription] // for a read of the log

	// Protected by Feed.mu.
	ended    bool
	phase    phase
	attached bool              // the start became a position
	detached bool              // the consumer was told so and not yet of the end
	pos      millrace.Position // after all that was handed out or passed over; means something once attached
	heard    uint64            // in class ephemeral: how many of the hub's events were handed out or passed over
	news     []millrace.Update // to be handed out first; at most three
	page     []*millrace.Event // to be handed out next: from the log or, in class ephemeral, the one that waits for the rate
	until    millrace.Position // where the page leads to
	holds    bool              // counts among Feed.reads: a page is under way or at hand
	from     millrace.Start    // where the read begins that is due or under way
	version  uint64            // the hub's when the last read began
	lost     uint64            // Page.Lost of the last read, for the next one
	more     bool              // the last read did not reach the end of the log
	timer    *time.Timer       // ends phaseWaiting and phasePacing
	wait     time.Duration     // before the next retry
}

func readyLink(s *subscription) *queue.Link[subscription]   { return &s.ready }
func readingLink(s *subscription) *queue.Link[subscription] { return &s.reading }

// phase is what a subscription is about.
type phase int

const (
	phaseNew     phase = iota // waits for the hub to follow its topic
	phaseLive                 // takes what its hub has
	phaseQueued               // waits for its turn to read the log
	phaseReading              // reads the log
	phasePaging               // hands out what it read
	phaseWaiting              // waits to try a read again
	phaseDue                  // has waited
	phasePacing               // waits until its rate allows another event
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
	switch {
	case s.watch != nil:
		s.tellMatches(b)
	case s.phase == phaseNew:
		s.attach(b)
	case s.hub.rule.Class == millrace.ClassEphemeral:
		s.listen(b)
	case s.phase == phasePaging:
		s.turnPage(b)
	case s.phase == phaseLive:
		s.proceed(b)
	case s.phase == phaseDue:
		f.read(s, s.from)
	}
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
		s.lose(b, s.start.After, v.failure)
		return
	}
	switch start := s.start.In(s.hub.rule.Class); {
	case s.hub.rule.Class == millrace.ClassEphemeral:
		lost := s.detached
		s.settle(millrace.Position{})
		s.heard = v.pushed
		if lost {
			gap := &millrace.Gap{Topic: s.topic, Cause: millrace.CauseReset}
			s.news = append(s.news, millrace.Update{Kind: millrace.UpdateGap, Topic: s.topic, Gap: gap})
		}
	case start.Kind == millrace.StartNow:
		s.settle(v.head)
	case start.Kind == millrace.StartAfter:
		s.settle(start.After)
		s.lost = start.Lost
	default:
		s.feed.read(s, start)
		return
	}
	s.phase = phaseLive
	s.advance(b)
}

// lose says that the source can't be reached, unless that was said already or there is no fault.
func (s *subscription) lose(b *batch, at millrace.Position, err *millrace.Error) {
	if err == nil || s.detached {
		return
	}
	s.detached = true
	b.add(millrace.Update{Kind: millrace.UpdateDetached, Topic: s.topic, Position: at, Err: err})
}

// settle says that the subscription stands at a position and has its source.
func (s *subscription) settle(pos millrace.Position) {
	s.attached, s.detached = true, false
	s.wait = 0
	s.pos = pos
	s.news = append(s.news, millrace.Update{Kind: millrace.UpdateAttached, Topic: s.topic, Position: pos, Class: s.hub.rule.Class})
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
		s.pos = page.Gap.Until
	}
	s.page, s.until = page.Events, page.Next
	s.more, s.lost = page.More, page.Lost
	s.phase = phasePaging
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
	s.rest(jitter(s.wait), phaseWaiting, phaseDue)
}

// rest keeps the subscription in a phase for a time, and then puts it into another.
func (s *subscription) rest(d time.Duration, in, then phase) {
	f := s.feed
	s.phase = in
	s.timer = time.AfterFunc(d, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !s.ended && s.phase == in {
			s.phase = then
			f.ready.Push(s)
		}
	})
}

// refuse ends the subscription with its next turn.
func (s *subscription) refuse(err *millrace.Error) {
	s.news = append(s.news, millrace.Update{Kind: millrace.UpdateRefused, Topic: s.topic, Err: err})
}

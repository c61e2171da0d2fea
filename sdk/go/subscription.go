package sdk

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/millrace-dev/millrace"
)

// Subscription is the events of some topics, each in order and once, with every hole told as a gap. It comes back by
// itself after whatever cuts it off, from where it was.
//
// Next and All are for one goroutine at a time; the other methods may be called concurrently.
type Subscription struct {
	// Static.
	client *Client
	driver *driver
	queue  *queue
	end    context.CancelCauseFunc
	done   chan struct{}  // closed when nothing runs any more
	places map[string]int // of topics in the cursor

	tracks []*track // owned by the goroutine that receives

	pending []item // owned by the caller of Next and All

	mu     sync.Mutex
	cursor millrace.Cursor // protected by mu; what the application was given
}

// Subscribe asks for topics, named by Topics, TopicsFrom and Resume, and returns at once: what comes of it arrives
// through Next or All. The subscription lives until ctx ends or Close. The error is that of the request, before anything
// is sent.
func (c *Client) Subscribe(ctx context.Context, opts ...SubscribeOption) (*Subscription, error) {
	tracks, err := tracksOf(opts)
	if err != nil {
		return nil, err
	}
	s := &Subscription{
		client: c, driver: newDriver(c.config.backoff, c.config.log, "subscription"), queue: newQueue(c.config.queue),
		done: make(chan struct{}), tracks: tracks, places: map[string]int{},
	}
	for i, t := range tracks {
		s.places[t.topic] = i
		s.cursor.Pieces = append(s.cursor.Pieces, millrace.Piece{Topic: t.topic, Position: t.position, Attached: t.attached})
	}
	ctx, s.end = context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { s.end(context.Cause(c.ctx)) })
	err = c.enlist(func() {
		defer close(s.done)
		defer stop()
		s.queue.close(s.driver.drive(ctx, s.session))
	})
	if err != nil {
		stop()
		s.end(err)
		return nil, err
	}
	return s, nil
}

// Close ends the subscription and waits until nothing of it runs. Next fails and All ends once what had come is taken.
// It may be called more than once.
func (s *Subscription) Close() {
	s.end(closed("the subscription"))
	<-s.done
}

// Status returns how the subscription stands, and why.
func (s *Subscription) Status() Status { return s.driver.status() }

// Cursor returns the place up to which the application was given events and gaps, to be handed to Resume or to any
// other door. Within the loop over All it includes the event or gap at hand.
func (s *Subscription) Cursor() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor.String()
}

// Next returns what came next; it waits until ctx ends. An error is final unless ctx ended: a *millrace.Error that says
// why the subscription is closed, with ErrClosed in its chain if its owner closed it. The receiver must not change what
// an update refers to.
func (s *Subscription) Next(ctx context.Context) (millrace.Update, error) {
	for {
		u, err := s.take(ctx)
		if err != nil {
			return millrace.Update{}, err
		}
		s.reach(u.Topic, &u)
		if u.Kind != updateAdvanced {
			return u, nil
		}
	}
}

// All returns the events as they come, until the loop is left. In place of an event there is an error: a *GapError for
// events that can't be had, and a *RefusedError for a topic that is refused, after both of which the loop may go on; any
// other error is the last: ctx has ended, or why the subscription is closed. If its owner closed it, the loop just ends.
func (s *Subscription) All(ctx context.Context) iter.Seq2[*millrace.Event, error] {
	return func(yield func(*millrace.Event, error) bool) {
		for {
			u, err := s.take(ctx)
			switch {
			case errors.Is(err, ErrClosed):
				return
			case err != nil:
				yield(nil, err)
				return
			}
			goOn := true
			switch u.Kind {
			case millrace.UpdateEvents:
				goOn = s.yieldEvents(u, yield)
			case millrace.UpdateGap:
				s.reach(u.Topic, &u)
				goOn = yield(nil, &GapError{Gap: *u.Gap})
			case millrace.UpdateRefused:
				goOn = yield(nil, &RefusedError{Topic: u.Topic, Err: u.Err})
			case updateAdvanced, millrace.UpdateAttached, millrace.UpdateDetached:
				s.reach(u.Topic, &u)
			}
			if !goOn {
				return
			}
		}
	}
}

// yieldEvents yields the events of an update one by one. If the loop is left, the rest comes first the next time.
func (s *Subscription) yieldEvents(u millrace.Update, yield func(*millrace.Event, error) bool) bool {
	for i, e := range u.Events {
		s.mu.Lock()
		if e.Position != (millrace.Position{}) {
			s.cursor.Pieces[s.places[u.Topic]].Position = e.Position
		}
		s.mu.Unlock()
		if !yield(e, nil) {
			if rest := u.Events[i+1:]; len(rest) > 0 {
				u.Events = rest
				s.pending = append([]item{{update: u}}, s.pending...)
			}
			return false
		}
	}
	return true
}

func (s *Subscription) take(ctx context.Context) (millrace.Update, error) {
	if len(s.pending) == 0 {
		items, err := s.queue.take(ctx)
		if err != nil {
			return millrace.Update{}, err
		}
		s.pending = items
	}
	u := s.pending[0].update
	s.pending[0] = item{}
	s.pending = s.pending[1:]
	return u, nil
}

// reach moves the cursor to where an update leads.
func (s *Subscription) reach(topic string, u *millrace.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.cursor.Pieces[s.places[topic]]
	switch u.Kind {
	case millrace.UpdateAttached:
		p.Attached, p.Position = true, u.Position
	case millrace.UpdateEvents, millrace.UpdateGap, updateAdvanced:
		p.Position = u.Position
	case millrace.UpdateDetached, millrace.UpdateRefused:
	}
}

package sdk

import (
	"context"
	"errors"
	"iter"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
	"github.com/millrace-dev/millrace/sdk/go/internal/holding"
	"github.com/millrace-dev/millrace/sdk/go/internal/queue"
)

// Subscription is the events of some topics and of all that patterns cover, each in order and once, with every hole told
// as a gap. It comes back by itself after whatever cuts it off, from where it was.
//
// Next and All are for one goroutine at a time; the other methods may be called concurrently.
type Subscription struct {
	// Static.
	client *Client
	driver *drive.Driver
	queue  *queue.Queue[item]
	end    context.CancelCauseFunc
	done   chan struct{} // closed when nothing runs any more

	// Owned by the goroutine that receives.
	tracks []*track
	topics map[string]*track // the same by topic or pattern

	pending []item // owned by the caller of Next and All

	given *holding.Holdings
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
		client: c, driver: drive.New(c.config.backoff, c.config.log, "subscription"), queue: newQueue(c.config.queue),
		done: make(chan struct{}), tracks: tracks, topics: map[string]*track{}, given: holdingsOf(tracks),
	}
	for _, t := range tracks {
		s.topics[t.want.Topic] = t
	}
	ctx, s.end = context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { s.end(context.Cause(c.ctx)) })
	err = c.enlist(func() {
		defer close(s.done)
		defer stop()
		s.queue.Close(s.driver.Drive(ctx, func(ctx context.Context) *millrace.Error { return streamError(s.session(ctx)) }))
	})
	if err != nil {
		stop()
		s.end(err)
		return nil, err
	}
	return s, nil
}

func holdingsOf(tracks []*track) *holding.Holdings {
	subjects := make([]holding.Subject, 0, len(tracks))
	for _, t := range tracks {
		subjects = append(subjects, t.subject())
	}
	return holding.New(subjects)
}

// Close ends the subscription and waits until nothing of it runs. Next fails and All ends once what had come is taken.
// It may be called more than once.
func (s *Subscription) Close() {
	s.end(closed("the subscription"))
	<-s.done
}

// Status returns how the subscription stands, and why.
func (s *Subscription) Status() Status { return s.driver.Status() }

// Cursor returns the place up to which the application was given events and gaps, to be handed to Resume or to any
// other door, with the filters and rates that it was subscribed with. Within the loop over All it includes the event or
// gap at hand. A topic that a pattern brought is in it from when it was told as attached.
func (s *Subscription) Cursor() string { return s.given.Cursor() }

// Conflated returns how many events of a topic of class latest were left out, as older ones of their key, up to where the
// application is. They are not owed, so they are no gap.
func (s *Subscription) Conflated(topic string) uint64 { return s.given.Conflated(topic) }

// Next returns what came next; it waits until ctx ends. A topic that a pattern brings is told as attached before its
// events, and the pattern itself once those that there were have been. An error is final unless ctx ended: a
// *millrace.Error that says why the subscription is closed, with ErrClosed in its chain if its owner closed it. The
// receiver must not change what an update refers to.
func (s *Subscription) Next(ctx context.Context) (millrace.Update, error) {
	i, err := s.take(ctx)
	if err != nil {
		return millrace.Update{}, err
	}
	s.given.Reach(&i.update, i.track.subject())
	return i.update, nil
}

// All returns the events as they come, until the loop is left. In place of an event there is an error: a *GapError for
// events that can't be had, and a *RefusedError for a topic that is refused, after both of which the loop may go on; any
// other error is the last: ctx has ended, or why the subscription is closed. If its owner closed it, the loop just ends.
func (s *Subscription) All(ctx context.Context) iter.Seq2[*millrace.Event, error] {
	return func(yield func(*millrace.Event, error) bool) {
		for {
			i, err := s.take(ctx)
			switch {
			case errors.Is(err, ErrClosed):
				return
			case err != nil:
				yield(nil, err)
				return
			}
			goOn := true
			switch u := &i.update; u.Kind {
			case millrace.UpdateEvents:
				goOn = s.yieldEvents(i, yield)
			case millrace.UpdateGap:
				s.given.Reach(&i.update, i.track.subject())
				goOn = yield(nil, &GapError{Gap: *u.Gap})
			case millrace.UpdateRefused:
				goOn = yield(nil, &RefusedError{Topic: u.Topic, Err: u.Err})
			case millrace.UpdateAdvanced, millrace.UpdateAttached, millrace.UpdateDetached, millrace.UpdateMatched:
				s.given.Reach(&i.update, i.track.subject())
			}
			if !goOn {
				return
			}
		}
	}
}

// yieldEvents yields the events of an update one by one. If the loop is left, the rest comes first the next time.
func (s *Subscription) yieldEvents(i item, yield func(*millrace.Event, error) bool) bool {
	for n, e := range i.update.Events {
		s.given.ReachEvent(e)
		if !yield(e, nil) {
			if rest := i.update.Events[n+1:]; len(rest) > 0 {
				i.update.Events = rest
				s.pending = append([]item{i}, s.pending...)
			}
			return false
		}
	}
	return true
}

func (s *Subscription) take(ctx context.Context) (item, error) {
	if len(s.pending) == 0 {
		items, err := s.queue.Take(ctx)
		if err != nil {
			return item{}, err
		}
		s.pending = items
	}
	i := s.pending[0]
	s.pending[0] = item{}
	s.pending = s.pending[1:]
	return i, nil
}

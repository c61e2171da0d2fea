package broker

import (
	"context"
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/internal/queue"
)

// Feed is one consumer of any number of topics: a link, a backend's stream, or a gateway in the same process. Its
// methods may be called concurrently, Next by one goroutine at a time.
//
// What a feed holds is bounded by its subscriptions and a few pages of the log, however slow its consumer is: what comes
// meanwhile stays in the topics' tails and logs.
type Feed struct {
	// Static.
	broker *Broker
	ctx    context.Context // ends with the reason when the feed ends
	end    context.CancelCauseFunc
	ready  *queue.Ready[subscription]

	work sync.WaitGroup // reads of the log under way

	// Locks are taken in the order Feed.mu, Log's own, hub.mu or watch.mu, that of ready.
	mu      sync.Mutex
	subs    map[string]*subscription  // protected by mu
	reads   int                       // protected by mu; pages under way or at hand
	waiting queue.Queue[subscription] // protected by mu; those that wait for a read
	closed  bool                      // protected by mu
}

// NewFeed returns a feed without topics. It must be closed. If the broker has stopped it is closed already.
func (b *Broker) NewFeed() *Feed {
	f := &Feed{
		broker:  b,
		ready:   queue.NewReady(readyLink),
		subs:    map[string]*subscription{},
		waiting: queue.New(readingLink),
	}
	f.ctx, f.end = context.WithCancelCause(b.ctx)
	b.mu.Lock()
	stopped := b.stopped
	if !stopped {
		b.feeds[f] = struct{}{}
	}
	b.mu.Unlock()
	if stopped {
		f.close(millrace.Errorf(millrace.ReasonDraining, "the broker is going away"))
	}
	return f
}

// Close ends the feed's subscriptions and waits for its goroutines. Next fails from then on. It may be called more than
// once.
func (f *Feed) Close() {
	f.close(millrace.Errorf(millrace.ReasonCanceled, "the feed is closed"))
	f.broker.mu.Lock()
	delete(f.broker.feeds, f)
	f.broker.mu.Unlock()
}

func (f *Feed) close(reason *millrace.Error) {
	f.end(reason)
	f.mu.Lock()
	f.closed = true
	for _, s := range f.subs {
		f.drop(s)
	}
	f.mu.Unlock()
	f.work.Wait()
}

// Subscribe asks for a topic, or for the topics that a pattern covers, and returns at once. What comes of it arrives
// through Next: UpdateAttached with the position that the start became, or UpdateRefused; then events, and gaps where
// there are holes. Of a pattern come only the names of topics: UpdateMatched, and UpdateAttached once those that there were
// have been told; its start, filter and rate are the consumer's to apply. It fails with ReasonConflict if the feed has the
// topic or pattern already, and if the feed is closed.
func (f *Feed) Subscribe(want millrace.Subscription) error {
	topic := want.Topic
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return context.Cause(f.ctx)
	}
	if f.subs[topic] != nil {
		return millrace.Errorf(millrace.ReasonConflict, "topic %q is subscribed already", topic)
	}
	s := &subscription{feed: f, topic: topic, start: want.Start, filter: want.Filter, interval: intervalOf(want.MaxRate)}
	switch pattern, err := f.broker.check(&want); {
	case err != nil:
		s.refuse(err)
	case pattern:
		s.watch = newWatch(s)
		f.work.Go(s.watch.begin)
	default:
		if s.hub = f.broker.hub(topic); s.hub == nil {
			return context.Cause(f.broker.ctx)
		}
		s.hub.join(s)
	}
	f.subs[topic] = s
	f.ready.Push(s)
	return nil
}

// check reports what is wrong with a subscription, or nil, and whether it is to a pattern.
func (b *Broker) check(want *millrace.Subscription) (pattern bool, _ *millrace.Error) {
	if err := millrace.ValidateMaxRate(want.MaxRate); err != nil {
		return false, millrace.AsError(err)
	}
	if err := millrace.ValidateTopic(want.Topic); err != nil {
		if millrace.Pattern(want.Topic).Validate() == nil {
			return true, nil
		}
		return false, millrace.AsError(err)
	}
	if want.MaxRate > 0 && b.log.Rule(want.Topic).Class == millrace.ClassLog {
		return false, millrace.Errorf(millrace.ReasonUnsupported, "topic %q is of class log, which has no max_rate", want.Topic)
	}
	return false, nil
}

// Unsubscribe ends the subscription to a topic; a topic that is not subscribed is left alone. A batch of Next that was
// put together before may still tell of the subscription, and none that was put together later: a call of Next that
// begins after Unsubscribe has returned tells nothing of it, and what it does tell of the topic is of a later Subscribe
// and begins with UpdateAttached or UpdateRefused.
func (f *Feed) Unsubscribe(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.subs[topic]; s != nil {
		f.drop(s)
	}
}

// drop ends a subscription. f.mu is held.
func (f *Feed) drop(s *subscription) {
	delete(f.subs, s.topic)
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	f.waiting.Remove(s)
	if s.phase != phaseReading {
		f.yield(s) // else its read does, when it is back
	}
	s.page, s.news = nil, nil
	if s.hub != nil {
		s.hub.leave(s)
	}
	if s.watch != nil {
		s.watch.close()
	}
	f.ready.Remove(s)
}

// Next returns a batch of updates, at least one, in order for each topic, topics taking turns. It waits for the first
// until ctx ends. The caller owns the slice and that of the events of each update. A failure of the log is told as
// UpdateDetached, with the reason in Err, and ends with UpdateAttached at the position where the subscription goes on.
// An error is final unless ctx has ended: the feed is closed, or the broker has stopped.
func (f *Feed) Next(ctx context.Context) ([]millrace.Update, error) {
	for {
		if f.ctx.Err() != nil {
			return nil, context.Cause(f.ctx)
		}
		if updates := f.collect(); len(updates) > 0 {
			return updates, nil
		}
		select {
		case <-f.ready.Signal():
		case <-f.ctx.Done():
		case <-ctx.Done():
			return nil, millrace.AsError(ctx.Err())
		}
	}
}

// collect puts together what there is, up to the bounds of a batch.
func (f *Feed) collect() []millrace.Update {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := batch{events: f.broker.config.BatchEvents, bytes: f.broker.config.BatchBytes}
	for b.open() {
		s := f.ready.Pop()
		if s == nil {
			break
		}
		s.advance(&b)
	}
	return b.updates
}

// read fetches the page after start for a subscription, or makes it wait until the feed has fewer pages under way. f.mu
// is held.
func (f *Feed) read(s *subscription, start millrace.Start) {
	s.from = start
	if f.reads >= f.broker.config.FeedReads {
		s.phase = phaseQueued
		f.waiting.Push(s)
		return
	}
	f.fetch(s)
}

func (f *Feed) fetch(s *subscription) {
	f.reads++
	s.holds = true
	s.phase = phaseReading
	s.version = s.hub.look(millrace.Position{}, 0, 0).version
	r := millrace.Range{Start: s.from, Limit: f.broker.config.BatchEvents, MaxBytes: f.broker.config.BatchBytes}
	if s.interval > 0 && s.filter == nil {
		r.Limit = 1 // the rest would be stale by the time that its turn has come
	}
	f.work.Go(func() {
		page, err := f.broker.log.Read(f.ctx, s.topic, r)
		f.mu.Lock()
		defer f.mu.Unlock()
		s.phase = phaseLive
		switch {
		case s.ended:
			f.yield(s)
		case err != nil:
			f.yield(s)
			s.detach(millrace.AsError(err))
			f.ready.Push(s)
		default:
			s.accept(page)
			f.ready.Push(s)
		}
	})
}

// yield gives back the page that a subscription held and lets the next one read. f.mu is held.
func (f *Feed) yield(s *subscription) {
	if !s.holds {
		return
	}
	s.holds = false
	f.reads--
	if f.closed {
		return
	}
	if next := f.waiting.Pop(); next != nil {
		f.fetch(next)
	}
}

package broker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/internal/tail"
)

// hub is one topic that subscriptions of this broker follow. It is there from the first subscription to the last.
type hub struct {
	// Static.
	broker *Broker
	topic  string
	rule   *Rule
	ctx    context.Context // ends with the hub
	cancel context.CancelFunc

	users int // protected by Broker.mu

	mu       sync.Mutex
	subs     []*subscription
	followed bool            // the log tells of appends after head
	failure  *millrace.Error // why it can't be followed right now, or for good
	refused  bool            // for good
	head     millrace.Position
	tail     tail.Tail
	version  uint64 // counts what has changed; a log that was read to its end in this version has no more to give
	doubt    uint64 // the version in which news last came that did not follow on, so that head may not be the newest there is
	released bool
	stop     func() // ends following; nil until followed
}

// hub returns the topic's hub for one more subscription, or nil if the broker has stopped.
func (b *Broker) hub(topic string) *hub {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return nil
	}
	h := b.hubs[topic]
	if h == nil {
		rule := b.log.Rule(topic)
		h = &hub{broker: b, topic: topic, rule: rule, tail: tail.New(rule.Class)}
		h.ctx, h.cancel = context.WithCancel(b.ctx)
		b.hubs[topic] = h
		b.work.Go(h.follow)
	}
	h.users++
	return h
}

// release gives the hub back; the last subscription ends it.
func (b *Broker) release(h *hub) {
	b.mu.Lock()
	h.users--
	last := h.users == 0
	if last {
		delete(b.hubs, h.topic)
	}
	b.mu.Unlock()
	if last {
		h.close()
	}
}

func (h *hub) close() {
	h.cancel()
	h.mu.Lock()
	h.released = true
	stop := h.stop
	h.broker.tails.Add(-h.tail.Clear())
	h.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// follow makes the log tell the hub of appends, and tries until it does or the hub ends.
func (h *hub) follow() {
	wait := h.broker.config.RetryAfter
	for {
		head, stop, err := h.broker.log.Follow(h.ctx, h.topic, h)
		if err == nil {
			if !h.start(head, stop) {
				stop()
			}
			return
		}
		if h.ctx.Err() != nil || !h.fail(millrace.AsError(err)) {
			return
		}
		timer := time.NewTimer(jitter(wait))
		select {
		case <-timer.C:
		case <-h.ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, h.broker.config.MaxRetryAfter)
	}
}

// jitter returns between half of d and d, so that those who failed together don't come back together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// start says that the log tells of appends after head. It reports whether the hub wants to know.
func (h *hub) start(head millrace.Position, stop func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return false
	}
	if h.version == 0 {
		h.head = head
	}
	h.version++
	h.followed, h.failure, h.stop = true, nil, stop
	h.wake()
	return true
}

// fail says why the log can't be followed, and reports whether it is worth another try.
func (h *hub) fail(err *millrace.Error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = err
	h.refused = !err.Reason.Outcome().Retryable
	h.wake()
	return !h.refused
}

// Appended implements Follower.
func (h *hub) Appended(events []*millrace.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.version++
	for _, e := range events {
		h.add(e)
	}
	h.wake()
}

// add takes an event into the tail if it follows on, and starts the tail anew with it otherwise: news got lost, or come
// out of order, or the topic was made anew. Everyone then reads the log once, which knows. In class ephemeral nobody can
// tell. h.mu is held.
func (h *hub) add(e *millrace.Event) {
	b := h.broker
	switch {
	case h.head.Precedes(e), h.rule.Class == millrace.ClassEphemeral:
	case h.tail.Holds(e.Position):
		return
	default:
		b.tails.Add(-h.tail.Clear())
		h.doubt = h.version
	}
	h.head = e.Position
	charged := h.tail.Push(e)
	charged -= h.tail.Trim(b.config.TailEvents, b.config.TailBytes)
	if b.tails.Add(charged) > b.config.TailsBytes {
		b.tails.Add(-h.tail.Trim(1, 0))
	}
}

// wake tells the subscriptions that something has changed. Beyond a few it is left to the waker, so that an append never
// waits for fan-out. h.mu is held.
func (h *hub) wake() {
	const few = 8
	if len(h.subs) > few {
		h.broker.waker.Add(h)
		return
	}
	for _, s := range h.subs {
		s.feed.ready.Push(s)
	}
}

// wakeMany tells the subscriptions of hubs that have many, away from the append that had the news. It runs until the broker
// stops.
func (b *Broker) wakeMany() {
	var subs []*subscription
	b.waker.Run(b.ctx, func(h *hub) {
		h.mu.Lock()
		subs = append(subs, h.subs...)
		h.mu.Unlock()
		for _, s := range subs {
			s.feed.ready.Push(s)
		}
		clear(subs)
		subs = subs[:0]
	})
}

func (h *hub) join(s *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.place = len(h.subs)
	h.subs = append(h.subs, s)
}

func (h *hub) leave(s *subscription) {
	h.mu.Lock()
	last := len(h.subs) - 1
	h.subs[s.place] = h.subs[last]
	h.subs[s.place].place = s.place
	h.subs[last] = nil
	h.subs = h.subs[:last]
	h.mu.Unlock()
	h.broker.release(h)
}

// view is what a subscription sees of its hub at one moment.
type view struct {
	followed bool
	failure  *millrace.Error
	refused  bool
	head     millrace.Position
	version  uint64
	doubt    uint64
	pushed   uint64            // how many events there ever were in the tail
	events   []*millrace.Event // of the tail, that follow on the position; the receiver's slice
}

// look returns the hub's state and up to n events, or bytes of them, that follow on a position.
func (h *hub) look(pos millrace.Position, n, bytes int) view {
	h.mu.Lock()
	defer h.mu.Unlock()
	return view{
		followed: h.followed,
		failure:  h.failure,
		refused:  h.refused,
		head:     h.head,
		version:  h.version,
		doubt:    h.doubt,
		pushed:   h.tail.Pushed(),
		events:   h.tail.After(pos, n, bytes),
	}
}

// listen returns up to n events, or bytes of them, that came after so many others, how many of those before them are
// gone, and whether there are more. It is for class ephemeral.
func (h *hub) listen(pushed uint64, n, bytes int) (events []*millrace.Event, missed uint64, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	events, missed = h.tail.Since(pushed, n, bytes)
	return events, missed, pushed+missed+uint64(len(events)) < h.tail.Pushed()
}

// trimTails lets go of what tails have kept for long enough, where nothing new pushes it out. It runs until the broker stops.
func (b *Broker) trimTails() {
	ticker := time.NewTicker(b.config.TailAge)
	defer ticker.Stop()
	var hubs []*hub
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-ticker.C:
		}
		b.mu.Lock()
		for _, h := range b.hubs {
			hubs = append(hubs, h)
		}
		b.mu.Unlock()
		before := time.Now().Add(-b.config.TailAge)
		for _, h := range hubs {
			h.mu.Lock()
			b.tails.Add(-h.tail.Expire(before))
			h.mu.Unlock()
		}
		clear(hubs)
		hubs = hubs[:0]
	}
}

package broker

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/internal/ring"
)

// watch is what a subscription to a pattern knows of the topics that it covers. It remembers them all, so that each is
// told once, however often the log tells of it and however often it has to be watched again.
type watch struct {
	// Static.
	sub     *subscription
	pattern millrace.Pattern
	most    int             // topics that there may be
	ctx     context.Context //nolint:containedctx // ends with the watch
	cancel  context.CancelFunc

	mu       sync.Mutex
	known    map[string]struct{} // topics that were found
	found    ring.Ring[match]    // those of them that the consumer was not told of yet
	here     int                 // of those found how many there were when the log began to tell of births
	watched  bool                // the log tells of births
	failure  *millrace.Error     // why it can't be watched right now, or for good
	refused  bool                // for good
	released bool
	stop     func() // ends watching; nil until watched
}

// match is a topic that was found.
type match struct {
	topic string
	head  millrace.Position
}

func newWatch(s *subscription) *watch {
	w := &watch{sub: s, pattern: millrace.Pattern(s.topic), most: s.feed.broker.config.MaxMatched, known: map[string]struct{}{}}
	w.ctx, w.cancel = context.WithCancel(s.feed.ctx)
	return w
}

// begin makes the log tell of topics, and tries until it does or the watch ends.
func (w *watch) begin() {
	c := &w.sub.feed.broker.config
	wait := c.RetryAfter
	for {
		stop, err := w.sub.feed.broker.log.Watch(w.ctx, w.pattern, w)
		if err == nil {
			if !w.start(stop) {
				stop()
			}
			return
		}
		if w.ctx.Err() != nil || !w.fail(millrace.AsError(err)) {
			return
		}
		timer := time.NewTimer(jitter(wait))
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, c.MaxRetryAfter)
	}
}

// start says that the log has told of the topics that there are and tells of births from now on. It reports whether the
// watch wants to know.
func (w *watch) start(stop func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return false
	}
	w.watched, w.stop, w.here = true, stop, len(w.known)
	if !w.refused {
		w.failure = nil
	}
	w.sub.feed.ready.Push(w.sub)
	return true
}

// fail says why the log can't be watched, and reports whether it is worth another try.
func (w *watch) fail(err *millrace.Error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused {
		return false
	}
	w.failure = err
	w.refused = !err.Reason.Outcome().Retryable
	w.sub.feed.ready.Push(w.sub)
	return !w.refused
}

// Matched implements Watcher.
func (w *watch) Matched(topic string, head millrace.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released || w.refused {
		return
	}
	if _, ok := w.known[topic]; ok {
		return
	}
	if len(w.known) == w.most {
		w.refused = true
		w.failure = millrace.Errorf(millrace.ReasonTooManyTopics, "pattern %q covers more than %d topics", string(w.pattern), w.most)
	} else {
		w.known[topic] = struct{}{}
		w.found.Push(match{topic, head})
	}
	w.sub.feed.ready.Push(w.sub)
}

// close ends the watch. It may be called before the log tells of anything, and waits for nothing remote.
func (w *watch) close() {
	w.cancel()
	w.mu.Lock()
	w.released = true
	w.found.Clear()
	stop := w.stop
	w.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// survey is what a subscription sees of its watch at one moment.
type survey struct {
	matches []match // found since; the receiver's slice
	more    bool    // there are others
	whole   bool    // all that there were when the log began to tell of births were taken
	failure *millrace.Error
	refused bool
}

// take returns the watch's state and up to n topics that were found, which are then told.
func (w *watch) take(n int) survey {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := survey{failure: w.failure, refused: w.refused}
	for range min(n, w.found.Len()) {
		v.matches = append(v.matches, w.found.Pop())
	}
	v.more = w.found.Len() > 0
	v.whole = w.watched && len(w.known)-w.found.Len() >= w.here
	return v
}

// tellMatches hands out the topics that a pattern covers.
func (s *subscription) tellMatches(b *batch) {
	v := s.watch.take(turnEvents)
	for _, m := range v.matches {
		b.add(millrace.Update{
			Kind: millrace.UpdateMatched, Topic: m.topic, Pattern: s.topic, Position: m.head, Class: s.feed.broker.log.Rule(m.topic).Class,
		})
	}
	if v.refused && !v.more {
		b.add(millrace.Update{Kind: millrace.UpdateRefused, Topic: s.topic, Err: v.failure})
		s.feed.drop(s)
		return
	}
	s.lose(b, millrace.Position{}, v.failure)
	if v.whole && !s.attached {
		s.attached, s.detached = true, false
		b.add(millrace.Update{Kind: millrace.UpdateAttached, Topic: s.topic})
	}
	if v.more {
		s.feed.ready.Push(s)
	}
}

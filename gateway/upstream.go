package gateway

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

// Upstream is what a gateway needs of a broker. The broker itself satisfies it inside one process, the Go SDK's link
// when the broker is another process. Package gatewaytest has the test that any Upstream must pass.
//
// All methods may be called concurrently, Next by one goroutine at a time. Events that it hands out are shared and
// immutable.
type Upstream interface {
	// Subscribe asks for a topic or a pattern and returns at once; what comes of it arrives through Next. Each is subscribed
	// once at a time. The error says that the upstream is closed.
	Subscribe(s millrace.Subscription) error

	// Unsubscribe ends the subscription to a topic or pattern. Updates that were under way may still arrive.
	Unsubscribe(topic string)

	// Next returns the updates that have come, at least one, in order for each topic. It waits for the first, until ctx
	// ends. An upstream that can't reach its broker says UpdateDetached and goes on by itself when it can; the error is
	// final. The caller owns the slice.
	Next(ctx context.Context) ([]millrace.Update, error)

	// Publish stores events and answers each alone, in the order of the batch. It takes ownership of the events. The
	// error says that nothing is known of any of them.
	Publish(ctx context.Context, batch []millrace.Publish) ([]millrace.Ack, error)

	// History reads a part of a topic's log, whole, or fails.
	History(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error)
}

// taker receives a page on its loop.
type taker interface {
	take(page millrace.Page, err error)
}

// replays reads pages from the log for those who fell behind the tails, a few at a time.
type replays struct {
	gateway *Gateway
	ctx     context.Context

	warned atomic.Int64 // tick of the last warning

	mu      sync.Mutex
	waiting list.List // of replay; protected by mu; bounded by the subscriptions and audiences, each of which waits at most once
	running int       // protected by mu
	workers sync.WaitGroup
}

type replay struct {
	loop  *loop
	topic string
	start millrace.Start
	to    taker
}

// read fetches one page and gives it to its taker on the loop. It returns what cancel takes.
func (r *replays) read(l *loop, topic string, start millrace.Start, to taker) *list.Element {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.waiting.PushBack(replay{loop: l, topic: topic, start: start, to: to})
	if r.running < r.gateway.config.Replays {
		r.running++
		r.workers.Go(r.work)
	}
	return e
}

// cancel takes back a read that nobody waits for any more. One that is under way goes on.
func (r *replays) cancel(e *list.Element) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting.Remove(e)
}

func (r *replays) work() {
	for {
		job, ok := r.next()
		if !ok {
			return
		}
		page, err := r.fetch(job)
		if err != nil {
			r.warn(job.topic, err)
		}
		job.loop.post(call(func() { job.to.take(page, err) }))
	}
}

// replayTimeout bounds one read, so that a broker which does not answer can't hold all replays for good.
const replayTimeout = 30 * time.Second

func (r *replays) fetch(job replay) (millrace.Page, error) {
	ctx, cancel := context.WithTimeout(r.ctx, replayTimeout)
	defer cancel()
	return r.gateway.upstream.History(ctx, job.topic, millrace.Range{Start: job.start, MaxBytes: r.gateway.config.BatchBytes})
}

// warn logs a failure, one of each second's: a log that is away fails everyone's reads.
func (r *replays) warn(topic string, err error) {
	if now := r.gateway.clock.Load(); r.ctx.Err() == nil && r.warned.Swap(now) != now {
		r.gateway.config.Log.Warn("replay failed", "topic", topic, "error", err)
	}
}

func (r *replays) next() (replay, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.waiting.Front()
	if first == nil || r.ctx.Err() != nil {
		r.running--
		return replay{}, false
	}
	job, ok := r.waiting.Remove(first).(replay)
	return job, ok
}

package sdk

import (
	"context"
	"sync"

	"github.com/millrace-dev/millrace"
)

// item is an update on its way to the application.
type item struct {
	update millrace.Update
	track  *track
}

// queue holds what the application has not taken yet. It is bounded by who fills it, which waits for room before it reads
// from the broker, so that a slow application slows its broker's stream and nothing else.
type queue struct {
	max     int           // bytes from which on there is no room
	filled  chan struct{} // signalled when there is something to take, or the end
	drained chan struct{} // signalled when there may be room

	mu    sync.Mutex
	items []item
	bytes int
	end   *millrace.Error // what take returns once all is taken
}

func newQueue(maxBytes int) *queue {
	return &queue{max: maxBytes, filled: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
}

// room waits until there is room, and reports false if ctx ends first. One goroutine at a time may wait.
func (q *queue) room(ctx context.Context) bool {
	for {
		q.mu.Lock()
		free := q.bytes < q.max
		q.mu.Unlock()
		if free {
			return ctx.Err() == nil
		}
		select {
		case <-q.drained:
		case <-ctx.Done():
			return false
		}
	}
}

// put adds items, without waiting.
func (q *queue) put(items []item) {
	if len(items) == 0 {
		return
	}
	size := 0
	for i := range items {
		size += updateSize(&items[i].update)
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.bytes += size
	q.mu.Unlock()
	signal(q.filled)
}

// close makes take fail with err once all is taken.
func (q *queue) close(err *millrace.Error) {
	q.mu.Lock()
	if q.end == nil {
		q.end = err
	}
	q.mu.Unlock()
	signal(q.filled)
}

// take waits for the first item and returns all that there are. It fails when the queue is closed and empty, which is
// final, or ctx ends. One goroutine at a time may wait.
func (q *queue) take(ctx context.Context) ([]item, error) {
	for {
		q.mu.Lock()
		items, end := q.items, q.end
		q.items, q.bytes = nil, 0
		q.mu.Unlock()
		switch {
		case len(items) > 0:
			signal(q.drained)
			return items, nil
		case end != nil:
			return nil, end
		}
		select {
		case <-q.filled:
		case <-ctx.Done():
			return nil, endOf(ctx)
		}
	}
}

// signal wakes who waits on c, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// updateSize is what an update is charged for, in bytes.
func updateSize(u *millrace.Update) int {
	const overhead = 128
	size := overhead + len(u.Topic)
	for _, e := range u.Events {
		size += e.Size()
	}
	return size
}

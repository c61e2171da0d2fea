// Package queue is what an application has not taken yet.
package queue

import (
	"context"
	"sync"

	"github.com/millrace-dev/millrace"
)

// Queue holds what the application has not taken yet. It is bounded by who fills it, which waits for room before it reads
// from the broker, so that a slow application slows its broker's stream and nothing else.
type Queue[T any] struct {
	max     int           // bytes from which on there is no room
	size    func(*T) int  // what an item is charged for, in bytes
	filled  chan struct{} // signalled when there is something to take, or the end
	drained chan struct{} // signalled when there may be room

	mu    sync.Mutex
	items []T
	bytes int
	end   *millrace.Error // what Take returns once all is taken
}

// New returns an empty queue that has room up to so many bytes, and one item more.
func New[T any](maxBytes int, size func(*T) int) *Queue[T] {
	return &Queue[T]{max: maxBytes, size: size, filled: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
}

// Room waits until there is room, and reports false if ctx ends first. One goroutine at a time may wait.
func (q *Queue[T]) Room(ctx context.Context) bool {
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

// Put adds items, without waiting.
func (q *Queue[T]) Put(items []T) {
	if len(items) == 0 {
		return
	}
	size := 0
	for i := range items {
		size += q.size(&items[i])
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.bytes += size
	q.mu.Unlock()
	signal(q.filled)
}

// Close makes Take fail with err once all is taken.
func (q *Queue[T]) Close(err *millrace.Error) {
	q.mu.Lock()
	if q.end == nil {
		q.end = err
	}
	q.mu.Unlock()
	signal(q.filled)
}

// Take waits for the first item and returns all that there are. It fails when the queue is closed and empty, which is
// final, or ctx ends. One goroutine at a time may wait.
func (q *Queue[T]) Take(ctx context.Context) ([]T, error) {
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
			return nil, millrace.AsError(context.Cause(ctx))
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

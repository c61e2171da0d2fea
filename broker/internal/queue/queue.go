// Package queue holds items in the order in which they came, each at most once, so that a queue is bounded by the items
// that there are.
package queue

import "sync"

// Link is an item's place in one queue. An item has one for each queue that it may stand in at the same time.
type Link[T any] struct {
	next, prev *T
	queued     bool
}

// Queue is items in the order in which they came; each stands in it at most once. It is not safe for concurrent use.
type Queue[T any] struct {
	link        func(*T) *Link[T]
	first, last *T
}

// New returns an empty queue, whose items have their places in it where link says.
func New[T any](link func(item *T) *Link[T]) Queue[T] { return Queue[T]{link: link} }

// Push adds an item at the end and reports whether it was not there before.
func (q *Queue[T]) Push(item *T) bool {
	l := q.link(item)
	if l.queued {
		return false
	}
	l.queued, l.prev = true, q.last
	if q.last == nil {
		q.first = item
	} else {
		q.link(q.last).next = item
	}
	q.last = item
	return true
}

// Pop removes the first item and returns it, or nil.
func (q *Queue[T]) Pop() *T {
	item := q.first
	if item != nil {
		q.Remove(item)
	}
	return item
}

// Remove takes an item out, wherever it stands. One that is not there is left alone.
func (q *Queue[T]) Remove(item *T) {
	l := q.link(item)
	if !l.queued {
		return
	}
	if l.prev == nil {
		q.first = l.next
	} else {
		q.link(l.prev).next = l.next
	}
	if l.next == nil {
		q.last = l.prev
	} else {
		q.link(l.next).prev = l.prev
	}
	*l = Link[T]{}
}

// Ready is a Queue whose one consumer waits for items. Its methods may be called concurrently, and do not wait.
type Ready[T any] struct {
	signal chan struct{}

	mu    sync.Mutex
	queue Queue[T] // protected by mu
}

// NewReady returns an empty queue, whose items have their places in it where link says.
func NewReady[T any](link func(item *T) *Link[T]) *Ready[T] {
	return &Ready[T]{signal: make(chan struct{}, 1), queue: New(link)}
}

// Signal has an item if there was a push since the consumer last waited.
func (q *Ready[T]) Signal() <-chan struct{} { return q.signal }

// Push adds an item at the end, if it is not there.
func (q *Ready[T]) Push(item *T) {
	q.mu.Lock()
	added := q.queue.Push(item)
	q.mu.Unlock()
	if !added {
		return
	}
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// Pop removes the first item and returns it, or nil.
func (q *Ready[T]) Pop() *T {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queue.Pop()
}

// Remove takes an item out, if it is there.
func (q *Ready[T]) Remove(item *T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue.Remove(item)
}

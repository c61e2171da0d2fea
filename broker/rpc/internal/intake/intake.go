// Package intake is what a peer has sent on a stream and has no answer to yet.
package intake

import (
	"context"
	"sync"
)

// Intake holds what waits to be done, and what is being done. It holds as much as its window; who puts more waits, reads no
// further meanwhile, and so holds the peer back. One goroutine puts, another takes.
type Intake[T any] struct {
	// Static.
	maxItems int
	maxBytes int
	size     func(*T) int // what an item brings along, in bytes

	news chan struct{} // has an item if something was put, or it was closed, since the taker last looked
	room chan struct{} // has an item if something left since the putter last looked

	mu     sync.Mutex
	queue  []T  // protected by mu
	items  int  // protected by mu; in the queue or being done
	bytes  int  // protected by mu; that the same bring along
	closed bool // protected by mu; nothing more will be put
}

// New returns an empty intake with a window.
func New[T any](maxItems, maxBytes int, size func(*T) int) *Intake[T] {
	return &Intake[T]{
		maxItems: maxItems,
		maxBytes: maxBytes,
		size:     size,
		news:     make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
	}
}

// Window returns how many items there may be, if their bytes allow it.
func (q *Intake[T]) Window() int { return q.maxItems }

// Put adds items when there is room for them; more than ever fit wait for it to be empty. It fails when ctx ends.
func (q *Intake[T]) Put(ctx context.Context, batch []T) error {
	for !q.TryPut(batch) {
		select {
		case <-q.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// TryPut adds items if there is room for them, and reports whether there was.
func (q *Intake[T]) TryPut(batch []T) bool {
	bytes := q.bytesOf(batch)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.items > 0 && (q.items+len(batch) > q.maxItems || q.bytes+bytes > q.maxBytes) {
		return false
	}
	q.queue = append(q.queue, batch...)
	q.items += len(batch)
	q.bytes += bytes
	signal(q.news)
	return true
}

// Close says that nothing more will be put.
func (q *Intake[T]) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signal(q.news)
}

// News has an item if something was put, or Close was called, since the last Take.
func (q *Intake[T]) News() <-chan struct{} { return q.news }

// Take returns all that waits, and whether there may be more later.
func (q *Intake[T]) Take() (batch []T, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch, q.queue = q.queue, nil
	return batch, !q.closed
}

// Done says that items were answered.
func (q *Intake[T]) Done(batch []T) {
	bytes := q.bytesOf(batch)
	q.mu.Lock()
	q.items -= len(batch)
	q.bytes -= bytes
	q.mu.Unlock()
	signal(q.room)
}

func (q *Intake[T]) bytesOf(batch []T) int {
	n := 0
	for i := range batch {
		n += q.size(&batch[i])
	}
	return n
}

// signal puts an item into a channel that holds one, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

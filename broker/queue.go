package broker

import "sync"

// queue is subscriptions in the order in which they came; each stands in it at most once, so a queue is bounded by the
// subscriptions of its feed. The zero queue is empty. It is not safe for concurrent use.
type queue struct {
	kind        queueKind
	first, last *subscription
}

// queueKind tells the queues apart that one subscription may stand in.
type queueKind int

const (
	queueReady   queueKind = iota // for the consumer to look at it
	queueReading                  // for a read of the log
	queueKinds
)

// link is a subscription's place in one queue.
type link struct {
	next, prev *subscription
	queued     bool
}

// push adds s at the end and reports whether it was not there before.
func (q *queue) push(s *subscription) bool {
	l := &s.links[q.kind]
	if l.queued {
		return false
	}
	l.queued, l.prev = true, q.last
	if q.last == nil {
		q.first = s
	} else {
		q.last.links[q.kind].next = s
	}
	q.last = s
	return true
}

// pop removes the first and returns it, or nil.
func (q *queue) pop() *subscription {
	s := q.first
	if s != nil {
		q.remove(s)
	}
	return s
}

func (q *queue) remove(s *subscription) {
	l := &s.links[q.kind]
	if !l.queued {
		return
	}
	if l.prev == nil {
		q.first = l.next
	} else {
		l.prev.links[q.kind].next = l.next
	}
	if l.next == nil {
		q.last = l.prev
	} else {
		l.next.links[q.kind].prev = l.prev
	}
	*l = link{}
}

// readyQueue is the subscriptions that may have something for their feed's consumer. Pushing does not wait, so that hubs
// can do it on the way of an append.
type readyQueue struct {
	signal chan struct{} // has an item if there was a push since the consumer last waited

	mu    sync.Mutex
	queue queue // protected by mu
}

func newReadyQueue() *readyQueue {
	return &readyQueue{signal: make(chan struct{}, 1), queue: queue{kind: queueReady}}
}

func (q *readyQueue) push(s *subscription) {
	q.mu.Lock()
	added := q.queue.push(s)
	q.mu.Unlock()
	if !added {
		return
	}
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

func (q *readyQueue) pop() *subscription {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queue.pop()
}

func (q *readyQueue) remove(s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue.remove(s)
}

// Package replay reads pages from the log for those who fell behind the tails, a few at a time. Peers that stalled together
// stand at one position, and come back to it together: whoever wants the page after a position that is being read gets that
// one.
//
// It knows nothing of those who wait, only in which loop they do: each loop is given a page once, with all of its takers.
package replay

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// Config is what a Reader is told: how to read, and what becomes of it. Its functions may be called concurrently.
type Config[L comparable, T any] struct {
	Parallel int // reads under way at a time

	// Fetch reads one page, of so many events at most (0: as many as fit).
	Fetch func(ctx context.Context, topic string, start millrace.Start, limit int) (millrace.Page, error)

	// Failed hears of a read that failed, unless the Reader has ended.
	Failed func(topic string, err error)

	// Hand gives a page, or the error, to a loop for those of its takers who wait for it. It must not wait.
	Hand func(loop L, to []T, page millrace.Page, err error)
}

// Reader reads pages for takers T in loops L. Its methods may be called concurrently.
type Reader[L comparable, T any] struct {
	config Config[L, T]    // static
	ctx    context.Context // static

	mu      sync.Mutex
	waiting list.List                   // of *replay; protected by mu; bounded by the takers, each of which waits at most once
	shared  map[pageStart]*replay[L, T] // those after a position, waiting or under way; protected by mu
	running int                         // protected by mu
	workers sync.WaitGroup
}

// replay is one read.
type replay[L comparable, T any] struct {
	// Static.
	topic string
	start millrace.Start
	limit int // of events; 0: as many as fit

	// Protected by Reader.mu.
	waits *list.Element // in waiting; nil once it is under way
	seats list.List     // of *Seat: who gets the page
}

// Seat is where a taker waits for a page.
type Seat[L comparable, T any] struct {
	replay  *replay[L, T]
	loop    L
	to      T
	element *list.Element // in the replay's seats
}

// pageStart is what a page follows on.
type pageStart struct {
	topic string
	after millrace.Position
	lost  uint64
	limit int
}

func (job *replay[L, T]) from() pageStart {
	return pageStart{topic: job.topic, after: job.start.After, lost: job.start.Lost, limit: job.limit}
}

// sit gives a taker a seat. Reader.mu is held.
func (job *replay[L, T]) sit(loop L, to T) *Seat[L, T] {
	s := &Seat[L, T]{replay: job, loop: loop, to: to}
	s.element = job.seats.PushBack(s)
	return s
}

// New returns a reader that works until ctx ends.
func New[L comparable, T any](ctx context.Context, c Config[L, T]) *Reader[L, T] {
	return &Reader[L, T]{config: c, ctx: ctx, shared: map[pageStart]*replay[L, T]{}}
}

// Wait waits for the reader's goroutines, after ctx has ended and nobody calls Read any more.
func (r *Reader[L, T]) Wait() { r.workers.Wait() }

// Read fetches one page, of so many events at most (0: as many as fit), and hands it to the loop for its taker. It returns
// what Cancel takes.
func (r *Reader[L, T]) Read(loop L, topic string, start millrace.Start, limit int, to T) *Seat[L, T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := &replay[L, T]{topic: topic, start: start, limit: limit}
	if under := r.shared[job.from()]; under != nil && start.Kind == millrace.StartAfter {
		return under.sit(loop, to)
	}
	job.waits = r.waiting.PushBack(job)
	if start.Kind == millrace.StartAfter {
		r.shared[job.from()] = job
	}
	if r.running < r.config.Parallel {
		r.running++
		r.workers.Go(r.work)
	}
	return job.sit(loop, to)
}

// Cancel takes back a read that its taker does not wait for any more. One that is under way goes on.
func (r *Reader[L, T]) Cancel(s *Seat[L, T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := s.replay
	job.seats.Remove(s.element)
	if job.waits != nil && job.seats.Len() == 0 {
		r.waiting.Remove(job.waits)
		r.forget(job)
	}
}

func (r *Reader[L, T]) work() {
	for {
		job := r.next()
		if job == nil {
			return
		}
		page, err := r.fetch(job)
		if err != nil && r.ctx.Err() == nil {
			r.config.Failed(job.topic, err)
		}
		for loop, to := range r.finish(job) {
			r.config.Hand(loop, to, page, err)
		}
	}
}

// next returns the read whose turn it is, or nil if there is none.
func (r *Reader[L, T]) next() *replay[L, T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.waiting.Front()
	if first == nil || r.ctx.Err() != nil {
		r.running--
		return nil
	}
	job, _ := r.waiting.Remove(first).(*replay[L, T])
	job.waits = nil
	return job
}

// timeout bounds one read, so that a broker which does not answer can't hold all replays for good.
const timeout = 30 * time.Second

func (r *Reader[L, T]) fetch(job *replay[L, T]) (millrace.Page, error) {
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	defer cancel()
	return r.config.Fetch(ctx, job.topic, job.start, job.limit)
}

// finish ends a read and returns who gets its page in each loop.
func (r *Reader[L, T]) finish(job *replay[L, T]) map[L][]T {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(job)
	all := map[L][]T{}
	for e := job.seats.Front(); e != nil; e = job.seats.Front() {
		s, _ := job.seats.Remove(e).(*Seat[L, T])
		all[s.loop] = append(all[s.loop], s.to)
	}
	return all
}

// forget lets nobody join a read any more. r.mu is held.
func (r *Reader[L, T]) forget(job *replay[L, T]) {
	if r.shared[job.from()] == job {
		delete(r.shared, job.from())
	}
}

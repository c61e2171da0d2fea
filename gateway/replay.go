package gateway

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

// taker receives a page on its loop.
type taker interface {
	take(page millrace.Page, err error)
}

// replays reads pages from the log for those who fell behind the tails, a few at a time. Peers that stalled together stand
// at one position, and come back to it together: whoever wants the page after a position that is being read gets that one.
type replays struct {
	gateway *Gateway
	ctx     context.Context

	warned atomic.Int64 // tick of the last warning

	mu      sync.Mutex
	waiting list.List             // of *replay; protected by mu; bounded by the subscriptions and audiences, each of which waits at most once
	shared  map[pageStart]*replay // those after a position, waiting or under way; protected by mu
	running int                   // protected by mu
	workers sync.WaitGroup
}

// replay is one read.
type replay struct {
	// Static.
	topic string
	start millrace.Start
	limit int // of events; 0: as many as fit

	// Protected by replays.mu.
	waits *list.Element // in waiting; nil once it is under way
	seats list.List     // of seat: who gets the page
}

// seat is where a taker waits for a page.
type seat struct {
	replay *replay
	loop   *loop
	to     taker
}

// pageStart is what a page follows on.
type pageStart struct {
	topic string
	after millrace.Position
	lost  uint64
	limit int
}

func (job *replay) from() pageStart {
	return pageStart{topic: job.topic, after: job.start.After, lost: job.start.Lost, limit: job.limit}
}

// read fetches one page, of so many events at most (0: as many as fit), and gives it to its taker on the loop. It returns
// what cancel takes.
func (r *replays) read(l *loop, topic string, start millrace.Start, limit int, to taker) *list.Element {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := &replay{topic: topic, start: start, limit: limit}
	if under := r.shared[job.from()]; under != nil && start.Kind == millrace.StartAfter {
		return under.seats.PushBack(seat{replay: under, loop: l, to: to})
	}
	job.waits = r.waiting.PushBack(job)
	if start.Kind == millrace.StartAfter {
		r.shared[job.from()] = job
	}
	if r.running < r.gateway.config.Replays {
		r.running++
		r.workers.Go(r.work)
	}
	return job.seats.PushBack(seat{replay: job, loop: l, to: to})
}

// cancel takes back a read that its taker does not wait for any more. One that is under way goes on.
func (r *replays) cancel(e *list.Element) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, _ := e.Value.(seat)
	job := s.replay
	job.seats.Remove(e)
	if job.waits != nil && job.seats.Len() == 0 {
		r.waiting.Remove(job.waits)
		r.forget(job)
	}
}

func (r *replays) work() {
	for {
		job := r.next()
		if job == nil {
			return
		}
		page, err := r.fetch(job)
		if err != nil {
			r.warn(job.topic, err)
		}
		for l, h := range r.finish(job, page, err) {
			l.post(h)
		}
	}
}

// next returns the read whose turn it is, or nil if there is none.
func (r *replays) next() *replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.waiting.Front()
	if first == nil || r.ctx.Err() != nil {
		r.running--
		return nil
	}
	job, _ := r.waiting.Remove(first).(*replay)
	job.waits = nil
	return job
}

// replayTimeout bounds one read, so that a broker which does not answer can't hold all replays for good.
const replayTimeout = 30 * time.Second

func (r *replays) fetch(job *replay) (millrace.Page, error) {
	ctx, cancel := context.WithTimeout(r.ctx, replayTimeout)
	defer cancel()
	return r.gateway.upstream.History(ctx, job.topic, millrace.Range{Start: job.start, Limit: job.limit, MaxBytes: r.gateway.config.BatchBytes})
}

// warn logs a failure, one of each second's: a log that is away fails everyone's reads.
func (r *replays) warn(topic string, err error) {
	if now := r.gateway.clock.Load(); r.ctx.Err() == nil && r.warned.Swap(now) != now {
		r.gateway.config.Log.Warn("replay failed", "topic", topic, "error", err)
	}
}

// finish ends a read and returns what each loop hands over.
func (r *replays) finish(job *replay, page millrace.Page, err error) map[*loop]*handover {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(job)
	all := map[*loop]*handover{}
	for e := job.seats.Front(); e != nil; e = job.seats.Front() {
		s, _ := job.seats.Remove(e).(seat)
		h := all[s.loop]
		if h == nil {
			h = &handover{page: page, err: err}
			all[s.loop] = h
		}
		h.to = append(h.to, s.to)
	}
	return all
}

// forget lets nobody join a read any more. r.mu is held.
func (r *replays) forget(job *replay) {
	if r.shared[job.from()] == job {
		delete(r.shared, job.from())
	}
}

// handover gives a page to those of one loop who wait for it.
type handover struct {
	page millrace.Page
	err  error
	to   []taker
}

// handovers is how many get a page before the loop looks at what else there is: each may be a write.
const handovers = 16

func (h *handover) run(l *loop) {
	n := min(len(h.to), handovers)
	for _, t := range h.to[:n] {
		t.take(h.page, h.err)
	}
	if h.to = h.to[n:]; len(h.to) > 0 {
		l.post(h)
	}
}

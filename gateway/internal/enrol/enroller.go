// Package enrol brings the membership changes of all sessions to the broker: in batches, those of one session in one topic
// in order, and again where that is asked for and may help. What waits is bounded by what sessions hold, since of each
// session's place in a topic one change is under way and one waits, the newest.
package enrol

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

const (
	maxBatch = 256             // changes in one call
	patience = 5 * time.Second // for one call, after which nothing is known of it

	firstPause = 250 * time.Millisecond // before what failed is asked again, and twice as long each time, up to
	lastPause  = 15 * time.Second
)

// Upstream is what is asked.
type Upstream interface {
	Enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error)
}

// Owner is told what became of a change, by Enroller.Run. It must not wait.
type Owner interface {
	Enrolled(c millrace.MemberChange, ack millrace.MemberAck)
}

// Change is a change of a membership.
type Change struct {
	millrace.MemberChange

	// Owner is told the answer, but not if a later change takes the place of this one before it is asked. Nil: nobody is.
	Owner Owner

	// Persists says that a change which fails for a reason that may pass is asked again until it is answered otherwise, or a
	// later one takes its place. A leave always is.
	Persists bool
}

// Enroller has the changes that are to be asked. Its methods may be called concurrently, Run once.
type Enroller struct {
	upstream Upstream
	wake     chan struct{}

	mu     sync.Mutex
	seats  map[seat]*entry // protected by mu; those of which anything waits or is under way
	ready  []*entry        // protected by mu; whose turn it is, in order
	failed []*entry        // protected by mu; that wait for the pause to be over
}

// seat is a session's place in a topic.
type seat struct{ topic, session string }

// entry is what there is to ask of one seat.
type entry struct {
	generation uint32  // the newest that was handed over
	next       *Change // nil: none
	asking     bool    // the one before is under way
	queued     bool    // in ready
	failed     bool    // in failed
}

// New returns an enroller.
func New(up Upstream) *Enroller {
	return &Enroller{upstream: up, wake: make(chan struct{}, 1), seats: map[seat]*entry{}}
}

// Submit hands over a change, and does not wait. It takes the place of one that waits for the same session in the same topic.
// A change of an older generation than one that waits or is under way counts for nothing any more, and its owner is not told.
func (e *Enroller) Submit(c Change) {
	e.mu.Lock()
	at := seat{c.Topic, c.Member.Session}
	n := e.seats[at]
	if n == nil {
		n = &entry{}
		e.seats[at] = n
	}
	if n.generation > c.Generation {
		e.mu.Unlock()
		return
	}
	n.generation, n.next = c.Generation, &c
	e.queue(n)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// queue gives an entry a turn, once what is under way is answered.
func (e *Enroller) queue(n *entry) {
	if !n.asking && !n.queued {
		n.queued = true
		e.ready = append(e.ready, n)
	}
}

// Run asks until ctx ends. What waits then is not asked any more.
func (e *Enroller) Run(ctx context.Context) {
	timer := time.NewTimer(lastPause)
	defer timer.Stop()
	var pause time.Duration // before what failed last is asked again; 0: nothing failed
	waiting := false        // for the timer
	for ctx.Err() == nil {
		batch := e.take()
		if len(batch) > 0 {
			e.ask(ctx, batch)
		}
		switch failed := e.failures(); {
		case waiting:
		case failed > 0:
			pause = min(max(2*pause, firstPause), lastPause)
			timer.Reset(pause + rand.N(pause/4))
			waiting = true
		case len(batch) == 0:
			pause = 0
		}
		fired := false
		if len(batch) > 0 {
			select {
			case <-timer.C:
				fired = true
			default:
			}
		} else {
			select {
			case <-timer.C:
				fired = true
			case <-e.wake:
			case <-ctx.Done():
			}
		}
		if fired {
			waiting = false
			e.retry()
		}
	}
}

// retry gives those a turn that failed.
func (e *Enroller) retry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.failed {
		n.failed = false
		if n.next != nil {
			e.queue(n)
		}
	}
	e.failed = nil
}

// asked is a change that is under way.
type asked struct {
	entry  *entry
	change *Change
}

// take returns the next batch.
func (e *Enroller) take() []asked {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.ready), maxBatch)
	if n == 0 {
		e.ready = nil
		return nil
	}
	batch := make([]asked, n)
	for i, one := range e.ready[:n] {
		batch[i] = asked{one, one.next}
		one.asking, one.queued, one.next = true, false, nil
	}
	e.ready = e.ready[n:]
	return batch
}

// ask asks for a batch and tells the owners.
func (e *Enroller) ask(ctx context.Context, batch []asked) {
	changes := make([]millrace.MemberChange, len(batch))
	for i, b := range batch {
		changes[i] = b.change.MemberChange
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	acks, err := e.upstream.Enroll(bounded, changes)
	cancel()
	if ctx.Err() != nil {
		return
	}
	for i, b := range batch {
		var ack millrace.MemberAck
		switch {
		case err != nil:
			ack.Err = millrace.AsError(err)
		case i < len(acks):
			ack = acks[i]
		default:
			ack.Err = millrace.Errorf(millrace.ReasonInternal, "the broker did not answer")
		}
		if e.settle(b, ack) && b.change.Owner != nil {
			b.change.Owner.Enrolled(b.change.MemberChange, ack)
		}
	}
}

// settle looks at what is next for an entry whose change was answered, and reports whether the owner is to be told: not
// if the change is asked again.
func (e *Enroller) settle(b asked, ack millrace.MemberAck) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := b.entry
	n.asking = false
	again := ack.Err != nil && ack.Err.Reason.Outcome().Retryable && (b.change.Persists || b.change.Kind == millrace.MemberLeave)
	switch {
	case n.next != nil: // which takes the place of what would be asked again
		e.queue(n)
	case again:
		n.next = b.change
		if !n.failed {
			n.failed = true
			e.failed = append(e.failed, n)
		}
	default:
		delete(e.seats, seat{b.change.Topic, b.change.Member.Session})
	}
	return !again
}

func (e *Enroller) failures() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.failed)
}

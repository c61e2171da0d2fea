package door

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-dev/millrace/gateway/internal/turn"
)

const (
	// minDrainRate is how many peers a second are sent away at least, whatever the window: so few more are nothing to any
	// other gateway, and a gateway with hardly any peers need not take the whole window to be rid of them.
	minDrainRate = 100

	// lastWords is how long after the window peers may take that do not read what they are told.
	lastWords = 5 * time.Second

	// minReturn keeps a peer whose client does nothing but follow the advice from coming back at once, and again.
	minReturn = 500 * time.Millisecond

	// returnSpread parts those that are told to come back in the same moment.
	returnSpread = 500 * time.Millisecond
)

// Peer is one that is sent away. Its methods do not wait.
type Peer interface {
	// GoAway tells the peer to go.
	GoAway()

	// Cut ends the peer's connection; Done is closed soon after.
	Cut()

	// Done is closed when the peer is gone.
	Done() <-chan struct{}
}

// Drain is how the peers of a gateway are sent away: one after the other, at an even rate, each served until its turn. Its
// methods may be called concurrently, Run once.
type Drain struct {
	elapsed func() time.Duration
	wake    chan struct{} // signalled when there is a new schedule
	over    chan struct{} // closed when all have gone, or with Run's context

	mu    sync.Mutex
	begun bool          // protected by mu
	peers []Peer        // protected by mu; those still to be told, in the order of their turns
	pace  turn.Pace     // protected by mu; as many turns
	cutAt time.Duration // protected by mu; when those that are left are cut off
}

// NewDrain returns a drain that has yet to start. Elapsed is the time since any moment that stays the same.
func NewDrain(elapsed func() time.Duration) *Drain {
	return &Drain{elapsed: elapsed, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// Start lets the peers that there are be sent away, in their order, evenly over the window or, where that is fewer than a
// hundred a second, sooner. What is left after within is cut off; 0 is 5 s more than the window. It returns at once, with the
// number of peers that are to be told.
//
// A drain that is under way goes on by the schedule that ends sooner; the number is then of those that are still to be
// told.
func (d *Drain) Start(peers func() []Peer, window, within time.Duration) int {
	if within <= 0 {
		within = window + lastWords
	}
	window = min(window, within)
	now := d.elapsed()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		d.pace.Hurry(now, window)
		d.cutAt = min(d.cutAt, now+within)
	} else {
		d.begun = true
		d.peers = peers()
		d.pace = turn.NewPace(now, window, len(d.peers), minDrainRate)
		d.cutAt = now + within
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return len(d.peers)
}

// Over is closed when all have gone, or when the context of Run has ended.
func (d *Drain) Over() <-chan struct{} { return d.over }

// Run waits for a drain and sees it through, unless ctx ends.
func (d *Drain) Run(ctx context.Context) {
	defer close(d.over)
	select {
	case <-d.wake:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var told []Peer
	for {
		now, next, more := d.turn(d.elapsed())
		told = append(told, now...)
		if !more {
			break
		}
		timer.Reset(max(next-d.elapsed(), beat))
		select {
		case <-timer.C:
		case <-d.wake:
		case <-ctx.Done():
			return
		}
	}
	d.await(ctx, timer, told)
}

// turn tells those whose turn has come, and returns them and when the next one's comes.
func (d *Drain) turn(now time.Duration) (told []Peer, next time.Duration, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.pace.Take(now)
	told, d.peers = d.peers[:n], d.peers[n:]
	for _, p := range told {
		p.GoAway()
	}
	next, more = d.pace.Next()
	return told, next, more
}

// await waits until all who were told are gone, and cuts off those who are not in time.
func (d *Drain) await(ctx context.Context, timer *time.Timer, told []Peer) {
	for _, p := range told {
		for gone := false; !gone; {
			timer.Reset(d.left())
			select {
			case <-p.Done():
				gone = true
			case <-timer.C:
				p.Cut()
				<-p.Done() // which a loop sees to at once, and its own end too
				gone = true
			case <-d.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// left is the time until those that are left are cut off.
func (d *Drain) left() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cutAt - d.elapsed()
}

// Return is the time after which a peer is to come back that is told to go, some a little later than others.
func Return() time.Duration { return minReturn + rand.N(returnSpread) }

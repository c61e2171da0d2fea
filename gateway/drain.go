package gateway

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/turn"
)

const (
	// minReturn keeps a peer whose client does nothing but follow the advice from coming back at once, and again.
	minReturn = 500 * time.Millisecond

	// returnSpread parts those that are told to come back in the same moment.
	returnSpread = 500 * time.Millisecond

	// minDrainRate is how many sessions a second are sent away at least, whatever the window: so few more are nothing to
	// any other gateway, and a gateway with hardly any peers need not take the whole window to be rid of them.
	minDrainRate = 100

	// lastWords is how long after the window sessions may take that do not read what they are told.
	lastWords = 5 * time.Second
)

// drainage is how the sessions of a gateway are sent away: one after the other, at an even rate over all loops, each
// served until its turn. The oldest goes first: it spares those who have just come, perhaps from a gateway that drained
// before, and as sessions are dealt out to the loops in turn, the loops are asked in turn too.
type drainage struct {
	gateway *Gateway
	wake    chan struct{} // signalled when there is a new schedule
	over    chan struct{} // closed when all have gone, or with the gateway

	mu       sync.Mutex
	begun    bool          // protected by mu
	sessions []*Session    // protected by mu; those still to be told, in the order of their turns
	pace     turn.Pace     // protected by mu; as many turns
	cutAt    time.Duration // protected by mu; when those that are left are cut off, since the gateway started
}

func newDrainage(g *Gateway) *drainage {
	return &drainage{gateway: g, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// StartDrain refuses new sessions from now on and sends those at hand away, one after the other, evenly over the window
// or, where that is fewer than a hundred a second, sooner. What is left after within is cut off; 0 is 5 s more than the
// window. It returns at once, with the number of sessions that are to be told.
//
// A drain that is under way goes on by the schedule that ends sooner; the number is then of those that are still to be
// told.
func (g *Gateway) StartDrain(window, within time.Duration) int {
	g.draining.Store(true)
	if within <= 0 {
		within = window + lastWords
	}
	window = min(window, within)
	d := g.drainage
	now := g.elapsed()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		d.pace.Hurry(now, window)
		d.cutAt = min(d.cutAt, now+within)
	} else {
		d.begun = true
		d.sessions = g.all()
		slices.SortFunc(d.sessions, func(a, b *Session) int { return cmp.Compare(a.ordinal, b.ordinal) })
		d.pace = turn.NewPace(now, window, len(d.sessions), minDrainRate)
		d.cutAt = now + within
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return len(d.sessions)
}

// Drain is StartDrain, and waits until the sessions are gone or ctx ends.
func (g *Gateway) Drain(ctx context.Context, window time.Duration) {
	g.StartDrain(window, 0)
	select {
	case <-g.drainage.over:
	case <-ctx.Done():
	}
}

// run waits for a drain and sees it through, unless ctx ends.
func (d *drainage) run(ctx context.Context) {
	defer close(d.over)
	select {
	case <-d.wake:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var told []*Session
	for {
		now, next, more := d.turn(d.gateway.elapsed())
		told = append(told, now...)
		if !more {
			break
		}
		timer.Reset(max(next-d.gateway.elapsed(), beat))
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
func (d *drainage) turn(now time.Duration) (told []*Session, next time.Duration, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.pace.Take(now)
	told, d.sessions = d.sessions[:n], d.sessions[n:]
	for _, s := range told {
		s.loop.post(call(func() { s.goAway("the gateway is going away") }))
	}
	next, more = d.pace.Next()
	return told, next, more
}

// await waits until all who were told are gone, and cuts off those who are not in time.
func (d *drainage) await(ctx context.Context, timer *time.Timer, told []*Session) {
	for _, s := range told {
		for gone := false; !gone; {
			timer.Reset(d.left())
			select {
			case <-s.done:
				gone = true
			case <-timer.C:
				s.loop.post(call(s.lost))
				<-s.done // which a loop sees to at once, and its own end too
				gone = true
			case <-d.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// left is the time until those that are left are cut off.
func (d *drainage) left() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cutAt - d.gateway.elapsed()
}

// goAway tells the peer to come back, which a load balancer in between makes to be elsewhere, and ends the session.
func (s *Session) goAway(why string) {
	err := millrace.Errorf(millrace.ReasonDraining, "%s", why)
	err.RetryAfter = minReturn + rand.N(returnSpread)
	s.say(0, Goaway{Err: err})
	s.end(err)
}

// oldAt is when a session that begins now is old enough to go, in seconds since the gateway started; 0 is never. Sessions
// that began together, as after a restart, end up to a tenth of the age sooner or later, so that they do not stay together.
func (g *Gateway) oldAt() int64 {
	age := g.config.MaxSessionAge
	if age <= 0 {
		return 0
	}
	return seconds(g.elapsed() + age - age/10 + rand.N(age/5+1))
}

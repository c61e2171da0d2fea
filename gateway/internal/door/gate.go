// Package door is how peers come in and go out when many do so at a time: through a [Gate] that opens at a bounded rate, and
// by a [Drain] that sends them away evenly over a window. Whose turn it is says package turn; here are the goroutines that
// give the turns, a gateway's two, and those that wait for them.
package door

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/turn"
)

// Gate lets openings through at a bounded rate, so that a storm of peers that come back at once, as after the end of
// another gateway, is served in the order of its need: those that resume first, since each of them holds a place in its
// topics that the tails may soon lose. Whoever waits does so in a goroutine of its own, which its wire has in any case. Its methods may be
// called concurrently, Run once.
type Gate struct {
	elapsed func() time.Duration
	wake    chan struct{} // signalled when somebody begins to wait

	mu     sync.Mutex
	line   *turn.Line[chan *millrace.Error] // protected by mu
	closed bool                             // protected by mu
}

// NewGate returns a gate that lets in so many a second, a tenth of it at once, and lets nobody wait longer than wait.
// Elapsed is the time since any moment that stays the same.
func NewGate(rate int, wait time.Duration, elapsed func() time.Duration) *Gate {
	line := turn.NewLine[chan *millrace.Error](rate, max(rate/burstShare, 1), wait)
	return &Gate{elapsed: elapsed, wake: make(chan struct{}, 1), line: line}
}

// burstShare is the part of a second whose openings may come in at once.
const burstShare = 10

// Pass waits until the turn of an opening of a class has come. The error is its refusal.
func (g *Gate) Pass(ctx context.Context, class turn.Class) *millrace.Error {
	answer := make(chan *millrace.Error, 1)
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return ErrGone
	}
	in, place, back := g.line.Enter(g.elapsed(), class, answer, rand.Float64())
	g.mu.Unlock()
	switch {
	case in:
		return nil
	case place == nil:
		return crowded(back)
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
	select {
	case refusal := <-answer:
		return refusal
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.line.Leave(place)
	return millrace.AsError(context.Cause(ctx))
}

// ErrGone refuses whoever comes to a gateway that is going away.
var ErrGone = millrace.Errorf(millrace.ReasonDraining, "the gateway is going away")

// crowded is what those are told who would have to wait too long.
func crowded(back time.Duration) *millrace.Error {
	err := millrace.Errorf(millrace.ReasonFull, "too many peers connect at a time")
	err.RetryAfter = max(back, minReturn)
	return err
}

// beat is how often turns are given, at most, in a gateway's gate and drain: a timer for each would cost more than it
// spreads.
const beat = 5 * time.Millisecond

// Run gives the turns until ctx ends; then all are refused.
func (g *Gate) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.wake:
		case <-timer.C:
		case <-ctx.Done():
			g.close()
			return
		}
		if next, ok := g.turn(g.elapsed()); ok {
			timer.Reset(max(next-g.elapsed(), beat))
		}
	}
}

// turn answers those who need not wait any more and returns when there is more to do, if anybody waits.
func (g *Gate) turn(now time.Duration) (next time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in, away := g.line.Turn(now)
	for _, p := range in {
		p.Who <- nil
	}
	for _, p := range away {
		p.Who <- crowded(g.line.Back(now, p, rand.Float64()))
	}
	return g.line.Next()
}

func (g *Gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, p := range g.line.Clear() {
		p.Who <- ErrGone
	}
}

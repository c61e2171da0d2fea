package gateway

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/turn"
)

// gate lets openings through at a bounded rate, so that a storm of peers that come back at once, as after the end of
// another gateway, is served in the order of its need: those that resume first, since each of them holds a place in its
// topics that the tails may soon lose. Whoever waits does so in a goroutine of its own, which its wire has in any case.
type gate struct {
	gateway *Gateway
	wake    chan struct{} // signalled when somebody begins to wait

	mu     sync.Mutex
	line   *turn.Line[chan *millrace.Error] // protected by mu
	closed bool                             // protected by mu
}

func newGate(g *Gateway) *gate {
	c := &g.config
	line := turn.NewLine[chan *millrace.Error](c.AdmitRate, max(c.AdmitRate/burstShare, 1), c.MaxAdmitWait)
	return &gate{gateway: g, wake: make(chan struct{}, 1), line: line}
}

// burstShare is the part of a second whose openings may come in at once.
const burstShare = 10

// pass waits until the opening's turn has come. The error is its refusal.
func (g *gate) pass(ctx context.Context, resumes bool) *millrace.Error {
	class := turn.Second
	if resumes {
		class = turn.First
	}
	answer := make(chan *millrace.Error, 1)
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return errGone
	}
	in, place, back := g.line.Enter(g.gateway.elapsed(), class, answer, rand.Float64())
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

var errGone = millrace.Errorf(millrace.ReasonDraining, "the gateway is going away")

// crowded is what those are told who would have to wait too long.
func crowded(back time.Duration) *millrace.Error {
	err := millrace.Errorf(millrace.ReasonFull, "too many peers connect at a time")
	err.RetryAfter = max(back, minReturn)
	return err
}

// beat is how often turns are given, at most, in a gateway's gate and drain: a timer for each would cost more than it
// spreads.
const beat = 5 * time.Millisecond

// run gives the turns until ctx ends.
func (g *gate) run(ctx context.Context) {
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
		if next, ok := g.turn(g.gateway.elapsed()); ok {
			timer.Reset(max(next-g.gateway.elapsed(), beat))
		}
	}
}

// turn answers those who need not wait any more and returns when there is more to do, if anybody waits.
func (g *gate) turn(now time.Duration) (next time.Duration, ok bool) {
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

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, p := range g.line.Clear() {
		p.Who <- errGone
	}
}

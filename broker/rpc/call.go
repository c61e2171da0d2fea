package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// errDone ends a call that went as it should.
var errDone = errors.New("the call is done")

// call is a stream that stays open: who opened it, how long it may last, and why it ends. Its handler waits for the end
// and returns, which is what frees the goroutines that read from the stream and write to it; those the server waits for.
type call struct {
	// Static.
	server *Server
	stream grpc.ServerStream
	ctx    context.Context //nolint:containedctx // a call is what its context is of; it ends with the reason
	end    context.CancelCauseFunc
	opened time.Time
	left   chan struct{} // closed when the peer is to be told to go

	slow *time.Timer // runs while a message is being sent; owned by the goroutine that sends

	queued atomic.Int64 // bytes that are being sent

	mu     sync.Mutex
	caller *caller            // protected by mu
	goaway *millracev1.Goaway // protected by mu; nil until left is closed
	timers []*time.Timer      // protected by mu; age and grace
	expiry *time.Timer        // protected by mu; nil if the grant does not expire
	closed bool               // protected by mu
}

// open begins a call on a stream. Its handler must close it.
func (s *Server) open(stream grpc.ServerStream) (*call, error) {
	c := &call{
		server: s,
		stream: stream,
		opened: time.Now(),
		left:   make(chan struct{}),
		caller: callerOf(stream.Context()),
	}
	c.ctx, c.end = context.WithCancelCause(stream.Context())
	c.slow = time.AfterFunc(s.config.SlowTimeout, func() {
		c.end(millrace.Errorf(millrace.ReasonSlow, "nothing was taken for %v", s.config.SlowTimeout))
	})
	c.slow.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		c.end(errDone)
		return nil, millrace.Errorf(millrace.ReasonDraining, "the broker is going away")
	}
	s.calls[c] = struct{}{}
	c.watch(c.caller)
	age := s.config.StreamAge
	age += time.Duration((rand.Float64() - 0.5) / 5 * float64(age))
	c.after(age, func() {
		c.leave("the stream is old enough; go on with another", s.config.StreamGrace/2, s.config.StreamGrace)
	})
	return c, nil
}

// close ends the call and returns why it ended, nil for a good end.
func (c *call) close() error {
	c.end(errDone)
	s := c.server
	s.mu.Lock()
	delete(s.calls, c)
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, t := range c.timers {
		t.Stop()
	}
	if c.expiry != nil {
		c.expiry.Stop()
	}
	if err := context.Cause(c.ctx); !errors.Is(err, errDone) {
		return err
	}
	return nil
}

// after calls f unless the call is closed before.
func (c *call) after(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.timers = append(c.timers, time.AfterFunc(d, f))
	}
}

// who returns who the peer is by its newest token.
func (c *call) who() *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caller
}

// watch makes the peer who it now is, until that token expires.
func (c *call) watch(who *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caller = who
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if at := who.grant.Expires; !at.IsZero() && !c.closed {
		c.expiry = time.AfterFunc(time.Until(at), func() {
			c.end(millrace.Errorf(millrace.ReasonTokenExpired, "the token has expired"))
		})
	}
}

// leave tells the peer to go on elsewhere, at a moment of its own within the window, and ends the call after a grace. The
// first time counts.
func (c *call) leave(message string, window, grace time.Duration) {
	c.mu.Lock()
	if c.goaway != nil || c.closed {
		c.mu.Unlock()
		return
	}
	c.goaway = &millracev1.Goaway{
		Reason:   string(millrace.ReasonDraining),
		Message:  message,
		WindowMs: wire.Millis(window),
		EndsInMs: wire.Millis(grace),
	}
	close(c.left)
	c.mu.Unlock()
	c.after(grace, func() { c.end(millrace.Errorf(millrace.ReasonDraining, "%s", message)) })
}

// farewell returns what the peer is to be told once left is closed.
func (c *call) farewell() *millracev1.Goaway {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goaway
}

// send sends a message. One goroutine may call it; it waits for the peer to take what was sent before, but not for ever.
// It reports whether the call goes on.
func (c *call) send(m any) bool {
	c.slow.Reset(c.server.config.SlowTimeout)
	err := c.stream.SendMsg(m)
	c.slow.Stop()
	if err != nil {
		c.end(wire.ParseStatus(err))
		return false
	}
	return true
}

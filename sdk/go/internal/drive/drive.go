// Package drive decides when a stream to the broker is opened, and opens one after the other.
package drive

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// Status is how a stream to the broker stands, and why.
type Status struct {
	State    State
	Reason   *millrace.Error // the last thing that went wrong; nil while all is well
	Failures int             // in a row
	Since    time.Time       // when State began
	Next     time.Time       // when the next try is due; zero unless one is waited for
}

// Driver gives a machine time, chance and streams.
type Driver struct {
	log  *slog.Logger
	what string // for the log: what is driven

	mu      sync.Mutex
	machine Machine
	since   time.Time
	next    time.Time
}

// New returns a driver of streams, which for the log are what.
func New(policy Backoff, log *slog.Logger, what string) *Driver {
	return &Driver{log: log, what: what, machine: Machine{Policy: WithDefaults(policy)}, since: time.Now()}
}

// Status returns how the stream stands. It may be called concurrently.
func (d *Driver) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machine
	return Status{State: m.State, Reason: m.Reason, Failures: m.Failures, Since: d.since, Next: d.next}
}

// Step tells the machine what happened and returns what to do.
func (d *Driver) Step(in Input) Action {
	d.mu.Lock()
	before := d.machine.State
	now := time.Now()
	m, act := d.machine.Step(in, now, rand.Float64())
	d.machine = m
	d.next = act.At
	if m.State != before {
		d.since = now
	}
	d.mu.Unlock()
	switch {
	case m.State == before && in.Kind != Lost && in.Kind != Unmoved:
	case m.Reason == nil:
		d.log.Info(d.what+" is "+m.State.String(), "state", m.State.String())
	case m.State == StateClosed && in.Kind == Close:
	default:
		d.log.Warn(d.what+" is "+m.State.String(), "state", m.State.String(), "reason", m.Reason.Error(), "cause", m.Reason.Cause, "failures", m.Failures, "next", act.At)
	}
	return act
}

// Session is one stream from its opening to its end. It tells the driver when it is live, and returns why it ended. It
// ends when ctx does.
type Session func(ctx context.Context) *millrace.Error

// Drive runs one session after the other, with the waits between them, until ctx ends or the machine gives up. It
// returns why; the machine is closed then.
func (d *Driver) Drive(ctx context.Context, run Session) *millrace.Error {
	act := d.Step(Input{Kind: Open})
	for {
		switch act.Kind {
		case Dial:
			sctx, cancel := context.WithCancel(ctx)
			err := run(sctx)
			cancel()
			if ctx.Err() == nil {
				act = d.Step(Input{Kind: Lost, Err: err})
			}
		case Wait:
			if WaitUntil(ctx, act.At) {
				act = d.Step(Input{Kind: Due})
			}
		case None, Stop:
			return d.Status().Reason
		}
		if ctx.Err() != nil {
			why := millrace.AsError(context.Cause(ctx))
			d.Step(Input{Kind: Close, Err: why})
			return why
		}
	}
}

// WaitUntil waits for a time and reports whether it came before ctx ended.
func WaitUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

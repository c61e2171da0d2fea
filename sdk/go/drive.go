package sdk

import (
	"context"
	"log/slog"
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

// driver gives a machine time, chance and streams.
type driver struct {
	log  *slog.Logger
	what string // for the log: what is driven

	mu      sync.Mutex
	machine machine
	since   time.Time
	next    time.Time
}

func newDriver(policy Backoff, log *slog.Logger, what string) *driver {
	return &driver{log: log, what: what, machine: machine{policy: policy.withDefaults()}, since: time.Now()}
}

func (d *driver) status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machine
	return Status{State: m.state, Reason: m.reason, Failures: m.failures, Since: d.since, Next: d.next}
}

// step tells the machine what happened and returns what to do.
func (d *driver) step(in input) action {
	d.mu.Lock()
	before := d.machine.state
	now := time.Now()
	m, act := d.machine.step(in, now, chance())
	d.machine = m
	d.next = act.at
	if m.state != before {
		d.since = now
	}
	d.mu.Unlock()
	switch {
	case m.state == before && in.kind != inputLost && in.kind != inputUnmoved:
	case m.reason == nil:
		d.log.Info(d.what+" is "+m.state.String(), "state", m.state.String())
	case m.state == StateClosed && in.kind == inputClose:
	default:
		d.log.Warn(d.what+" is "+m.state.String(), "state", m.state.String(), "reason", m.reason.Error(), "cause", m.reason.Cause, "failures", m.failures, "next", act.at)
	}
	return act
}

// session is one stream from its opening to its end. It tells the driver when it is live, and returns why it ended. It
// ends when ctx does.
type session func(ctx context.Context) error

// drive runs one session after the other, with the waits between them, until ctx ends or the machine gives up. It
// returns why; the machine is closed then.
func (d *driver) drive(ctx context.Context, run session) *millrace.Error {
	act := d.step(input{kind: inputOpen})
	for {
		switch act.kind {
		case actionDial:
			sctx, cancel := context.WithCancel(ctx)
			err := run(sctx)
			cancel()
			if ctx.Err() == nil {
				act = d.step(input{kind: inputLost, err: streamError(err)})
			}
		case actionWait:
			if waitUntil(ctx, act.at) {
				act = d.step(input{kind: inputDue})
			}
		case actionNone, actionStop:
			return d.status().Reason
		}
		if ctx.Err() != nil {
			why := endOf(ctx)
			d.step(input{kind: inputClose, err: why})
			return why
		}
	}
}

// waitUntil waits for a time and reports whether it came before ctx ended.
func waitUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

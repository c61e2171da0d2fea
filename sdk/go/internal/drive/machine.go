package drive

import (
	"strconv"
	"time"

	"github.com/millrace-dev/millrace"
)

// State says how a stream to the broker stands.
type State int

// The states: idle → connecting → live ⇄ resuming → closed.
const (
	StateIdle       State = iota // nothing was asked for yet
	StateConnecting              // on the way to live for the first time
	StateLive                    // the broker answers
	StateResuming                // was live, was cut off, and is on its way back with its positions
	StateClosed                  // ended, for good
)

var stateNames = [...]string{"idle", "connecting", "live", "resuming", "closed"}

// String returns the state's word.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "state(" + strconv.Itoa(int(s)) + ")"
	}
	return stateNames[s]
}

// Machine decides when to open a stream, when to wait and when to give up. It is a value and a pure function of what
// happens, the time and chance: it neither waits nor sends. Its holder does what it says and tells it what came of it.
type Machine struct {
	Policy   Backoff // with defaults
	State    State
	Reason   *millrace.Error // why the state is not live, or will not stay so; nil if there is nothing to say
	Failures int             // in a row, since a stream that held
	since    time.Time       // when the stream became live
	moveAt   time.Time       // when the live stream should be left for another; zero: no wish to
}

// Kind says what happened.
type Kind int

// What can happen.
const (
	Open      Kind = iota + 1 // the application wants a stream
	Connected                 // a stream answers; it takes the place of the one before it
	Goaway                    // the server asks to leave the live stream: After, then a moment within Window
	Unmoved                   // the stream that should have taken the live one's place failed with Err
	Lost                      // the stream that was opened or live ended with Err
	Due                       // the time that was waited for has come
	Close                     // the application wants no more
)

// Input is what happened.
type Input struct {
	Kind   Kind
	Err    *millrace.Error
	After  time.Duration
	Window time.Duration
}

// ActionKind says what is to be done.
type ActionKind int

// What can be to do.
const (
	None ActionKind = iota
	Dial            // open a stream
	Wait            // tell Due at the time
	Stop            // for good: the machine is closed
)

// Action is what is to be done.
type Action struct {
	Kind ActionKind
	At   time.Time
}

// Step returns the machine after an input and what is to be done. chance is from [0, 1).
func (m Machine) Step(in Input, now time.Time, chance float64) (Machine, Action) {
	switch {
	case m.State == StateClosed:
		return m, Action{Kind: Stop}
	case in.Kind == Close:
		m.State, m.Reason = StateClosed, in.Err
		return m, Action{Kind: Stop}
	}
	switch in.Kind {
	case Open:
		if m.State == StateIdle {
			m.State = StateConnecting
			return m, Action{Kind: Dial}
		}
	case Connected:
		m.State, m.since, m.moveAt, m.Reason = StateLive, now, time.Time{}, nil
	case Goaway:
		if m.State == StateLive {
			m.Reason = in.Err
			m.moveAt = now.Add(in.After + time.Duration(chance*float64(in.Window)))
			return m, Action{Kind: Wait, At: m.moveAt}
		}
	case Unmoved:
		if m.State == StateLive {
			m.Failures++
			m.Reason = in.Err
			m.moveAt = now.Add(in.Err.RetryAfter + Delay(m.Policy, m.Failures, chance))
			return m, Action{Kind: Wait, At: m.moveAt}
		}
	case Lost:
		return m.lost(in.Err, now, chance)
	case Due:
		return m, Action{Kind: Dial}
	case Close: // seen to above
	}
	return m, Action{}
}

func (m Machine) lost(err *millrace.Error, now time.Time, chance float64) (Machine, Action) {
	m.Reason = err
	moveAt := m.moveAt
	m.moveAt = time.Time{}
	if m.State == StateLive {
		m.State = StateResuming
		if now.Sub(m.since) >= m.Policy.Hold {
			m.Failures = 0
		}
		if !moveAt.IsZero() && !Final(err) {
			// The end was announced, so it is no failure, and the server chose the moment to come back.
			if moveAt.After(now) {
				return m, Action{Kind: Wait, At: moveAt}
			}
			return m, Action{Kind: Dial}
		}
	}
	m.Failures++
	if Final(err) || m.Policy.Tries > 0 && m.Failures >= m.Policy.Tries {
		m.State = StateClosed
		return m, Action{Kind: Stop}
	}
	return m, Action{Kind: Wait, At: now.Add(err.RetryAfter + Delay(m.Policy, m.Failures, chance))}
}

// Final reports whether a stream that failed so is not worth another try. An expired token is: the next try asks for a
// fresh one.
func Final(err *millrace.Error) bool {
	return err.Reason != millrace.ReasonTokenExpired && !err.Reason.Outcome().Retryable
}

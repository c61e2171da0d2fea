package sdk

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

// machine decides when to open a stream, when to wait and when to give up. It is a value and a pure function of what
// happens, the time and chance: it neither waits nor sends. Its holder does what it says and tells it what came of it.
type machine struct {
	policy   Backoff // with defaults
	state    State
	reason   *millrace.Error // why the state is not live, or will not stay so; nil if there is nothing to say
	failures int             // in a row, since a stream that held
	since    time.Time       // when the stream became live
	moveAt   time.Time       // when the live stream should be left for another; zero: no wish to
}

type inputKind int

const (
	inputOpen      inputKind = iota + 1 // the application wants a stream
	inputConnected                      // a stream answers; it takes the place of the one before it
	inputGoaway                         // the server asks to leave the live stream: after, then a moment within window
	inputUnmoved                        // the stream that should have taken the live one's place failed with err
	inputLost                           // the stream that was opened or live ended with err
	inputDue                            // the time that was waited for has come
	inputClose                          // the application wants no more
)

type input struct {
	kind   inputKind
	err    *millrace.Error
	after  time.Duration
	window time.Duration
}

type actionKind int

const (
	actionNone actionKind = iota
	actionDial            // open a stream
	actionWait            // tell inputDue at the time
	actionStop            // for good: the machine is closed
)

type action struct {
	kind actionKind
	at   time.Time
}

// step returns the machine after an input and what is to be done. chance is from [0, 1).
func (m machine) step(in input, now time.Time, chance float64) (machine, action) {
	switch {
	case m.state == StateClosed:
		return m, action{kind: actionStop}
	case in.kind == inputClose:
		m.state, m.reason = StateClosed, in.err
		return m, action{kind: actionStop}
	}
	switch in.kind {
	case inputOpen:
		if m.state == StateIdle {
			m.state = StateConnecting
			return m, action{kind: actionDial}
		}
	case inputConnected:
		m.state, m.since, m.moveAt, m.reason = StateLive, now, time.Time{}, nil
	case inputGoaway:
		if m.state == StateLive {
			m.reason = in.err
			m.moveAt = now.Add(in.after + time.Duration(chance*float64(in.window)))
			return m, action{kind: actionWait, at: m.moveAt}
		}
	case inputUnmoved:
		if m.state == StateLive {
			m.failures++
			m.reason = in.err
			m.moveAt = now.Add(in.err.RetryAfter + m.policy.delay(m.failures, chance))
			return m, action{kind: actionWait, at: m.moveAt}
		}
	case inputLost:
		return m.lost(in.err, now, chance)
	case inputDue:
		return m, action{kind: actionDial}
	case inputClose: // seen to above
	}
	return m, action{}
}

func (m machine) lost(err *millrace.Error, now time.Time, chance float64) (machine, action) {
	m.reason = err
	moveAt := m.moveAt
	m.moveAt = time.Time{}
	if m.state == StateLive {
		m.state = StateResuming
		if now.Sub(m.since) >= m.policy.Hold {
			m.failures = 0
		}
		if !moveAt.IsZero() && !final(err) {
			// The end was announced, so it is no failure, and the server chose the moment to come back.
			if moveAt.After(now) {
				return m, action{kind: actionWait, at: moveAt}
			}
			return m, action{kind: actionDial}
		}
	}
	m.failures++
	if final(err) || m.policy.Tries > 0 && m.failures >= m.policy.Tries {
		m.state = StateClosed
		return m, action{kind: actionStop}
	}
	return m, action{kind: actionWait, at: now.Add(err.RetryAfter + m.policy.delay(m.failures, chance))}
}

// final reports whether a stream that failed so is not worth another try. An expired token is: the next try asks for a
// fresh one.
func final(err *millrace.Error) bool {
	return err.Reason != millrace.ReasonTokenExpired && !err.Reason.Outcome().Retryable
}

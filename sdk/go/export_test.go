package sdk

import (
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
)

// Machine is the reconnect machine as tests see it.
type Machine struct{ m drive.Machine }

// Act is what the machine says to do.
type Act struct {
	Word string // none, dial, wait or stop
	At   time.Time
}

// NewMachine returns an idle machine.
func NewMachine(b Backoff) Machine { return Machine{drive.Machine{Policy: drive.WithDefaults(b)}} }

func (m Machine) step(in drive.Input, now time.Time, chance float64) (Machine, Act) {
	next, act := m.m.Step(in, now, chance)
	return Machine{next}, Act{Word: [...]string{"none", "dial", "wait", "stop"}[act.Kind], At: act.At}
}

func (m Machine) Open(now time.Time) (Machine, Act) {
	return m.step(drive.Input{Kind: drive.Open}, now, 0)
}

func (m Machine) Connected(now time.Time) (Machine, Act) {
	return m.step(drive.Input{Kind: drive.Connected}, now, 0)
}

func (m Machine) Due(now time.Time) (Machine, Act) {
	return m.step(drive.Input{Kind: drive.Due}, now, 0)
}

func (m Machine) Goaway(now time.Time, after, window time.Duration, chance float64) (Machine, Act) {
	in := drive.Input{Kind: drive.Goaway, Err: millrace.Errorf(millrace.ReasonDraining, "go"), After: after, Window: window}
	return m.step(in, now, chance)
}

func (m Machine) Unmoved(now time.Time, err *millrace.Error, chance float64) (Machine, Act) {
	return m.step(drive.Input{Kind: drive.Unmoved, Err: err}, now, chance)
}

func (m Machine) Lost(now time.Time, err *millrace.Error, chance float64) (Machine, Act) {
	return m.step(drive.Input{Kind: drive.Lost, Err: err}, now, chance)
}

func (m Machine) Close(now time.Time) (Machine, Act) {
	return m.step(drive.Input{Kind: drive.Close, Err: closed("it")}, now, 0)
}

func (m Machine) State() State            { return m.m.State }
func (m Machine) Reason() *millrace.Error { return m.m.Reason }
func (m Machine) Failures() int           { return m.m.Failures }

// Delay is the wait after so many failures.
func Delay(b Backoff, failures int, chance float64) time.Duration {
	return drive.Delay(drive.WithDefaults(b), failures, chance)
}

// Track is one topic as tests see it.
type Track struct{ t *track }

// NewTrack returns a topic that stands at a position.
func NewTrack(topic string, at millrace.Position) Track {
	return Track{newTrack(millrace.Subscription{Topic: topic, Start: millrace.After(at)})}
}

// Receive takes an update and returns how many the application is told.
func (t Track) Receive(u *millracev1.Update) (int, error) {
	items, err := t.t.receive(nil, u)
	if err != nil {
		return 0, err
	}
	return len(items), nil
}

// Rewind puts the topic back to where it stood.
func (t Track) Rewind(at millrace.Position) { t.t.moveTo(at) }

// Seats is how many memberships the link keeps something of.
func (l *Link) Seats() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.members.Len()
}

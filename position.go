package millrace

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Position is a place in one topic's log: after the event with this offset. Offsets count from 1 without holes; offset
// 0 is before the first event. The mark is a random number minted with each event (and at the topic's birth, for offset
// 0), so that a position of one lineage of a topic is never taken for one of another. The zero Position stands for a
// topic that was never published to, and precedes the first event of any lineage.
type Position struct {
	Offset uint64
	Mark   uint64
}

// IsZero reports whether p is the position of a topic that was never published to.
func (p Position) IsZero() bool { return p == Position{} }

// Precedes reports whether e is the very next event after p, in p's own lineage.
func (p Position) Precedes(e *Event) bool {
	return e.Position.Offset == p.Offset+1 && (e.Prev == p.Mark || p.IsZero())
}

// String returns the position as offset and mark in decimal, joined by a hyphen.
func (p Position) String() string {
	return strconv.FormatUint(p.Offset, 10) + "-" + strconv.FormatUint(p.Mark, 10)
}

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	offset, mark, ok := strings.Cut(s, "-")
	if !ok {
		return Position{}, fmt.Errorf("position %q: want offset-mark", s)
	}
	o, err := strconv.ParseUint(offset, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: offset is not a number", s)
	}
	m, err := strconv.ParseUint(mark, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: mark is not a number", s)
	}
	return Position{Offset: o, Mark: m}, nil
}

// StartKind says how a Start names its place.
type StartKind int

// The kinds of start.
const (
	StartNow      StartKind = iota // after the head: what comes from here on
	StartEarliest                  // before the oldest event that is kept
	StartLast                      // before the newest Count events
	StartSince                     // before the first event stored at Since or later
	StartAfter                     // after After; what the log no longer has is told as a gap
)

// Start is where a subscription begins. The zero Start is now.
type Start struct {
	Kind  StartKind
	Count int       // for StartLast
	Since time.Time // for StartSince
	After Position  // for StartAfter
}

// After returns the start just behind a position.
func After(p Position) Start { return Start{Kind: StartAfter, After: p} }

// Cause says why events were not delivered.
type Cause int

// The causes of a gap.
const (
	CauseTrimmed Cause = iota + 1 // the log no longer keeps them
	CauseExpired                  // the cursor is older than the topic's head is kept
	CauseReset                    // the position is not of this lineage of the topic, or can't be checked any more; the extent is unknown
	CauseSlow                     // the peer was too slow for what it asked for
	CauseDenied                   // the peer's grant does not cover them
)

var causeNames = [...]string{CauseTrimmed: "trimmed", CauseExpired: "expired", CauseReset: "reset", CauseSlow: "slow", CauseDenied: "denied"}

// String returns the cause's word on the wire.
func (c Cause) String() string {
	if c <= 0 || int(c) >= len(causeNames) {
		return "unknown"
	}
	return causeNames[c]
}

// ParseCause reads what String wrote.
func ParseCause(s string) (Cause, bool) {
	for c, name := range causeNames {
		if name == s && name != "" {
			return Cause(c), true
		}
	}
	return 0, false
}

// Gap names exactly what a subscriber did not get: the events after After up to and including Until. For CauseReset
// After is the last position of the lost lineage and Until the place where the new one is taken up.
type Gap struct {
	Topic string
	After Position
	Until Position
	Cause Cause
}

// String describes the gap for people.
func (g *Gap) String() string {
	return fmt.Sprintf("gap in %s after %s until %s: %s", g.Topic, g.After, g.Until, g.Cause)
}

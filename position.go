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
	StartDefault  StartKind = iota // as the topic's class has it: now or, in class latest, the state, which is StartEarliest
	StartNow                       // after the head: what comes from here on
	StartEarliest                  // before the oldest event that is kept
	StartLast                      // before the newest Count events
	StartSince                     // before the first event stored at Since or later
	StartAfter                     // after After; what the log no longer has is told as a gap
)

// Start is where a subscription begins. The zero Start is that of the topic's class. In class ephemeral, which keeps
// nothing, every start is now.
type Start struct {
	Kind  StartKind
	Count int       // for StartLast
	Since time.Time // for StartSince
	After Position  // for StartAfter

	// Lost belongs to After on the way through the pages of a state, in class latest: see Page.Lost.
	Lost uint64
}

// In returns the start that this one is in a topic of a class.
func (s Start) In(c Class) Start {
	switch {
	case c == ClassEphemeral:
		return Start{Kind: StartNow}
	case s.Kind != StartDefault:
		return s
	case c == ClassLatest:
		return Start{Kind: StartEarliest}
	}
	return Start{Kind: StartNow}
}

// After returns the start just behind a position.
func After(p Position) Start { return Start{Kind: StartAfter, After: p} }

package millrace

import "fmt"

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
// After is the last position of the lost lineage and Until the place where the new one is taken up. A topic of class
// latest that tells a gap begins its state anew: what follows is the newest event of each key, and keys that are not
// among them are gone. In class ephemeral there are no positions, only the count.
type Gap struct {
	Topic string
	After Position
	Until Position
	Cause Cause
	Count uint64 // in class ephemeral: how many events were dropped; 0 if nobody could count them
}

// String describes the gap for people.
func (g *Gap) String() string {
	if g.Count > 0 {
		return fmt.Sprintf("gap in %s of %d events: %s", g.Topic, g.Count, g.Cause)
	}
	return fmt.Sprintf("gap in %s after %s until %s: %s", g.Topic, g.After, g.Until, g.Cause)
}

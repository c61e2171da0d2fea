package ledger

import (
	"fmt"
	"strings"

	"github.com/millrace-dev/millrace"
)

// span is one step of a subscriber, or a run of steps of one kind. The spans of a chain in their order are all that
// happened to it.
type span struct {
	kind  spanKind
	cause millrace.Cause    // of a gap
	held  millrace.Position // where the subscriber stood, for gaps and advances
	from  millrace.Position // what the span begins behind
	to    millrace.Position // the first event of a run; else where the step leads
	last  millrace.Position // the last event of a run; else as to
	n     uint64            // events of a run; what an advance says it conflated; what an ephemeral gap counts
}

type spanKind uint8

const (
	spanAttached spanKind = iota
	spanEvents            // each follows on the one before
	spanGap               // told
	spanAdvanced          // told
	spanSkipped           // an event came that does not follow: offsets were passed over
	spanLate              // an event came that had been passed over
	spanRepeated          // events came that had come before
	spanMoved             // an event came that is behind, or of another lineage
	spanPlaced            // told by an attachment or a cursor to stand elsewhere
)

// String describes the span for people.
func (s *span) String() string {
	switch s.kind {
	case spanAttached:
		return "attached at " + s.to.String()
	case spanEvents:
		if s.n == 1 {
			return "event " + s.to.String()
		}
		return fmt.Sprintf("%d events %s to %s", s.n, s.to, s.last)
	case spanGap:
		if s.n > 0 {
			return fmt.Sprintf("gap of %d events: %s", s.n, s.cause)
		}
		return fmt.Sprintf("gap after %s until %s: %s (stood at %s)", s.from, s.to, s.cause, s.held)
	case spanAdvanced:
		return fmt.Sprintf("advanced from %s to %s, %d conflated", s.from, s.to, s.n)
	case spanSkipped:
		return fmt.Sprintf("stood at %s, and %s came over a hole", s.from, s.to)
	case spanLate:
		return fmt.Sprintf("stood at %s, and %s came late", s.from, s.to)
	case spanRepeated:
		return fmt.Sprintf("stood at %s, and %d events from %s came again", s.from, s.n, s.to)
	case spanMoved:
		return fmt.Sprintf("stood at %s, and %s came next", s.from, s.to)
	case spanPlaced:
		return fmt.Sprintf("stood at %s, and was told to stand at %s", s.from, s.to)
	}
	return "unknown"
}

// around is how many spans before and after one are shown with it.
const around = 4

// locate describes the spans around the last run that has an offset.
func (c *Chain) locate(at millrace.Position) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.spans) - 1; i >= 0; i-- {
		if s := &c.spans[i]; s.kind == spanEvents && s.to.Offset <= at.Offset && at.Offset <= s.last.Offset {
			return c.context(i)
		}
	}
	return ""
}

// context describes the spans around one. c.mu is held.
func (c *Chain) context(at int) string {
	if at < 0 {
		return ""
	}
	var b strings.Builder
	first, last := max(0, at-around), min(len(c.spans), at+around+1)
	if first > 0 {
		fmt.Fprintf(&b, "    (%d steps before)\n", first)
	}
	for i := first; i < last; i++ {
		sign := "  "
		if i == at {
			sign = "> "
		}
		fmt.Fprintf(&b, "  %s%s\n", sign, c.spans[i].String())
	}
	if last < len(c.spans) {
		fmt.Fprintf(&b, "    (%d steps after)\n", len(c.spans)-last)
	}
	return b.String()
}

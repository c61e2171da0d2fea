package memlog

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// shelf is the events that one topic keeps, in the order of their offsets. They stand in slots, some of which may be
// empty. It is protected by the lock of the topic's shard.
type shelf interface {
	// fit returns what is let go of when events are put on the shelf and it is trimmed, in bytes charged, those of the
	// events among it that give way to others; or why not all of them can be kept.
	fit(events []millrace.Publish) (freed int64, err *millrace.Error)

	// put adds an event, which has its position, behind all others.
	put(e *millrace.Event)

	// trim lets go of what is too much.
	trim()

	// expire lets go of what was stored until a time, in Unix milliseconds.
	expire(until int64)

	count() int   // events
	bytes() int64 // what they are charged for

	// lost is the offset of the newest event that was let go of and that nothing took the place of: who has not read up to
	// there is owed a gap. 0 if there is none.
	lost() uint64

	slots() int
	at(slot int) *millrace.Event // nil if the slot is empty
	behind(offset uint64) int    // the first slot of a larger offset
	since(at time.Time) int      // the first slot of an event that was stored at a time or later
}

func newShelf(rule *broker.Rule) shelf {
	if rule.Class == millrace.ClassLatest {
		return newState(rule)
	}
	return &run{rule: rule}
}

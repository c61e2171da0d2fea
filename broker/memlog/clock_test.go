package memlog_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

// A clock that jumps makes events leave sooner or later than the rule says, and never in silence.
// Promise: docs/delivery.md 1.7.
func TestAJumpOfTheClockLosesNothingInSilence(t *testing.T) {
	var now atomic.Int64 // Unix seconds
	now.Store(1_800_000_000)
	l := open(t, memlog.Config{
		Rules: []broker.Rule{{MaxAge: time.Minute}},
		Now:   func() time.Time { return time.Unix(now.Load(), 0) },
	})
	at, newest := millrace.Position{}, time.Time{}
	missed := uint64(0)
	for i, jump := range []int64{0, 5, 61, 3_600, -3_600, 2, 86_400, 1, -86_400 * 365, 30, 30, 61, -1} {
		now.Add(jump)
		for range 3 {
			e := brokertest.Event("a", i)
			if ack := appendOne(t, l, e); ack.Err != nil {
				t.Fatal(ack.Err)
			}
			if e.Time.Before(newest) {
				t.Fatalf("after a jump of %d s an event has %s, the one before it %s", jump, e.Time, newest)
			}
			newest = e.Time
		}
		if i%2 == 0 {
			continue // so that there are some to be read that a jump may have taken
		}
		page, err := l.Read(t.Context(), "a", millrace.Range{Start: millrace.After(at)})
		if err != nil {
			t.Fatal(err)
		}
		if page.Gap != nil {
			if page.Gap.After != at || page.Gap.Cause != millrace.CauseTrimmed {
				t.Fatalf("the gap is %v, the reader was at %s", page.Gap, at)
			}
			missed += page.Gap.Until.Offset - at.Offset
			at = page.Gap.Until
		}
		for _, e := range page.Events {
			if !at.Precedes(e) {
				t.Fatalf("%s does not follow on %s", e.Position, at)
			}
			at = e.Position
		}
		if at != page.Head {
			t.Fatalf("the reader ends at %s of %s", at, page.Head)
		}
	}
	if missed == 0 {
		t.Fatal("no jump took an event: the test shows nothing")
	}
}

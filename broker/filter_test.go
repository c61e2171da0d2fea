package broker_test

import (
	"fmt"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func filter(t testing.TB, text string) *millrace.Filter {
	t.Helper()
	f, err := millrace.ParseFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fillNamed publishes n events, of which every so manyth is named "wanted" and is returned.
func fillNamed(t testing.TB, b *broker.Broker, topic string, n, every int) (all, wanted []*millrace.Event) {
	t.Helper()
	for i := range n {
		e := keyed(topic, fmt.Sprint(i%10), i)
		if i%every == 0 {
			e.Name = "wanted"
			wanted = append(wanted, e)
		}
		all = append(all, publish(t, b, e))
	}
	return all, wanted
}

// Promise: docs/delivery.md 4.1, 4.2.
func TestAFilterChoosesAndThePositionMovesOn(t *testing.T) {
	for _, tail := range []int{2_000, 10} { // live from the tail, and from the log
		for _, every := range []int{1, 2, 3, 100, 10_000} {
			t.Run(fmt.Sprintf("a tail of %d, one of %d passes", tail, every), func(t *testing.T) {
				b := newBroker(t, broker.Config{TailEvents: tail, BatchEvents: 50}, newLog(t))
				_, wanted := fillNamed(t, b, "a", 500, every)
				l := newLedger(t, b)
				a := l.want(millrace.Subscription{
					Topic: "a", Start: millrace.Start{Kind: millrace.StartEarliest}, Filter: filter(t, `name == "wanted"`),
				})
				l.until(func() bool { return a.pos.Offset == 500 })
				all, more := fillNamed(t, b, "a", 500, every)
				l.reach("a", all[499].Position)
				wanted = append(wanted, more...)
				sameEvents(t, a.events, wanted)
				if len(a.gaps) > 0 || a.skipped() != uint64(1_000-len(wanted)) {
					t.Fatalf("skipped %d, gaps %v", a.skipped(), a.gaps)
				}
				if most := len(wanted) + 1_000/50 + 10; a.advances > most {
					t.Fatalf("moved on %d times for %d events", a.advances, len(wanted))
				}
				l.quiet()
			})
		}
	}
}

// Promise: docs/delivery.md 4.2.
func TestAFilterHoldsOverResumes(t *testing.T) {
	b := newBroker(t, broker.Config{TailEvents: 20, BatchEvents: 16}, newLog(t))
	all, wanted := fillNamed(t, b, "a", 900, 7)
	var got []*millrace.Event
	pos := millrace.Position{}
	for pos != all[899].Position {
		l := newLedger(t, b)
		a := l.want(millrace.Subscription{Topic: "a", Start: millrace.After(pos), Filter: filter(t, `name == "wanted"`)})
		l.until(func() bool { return a.pos.Offset > pos.Offset })
		got, pos = append(got, a.events...), a.pos
		l.feed.Close()
	}
	sameEvents(t, got, wanted)
}

func TestAFilterTakesNothingFromGaps(t *testing.T) {
	b := newBroker(t, broker.Config{TailEvents: 5, BatchEvents: 10}, newLog(t, broker.Rule{MaxEvents: 40}))
	l := newLedger(t, b)
	a := l.want(millrace.Subscription{Topic: "a", Filter: filter(t, `name == "wanted"`)})
	l.until(func() bool { return a.attached })
	var all, wanted []*millrace.Event
	for range 40 {
		some, chosen := fillNamed(t, b, "a", 25, 3)
		all, wanted = append(all, some...), append(wanted, chosen...)
		l.next()
	}
	l.reach("a", all[len(all)-1].Position)
	inGap := func(e *millrace.Event) bool {
		for _, g := range a.gaps {
			if e.Position.Offset > g.After.Offset && e.Position.Offset <= g.Until.Offset {
				return true
			}
		}
		return false
	}
	var missed uint64
	for _, g := range a.gaps {
		missed += g.Until.Offset - g.After.Offset
	}
	var owed []*millrace.Event
	for _, e := range wanted {
		if !inGap(e) {
			owed = append(owed, e)
		}
	}
	sameEvents(t, a.events, owed)
	if missed == 0 || uint64(len(a.events))+a.skipped()+missed != uint64(len(all)) {
		t.Fatalf("%d events, %d skipped and %d missed of %d", len(a.events), a.skipped(), missed, len(all))
	}
}

func TestAFilterChoosesAmongTheNewestOfEachKey(t *testing.T) {
	for _, tail := range []int{2_000, 10} {
		t.Run(fmt.Sprintf("a tail of %d", tail), func(t *testing.T) {
			b := newBroker(t, broker.Config{TailEvents: tail}, newLog(t, latest))
			l := newLedger(t, b)
			a := l.want(millrace.Subscription{Topic: "a", Filter: filter(t, `name == "wanted"`)})
			l.until(func() bool { return a.attached })
			all, _ := fillNamed(t, b, "a", 203, 3) // ten keys; of the last ten events 4 are wanted
			l.reach("a", all[202].Position)
			var owed []*millrace.Event
			for _, e := range all[193:] {
				if e.Name == "wanted" {
					owed = append(owed, e)
				}
			}
			sameEvents(t, a.events, owed)
			if a.older != 193 || int(a.skipped())+len(owed) != 10 {
				t.Fatalf("%d older ones, %d skipped, %d events", a.older, a.skipped(), len(a.events))
			}
		})
	}
}

func TestWhatAFilterTakesOfAnEphemeralTopicIsNotTold(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t, ephemeral))
	l := newLedger(t, b)
	a := l.want(millrace.Subscription{Topic: "a", Filter: filter(t, `name == "wanted"`)})
	l.until(func() bool { return a.attached })
	_, wanted := fillNamed(t, b, "a", 100, 9)
	l.until(func() bool { return len(a.events) == len(wanted) })
	sameEvents(t, a.events, wanted)
	if len(a.gaps) > 0 || a.advances > 0 {
		t.Fatalf("moved on %d times, gaps %v", a.advances, a.gaps)
	}
}

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

// lineage is all that one lineage of a topic ever held, by offset from 1 on.
type lineage []*millrace.Event

// history is all lineages of a topic.
type history struct {
	now  *lineage
	of   map[uint64]*lineage // by the mark of each position
	last map[string]uint64   // in the lineage that is now: the offset of each key's newest event
	next map[*millrace.Event]*millrace.Event
}

func newHistory() *history {
	return &history{of: map[uint64]*lineage{}, next: map[*millrace.Event]*millrace.Event{}}
}

func (h *history) add(e *millrace.Event) {
	if e.Position.Offset == 1 {
		h.now = new(lineage)
		h.of[e.Prev] = h.now
		h.last = map[string]uint64{}
	}
	if older, ok := h.last[e.Key]; ok {
		h.next[(*h.now)[older-1]] = e
	}
	*h.now = append(*h.now, e)
	h.of[e.Position.Mark] = h.now
	h.last[e.Key] = e.Position.Offset
}

// size is how many events the topic has had since it was born.
func (h *history) size() int {
	if h.now == nil {
		return 0
	}
	return len(*h.now)
}

// reader is a consumer whose updates are held to the history: what they deliver, pass over and name as a gap is every
// offset of the topic.
type reader struct {
	*ledger
	history *history
	want    millrace.Subscription
	class   millrace.Class
	pos     millrace.Position
	gaps    int
}

// try takes a batch if there is one.
func (r *reader) try() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	cancel()
	updates, err := r.feed.Next(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		r.t.Fatal(err)
	}
	r.audit(updates)
}

func (r *reader) audit(updates []millrace.Update) {
	r.t.Helper()
	for i := range updates {
		u := &updates[i]
		r.apply(u)
		switch u.Kind {
		case millrace.UpdateEvents:
			for _, e := range u.Events {
				if !r.want.Filter.Passes(e) {
					r.t.Fatalf("%s does not pass %s", e.Position, r.want.Filter)
				}
			}
		case millrace.UpdateAdvanced:
			r.passed(u)
		case millrace.UpdateGap:
			r.gap(u.Gap)
		}
		r.pos = r.accounts["a"].pos
	}
}

// passed checks that what was passed over was not owed.
func (r *reader) passed(u *millrace.Update) {
	r.t.Helper()
	all := r.history.of[u.Position.Mark]
	if all == nil || !r.pos.IsZero() && r.history.of[r.pos.Mark] != all {
		r.t.Fatalf("from %s it goes on to %s, of another lineage", r.pos, u.Position)
	}
	var owed, superseded uint64
	for _, e := range (*all)[r.pos.Offset:u.Position.Offset] {
		newer := r.class == millrace.ClassLatest && r.history.next[e] != nil
		switch {
		case newer:
			superseded++
			if r.want.Filter.Passes(e) {
				owed++
			}
		case r.class == millrace.ClassLatest && r.pos.IsZero(): // a state from its beginning is what there is
			superseded++
		case r.want.Filter.Passes(e):
			r.t.Fatalf("%s was passed over", e.Position)
		}
	}
	if u.Conflated < owed || u.Conflated > superseded {
		r.t.Fatalf("%d older events are said to be left out of %d, at least %d", u.Conflated, superseded, owed)
	}
}

// gap checks that a gap is what its cause says.
func (r *reader) gap(g *millrace.Gap) {
	r.t.Helper()
	r.gaps++
	before, after := r.history.of[g.After.Mark], r.history.of[g.Until.Mark]
	switch {
	case g.Cause == millrace.CauseReset && (g.After.IsZero() || before == after):
		r.t.Fatalf("%v, and it is the same lineage", g)
	case g.Cause == millrace.CauseTrimmed && (!g.After.IsZero() && before != after || r.class == millrace.ClassLog && g.After.Offset >= g.Until.Offset):
		r.t.Fatalf("%v, which leads nowhere", g)
	}
}

// resume goes on with another feed, as another session would with the cursor.
func (r *reader) resume(b *broker.Broker) {
	attached := len(r.accounts) > 0 && r.accounts["a"].attaches > 0
	r.feed.Close()
	r.ledger = newLedger(r.t, b)
	s := r.want
	if attached {
		s.Start = millrace.After(r.pos)
	}
	r.ledger.want(s)
}

// TestWhateverHappensEveryOffsetIsAccountedFor lets readers of all kinds take what a topic gives while its events come in
// bursts, its news get lost, its log can't be reached, is forgotten and trims.
//
// Promise: docs/delivery.md 1.1, 1.2, 2.3, 4.2.
func TestWhateverHappensEveryOffsetIsAccountedFor(t *testing.T) {
	for _, class := range []millrace.Class{millrace.ClassLog, millrace.ClassLatest} {
		for seed := range uint64(40) {
			t.Run(fmt.Sprintf("class %s, seed %d", class, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { interleave(t, class, rand.New(rand.NewPCG(seed, seed))) })
			})
		}
	}
}

func interleave(t *testing.T, class millrace.Class, chance *rand.Rand) {
	age := time.Duration(50+chance.IntN(500)) * time.Millisecond
	forgetful := brokertest.NewForgetful(func() broker.Log {
		l, err := memlog.New(memlog.Config{Rules: []broker.Rule{{Class: class, MaxEvents: 40, MaxAge: age}}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	})
	losing := false
	torn := &brokertest.Torn{Log: brokertest.Lossy(forgetful, func([]*millrace.Event) int {
		if losing {
			return chance.IntN(3)
		}
		return 1
	})}
	b := newBroker(t, broker.Config{TailEvents: 1 + chance.IntN(30), BatchEvents: 1 + chance.IntN(20), FeedReads: 1}, torn)
	h := newHistory()
	wants := []millrace.Subscription{
		{Topic: "a"},
		{Topic: "a", Start: millrace.Start{Kind: millrace.StartEarliest}},
		{Topic: "a", Filter: filter(t, `name == "wanted"`)},
		{Topic: "a", Start: millrace.After(millrace.Position{}), Filter: filter(t, `key in ("1", "2")`)},
	}
	if class == millrace.ClassLatest {
		wants = append(wants, millrace.Subscription{Topic: "a", MaxRate: 100}, millrace.Subscription{Topic: "a", MaxRate: 50, Filter: wants[2].Filter})
	}
	var readers []*reader
	for _, want := range wants {
		r := &reader{ledger: newLedger(t, b), history: h, want: want, class: class}
		r.ledger.want(want)
		readers = append(readers, r)
	}
	burst := func(n int) {
		for i := range n {
			e := keyed("a", fmt.Sprint(chance.IntN(6)), i)
			if chance.IntN(3) == 0 {
				e.Name = "wanted"
			}
			if class == millrace.ClassLatest && chance.IntN(8) == 0 {
				e.Tombstone, e.Data = true, nil
			}
			h.add(publish(t, b, e))
		}
	}
	for range 300 {
		r := readers[chance.IntN(len(readers))]
		switch n := chance.IntN(100); {
		case n < 1 || h.size() > 250: // no more than there are marks of
			if err := forgetful.Forget(); err != nil {
				t.Fatal(err)
			}
			burst(1)
		case n < 30:
			burst(1 + chance.IntN(12))
		case n < 80:
			r.try()
		case n < 85:
			r.resume(b)
		case n < 90:
			losing = !losing
		case n < 92:
			torn.Tear(millrace.Errorf(millrace.ReasonUnavailable, "torn"))
		case n < 95:
			torn.Mend()
		default:
			<-time.After(time.Duration(chance.IntN(50)) * time.Millisecond)
		}
		if chance.IntN(2) == 0 {
			synctest.Wait()
		}
	}
	losing = false
	torn.Mend()
	burst(3)
	last := (*h.now)[len(*h.now)-1]
	for _, r := range readers {
		for r.pos != last.Position {
			updates, err := r.feed.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r.audit(updates)
		}
		r.feed.Close()
	}
	b.Stop()
	if err := forgetful.Close(); err != nil {
		t.Fatal(err)
	}
}

package roster_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// chronicle is what the list was at each position of its lifecycle log.
type chronicle struct {
	*house
	at    millrace.Position
	lists map[millrace.Position]map[string]millrace.Member
	now   map[string]millrace.Member
}

// write goes on with what has come.
func (c *chronicle) write() {
	c.Helper()
	page, err := c.broker.History(context.Background(), log, millrace.Range{Start: millrace.After(c.at)})
	if err != nil {
		c.Fatal(err)
	}
	for _, e := range page.Events {
		m, err := millrace.ParseMemberEvent(e)
		if err != nil {
			c.Fatal(err)
		}
		switch m.Kind {
		case millrace.MemberJoined, millrace.MemberUpdated:
			c.now[m.Member.Session] = m.Member
		case millrace.MemberLeft:
			delete(c.now, m.Member.Session)
		}
		c.lists[e.Position] = maps.Clone(c.now)
	}
	c.at = page.Next
}

// begin goes on with another log, or a part of it that is behind a gap.
func (c *chronicle) begin() {
	c.now = c.broker.Roster(topic)
	c.at = c.broker.Head(log)
	c.lists[c.at] = maps.Clone(c.now)
}

// check holds what an onlooker was told against the list as of then.
func (c *chronicle) check(o *onlooker) error {
	want, known := c.lists[o.last.AsOf]
	switch {
	case o.last.AsOf.IsZero(), !known: // of a log that was lost before it was looked at
		return nil
	case o.last.Count != len(want):
		return fmt.Errorf("as of %s %d members were told; there were %d", o.last.AsOf, o.last.Count, len(want))
	case !o.last.CountOnly && !maps.EqualFunc(o.members, want, same):
		return fmt.Errorf("as of %s: told %v; there were %v", o.last.AsOf, o.members, want)
	}
	return nil
}

// Whatever happens, and whenever an onlooker looks: what it was told adds up to the list as of the position that it was told,
// with its counts, and in the end to the list.
func TestWhatIsToldAddsUpToTheList(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			most := 1 + r.IntN(12)
			h, stop := build(t, most, 2+r.IntN(20))
			defer stop()
			h.page, h.pause, h.lag = r.IntN(5), 30*time.Millisecond, time.Duration(r.IntN(100))*time.Millisecond
			live(t, h, r)
			if t.Failed() {
				t.Fatalf("with seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}

func live(t *testing.T, h *house, r *rand.Rand) {
	c := &chronicle{house: h, lists: map[millrace.Position]map[string]millrace.Member{}, now: map[string]millrace.Member{}}
	var onlookers []*onlooker
	release := func() {}
	held, away := false, false
	back := func() {
		if away {
			h.broker.Attach()
			away = false
		}
	}
	for range 150 {
		end := []*gatewaytest.Broker{h.broker, h.other}[r.IntN(2)]
		if held {
			end = h.other
		}
		who := r.IntN(16)
		switch r.IntN(24) {
		case 0, 1, 2, 3, 4:
			h.change(end, millrace.MemberJoin, session(who), subject(who), `{"n":0}`)
		case 5, 6, 7:
			h.change(end, millrace.MemberLeave, session(who), "", "")
		case 8, 9:
			h.change(end, millrace.MemberUpdate, session(who), "", fmt.Sprintf(`{"n":%d}`, r.IntN(3)))
		case 10: // back within an edition, or not
			h.change(end, millrace.MemberLeave, session(who), "", "")
			h.change(end, millrace.MemberJoin, session(who), subject(who+r.IntN(2)), `{"n":0}`)
		case 11:
			for i := range 16 {
				h.change(end, millrace.MemberJoin, session(i), subject(i), `{"n":1}`)
			}
		case 12:
			for i := range 16 {
				if !held {
					h.change(h.broker, millrace.MemberLeave, session(i), "", "")
				}
				h.change(h.other, millrace.MemberLeave, session(i), "", "")
			}
		case 13:
			h.broker.Lose(log, 1+r.IntN(3))
		case 14:
			c.write()
			h.broker.Trim(log, r.IntN(4))
		case 15:
			c.write()
			h.broker.Reset(log)
			c.begin()
		case 16:
			h.broker.Detach()
			away = true
		case 17:
			back()
		case 18:
			release()
			release, held = h.broker.HoldMembers(), true
		case 19:
			release()
			held = false
		case 20:
			h.broker.FailMembers(millrace.Errorf(millrace.ReasonUnavailable, "away"))
			h.elapse(time.Duration(r.IntN(2000)) * time.Millisecond)
			h.broker.FailMembers(nil)
		case 21:
			onlookers = append(onlookers, h.look())
		case 22:
			if n := len(onlookers); n > 0 {
				onlookers[n-1].end()
				onlookers = onlookers[:n-1]
			}
		case 23:
			h.elapse(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
		c.write()
		if r.IntN(2) == 0 {
			h.elapse(time.Duration(r.IntN(150)) * time.Millisecond)
		}
		for _, o := range onlookers {
			if r.IntN(4) > 0 {
				continue
			}
			if o.next() {
				if err := c.check(o); err != nil {
					t.Error(err)
				}
			}
		}
	}
	back()
	release()
	onlookers = append(onlookers, h.look())
	h.elapse(10 * time.Second)
	for range 50 { // more than were to be lost, so that the others tell of the loss
		h.change(h.broker, millrace.MemberJoin, "last", "", "1")
		h.change(h.broker, millrace.MemberLeave, "last", "", "")
	}
	h.elapse(20 * time.Second)
	for _, o := range onlookers {
		o.wants()
	}
}

package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func TestWhatIsWrongWithAChangeOfAMemberIsRefusedByName(t *testing.T) {
	inHouse(t, broker.Config{MaxMemberBytes: 20}, func(h *house) {
		holder := h.hold("h")
		long := strings.Repeat("x", 256)
		for _, c := range []struct {
			what  string
			alter func(c *millrace.MemberChange)
			want  millrace.Reason
		}{
			{"nothing", func(*millrace.MemberChange) {}, ""},
			{"anonymous", func(c *millrace.MemberChange) { c.Member.Subject = "" }, ""},
			{"the list of sessions", func(c *millrace.MemberChange) { c.Topic = millrace.SessionsTopic }, ""},
			{"data up to the bound", func(c *millrace.MemberChange) { c.Member.Data = []byte(`"123456789012345678"`) }, ""},
			{"a session up to the bound", func(c *millrace.MemberChange) { c.Member.Session = long[1:] }, ""},

			{"no kind", func(c *millrace.MemberChange) { c.Kind = 0 }, millrace.ReasonBadRequest},
			{"another kind", func(c *millrace.MemberChange) { c.Kind = 5 }, millrace.ReasonBadRequest},
			{"no topic", func(c *millrace.MemberChange) { c.Topic = "" }, millrace.ReasonTopicInvalid},
			{"a pattern", func(c *millrace.MemberChange) { c.Topic = "a:*" }, millrace.ReasonTopicInvalid},
			{"a lifecycle log", func(c *millrace.MemberChange) { c.Topic = millrace.PresenceTopic("a") }, millrace.ReasonForbidden},
			{"no session", func(c *millrace.MemberChange) { c.Member.Session = "" }, millrace.ReasonBadRequest},
			{"a long session", func(c *millrace.MemberChange) { c.Member.Session = long }, millrace.ReasonBadRequest},
			{"a session that is not UTF-8", func(c *millrace.MemberChange) { c.Member.Session = "\xff" }, millrace.ReasonBadRequest},
			{"a session with a line break", func(c *millrace.MemberChange) { c.Member.Session = "a\nb" }, millrace.ReasonBadRequest},
			{"a subject that is not UTF-8", func(c *millrace.MemberChange) { c.Member.Subject = "\xff" }, millrace.ReasonBadRequest},
			{"a long subject", func(c *millrace.MemberChange) { c.Member.Subject = long }, millrace.ReasonBadRequest},
			{"a long reason", func(c *millrace.MemberChange) { c.Reason = long }, millrace.ReasonBadRequest},
			{"data beyond the bound", func(c *millrace.MemberChange) { c.Member.Data = []byte(`"1234567890123456789"`) }, millrace.ReasonTooLarge},
			{"half JSON", func(c *millrace.MemberChange) { c.Member.Data = []byte(`{"a":`) }, millrace.ReasonEventInvalid},
			{"two JSON texts", func(c *millrace.MemberChange) { c.Member.Data = []byte(`1 2`) }, millrace.ReasonEventInvalid},
			{"white space", func(c *millrace.MemberChange) { c.Member.Data = []byte(` `) }, millrace.ReasonEventInvalid},
			{"data that is not UTF-8", func(c *millrace.MemberChange) { c.Member.Data = []byte("\"\xff\"") }, millrace.ReasonEventInvalid},
		} {
			change := joining("a", "s1")
			c.alter(&change)
			// It harms neither what is asked before it nor what is asked after it.
			acks, err := holder.Enroll(t.Context(), []millrace.MemberChange{joining("b", "s1"), change, joining("c", "s1")})
			if err != nil || len(acks) != 3 || acks[0].Err != nil || acks[2].Err != nil || acks[2].Member.Session != "s1" {
				t.Fatalf("%s: the others are answered %+v, %v", c.what, acks, err)
			}
			var got millrace.Reason
			if acks[1].Err != nil {
				got = acks[1].Err.Reason
			}
			if got != c.want {
				t.Errorf("%s is answered %+v, want %q", c.what, acks[1], c.want)
			}
		}
		if _, err := h.Hold(t.Context(), ""); reason(err) != millrace.ReasonBadRequest {
			t.Errorf("a holder without a name: %v", err)
		}
	})
}

// A list is compared with what its log adds up to, byte for byte.
func TestWhatAMemberShowsIsTheSameInTheListAndItsEvents(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		holder := h.hold("h")
		for _, data := range []string{` { "a" : [ 1,2 ] } `, `"<&>\u2028"`, `null`, `""`, "\"\u2028\"", `1e3`, ``} {
			change := joining("a", "s1")
			change.Member.Data = []byte(data)
			if why := h.enroll(holder, change); why != "" {
				t.Fatalf("%q: %s", data, why)
			}
			h.audit("a")
		}
		if why := h.enroll(holder, millrace.MemberChange{Kind: millrace.MemberLeave, Topic: "a", Member: millrace.Member{Session: "s1"}}); why != "" {
			t.Fatal(why)
		}
		h.audit("a") // which wants a reason
	})
}

func TestMembersStayWhileTheirHolderIsOpenAndLeaveATermAfter(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		holder := h.hold("h")
		h.join(holder, "a", "s1", "s2")
		other := h.hold("other")
		h.join(other, "a", "s3")
		h.elapse(10 * term)
		h.expect("a", 4, "s1 s2 s3")
		holder.Close()
		holder.Close()
		h.elapse(term / 2)
		h.expect("a", 4, "s1 s2 s3")
		h.join(other, "a", "s1")
		h.elapse(term/2 + time.Second)
		h.expect("a", 5, "s1 s3")
		if why := h.enroll(holder, joining("a", "s4")); why != millrace.ReasonNotFound {
			t.Fatalf("under a lease that ran out a join is answered %q", why)
		}
		if !lost(holder) || lost(other) {
			t.Fatal("not just the one whose lease ran out is told so")
		}
		h.elapse(2 * term)
		if n := h.Kept(); n != 1 {
			t.Fatalf("the broker knows %d leases, want 1", n)
		}
	})
}

func TestAHolderThatBeginsAnewFencesTheFormerOneAndKeepsItsMembers(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		former := h.hold("h")
		h.join(former, "a", "s1", "s2")
		now := h.hold("h")
		if !lost(former) || lost(now) {
			t.Fatal("the former holder has to be told that its lease is gone, at once, and only that one")
		}
		if why := h.enroll(former, joining("a", "s3")); why != millrace.ReasonConflict {
			t.Fatalf("the former holder is answered %q", why)
		}
		if err := former.Settle(t.Context()); reason(err) != millrace.ReasonConflict {
			t.Fatalf("the former holder settles: %v", err)
		}
		if err := former.End(t.Context(), "closed"); reason(err) != millrace.ReasonConflict {
			t.Fatalf("the former holder ends: %v", err)
		}
		h.expect("a", 3, "s1 s2")
		h.join(now, "a", "s1")
		if err := now.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.expect("a", 4, "s1")
		h.elapse(3 * term)
		h.expect("a", 4, "s1")
		if err := now.End(t.Context(), "draining"); err != nil {
			t.Fatal(err)
		}
		h.expect("a", 6, "")
	})
}

func TestAShortOutageOfTheRosterIsNotNoticed(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		holder, closed := h.hold("h"), h.hold("closed")
		h.join(holder, "a", "s1")
		h.join(closed, "a", "s2")
		closed.Close()
		for range 20 {
			h.elapse(term / 3)
			h.roster.Tear(away())
			h.elapse(term / 2)
			h.roster.Mend()
		}
		h.expect("a", 4, "s1") // who has gone is not kept by one outage after the other
		h.elapse(3 * term)
		if lost(holder) {
			t.Fatal("the lease was lost")
		}
		h.expect("a", 4, "s1")
	})
}

// Nobody could come back while the roster was away, so nobody leaves before they had a term for it.
func TestAfterAnOutageOfTheRosterEachLeaseHasAFreshTerm(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		open, closed, back := h.hold("open"), h.hold("closed"), h.hold("back")
		h.join(open, "a", "s1")
		h.join(closed, "a", "s2")
		h.join(back, "a", "s3")
		closed.Close()
		h.elapse(term / 3)
		h.roster.Tear(away())
		h.elapse(term + time.Second)
		if !lost(open) || !lost(back) {
			t.Fatal("a lease that can't be renewed for a term is gone")
		}
		if why := h.enroll(open, joining("a", "s4")); why != millrace.ReasonConflict {
			t.Fatalf("the holder of a lease that is gone is answered %q", why)
		}
		h.elapse(5 * term)
		h.roster.Mend()
		h.elapse(term - time.Second) // the broker hears of it a bit later
		h.expect("a", 4, "s1 s2 s3")
		again := h.hold("back")
		h.elapse(5 * time.Second)
		h.expect("a", 8-2, "s3")
		h.join(again, "a", "s3")
		h.elapse(5 * term)
		h.expect("a", 6, "s3")
	})
}

// frozen is a roster that does not answer to renewals while it is frozen, as if the whole process stood still.
type frozen struct {
	broker.Roster
	gate chan struct{} // has an item while it is not frozen
}

func (f *frozen) Renew(ctx context.Context, l broker.Lease, d time.Duration) error {
	<-f.gate
	defer func() { f.gate <- struct{}{} }()
	return f.Roster.Renew(ctx, l, d)
}

func TestAProcessThatStoodStillSweepsNobodyAtOnce(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		roster := &frozen{Roster: h.roster.Roster, gate: make(chan struct{}, 1)}
		roster.gate <- struct{}{}
		h.roster.Roster = roster
		open, closed := h.hold("open"), h.hold("closed")
		h.join(open, "a", "s1")
		h.join(closed, "a", "s2")
		closed.Close()
		<-roster.gate
		<-time.After(5 * term)
		roster.gate <- struct{}{}
		h.elapse(term - time.Second)
		h.expect("a", 3, "s1 s2")
		h.elapse(term)
		h.expect("a", 4, "s1")
		if lost(open) {
			t.Fatal("a lease is said to be gone that is not")
		}
	})
}

func TestASweepWhoseEventsAreRefusedIsTriedAgain(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		holder := h.hold("h")
		h.join(holder, "a", "s1", "s2")
		holder.Close()
		h.log.Refuse(millrace.Errorf(millrace.ReasonFull, "full"))
		h.elapse(5 * term)
		h.expect("a", 3, "s1 s2")
		h.log.Refuse(nil)
		h.elapse(2 * term)
		h.expect("a", 6, "")
	})
}

func TestAPageOfMembersHasAsManyAsTheBrokerGives(t *testing.T) {
	inHouse(t, broker.Config{ListedMembers: 3, MaxListedMembers: 5}, func(h *house) {
		holder := h.hold("h")
		h.join(holder, "a", "1", "2", "3", "4", "5", "6", "7")
		h.join(holder, millrace.SessionsTopic, "1")
		for limit, want := range map[int]int{0: 3, 2: 2, 5: 5, 6: 5, -1: 0} {
			page, err := h.Members(t.Context(), "a", millrace.MemberRange{Limit: limit})
			if err != nil || len(page.Members) != want || page.Count != 7 || page.Subjects != 7 {
				t.Errorf("with a limit of %d the page is %+v, %v; want %d members", limit, page, err, want)
			}
		}
		for topic, want := range map[string]millrace.Reason{
			millrace.SessionsTopic: "", "never": "", "": millrace.ReasonTopicInvalid, "a:*": millrace.ReasonTopicInvalid, millrace.PresenceTopic("a"): millrace.ReasonForbidden,
		} {
			if _, err := h.Members(t.Context(), topic, millrace.MemberRange{}); reason(err) != want {
				t.Errorf("the members of %q: %v, want %q", topic, err, want)
			}
		}
		if _, err := h.Members(t.Context(), "a", millrace.MemberRange{Page: "2"}); reason(err) != millrace.ReasonBadRequest {
			t.Errorf("a page of another roster: %v", err)
		}
	})
}

func TestABrokerThatHasStoppedTakesNoMembers(t *testing.T) {
	inHouse(t, broker.Config{}, func(h *house) {
		holder := h.hold("h")
		h.join(holder, "a", "s1")
		h.Stop()
		_, held := h.Hold(t.Context(), "other")
		_, enrolled := holder.Enroll(t.Context(), []millrace.MemberChange{joining("a", "s2")})
		_, read := h.Members(t.Context(), "a", millrace.MemberRange{})
		for _, err := range []error{held, enrolled, read, holder.Settle(t.Context()), holder.End(t.Context(), "closed")} {
			if reason(err) != millrace.ReasonDraining {
				t.Errorf("after the stop: %v", err)
			}
		}
		holder.Close()
	})
}

func TestLifecycleLogsHaveARuleOfTheirOwn(t *testing.T) {
	rules := broker.NewRules([]broker.Rule{
		{Pattern: "**", Class: millrace.ClassLatest, MaxEvents: 7},
		{Pattern: "$presence:chat:*", MaxEvents: 8},
	})
	for topic, want := range map[string]int{"a": 7, "$presence:chat:1": 8, "$presence:a": 10_000, "$presence:a:b:c": 10_000, "$sessions": 10_000, "$other": 1_000} {
		rule := rules.For(topic)
		if rule.MaxEvents != want || rule.Class == millrace.ClassLog != millrace.Reserved(topic) {
			t.Errorf("the rule of %q is %+v, want %d events", topic, rule, want)
		}
		if want == 10_000 && (rule.MaxBytes != 8<<20 || rule.MaxAge != 10*time.Minute) {
			t.Errorf("the rule of %q is %+v", topic, rule)
		}
	}
	for _, pattern := range []millrace.Pattern{"$sessions", "$presence:**"} {
		if (broker.Rule{Pattern: pattern, Class: millrace.ClassEphemeral}).Validate() == nil {
			t.Errorf("%s may be of class ephemeral", pattern)
		}
	}
}

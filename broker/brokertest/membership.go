package brokertest

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace"
)

func (c crowd) joins() {
	l := c.begin("h")
	before := time.Now().Add(-time.Second)
	ack := c.must(l, join("a", member("s1", "alice")))
	if m := ack.Member; m.Session != "s1" || m.Subject != "alice" || string(m.Data) != `"s1"` || ack.Count != 1 || ack.Subjects != 1 {
		c.Fatalf("the join is answered %+v", ack)
	}
	if at := ack.Member.Joined; at.Before(before) || !at.Equal(at.Truncate(time.Millisecond)) {
		c.Fatalf("the member joined at %s", at)
	}
	if ack := c.must(l, join("a", millrace.Member{Session: "s2"})); ack.Count != 2 || ack.Subjects != 1 || len(ack.Member.Data) > 0 {
		c.Fatalf("the join is answered %+v", ack)
	}
	c.must(l, join("b", member("s1", "alice")))
	f := c.expect("a", 3, "s1", "s2") // joined, occupied, joined
	if !sameMember(f.Members["s1"], ack.Member) {
		c.Fatalf("told was %+v, acked %+v", f.Members["s1"], ack.Member)
	}
	c.expect("b", 2, "s1")
	c.must(l, leave("a", "s1", "asked"))
	c.expect("a", 4, "s2")
	c.expect("b", 2, "s1")
	c.left("a", "s1", "asked")
	c.expect("never", 0)
}

func (c crowd) indifferent() {
	l := c.begin("h")
	first := c.must(l, join("a", member("s1", "alice")))
	c.elapse(time.Second)
	for _, change := range []millrace.MemberChange{
		join("a", member("s1", "alice")),
		join("a", first.Member),
		again(join("a", member("s1", "alice")), 3),
		again(resume("a", "s1"), 3),
		again(update("a", "s1", `"s1"`), 3),
	} {
		if ack := c.must(l, change); !sameMember(ack.Member, first.Member) || ack.Count != 1 || ack.Subjects != 1 {
			c.Fatalf("%+v is answered %+v, the join was %+v", change, ack, first)
		}
	}
	c.expect("a", 2, "s1")
}

func (c crowd) updates() {
	l := c.begin("h")
	first := c.must(l, join("a", member("s1", "alice")))
	for i, data := range []string{`{"away":true}`, ``, `null`, `"<&>"`} {
		ack := c.must(l, update("a", "s1", data))
		if string(ack.Member.Data) != data || ack.Member.Subject != "alice" || !ack.Member.Joined.Equal(first.Member.Joined) || ack.Count != 1 {
			c.Fatalf("the update is answered %+v", ack)
		}
		c.expect("a", 3+i, "s1")
	}
	other := member("s1", "alice")
	other.Data = []byte(`[1]`)
	if ack := c.must(l, join("a", other)); string(ack.Member.Data) != `[1]` || !ack.Member.Joined.Equal(first.Member.Joined) {
		c.Fatalf("joining with other data is answered %+v", ack)
	}
	c.expect("a", 7, "s1")
}

func (c crowd) strangers() {
	l := c.begin("h")
	for range 2 {
		c.denied(l, resume("a", "s1"), millrace.ReasonNotFound)
		c.denied(l, update("a", "s1", `1`), millrace.ReasonNotFound)
		if ack := c.must(l, leave("a", "s1", "asked")); ack.Count != 0 {
			c.Fatalf("leaving an empty topic is answered %+v", ack)
		}
		c.expect("a", 0)
		c.must(l, join("b", member("s1", "alice"))) // a member elsewhere is one too
	}
	c.must(l, join("a", member("s2", "bob")))
	if ack := c.must(l, leave("a", "s1", "asked")); ack.Count != 1 || ack.Subjects != 1 {
		c.Fatalf("leaving as a stranger is answered %+v", ack)
	}
	c.expect("a", 2, "s2")
	c.denied(l, millrace.MemberChange{Kind: 99, Topic: "a", Member: member("s2", "bob")}, millrace.ReasonBadRequest)
}

func (c crowd) occupancy() {
	l := c.begin("h")
	for round := range 3 {
		c.must(l, join("a", member("s1", "alice")))
		c.must(l, join("a", member("s2", "alice")))
		c.must(l, leave("a", "s1", "asked"))
		ack := c.must(l, leave("a", "s2", "closed"))
		if ack.Count != 0 || ack.Subjects != 0 || string(ack.Member.Data) != `"s2"` {
			c.Fatalf("the last leave is answered %+v", ack)
		}
		c.expect("a", 6*(round+1)) // the audit knows what has to follow on the first and the last
	}
	events := c.told("a", millrace.Position{})
	for i, name := range []string{"joined", "occupied", "joined", "left", "left", "vacated"} {
		if events[i].Name != name {
			c.Fatalf("event %d is %q, want %q", i, events[i].Name, name)
		}
	}
}

func (c crowd) subjects() {
	l := c.begin("h")
	for i, s := range []struct {
		session, subject string
		count            int
	}{{"s1", "alice", 1}, {"s2", "alice", 1}, {"s3", "", 1}, {"s4", "bob", 2}, {"s5", "", 2}} {
		if ack := c.must(l, join("a", member(s.session, s.subject))); ack.Subjects != s.count || ack.Count != i+1 {
			c.Fatalf("%+v is answered %+v", s, ack)
		}
	}
	if ack := c.must(l, join("a", member("s4", "alice"))); ack.Subjects != 1 || ack.Count != 5 || ack.Member.Subject != "alice" {
		c.Fatalf("told anew as of another subject it is answered %+v", ack)
	}
	for i, subjects := range []int{1, 1, 1, 0, 0} {
		if ack := c.must(l, leave("a", []string{"s1", "s2", "s3", "s4", "s5"}[i], "asked")); ack.Subjects != subjects {
			c.Fatalf("leave %d is answered %+v, want %d subjects", i, ack, subjects)
		}
		c.audit("a")
	}
}

func (c crowd) generations() {
	l, other := c.begin("h"), c.begin("other")
	c.must(l, again(join("a", member("s1", "alice")), 5))
	for _, late := range []millrace.MemberChange{
		again(join("a", member("s1", "alice")), 4), resume("a", "s1"), update("a", "s1", `1`), leave("a", "s1", "lost"),
	} {
		c.denied(l, late, millrace.ReasonConflict)
		if late.Kind != millrace.MemberLeave { // another holder's leave counts for nothing anyway
			c.denied(other, late, millrace.ReasonConflict)
		}
	}
	c.expect("a", 2, "s1")
	c.must(l, again(leave("a", "s1", "lost"), 5))
	c.must(l, join("a", member("s1", "alice"))) // it is another membership
	c.expect("a", 6, "s1")
}

func (c crowd) takeOver() {
	l, other := c.begin("h"), c.begin("other")
	first := c.must(l, join("a", member("s1", "alice")))
	c.must(l, join("a", member("s2", "bob")))
	if ack := c.must(other, again(resume("a", "s1"), 1)); !sameMember(ack.Member, first.Member) || ack.Count != 2 {
		c.Fatalf("the resume is answered %+v", ack)
	}
	c.must(other, join("a", member("s2", "bob"))) // the same generation
	c.denied(l, join("a", member("s1", "alice")), millrace.ReasonConflict)
	for _, session := range []string{"s1", "s2"} {
		if ack := c.must(l, again(leave("a", session, "lost"), 9)); ack.Count != 2 {
			c.Fatalf("the leave of the former holder is answered %+v", ack)
		}
	}
	c.expect("a", 3, "s1", "s2")
	if err := c.Roster.End(c.Context(), l, "closed"); err != nil {
		c.Fatal(err)
	}
	c.expect("a", 3, "s1", "s2")
	back := c.begin("h")
	changed := member("s1", "alice")
	changed.Data = []byte(`"elsewhere"`)
	c.must(back, again(join("a", changed), 2))
	c.must(back, again(update("a", "s2", `2`), 2))
	f := c.expect("a", 5, "s1", "s2")
	if string(f.Members["s1"].Data) != `"elsewhere"` || string(f.Members["s2"].Data) != `2` {
		c.Fatalf("the members are %v", f.Members)
	}
	if err := c.Roster.End(c.Context(), other, "closed"); err != nil {
		c.Fatal(err)
	}
	c.expect("a", 5, "s1", "s2")
	if err := c.Roster.End(c.Context(), back, "closed"); err != nil {
		c.Fatal(err)
	}
	c.expect("a", 8)
}

func (c crowd) anew() {
	l := c.begin("h")
	at := time.UnixMilli(1_700_000_000_123)
	m := member("s1", "alice")
	m.Joined = at
	if ack := c.must(l, join("a", m)); !ack.Member.Joined.Equal(at) {
		c.Fatalf("told anew it joined at %s, want %s", ack.Member.Joined, at)
	}
	if f := c.expect("a", 2, "s1"); !f.Members["s1"].Joined.Equal(at) {
		c.Fatalf("told is that it joined at %s, want %s", f.Members["s1"].Joined, at)
	}
}

func (c crowd) sessions() {
	l := c.begin("h")
	for _, session := range []string{"s1", "s2"} {
		c.must(l, join(millrace.SessionsTopic, member(session, "alice")))
		c.must(l, join("a", member(session, "alice")))
	}
	c.must(l, update(millrace.SessionsTopic, "s1", `1`))
	c.must(l, leave(millrace.SessionsTopic, "s1", "closed"))
	c.expect("a", 3, "s1", "s2")
	c.expect(millrace.SessionsTopic, 4, "s2")
	c.must(l, leave(millrace.SessionsTopic, "s2", "lost"))
	c.expect(millrace.SessionsTopic, 5)
	events := c.told(millrace.SessionsTopic, millrace.Position{})
	for i, name := range []string{"connected", "connected", "updated", "disconnected", "disconnected"} {
		if events[i].Name != name || events[i].Topic != millrace.SessionsTopic {
			c.Fatalf("event %d is %q of %q, want %q", i, events[i].Name, events[i].Topic, name)
		}
	}
}

func (c crowd) batch() {
	l := c.begin("h")
	acks := c.Roster.Change(c.Context(), l, []millrace.MemberChange{
		join("a", member("s1", "alice")),
		resume("a", "s2"),
		join("a", member("s2", "bob")),
		update("a", "s1", `1`),
		leave("a", "s1", "asked"),
		update("a", "s1", `2`),
		join("b", member("s1", "alice")),
	})
	for i, want := range []struct {
		count  int
		reason millrace.Reason
	}{{1, ""}, {0, millrace.ReasonNotFound}, {2, ""}, {2, ""}, {1, ""}, {0, millrace.ReasonNotFound}, {1, ""}} {
		var got millrace.Reason
		if acks[i].Err != nil {
			got = acks[i].Err.Reason
		}
		if got != want.reason || acks[i].Count != want.count {
			c.Fatalf("change %d is answered %+v, want %+v", i, acks[i], want)
		}
	}
	c.expect("a", 5, "s2")
	c.expect("b", 2, "s1")
	if acks := c.Roster.Change(c.Context(), l, nil); len(acks) != 0 {
		c.Fatalf("nothing is answered %v", acks)
	}
	many := make([]millrace.MemberChange, 1000)
	for i := range many {
		many[i] = join("c", member(sessionName(i), ""))
	}
	for i, ack := range c.Roster.Change(c.Context(), l, many) {
		if ack.Err != nil || ack.Count != i+1 {
			c.Fatalf("change %d is answered %+v", i, ack)
		}
	}
}

func (c crowd) refusals() {
	l, other := c.begin("h"), c.begin("other")
	c.must(l, join("a", member("s1", "alice")))
	full := millrace.Errorf(millrace.ReasonFull, "full")
	c.Refuse(full)
	changed := member("s1", "alice")
	changed.Data = []byte(`"elsewhere"`)
	for _, change := range []millrace.MemberChange{
		join("a", member("s2", "bob")), join("b", member("s1", "alice")), update("a", "s1", `1`), join("a", changed), leave("a", "s1", "asked"),
	} {
		c.denied(l, change, millrace.ReasonFull)
		c.expect("a", 2, "s1")
		c.expect("b", 0)
	}
	c.denied(other, again(join("a", changed), 1), millrace.ReasonFull)
	c.Refuse(nil)
	c.must(other, leave("a", "s1", "asked")) // it did not go over
	c.expect("a", 2, "s1")
	c.must(l, update("a", "s1", `1`)) // nor is its generation another
	c.must(l, leave("a", "s1", "asked"))
	c.expect("a", 5)
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	if acks := c.Roster.Change(ctx, l, []millrace.MemberChange{join("a", member("s1", "alice"))}); acks[0].Err == nil {
		c.Fatal("a join whose caller has gone is done")
	}
	c.expect("a", 5)
}

func (c crowd) torn() {
	l := c.begin("h")
	c.Refuse(millrace.Errorf(millrace.ReasonTooLarge, "too large"), "occupied", "vacated")
	c.denied(l, join("a", member("s1", "alice")), millrace.ReasonTooLarge)
	c.expect("a", 0)
	c.Refuse(nil)
	c.must(l, join("a", member("s1", "alice")))
	c.Refuse(millrace.Errorf(millrace.ReasonTooLarge, "too large"), "occupied", "vacated")
	c.denied(l, leave("a", "s1", "asked"), millrace.ReasonTooLarge)
	c.refused(c.Roster.End(c.Context(), l, "draining"), millrace.ReasonTooLarge)
	c.expect("a", 2, "s1")
}

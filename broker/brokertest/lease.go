package brokertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

func (c crowd) fencing() {
	old := c.begin("h")
	c.must(old, join("a", member("s1", "alice")))
	l := c.begin("h")
	if l == old {
		c.Fatalf("two leases are %+v", l)
	}
	for _, change := range []millrace.MemberChange{
		join("a", member("s2", "bob")), again(join("a", member("s1", "alice")), 7), resume("a", "s1"), update("a", "s1", `1`), leave("a", "s1", "lost"),
	} {
		c.denied(old, change, millrace.ReasonConflict)
	}
	c.refused(c.Roster.Renew(c.Context(), old, term), millrace.ReasonConflict)
	c.refused(c.Roster.Settle(c.Context(), old), millrace.ReasonConflict)
	c.refused(c.Roster.End(c.Context(), old, "closed"), millrace.ReasonConflict)
	c.expect("a", 2, "s1")
	c.must(l, leave("a", "s1", "asked")) // it is the holder's, under whichever lease it was told
	c.expect("a", 4)
}

func (c crowd) settles() {
	old, other := c.begin("h"), c.begin("other")
	for _, session := range []string{"s1", "s2", "s3", "s4", "s5", "s6"} {
		c.must(old, join("a", member(session, session)))
	}
	c.must(old, join("b", member("s1", "s1")))
	l := c.begin("h")
	c.must(l, join("a", member("s1", "s1")))
	c.must(l, resume("a", "s2"))
	c.must(l, update("a", "s3", `3`))
	c.must(l, join("a", member("s7", "s7")))
	c.must(other, join("a", member("s4", "s4")))
	for range 2 {
		if err := c.Roster.Settle(c.Context(), l); err != nil {
			c.Fatal(err)
		}
		c.expect("a", 11, "s1", "s2", "s3", "s4", "s7")
		c.expect("b", 4)
	}
	for _, session := range []string{"s5", "s6"} {
		c.left("a", session, millrace.LeftLost)
	}
	c.left("b", "s1", millrace.LeftLost)
	none := c.begin("none")
	for range 2 { // to settle nobody is no end
		if err := c.Roster.Settle(c.Context(), none); err != nil {
			c.Fatal(err)
		}
	}
}

func (c crowd) ends() {
	old, other := c.begin("h"), c.begin("other")
	c.must(old, join("a", member("s1", "alice")))
	c.must(old, join("a", member("s2", "alice")))
	l := c.begin("h")
	c.must(l, join("b", member("s1", "alice")))
	c.must(other, join("a", member("s3", "bob")))
	if err := c.Roster.End(c.Context(), l, "draining"); err != nil {
		c.Fatal(err)
	}
	c.expect("a", 6, "s3")
	c.expect("b", 4)
	c.left("a", "s1", "draining") // not told under this lease, but held
	c.left("b", "s1", "draining")
	c.refused(c.Roster.Renew(c.Context(), l, term), millrace.ReasonNotFound)
	c.denied(l, join("a", member("s1", "alice")), millrace.ReasonNotFound)
	c.refused(c.Roster.Settle(c.Context(), l), millrace.ReasonNotFound)
	if next, err := c.Roster.Sweep(c.Context()); err != nil || next.IsZero() {
		c.Fatalf("the sweep says %s, %v, and there is another lease", next, err)
	}
	c.must(c.begin("h"), join("a", member("s1", "alice")))
	c.expect("a", 7, "s1", "s3")
}

func (c crowd) stuck() {
	full := millrace.Errorf(millrace.ReasonFull, "full")
	var events int
	for _, away := range []struct {
		reason string
		ask    func(l broker.Lease) error
	}{
		{millrace.LeftLost, func(l broker.Lease) error { return c.Roster.Settle(c.Context(), l) }},
		{"draining", func(l broker.Lease) error { return c.Roster.End(c.Context(), l, "draining") }},
		{millrace.LeftLease, func(broker.Lease) error {
			_, err := c.Roster.Sweep(c.Context())
			return err
		}},
	} {
		l := c.begin("h")
		for i := range 300 {
			c.must(l, join("a", member(sessionName(i), "")))
		}
		events += 301
		switch away.reason {
		case millrace.LeftLost:
			l = c.begin("h")
		case millrace.LeftLease:
			c.elapse(2 * term)
		}
		c.Refuse(full)
		for range 2 {
			c.refused(away.ask(l), millrace.ReasonFull)
			if count := c.audit("a").At.Offset; count != uint64(events) {
				c.Fatalf("%s: there are %d events, want %d", away.reason, count, events)
			}
		}
		c.Refuse(nil)
		ctx, cancel := context.WithCancel(c.Context())
		cancel()
		if away.reason == "draining" {
			if err := c.Roster.End(ctx, l, "draining"); err == nil {
				c.Fatal("a caller who has gone is told that all have left")
			}
		}
		if err := away.ask(l); err != nil {
			c.Fatalf("%s: %v", away.reason, err)
		}
		events += 301
		c.expect("a", events)
		for session, reason := range c.reasons("a") {
			if reason != away.reason {
				c.Fatalf("%s left for %q, want %q", session, reason, away.reason)
			}
		}
	}
	l := c.begin("h")
	c.must(l, join("a", member("s1", "alice")))
	c.must(l, join("a", member("s2", "alice")))
	c.Refuse(full)
	c.refused(c.Roster.End(c.Context(), l, "draining"), millrace.ReasonFull)
	c.Refuse(nil)
	l = c.begin("h") // who comes back in time still has its members
	if err := c.Roster.Renew(c.Context(), l, term); err != nil {
		c.Fatal(err)
	}
	if _, err := c.Roster.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.expect("a", events+3, "s1", "s2")
	c.Refuse(full)
	c.refused(c.Roster.End(c.Context(), l, "draining"), millrace.ReasonFull)
	c.Refuse(nil)
	c.must(c.begin("other"), join("a", member("s1", "alice")))
	c.refused(c.Roster.Renew(c.Context(), l, term), millrace.ReasonNotFound)
	if _, err := c.Roster.Sweep(c.Context()); err != nil { // an end that did not come to an end is swept
		c.Fatal(err)
	}
	c.expect("a", events+4, "s1")
	c.left("a", "s2", "draining")
}

func (c crowd) sweeps() {
	const members = 1000
	l := c.begin("h")
	for i := range members {
		c.must(l, join("a", member(sessionName(i), fmt.Sprint(i%10))))
	}
	c.must(l, join(millrace.SessionsTopic, member("s1", "alice")))
	other := c.begin("other")
	c.must(other, join("a", member("stays", "alice")))
	c.elapse(term / 2)
	if err := c.Roster.Renew(c.Context(), other, term); err != nil {
		c.Fatal(err)
	}
	if _, err := c.Roster.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.expect(millrace.SessionsTopic, 1, "s1")
	c.elapse(term/2 + time.Second)
	var sweepers sync.WaitGroup
	for range 4 {
		sweepers.Go(func() {
			if _, err := c.Roster.Sweep(c.Context()); err != nil {
				c.Error(err)
			}
		})
	}
	sweepers.Wait()
	c.expect("a", 2*members+2, "stays") // the audit finds one who left twice
	c.expect(millrace.SessionsTopic, 2)
	c.left("a", sessionName(7), millrace.LeftLease)
	c.refused(c.Roster.Renew(c.Context(), l, term), millrace.ReasonNotFound)
	c.denied(l, join("a", member("s1", "alice")), millrace.ReasonNotFound)
}

func (c crowd) renewals() {
	if next, err := c.Roster.Sweep(c.Context()); err != nil || !next.IsZero() {
		c.Fatalf("without a lease the sweep says %s, %v", next, err)
	}
	l := c.begin("h")
	c.must(l, join("a", member("s1", "alice")))
	for range 5 {
		c.elapse(term * 2 / 3)
		if err := c.Roster.Renew(c.Context(), l, term); err != nil {
			c.Fatal(err)
		}
		next, err := c.Roster.Sweep(c.Context())
		if err != nil {
			c.Fatal(err)
		}
		if in := time.Until(next); in < term/2 || in > term {
			c.Fatalf("a lease that was renewed for %s is said to run out in %s", term, in)
		}
	}
	c.expect("a", 2, "s1")
	soon, err := c.Roster.Begin(c.Context(), "soon", term/5)
	if err != nil {
		c.Fatal(err)
	}
	next, err := c.Roster.Sweep(c.Context())
	if in := time.Until(next); err != nil || in > term/5 {
		c.Fatalf("a lease for %s is said to run out in %s, %v", term/5, in, err)
	}
	c.elapse(term / 4)
	if _, err := c.Roster.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.refused(c.Roster.Renew(c.Context(), soon, term), millrace.ReasonNotFound)
	c.expect("a", 2, "s1")
	c.elapse(term)
	if next, err := c.Roster.Sweep(c.Context()); err != nil || !next.IsZero() {
		c.Fatalf("when all leases ran out the sweep says %s, %v", next, err)
	}
	c.expect("a", 4)
}

func (c crowd) rescue() {
	l := c.begin("h")
	for _, session := range []string{"s1", "s2", "s3"} {
		c.must(l, join("a", member(session, session)))
	}
	c.elapse(term + time.Second)
	other := c.begin("other")
	c.must(other, again(resume("a", "s1"), 1))
	c.must(other, again(join("a", member("s2", "s2")), 1))
	if _, err := c.Roster.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.expect("a", 5, "s1", "s2")
	c.denied(other, again(resume("a", "s3"), 1), millrace.ReasonNotFound)
}

func (c crowd) comeback() {
	l := c.begin("h")
	c.must(l, join("a", member("s1", "alice")))
	c.elapse(term + time.Second)
	back := c.begin("h")
	if _, err := c.Roster.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.expect("a", 2, "s1")
	c.refused(c.Roster.Renew(c.Context(), l, term), millrace.ReasonConflict)
	c.must(back, update("a", "s1", `1`))
	c.elapse(term + time.Second)
	if _, err := c.Roster.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.expect("a", 5)
	c.refused(c.Roster.Renew(c.Context(), l, term), millrace.ReasonNotFound)
}

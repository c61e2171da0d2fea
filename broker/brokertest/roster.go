package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// Engine is a roster to be tested, and what it stands on.
type Engine struct {
	Roster broker.Roster
	Log    broker.Log // where its events go

	// Refuse makes the log refuse events with err, those with names if there are any, until it is called with nil.
	Refuse func(err *millrace.Error, names ...string)
}

// OpenRoster returns a roster without members over an empty log, with the default rules. Both are closed when t ends.
type OpenRoster func(t *testing.T) Engine

// TestRoster holds an engine to the promises of broker.Roster. Each is a subtest, for which timed lets time pass. Leases
// are of some seconds of the engine's time.
func TestRoster(t *testing.T, open OpenRoster, timed Timed) {
	for _, promise := range rosterPromises {
		t.Run(promise.name, func(t *testing.T) {
			timed(t, func(t *testing.T, elapse func(time.Duration)) { promise.hold(crowd{t, open(t), elapse}) })
		})
	}
}

var rosterPromises = []struct {
	name string
	hold func(c crowd)
}{
	{"who joins is listed, counted and told", crowd.joins},
	{"what makes no difference is not told", crowd.indifferent},
	{"what a member shows of itself can be changed", crowd.updates},
	{"who is no member can't be resumed or updated, and leaving is done already", crowd.strangers},
	{"the first occupies a topic and the last vacates it", crowd.occupancy},
	{"subjects are counted once, anonymous members not at all", crowd.subjects},
	{"a change of an older generation is refused", crowd.generations},
	{"a member goes over to another holder without leaving", crowd.takeOver},
	{"a member that is told anew says when it joined", crowd.anew},
	{"the list of sessions is a topic whose log is itself", crowd.sessions},
	{"each change is answered alone, in order", crowd.batch},
	{"a change whose event is refused is not done", crowd.refusals},
	{"of the events of a change all are stored or none is", crowd.torn},
	{"a newer lease of the holder fences the older one, and its members stay", crowd.fencing},
	{"who was not told under the lease leaves when it is settled", crowd.settles},
	{"the members of a lease leave when it is ended", crowd.ends},
	{"who could not be made to leave stays, and leaves when it is asked again", crowd.stuck},
	{"the members of a lease that ran out leave, each once, however many sweep", crowd.sweeps},
	{"a lease that is renewed does not run out, and a sweep says when the next one does", crowd.renewals},
	{"who is taken over before the sweep does not leave", crowd.rescue},
	{"a holder that begins anew before the sweep keeps its members", crowd.comeback},
	{"a member is on one page, whoever comes and goes meanwhile", crowd.pages},
	{"counts are read without members, and pages of others are refused", crowd.ranges},
	{"members as of a position and the events after it are the list", crowd.asOf},
	{"whatever many holders do at once, the list is what the log adds up to", crowd.concurrent},
	{"what has ended fails with a reason", crowd.over},
}

// term is how long leases last that are not about to run out.
const term = 10 * time.Second

// crowd is what the tests of one promise of a roster stand on.
type crowd struct {
	*testing.T
	Engine
	elapse func(time.Duration)
}

func (c crowd) begin(holder string) broker.Lease {
	c.Helper()
	l, err := c.Roster.Begin(c.Context(), holder, term)
	if err != nil {
		c.Fatalf("begin %s: %v", holder, err)
	}
	if l.Holder != holder {
		c.Fatalf("the lease of %s is %+v", holder, l)
	}
	return l
}

// ask asks for one change.
func (c crowd) ask(l broker.Lease, change millrace.MemberChange) millrace.MemberAck {
	c.Helper()
	acks := c.Roster.Change(c.Context(), l, []millrace.MemberChange{change})
	if len(acks) != 1 {
		c.Fatalf("%d acks for one change", len(acks))
	}
	return acks[0]
}

// must asks for one change, which must be done.
func (c crowd) must(l broker.Lease, change millrace.MemberChange) millrace.MemberAck {
	c.Helper()
	ack := c.ask(l, change)
	if ack.Err != nil {
		c.Fatalf("%+v: %v", change, ack.Err)
	}
	return ack
}

func (c crowd) refused(err error, want millrace.Reason) {
	c.Helper()
	bench{T: c.T}.refused(err, want)
}

// denied asks for one change, which must be refused.
func (c crowd) denied(l broker.Lease, change millrace.MemberChange, want millrace.Reason) {
	c.Helper()
	if ack := c.ask(l, change); ack.Err == nil || ack.Err.Reason != want {
		c.Fatalf("%+v is answered %+v, want %s", change, ack, want)
	}
}

// member returns a session of a subject that has its own name in its data.
func member(session, subject string) millrace.Member {
	return millrace.Member{Session: session, Subject: subject, Data: strconv.AppendQuote(nil, session)}
}

func join(topic string, m millrace.Member) millrace.MemberChange {
	return millrace.MemberChange{Kind: millrace.MemberJoin, Topic: topic, Member: m}
}

func update(topic, session, data string) millrace.MemberChange {
	return millrace.MemberChange{Kind: millrace.MemberUpdate, Topic: topic, Member: millrace.Member{Session: session, Data: []byte(data)}}
}

func resume(topic, session string) millrace.MemberChange {
	return millrace.MemberChange{Kind: millrace.MemberResume, Topic: topic, Member: millrace.Member{Session: session}}
}

func leave(topic, session, reason string) millrace.MemberChange {
	return millrace.MemberChange{Kind: millrace.MemberLeave, Topic: topic, Member: millrace.Member{Session: session}, Reason: reason}
}

// again returns the change as that of a session that has come back so often.
func again(change millrace.MemberChange, generation uint32) millrace.MemberChange {
	change.Generation = generation
	return change
}

// page reads a page of members.
func (c crowd) page(topic string, r millrace.MemberRange) millrace.MemberPage {
	c.Helper()
	page, err := c.Roster.Members(c.Context(), topic, r)
	if err != nil {
		c.Fatalf("members of %s: %v", topic, err)
	}
	return page
}

// list reads all members, in small pages.
func (c crowd) list(topic string) (all []millrace.Member, last millrace.MemberPage) {
	c.Helper()
	for r := (millrace.MemberRange{Limit: 3}); ; r.Page = last.Next {
		last = c.page(topic, r)
		if len(last.Members) > r.Limit {
			c.Fatalf("%d members on a page of %d", len(last.Members), r.Limit)
		}
		all = append(all, last.Members...)
		if last.Next == "" {
			return all, last
		}
	}
}

// told returns the events of a topic's lifecycle log after a position.
func (c crowd) told(topic string, after millrace.Position) []*millrace.Event {
	c.Helper()
	page, err := c.Log.Read(c.Context(), millrace.PresenceTopic(topic), millrace.Range{Start: millrace.After(after), Limit: 20_000})
	if err != nil || page.Gap != nil || page.More {
		c.Fatalf("the log of %s: %v, %v, more: %v", topic, err, page.Gap, page.More)
	}
	return page.Events
}

// audit checks that the list of a topic is what its whole log adds up to, as are its counts, and returns the fold.
func (c crowd) audit(topic string) *Fold {
	c.Helper()
	f := NewFold(topic)
	for _, e := range c.told(topic, millrace.Position{}) {
		if err := f.Apply(e); err != nil {
			c.Fatalf("the log of %s: %v", topic, err)
		}
	}
	all, last := c.list(topic)
	if err := f.Differs(all); err != nil {
		c.Fatalf("the list of %s: %v", topic, err)
	}
	if count, subjects := f.Counts(); last.Count != count || last.Subjects != subjects || last.AsOf != f.At {
		c.Fatalf("the list of %s has %d members and %d subjects as of %s, told were %d and %d until %s", topic, last.Count, last.Subjects, last.AsOf, count, subjects, f.At)
	}
	return f
}

// expect audits a topic and checks who is a member, and how many events its log has.
func (c crowd) expect(topic string, events int, sessions ...string) *Fold {
	c.Helper()
	f := c.audit(topic)
	if got := int(f.At.Offset); got != events {
		c.Fatalf("the log of %s has %d events, want %d", topic, got, events)
	}
	if len(f.Members) != len(sessions) {
		c.Fatalf("the members of %s are %v, want %v", topic, f.Members, sessions)
	}
	for _, s := range sessions {
		if _, ok := f.Members[s]; !ok {
			c.Fatalf("the members of %s are %v, want %v", topic, f.Members, sessions)
		}
	}
	return f
}

// reasons returns why sessions left a topic, and fails if one left twice without having come back.
func (c crowd) reasons(topic string) map[string]string {
	c.Helper()
	why := map[string]string{}
	for _, e := range c.told(topic, millrace.Position{}) {
		if m, err := millrace.ParseMemberEvent(e); err != nil {
			c.Fatal(err)
		} else if m.Kind == millrace.MemberLeft {
			why[m.Member.Session] = m.Reason
		}
	}
	return why
}

func (c crowd) left(topic, session, reason string) {
	c.Helper()
	if got := c.reasons(topic)[session]; got != reason {
		c.Fatalf("%s left %s for %q, want %q", session, topic, got, reason)
	}
}

func sessionName(i int) string { return fmt.Sprintf("s%05d", i) }

// concurrent lets many holders do all that they can at once, on few sessions and topics.
func (c crowd) concurrent() {
	const holders, steps = 8, 400
	topics := []string{"a", "b", millrace.SessionsTopic}
	stop := make(chan struct{})
	var sweepers, holding sync.WaitGroup
	for range 2 {
		sweepers.Go(func() {
			for {
				if _, err := c.Roster.Sweep(c.Context()); err != nil {
					c.Error(err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range holders {
		holding.Go(func() { c.disturb(fmt.Sprintf("h%d", i), topics, steps, rand.New(rand.NewPCG(7, uint64(i)))) })
	}
	holding.Wait()
	close(stop)
	sweepers.Wait()
	for _, topic := range topics {
		if c.audit(topic).At.Offset < 100 {
			c.Fatalf("hardly anything happened in %s", topic)
		}
	}
	c.elapse(2 * term)
	if _, err := c.Roster.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	for _, topic := range topics {
		if f := c.audit(topic); len(f.Members) > 0 {
			c.Fatalf("members of %s outlived their leases: %v", topic, f.Members)
		}
	}
}

// disturb is one holder who asks for changes of everybody at random, and begins, settles and ends leases.
func (c crowd) disturb(holder string, topics []string, steps int, chance *rand.Rand) {
	l := c.begin(holder)
	for range steps {
		topic, session := topics[chance.IntN(len(topics))], sessionName(chance.IntN(12))
		change := again(join(topic, member(session, session[len(session)-1:])), uint32(chance.IntN(3)))
		var err error
		switch n := chance.IntN(100); {
		case n < 45:
			change.Kind = millrace.MemberChangeKind(1 + chance.IntN(4))
			change.Reason = "asked"
			if chance.IntN(4) == 0 {
				change.Member.Data = []byte(`"other"`)
			}
			if ack := c.Roster.Change(c.Context(), l, []millrace.MemberChange{change})[0]; ack.Err != nil {
				err = ack.Err
			}
		case n < 75:
			_, err = c.Roster.Members(c.Context(), topic, millrace.MemberRange{Limit: 5})
		case n < 85:
			l = c.begin(holder)
		case n < 92:
			err = c.Roster.Settle(c.Context(), l)
		case n < 96:
			err = c.Roster.End(c.Context(), l, "closed")
		default:
			l, err = c.Roster.Begin(c.Context(), holder, 0) // it has run out at once
		}
		if e := millrace.AsError(err); e != nil && e.Reason != millrace.ReasonNotFound && e.Reason != millrace.ReasonConflict {
			c.Errorf("%s: %v", holder, err)
		}
	}
}

func (c crowd) over() {
	l := c.begin("h")
	c.must(l, join("a", member("s1", "alice")))
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	if _, err := c.Roster.Begin(ctx, "gone", term); err == nil {
		c.Fatal("a lease begins whose caller has gone")
	}
	c.expect("a", 2, "s1")
	if err := c.Roster.Close(); err != nil {
		c.Fatal(err)
	}
	_, begun := c.Roster.Begin(c.Context(), "h", term)
	_, swept := c.Roster.Sweep(c.Context())
	_, read := c.Roster.Members(c.Context(), "a", millrace.MemberRange{})
	for _, err := range []error{
		begun, swept, read,
		c.Roster.Renew(c.Context(), l, term), c.Roster.Settle(c.Context(), l), c.Roster.End(c.Context(), l, "closed"),
	} {
		c.refused(err, millrace.ReasonUnavailable)
	}
	c.denied(l, leave("a", "s1", "asked"), millrace.ReasonUnavailable)
	if err := c.Roster.Close(); err != nil {
		c.Fatal(err)
	}
}

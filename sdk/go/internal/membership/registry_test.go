package membership_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/sdk/go/internal/membership"
)

func at(seconds int) time.Time { return time.Unix(int64(seconds), 0) }

func registry() *membership.Registry {
	return membership.New(func(failures int) time.Duration { return time.Duration(failures) * time.Second })
}

func change(kind millrace.MemberChangeKind, session, data string) millrace.MemberChange {
	return millrace.MemberChange{Kind: kind, Topic: "room", Member: millrace.Member{Session: session, Data: []byte(data)}}
}

func ask(r *membership.Registry, kind millrace.MemberChangeKind, session, data string) *membership.Batch {
	return r.Ask([]millrace.MemberChange{change(kind, session, data)})
}

var words = map[millrace.MemberChangeKind]string{
	millrace.MemberJoin: "join", millrace.MemberResume: "resume", millrace.MemberUpdate: "update", millrace.MemberLeave: "leave",
}

// said takes what is to be sent and checks it; the ids are in its order.
func said(t *testing.T, r *membership.Registry, now int, want ...string) []uint32 {
	t.Helper()
	commands, _ := r.Next(at(now), 100, 1<<20)
	var got []string
	var ids []uint32
	for _, c := range commands {
		switch {
		case c.Settled:
			got = append(got, "settled")
		case c.Broadcast != nil:
			got = append(got, "broadcast "+string(c.Broadcast.Event.Data))
		default:
			word := words[c.Change.Kind] + " " + c.Change.Member.Session + string(c.Change.Member.Data)
			if !c.Change.Member.Joined.IsZero() {
				word = "again " + word
			}
			got = append(got, word)
		}
		ids = append(ids, c.ID)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the registry says %q, want %q", got, want)
	}
	return ids
}

func yes(session, data string) membership.Answer {
	return membership.Answer{Member: millrace.MemberAck{Count: 1, Member: millrace.Member{Session: session, Data: []byte(data), Joined: at(1)}}}
}

func no(reason millrace.Reason) membership.Answer {
	return membership.Answer{Err: millrace.Errorf(reason, "as scripted")}
}

func answered(t *testing.T, b *membership.Batch, want millrace.Reason) {
	t.Helper()
	select {
	case <-b.Done:
	default:
		t.Fatalf("there is no answer; want %q", want)
	}
	if got := b.Acks[0].Err; got == nil && want != "" || got != nil && got.Reason != want {
		t.Fatalf("the answer is %v, want %q", got, want)
	}
}

// member makes a session a member on the stream at hand.
func member(t *testing.T, r *membership.Registry, session string) {
	t.Helper()
	b := ask(r, millrace.MemberJoin, session, "1")
	r.Reply(at(0), said(t, r, 0, "join "+session+"1")[0], yes(session, "1"))
	answered(t, b, "")
}

func opened(t *testing.T) *membership.Registry {
	t.Helper()
	r := registry()
	r.Open(0)
	said(t, r, 0, "settled")
	return r
}

func TestMembersAreToldAnewOnEachStreamAndThenTheRosterIsSent(t *testing.T) {
	r := opened(t)
	member(t, r, "a") // is told before what is new
	r.Lost()
	early := ask(r, millrace.MemberJoin, "b", "1")
	r.Open(0)
	commands, _ := r.Next(at(0), 100, 1) // however little is sent at once
	rest, _ := r.Next(at(0), 100, 1<<20)
	commands = append(commands, rest...)
	var sessions []string
	for _, c := range commands[:2] {
		sessions = append(sessions, c.Change.Member.Session)
		r.Reply(at(0), c.ID, yes(c.Change.Member.Session, "1"))
	}
	if len(commands) != 3 || !slices.Equal(sessions, []string{"a", "b"}) || !commands[2].Settled {
		t.Fatalf("told were %+v", commands)
	}
	answered(t, early, "")
	update := ask(r, millrace.MemberUpdate, "a", "2")
	r.Reply(at(0), said(t, r, 0, "update a2")[0], yes("a", "2"))
	answered(t, update, "")
	leave := ask(r, millrace.MemberLeave, "b", "")
	r.Reply(at(0), said(t, r, 0, "leave b")[0], yes("b", ""))
	answered(t, leave, "")
	r.Open(0) // in the place of the one before
	said(t, r, 0, "again join a2", "settled")
}

func TestWhatWasUnderWayIsAskedAgainOnTheNextStreamAndALeaveIsDone(t *testing.T) {
	r := opened(t)
	member(t, r, "a")
	member(t, r, "b")
	update, leave := ask(r, millrace.MemberUpdate, "a", "2"), ask(r, millrace.MemberLeave, "b", "")
	late := said(t, r, 0, "update a2", "leave b")[0]
	r.Lost()
	answered(t, leave, "")
	r.Open(0)
	id := said(t, r, 0, "again join a1", "settled")[0]
	r.Reply(at(0), late, yes("a", "2")) // of the stream before
	r.Reply(at(0), id, yes("a", "1"))
	r.Reply(at(0), said(t, r, 0, "update a2")[0], yes("a", "2"))
	answered(t, update, "")
}

func TestALeaveWithoutAStreamIsDoneAtOnceAndOvertakesWhatWasAsked(t *testing.T) {
	r := opened(t)
	member(t, r, "a")
	r.Lost()
	join := ask(r, millrace.MemberJoin, "b", "1")
	for _, session := range []string{"a", "b", "c"} {
		answered(t, ask(r, millrace.MemberLeave, session, ""), "")
	}
	answered(t, join, millrace.ReasonCanceled)
	if r.Len() != 0 {
		t.Errorf("%d seats are left", r.Len())
	}
	r.Open(0)
	said(t, r, 0, "settled")
}

func TestAJoinThatIsWithdrawnIsTakenBack(t *testing.T) {
	gone := millrace.Errorf(millrace.ReasonUnavailable, "too late")
	r := opened(t)
	sent := ask(r, millrace.MemberJoin, "a", "1")
	id := said(t, r, 0, "join a1")[0]
	r.Withdraw(sent, gone)
	answered(t, sent, millrace.ReasonUnavailable)
	said(t, r, 0)
	r.Reply(at(0), id, yes("a", "1")) // it was stored
	r.Reply(at(0), said(t, r, 0, "leave a")[0], yes("a", ""))
	unsent := ask(r, millrace.MemberJoin, "a", "1")
	r.Withdraw(unsent, gone)
	said(t, r, 0)

	first, second := ask(r, millrace.MemberJoin, "a", "1"), ask(r, millrace.MemberJoin, "a", "2")
	id = said(t, r, 0, "join a1")[0]
	r.Withdraw(first, gone) // and the other stands
	r.Reply(at(0), id, yes("a", "1"))
	r.Reply(at(0), said(t, r, 0, "join a2")[0], yes("a", "2"))
	answered(t, second, "")
	ask(r, millrace.MemberLeave, "a", "")
	r.Reply(at(0), said(t, r, 0, "leave a")[0], yes("a", ""))

	again := ask(r, millrace.MemberJoin, "b", "1")
	said(t, r, 0, "join b1")
	r.Lost()
	r.Withdraw(again, gone)
	r.Open(0)
	said(t, r, 0, "settled") // by which it has left, if it was stored
	if r.Len() != 0 {
		t.Errorf("%d seats are left", r.Len())
	}
}

func TestAMemberThatWentOnElsewhereIsNotToldAgainAndOneThatCannotBeToldForNowIs(t *testing.T) {
	r := opened(t)
	member(t, r, "a")
	member(t, r, "b")
	r.Open(0)
	commands, _ := r.Next(at(0), 100, 1<<20)
	for _, c := range commands[:2] {
		reason := millrace.ReasonConflict
		if c.Change.Member.Session == "b" {
			reason = millrace.ReasonUnavailable
		}
		if lost := r.Reply(at(0), c.ID, no(reason)); (lost != nil) != (reason == millrace.ReasonConflict) {
			t.Errorf("after %s it is said that the member is lost: %v", reason, lost)
		}
	}
	said(t, r, 0)
	if _, due := r.Next(at(0), 100, 1<<20); !due.Equal(at(1)) {
		t.Errorf("the next try is due at %v", due)
	}
	r.Reply(at(1), said(t, r, 1, "again join b1")[0], yes("b", "1"))
	said(t, r, 100)
	r.Open(0)
	said(t, r, 100, "again join b1", "settled")
}

// What is left of a former connection of a session must not end what the session has since it came back.
func TestALeaveOfAnOlderGenerationCountsForNothing(t *testing.T) {
	for name, waiting := range map[string]bool{"of a member": false, "while its return is asked for": true} {
		t.Run(name, func(t *testing.T) {
			r := opened(t)
			back, late := change(millrace.MemberResume, "s", ""), change(millrace.MemberLeave, "s", "")
			back.Generation, late.Generation = 3, 2
			b := r.Ask([]millrace.MemberChange{back})
			if !waiting {
				r.Reply(at(0), said(t, r, 0, "resume s")[0], yes("s", "x"))
			}
			answered(t, r.Ask([]millrace.MemberChange{late}), millrace.ReasonConflict)
			if waiting {
				r.Reply(at(0), said(t, r, 0, "resume s")[0], yes("s", "x"))
			}
			answered(t, b, "")
			said(t, r, 0)
			r.Open(0)
			said(t, r, 0, "again join sx", "settled")
		})
	}
}

// The ids from 2147483648 on are those of other commands, whose answers must not be taken for a member's.
func TestTheIDsOfCommandsStayBelowThoseOfOthers(t *testing.T) {
	r := opened(t)
	r.Pass(membership.MaxID - 1)
	ask(r, millrace.MemberJoin, "a", "")
	ask(r, millrace.MemberJoin, "b", "")
	for _, id := range said(t, r, 0, "join a", "join b") {
		if id == 0 || id > membership.MaxID {
			t.Errorf("a command has the id %d", id)
		}
	}
}

func TestALeaveThatCouldNotBeDoneForNowIsAskedAgainThoughNobodyWaits(t *testing.T) {
	r := opened(t)
	member(t, r, "a")
	b := ask(r, millrace.MemberLeave, "a", "")
	r.Reply(at(0), said(t, r, 0, "leave a")[0], no(millrace.ReasonUnavailable))
	answered(t, b, "")
	said(t, r, 0)
	r.Reply(at(1), said(t, r, 1, "leave a")[0], yes("a", ""))
	if r.Len() != 0 {
		t.Errorf("%d seats are left", r.Len())
	}
}

func TestWhatTheBrokerRefusesIsAnsweredAlone(t *testing.T) {
	r := opened(t)
	member(t, r, "a")
	for reason, stays := range map[millrace.Reason]bool{millrace.ReasonTooLarge: true, millrace.ReasonNotFound: false, millrace.ReasonConflict: false} {
		b := ask(r, millrace.MemberUpdate, "a", "2")
		r.Reply(at(0), said(t, r, 0, "update a2")[0], no(reason))
		answered(t, b, reason)
		if (r.Len() == 1) != stays {
			t.Errorf("after %s there are %d members", reason, r.Len())
		}
		if !stays {
			member(t, r, "a")
		}
	}
	r.Open(200)
	r.Reply(at(0), said(t, r, 0, "again join a1", "settled")[0], yes("a", "1"))
	b := ask(r, millrace.MemberUpdate, "a", fmt.Sprintf("%0200d", 1))
	said(t, r, 0)
	answered(t, b, millrace.ReasonTooLarge)
}

func TestABroadcastWaitsUntilTheStreamKnowsOfTheMember(t *testing.T) {
	r := opened(t)
	cast := func(data string, size int) *membership.Cast {
		return r.Broadcast(millrace.Publish{Event: &millrace.Event{Topic: "room", Data: []byte(data)}}, "a", size)
	}
	got := func(c *membership.Cast, want millrace.Reason) {
		t.Helper()
		select {
		case <-c.Done:
		default:
			t.Fatal("there is no answer")
		}
		if e := c.Ack.Err; e == nil && want != "" || e != nil && e.Reason != want {
			t.Errorf("the answer is %v, want %q", e, want)
		}
	}
	early := cast("0", 1)
	said(t, r, 0)
	got(early, millrace.ReasonForbidden)
	ask(r, millrace.MemberJoin, "a", "1")
	one, two, large := cast("1", 1), cast("2", 1), cast("3", 999)
	id := said(t, r, 0, "join a1")[0]
	r.Reply(at(0), id, yes("a", "1"))
	ids := said(t, r, 0, "broadcast 1", "broadcast 2", "broadcast 3")
	r.Reply(at(0), ids[1], membership.Answer{Ack: millrace.Ack{Topic: "room"}})
	got(two, "")
	r.Open(500)
	four := cast("4", 1)
	r.Recall(four)
	id = said(t, r, 0, "again join a1", "settled")[0]
	got(large, millrace.ReasonTooLarge)
	r.Reply(at(0), id, yes("a", "1"))
	r.Reply(at(0), said(t, r, 0, "broadcast 1")[0], no(millrace.ReasonFull))
	got(one, millrace.ReasonFull)
}

var late = millrace.Errorf(millrace.ReasonUnavailable, "too late")

// world is a broker with one stream, which does what it is told a while later, and may lose the stream on the way.
type world struct {
	random  *rand.Rand
	members map[string]string
	told    map[string]bool // on the stream
	way     []membership.Command
}

// TestWhateverHappensTheBrokerHasWhatWasAcked asks at random, with streams that come and go, and compares at the end.
func TestWhateverHappensTheBrokerHasWhatWasAcked(t *testing.T) {
	for seed := range uint64(2000) {
		w := &world{random: rand.New(rand.NewPCG(seed, 1)), members: map[string]string{}, told: map[string]bool{}}
		r := registry()
		open, now := false, 0
		want := map[string]string{} // of those whose last change was answered
		type pending struct {
			session, data string
			kind          millrace.MemberChangeKind
			batch         *membership.Batch
		}
		var waiting []pending
		busy := map[string]bool{} // one change of a session at a time, as a session asks
		check := func() {
			waiting = slices.DeleteFunc(waiting, func(p pending) bool {
				select {
				case <-p.batch.Done:
				default:
					return false
				}
				delete(busy, p.session)
				switch err := p.batch.Acks[0].Err; {
				case p.kind == millrace.MemberLeave, err != nil && err.Reason == millrace.ReasonNotFound,
					err != nil && err.Message == late.Message && p.kind == millrace.MemberJoin:
					delete(want, p.session)
				case err == nil:
					want[p.session] = p.data
				}
				return true
			})
		}
		step := func(n int) {
			switch {
			case n < 40:
				session := fmt.Sprint("s", w.random.IntN(4))
				kind := millrace.MemberChangeKind(w.random.IntN(4) + 1)
				if busy[session] || kind == millrace.MemberResume {
					return
				}
				p := pending{session: session, data: fmt.Sprint(w.random.IntN(3)), kind: kind}
				p.batch = ask(r, p.kind, session, p.data)
				busy[session] = true
				waiting = append(waiting, p)
			case n < 45 && open:
				r.Lost()
				open, w.way = false, nil
			case n < 52 && (!open || w.random.IntN(3) == 0):
				r.Open(0)
				open, w.way = true, nil
				clear(w.told)
			case n < 55 && len(waiting) > 0:
				p := waiting[w.random.IntN(len(waiting))]
				r.Withdraw(p.batch, late)
				if p.kind == millrace.MemberUpdate {
					want[p.session] = "?" // either
				}
			case n < 75 && open:
				commands, _ := r.Next(at(now), 1+w.random.IntN(3), 1<<20)
				w.way = append(w.way, commands...)
			case open:
				w.answer(r, now)
			}
		}
		for range 150 {
			now++
			step(w.random.IntN(100))
			check()
		}
		r.Open(0)
		w.way = nil
		clear(w.told)
		for range 100 {
			now++
			commands, _ := r.Next(at(now), 100, 1<<20)
			w.way = append(w.way, commands...)
			for len(w.way) > 0 {
				w.answer(r, now)
			}
			check()
		}
		if len(waiting) > 0 {
			t.Fatalf("seed %d: %d changes have no answer", seed, len(waiting))
		}
		for s, data := range want {
			if _, is := w.members[s]; data == "?" && is {
				want[s] = w.members[s]
			} else if data == "?" {
				delete(want, s)
			}
		}
		if !maps.Equal(w.members, want) || r.Len() != len(want) {
			t.Fatalf("seed %d: the broker has %v, acked was %v, the registry has %d", seed, w.members, want, r.Len())
		}
	}
}

// answer does what was told longest ago; now and then it can't for now.
func (w *world) answer(r *membership.Registry, now int) {
	if len(w.way) == 0 {
		return
	}
	c := w.way[0]
	w.way = w.way[1:]
	if c.Settled {
		maps.DeleteFunc(w.members, func(s, _ string) bool { return !w.told[s] })
		return
	}
	session := c.Change.Member.Session
	_, is := w.members[session]
	switch {
	case w.random.IntN(10) == 0:
		r.Reply(at(now), c.ID, no(millrace.ReasonUnavailable))
		return
	case c.Change.Kind == millrace.MemberLeave:
		delete(w.members, session)
		r.Reply(at(now), c.ID, yes(session, ""))
		return
	case c.Change.Kind == millrace.MemberUpdate && !is:
		r.Reply(at(now), c.ID, no(millrace.ReasonNotFound))
		return
	}
	w.members[session], w.told[session] = string(c.Change.Member.Data), true
	r.Reply(at(now), c.ID, yes(session, string(c.Change.Member.Data)))
}

func TestWhatIsAskedBeforeThereIsAStreamIsSaidInThatOrder(t *testing.T) {
	r := registry()
	var want []string
	for i := range 20 {
		session := string(rune('a' + i))
		ask(r, millrace.MemberJoin, session, "1")
		want = append(want, "join "+session+"1")
	}
	r.Open(0)
	said(t, r, 0, append(want, "settled")...)
}

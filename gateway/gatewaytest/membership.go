package gatewaytest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

var memberPromises = []struct {
	name string
	hold func(w *watcher)
}{
	{"each change of a membership is answered alone, with the counts", (*watcher).enroll},
	{"a member is one for all, and as it was told", (*watcher).seen},
	{"a session that goes on at another upstream is taken over without leaving", (*watcher).takeOver},
	{"the members of an upstream that was closed leave, and no others", (*watcher).closedMembers},
	{"pages of members that change, and the events after the first, are the list", (*watcher).pages},
}

// room is the topic whose members these tests look at.
const room = "room"

func of(kind millrace.MemberChangeKind, session string) millrace.MemberChange {
	return millrace.MemberChange{Kind: kind, Topic: room, Member: millrace.Member{Session: session}}
}

// asked asks an upstream for changes.
func (w *watcher) asked(u gateway.Upstream, changes ...millrace.MemberChange) []millrace.MemberAck {
	w.Helper()
	acks, err := u.Enroll(w.ctx, changes)
	if err != nil {
		w.Fatalf("enroll: %v", err)
	}
	if len(acks) != len(changes) {
		w.Fatalf("%d acks for %d changes", len(acks), len(changes))
	}
	return acks
}

// done asks an upstream for a change that must be done.
func (w *watcher) done(u gateway.Upstream, c millrace.MemberChange) millrace.MemberAck {
	w.Helper()
	ack := w.asked(u, c)[0]
	if ack.Err != nil {
		w.Fatalf("change %+v: %v", c, ack.Err)
	}
	return ack
}

// members reads all pages of the room.
func (w *watcher) members(u gateway.Upstream, limit int, between func()) (list []millrace.Member, asOf millrace.Position) {
	w.Helper()
	for r := (millrace.MemberRange{Limit: limit}); ; {
		page, err := u.Members(w.ctx, room, r)
		if err != nil {
			w.Fatalf("read members: %v", err)
		}
		if limit > 0 && len(page.Members) > limit {
			w.Fatalf("a page of %d has %d members", limit, len(page.Members))
		}
		if r.Page == "" {
			asOf = page.AsOf
		}
		list = append(list, page.Members...)
		if r.Page = page.Next; r.Page == "" {
			return list, asOf
		}
		between()
	}
}

// sessions are those of the room, as an upstream has it.
func (w *watcher) sessions(u gateway.Upstream) string {
	w.Helper()
	list, _ := w.members(u, 0, func() {})
	return sessionsOf(slices.Values(list))
}

func sessionsOf(members func(func(millrace.Member) bool)) string {
	var texts []string
	for m := range members {
		texts = append(texts, m.Session+string(m.Data))
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

func (w *watcher) enroll() {
	join := of(millrace.MemberJoin, "s1")
	join.Member.Subject, join.Member.Data = "ann", []byte(`{"n":1}`)
	update := of(millrace.MemberUpdate, "s1")
	update.Member.Data = []byte(`{"n":2}`)
	bad := of(millrace.MemberJoin, "s3")
	bad.Topic = "a b"
	acks := w.asked(w.Upstream, join, of(millrace.MemberJoin, "s2"), of(millrace.MemberResume, "s3"), bad, of(millrace.MemberUpdate, "s3"))
	for i, want := range []struct {
		count  int
		reason millrace.Reason
	}{{1, ""}, {2, ""}, {0, millrace.ReasonNotFound}, {0, millrace.ReasonTopicInvalid}, {0, millrace.ReasonNotFound}} {
		a := acks[i]
		if want.reason == "" && (a.Err != nil || a.Count != want.count || a.Subjects != 1) || want.reason != "" && (a.Err == nil || a.Err.Reason != want.reason) {
			w.Errorf("ack %d is %+v, want %+v", i, a, want)
		}
	}
	if m := acks[0].Member; m.Session != "s1" || m.Subject != "ann" || string(m.Data) != `{"n":1}` || m.Joined.IsZero() {
		w.Errorf("the member is %+v", m)
	}
	if a := w.done(w.Upstream, update); string(a.Member.Data) != `{"n":2}` || !a.Member.Joined.Equal(acks[0].Member.Joined) || a.Member.Subject != "ann" || a.Count != 2 {
		w.Errorf("the update is acked as %+v", a)
	}
	if a := w.done(w.Upstream, of(millrace.MemberLeave, "s1")); a.Count != 1 || a.Subjects != 0 || a.Member.Session != "s1" {
		w.Errorf("the leave is acked as %+v", a)
	}
	w.done(w.Upstream, of(millrace.MemberLeave, "s1")) // it is done already
	if got := w.sessions(w.Upstream); got != "s2" {
		w.Errorf("members are %q", got)
	}
	if acks := w.asked(w.Upstream); len(acks) != 0 {
		w.Errorf("no change is answered with %+v", acks)
	}
}

func (w *watcher) seen() {
	second, _ := w.Second()
	join := of(millrace.MemberJoin, "s1")
	join.Member.Subject, join.Member.Data = "ann", []byte(`1`)
	told := w.done(w.Upstream, join).Member
	list, _ := w.members(second, 0, func() {})
	if len(list) != 1 || list[0].Session != told.Session || list[0].Subject != "ann" || string(list[0].Data) != "1" || !list[0].Joined.Equal(told.Joined) {
		w.Errorf("members are %+v, want %+v", list, told)
	}
	page, err := second.Members(w.ctx, room, millrace.MemberRange{Limit: -1})
	if err != nil || page.Count != 1 || page.Subjects != 1 || len(page.Members) != 0 || page.AsOf.Offset == 0 {
		w.Errorf("the counts are %+v, %v", page, err)
	}
}

func (w *watcher) takeOver() {
	second, _ := w.Second()
	join := of(millrace.MemberJoin, "s1")
	join.Member.Data = []byte(`1`)
	w.done(w.Upstream, join)
	resume := of(millrace.MemberResume, "s1")
	resume.Generation = 1
	if a := w.done(second, resume); string(a.Member.Data) != "1" || a.Count != 1 {
		w.Errorf("the member is taken over as %+v", a)
	}
	w.done(w.Upstream, of(millrace.MemberLeave, "s1"))
	if a := w.asked(w.Upstream, of(millrace.MemberUpdate, "s1"))[0]; a.Err == nil {
		w.Errorf("an update by the upstream before is acked as %+v", a)
	}
	b := w.subscribe(millrace.PresenceTopic(room), millrace.Start{Kind: millrace.StartEarliest})
	w.done(w.Upstream, of(millrace.MemberJoin, "s2"))
	w.until("the lifecycle", func() bool { return len(b.events) >= 3 })
	var names []string
	for _, e := range b.events {
		names = append(names, e.Name+" "+e.Key)
	}
	if want := []string{"joined s1", "occupied ", "joined s2"}; !slices.Equal(names, want) {
		w.Errorf("the lifecycle is %q, want %q", names, want)
	}
}

func (w *watcher) closedMembers() {
	second, end := w.Second()
	w.done(w.Upstream, of(millrace.MemberJoin, "s0"))
	w.done(second, of(millrace.MemberJoin, "s1"))
	w.done(second, of(millrace.MemberJoin, "s2"))
	resume := of(millrace.MemberResume, "s2")
	resume.Generation = 1
	w.done(w.Upstream, resume)
	f := w.follow()
	end()
	f.until("s0 s2")
}

func (w *watcher) pages() {
	second, _ := w.Second()
	const n = 100
	for i := range n {
		w.done(w.Upstream, of(millrace.MemberJoin, fmt.Sprint("s", i)))
	}
	next := 0
	list, asOf := w.members(second, 7, func() {
		w.done(w.Upstream, of(millrace.MemberLeave, fmt.Sprint("s", next)))
		join := of(millrace.MemberJoin, fmt.Sprint("s", n-1-next))
		join.Member.Data = []byte(`2`)
		w.done(w.Upstream, join)
		w.done(w.Upstream, of(millrace.MemberJoin, fmt.Sprint("late", next)))
		next++
	})
	if next < n/7 {
		w.Errorf("%d members were read with %d pauses", len(list), next)
	}
	f := w.followFrom(list, asOf)
	f.until(w.sessions(second))
}

// follower is a list of the room's members that follows their lifecycle.
type follower struct {
	*watcher

	roll  millrace.Roll
	book  *watched
	taken int
}

func (w *watcher) follow() *follower {
	w.Helper()
	list, asOf := w.members(w.Upstream, 0, func() {})
	return w.followFrom(list, asOf)
}

func (w *watcher) followFrom(list []millrace.Member, asOf millrace.Position) *follower {
	w.Helper()
	f := &follower{watcher: w, book: w.subscribe(millrace.PresenceTopic(room), millrace.After(asOf))}
	f.roll.Replace(list)
	return f
}

// until follows the list until it is as wanted.
func (f *follower) until(want string) {
	f.Helper()
	f.watcher.until("the members "+want, func() bool {
		for ; f.taken < len(f.book.events); f.taken++ {
			m, err := millrace.ParseMemberEvent(f.book.events[f.taken])
			if err != nil {
				f.Fatal(err)
			}
			f.roll.Apply(m)
		}
		return sessionsOf(f.roll.Members()) == want
	})
	if len(f.book.gaps) > 0 {
		f.Errorf("the lifecycle has gaps: %v", f.book.gaps)
	}
}

func (w *watcher) memberOutage() {
	for _, session := range []string{"s1", "s2", "s3"} {
		w.done(w.Upstream, of(millrace.MemberJoin, session))
	}
	f := w.follow()
	w.attached(f.book)
	heal := w.Sever()
	w.until("the detachment", func() bool { return f.book.detached })
	w.done(w.Upstream, of(millrace.MemberLeave, "s2"))
	heal()
	f.until("s1 s3")
	update := of(millrace.MemberUpdate, "s1")
	update.Member.Data = []byte(`2`)
	w.done(w.Upstream, update)
	w.done(w.Upstream, of(millrace.MemberLeave, "s3"))
	f.until("s12")
	if got := w.sessions(w.Upstream); got != "s12" {
		w.Errorf("members are %q", got)
	}
}

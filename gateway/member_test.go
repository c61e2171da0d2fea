package gateway_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// entering is a join that wants to be told of the members.
func entering(topic, data string) gateway.Join {
	return gateway.Join{Subscribe: gateway.Subscribe{Topic: topic, Members: true}, Data: []byte(data)}
}

func saying(topic, data string, noEcho bool) gateway.Broadcast {
	return gateway.Broadcast{Publish: millrace.Publish{Event: &millrace.Event{Topic: topic, Data: []byte(data), NoEcho: noEcho}}}
}

// roster is a topic's members, each as SESSION=DATA, of sessions in the order of their ids.
func (h *house) roster(topic string) string {
	var all []string
	members := h.broker.Roster(topic)
	for _, session := range slices.Sorted(maps.Keys(members)) {
		all = append(all, session+"="+string(members[session].Data))
	}
	return strings.Join(all, " ")
}

// lifecycle is what a topic's lifecycle log tells, each as KIND or KIND:REASON.
func (h *house) lifecycle(topic string) string {
	var all []string
	for _, e := range h.broker.Lifecycle(topic) {
		text := string(e.Kind)
		if e.Reason != "" {
			text += ":" + e.Reason
		}
		all = append(all, text)
	}
	return strings.Join(all, " > ")
}

func (h *house) wantRoster(topic string, want ...string) {
	h.Helper()
	slices.Sort(want)
	if got := h.roster(topic); got != strings.Join(want, " ") {
		h.Errorf("the members of %s are %q, want %q", topic, got, want)
	}
}

func (h *house) wantLifecycle(topic, want string) {
	h.Helper()
	if got := h.lifecycle(topic); got != want {
		h.Errorf("of %s is told %q, want %q", topic, got, want)
	}
}

// wantStay fails the test if anybody ever left a topic.
func (h *house) wantStay(topic string) {
	h.Helper()
	if got := h.lifecycle(topic); strings.Contains(got, string(millrace.MemberLeft)) || strings.Count(got, string(millrace.MemberJoined)) != 1 {
		h.Errorf("of %s is told %q", topic, got)
	}
}

// parts is how a peer's cursor says that the session takes part in topics, each as j.TOPIC, q.TOPIC or m.TOPIC.
func parts(h *house, p *gatewaytest.Peer) string {
	h.Helper()
	c, err := millrace.ParseCursor(p.Cursor())
	if err != nil {
		h.Fatal(err)
	}
	var all []string
	for _, part := range c.Parts {
		all = append(all, string(millrace.AppendPart(nil, part)))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func wantParts(h *house, p *gatewaytest.Peer, want string) {
	h.Helper()
	if got := parts(h, p); got != want {
		h.Errorf("the cursor has the parts %q, want %q", got, want)
	}
}

// leftOf returns what a peer was told of the ends of its memberships in a topic, each as its reason or "asked".
func leftOf(p *gatewaytest.Peer, topic string) string {
	var all []string
	for _, f := range gatewaytest.Frames[gateway.Left](p) {
		switch {
		case f.Topic != topic:
		case f.Err == nil:
			all = append(all, "asked")
		default:
			all = append(all, string(f.Err.Reason))
		}
	}
	return strings.Join(all, " ")
}

func TestWhoJoinsIsAMemberAndGetsWhatIsSaid(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p, q := h.join(w), h.join(w, "room")
		h.settle()
		j, ok := do(h, p, 1, entering("room", `{"at":1}`)).(*gateway.Joined)
		if !ok || j.Topic != "room" || j.Count != 1 || j.Subjects != 1 || j.Member.Session != p.Session.ID() || j.Member.Subject != "alice" ||
			string(j.Member.Data) != `{"at":1}` || j.Member.Joined.IsZero() {
			h.Errorf("join: %+v", j)
		}
		if j, ok := do(h, q, 1, gateway.Join{Subscribe: gateway.Subscribe{Topic: "room"}}).(*gateway.Joined); !ok || j.Count != 2 || j.Subjects != 1 {
			h.Errorf("the second's join: %+v", j)
		}
		h.wantRoster("room", p.Session.ID()+`={"at":1}`, q.Session.ID()+"=")
		wantParts(h, p, "j.room")
		wantParts(h, q, "q.room")

		if f, ok := do(h, p, 2, entering("room", `2`)).(*gateway.Joined); !ok || string(f.Member.Data) != "2" || f.Count != 2 {
			h.Errorf("join again: %+v", f)
		}
		if _, ok := do(h, q, 2, gateway.Update{Topic: "room", Data: []byte(`"x"`)}).(*gateway.Done); !ok {
			h.Error("update: not done")
		}
		h.wantRoster("room", p.Session.ID()+`=2`, q.Session.ID()+`="x"`)

		h.broker.Put("room", "hello")
		h.settle()
		p.CheckHead(h, "room")
		if got := p.Texts("room"); !slices.Equal(got, []string{"hello"}) {
			h.Errorf("got %q", got)
		}
		if f, ok := do(h, p, 3, gateway.Leave{Topic: "room"}).(*gateway.Left); !ok || f.Err != nil || f.Topic != "room" {
			h.Errorf("leave: %+v", f)
		}
		wantParts(h, p, "")
		h.broker.Put("room", "still here")
		h.settle()
		p.CheckHead(h, "room")
		h.wantRoster("room", q.Session.ID()+`="x"`)
		h.wantLifecycle("room", "joined > occupied > joined > updated > updated > left:asked")
	})
}

func TestWhatOfMembershipsIsNotAllowedIsRefusedByName(t *testing.T) {
	grant := &millrace.Grant{Subject: "bob", Rules: []millrace.Rule{
		{Pattern: "read:**", Actions: millrace.ActionSubscribe},
		{Pattern: "join:**", Actions: millrace.ActionJoin},
		{Pattern: "$sessions", Actions: millrace.ActionAll},
	}}
	wires(t, gateway.Config{MaxEventBytes: 100}, func(h *house, w *gateway.Wire) {
		p := h.connect(h.seat(w), gateway.Opening{Grant: grant, Topics: []gateway.Subscribe{{Topic: "read:x"}}})
		h.settle()
		if _, ok := do(h, p, 1, entering("join:x", "")).(*gateway.Joined); !ok {
			h.Error("who may join was not let in for want of leave to subscribe")
		}
		for i, c := range []struct {
			name    string
			command gateway.Command
			reason  millrace.Reason
		}{
			{"join without the action", entering("read:x", ""), millrace.ReasonForbidden},
			{"join a reserved topic", entering("$sessions", ""), millrace.ReasonForbidden},
			{"join a pattern", entering("join:*", ""), millrace.ReasonTopicInvalid},
			{"join what is no topic", entering("", ""), millrace.ReasonTopicInvalid},
			{"join with what is not JSON", entering("join:y", "{"), millrace.ReasonEventInvalid},
			{"join with too much", entering("join:y", strings.Repeat("1", 5000)), millrace.ReasonTooLarge},
			{"other data that is not JSON", entering("join:x", "{"), millrace.ReasonEventInvalid},
			{"update without a membership", gateway.Update{Topic: "read:x"}, millrace.ReasonNotFound},
			{"leave without a membership", gateway.Leave{Topic: "join:y"}, millrace.ReasonNotFound},
			{"broadcast without a membership", saying("join:y", "1", false), millrace.ReasonForbidden},
			{"broadcast without the action", saying("read:x", "1", false), millrace.ReasonForbidden},
			{"broadcast too much", saying("join:x", strings.Repeat("1", 101), false), millrace.ReasonTooLarge},
			{"read the members without the action", gateway.ReadMembers{Topic: "read:x"}, millrace.ReasonForbidden},
			{"be told of the members without the action", gateway.Subscribe{Topic: "read:x", Members: true}, millrace.ReasonForbidden},
			{"be told of those of another topic", gateway.Subscribe{Topic: "read:y", Members: true}, millrace.ReasonForbidden},
			{"be told of a pattern's members", gateway.Subscribe{Topic: "read:*", Members: true}, millrace.ReasonUnsupported},
		} {
			if got := reasonOf(do(h, p, uint32(i+10), c.command)); got != c.reason {
				h.Errorf("%s: got %q, want %q", c.name, got, c.reason)
			}
		}
		if _, ok := do(h, p, 2, gateway.Update{Topic: "join:x", Data: []byte("1")}).(*gateway.Done); !ok {
			h.Error("the membership did not outlive what was refused")
		}
		if got := p.Topics(); !slices.Equal(got, []string{"join:x", "read:x"}) {
			h.Errorf("the session has %q", got)
		}
		wantParts(h, p, "j.join:x")
		h.wantRoster("join:y")
	})
}

func TestAMemberBroadcastsOnTheStrengthOfItsMembership(t *testing.T) {
	grant := &millrace.Grant{Subject: "bob", Rules: []millrace.Rule{{Pattern: "room", Actions: millrace.ActionJoin}}}
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p, q := h.connect(h.seat(w), gateway.Opening{Grant: grant}), h.join(w, "room")
		h.settle()
		do(h, p, 1, entering("room", ""))
		f, ok := do(h, p, 2, saying("room", "to all", false)).(*gateway.Published)
		if !ok || f.Ack.Position != h.broker.Head("room") {
			h.Errorf("broadcast: %+v", f)
		}
		do(h, p, 3, saying("room", "to the others", true))
		if reasonOf(do(h, p, 4, text("room", "publish"))) != millrace.ReasonForbidden {
			h.Error("published without the action")
		}
		do(h, p, 5, gateway.Leave{Topic: "room"})
		if r := reasonOf(do(h, p, 6, saying("room", "gone", false))); r != millrace.ReasonForbidden {
			h.Errorf("broadcast after the leave: %q", r)
		}
		if got := p.Texts("room"); !slices.Equal(got, []string{"to all"}) {
			h.Errorf("the member got %q", got)
		}
		if got := q.Texts("room"); !slices.Equal(got, []string{"to all", "to the others"}) {
			h.Errorf("the other got %q", got)
		}
		page, err := h.gateway.History(h.Context(), everything(""), "room", millrace.Range{Backward: true})
		if err != nil || page.Events[0].Sender != (millrace.Sender{Session: p.Session.ID(), Subject: "bob"}) {
			h.Errorf("history %+v, %v", page, err)
		}
	})
}

func TestAMemberSeesWhoElseIsOne(t *testing.T) {
	grant := &millrace.Grant{Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionJoin}}}
	in(t, gateway.Config{MaxListedMembers: 3}, func(h *house) {
		p := h.connect(h.seat(h.wire), gateway.Opening{Grant: grant})
		do(h, p, 1, entering("room", ""))
		for range 4 {
			do(h, h.join(h.wire), 1, entering("room", ""))
		}
		f, ok := do(h, p, 2, gateway.ReadMembers{Topic: "room", Range: millrace.MemberRange{Limit: 100}}).(*gateway.Presence)
		if !ok || f.Topic != "room" || len(f.Page.Members) != 3 || f.Page.Next == "" || f.Page.Count != 5 || f.Page.Subjects != 1 {
			h.Errorf("members: %+v", f)
		}
		if f, ok := do(h, p, 3, gateway.ReadMembers{Topic: "room", Range: millrace.MemberRange{Limit: -1}}).(*gateway.Presence); !ok || len(f.Page.Members) != 0 || f.Page.Count != 5 {
			h.Errorf("counts: %+v", f)
		}
		if _, err := h.gateway.Members(h.Context(), grant, "room", millrace.MemberRange{}); millrace.AsError(err).Reason != millrace.ReasonForbidden {
			h.Errorf("outside of the session: %v", err)
		}
	})
}

func TestAMembershipEndsWithItsSubscription(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "chat:*")
		h.settle()
		for i, topic := range []string{"room", "lost", "chat:1"} {
			do(h, p, uint32(i+1), entering(topic, ""))
		}
		wantParts(h, p, "j.chat:1 j.lost j.room")
		if f, ok := do(h, p, 11, gateway.Unsubscribe{Topic: "room"}).(*gateway.Unsubscribed); !ok || f.Err != nil {
			h.Errorf("unsubscribe: %+v", f)
		}
		if f, ok := do(h, p, 12, gateway.Unsubscribe{Topic: "chat:1"}).(*gateway.Subscribed); !ok || f.Pattern != "chat:*" {
			h.Errorf("unsubscribe from a topic that a pattern covers: %+v", f)
		}
		h.broker.Deny("lost", millrace.Errorf(millrace.ReasonForbidden, "not any more"))
		h.settle()
		wantParts(h, p, "")
		for topic, want := range map[string]string{"room": "asked", "chat:1": "asked", "lost": "forbidden"} {
			if got := leftOf(p, topic); got != want {
				h.Errorf("of %s it was told %q", topic, got)
			}
			h.wantRoster(topic)
			h.wantLifecycle(topic, "joined > occupied > left:"+want+" > vacated")
		}
		lines := p.Lines()
		left := slices.IndexFunc(lines, func(l gatewaytest.Line) bool { f, ok := l.Frame.(*gateway.Left); return ok && f.Topic == "lost" })
		if f, ok := lines[left+1].Frame.(*gateway.Unsubscribed); !ok || f.Topic != "lost" || f.Err == nil {
			h.Errorf("behind left came %v", lines[left+1])
		}
	})
}

func TestATopicThatIsJoinedIsHeldForItself(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Put("chat:1", "1")
		p := h.join(w, "chat:*")
		h.settle()
		do(h, p, 1, entering("chat:1", ""))
		h.holds(p, "chat:*: chat:1:")
		h.cut(p)
		q := h.resume(w, p.Cursor())
		h.settle()
		h.holds(q, "chat:*: chat:1:")
		do(h, q, 1, gateway.Unsubscribe{Topic: "chat:*"})
		h.broker.Put("chat:1", "2")
		h.settle()
		q.CheckHead(h, "chat:1")
		wantParts(h, q, "j.chat:1")
	})
}

func TestAJoinThatFailsIsToldAndLeavesNothing(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "had")
		h.settle()
		h.broker.FailMembers(millrace.Errorf(millrace.ReasonUnavailable, "the broker is away"))
		for i, topic := range []string{"had", "new"} {
			if r := reasonOf(do(h, p, uint32(i+1), entering(topic, ""))); r != millrace.ReasonUnavailable {
				h.Errorf("join %s: %q", topic, r)
			}
		}
		if got := p.Topics(); !slices.Equal(got, []string{"had"}) {
			h.Errorf("the session has %q", got)
		}
		wantParts(h, p, "")
		h.broker.FailMembers(nil)
		h.elapse(time.Minute)
		h.wantRoster("had")
		h.wantRoster("new")
		if _, ok := do(h, p, 3, entering("new", "")).(*gateway.Joined); !ok {
			h.Error("the next one fails too")
		}
		h.broker.Detach()
		if r := reasonOf(do2(h, p, 4, entering("another", ""))); r != millrace.ReasonUnavailable {
			h.Errorf("join during an outage: %q", r)
		}
		h.broker.Attach()
		h.settle()
		h.wantRoster("new", p.Session.ID()+"=")
	})
}

// do2 is do for what takes a while.
func do2(h *house, p *gatewaytest.Peer, re uint32, c gateway.Command) any {
	h.Helper()
	p.Session.Do(h.Context(), re, c)
	h.elapse(time.Millisecond)
	return reply(h, p, re)
}

// A change may be done though the time of who asked is up; a join that the peer was told to have failed is undone then.
func TestWhoseTimeIsUpIsToldSo(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		do(h, p, 1, entering("kept", "1"))
		release := h.broker.HoldMembers()
		for i, c := range []gateway.Command{
			entering("room", ""), gateway.Update{Topic: "kept", Data: []byte("2")}, entering("kept", "3"), gateway.Leave{Topic: "kept"},
		} {
			ctx, cancel := context.WithTimeout(h.Context(), time.Second)
			p.Session.Do(ctx, uint32(i+10), c)
			cancel()
			h.settle()
			if r := reasonOf(reply(h, p, uint32(i+10))); r != millrace.ReasonDeadline {
				h.Errorf("%T: %q", c, r)
			}
		}
		release()
		h.elapse(time.Minute)
		h.wantRoster("room")
		if got := p.Topics(); !slices.Equal(got, []string{"kept"}) {
			h.Errorf("the session has %q", got)
		}
	})
}

func TestChangesOfOneMembershipAreDoneInOrderAndBounded(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		do(h, p, 1, entering("room", "0"))
		release := h.broker.HoldMembers()
		for i := range 40 { // as by POST
			p.Session.Pass(uint32(i+10), gateway.Update{Topic: "room", Data: fmt.Append(nil, i+1)})
		}
		h.settle()
		release()
		h.settle()
		done, refused := 0, 0
		for i := range 40 {
			switch f := reply(h, p, uint32(i+10)).(type) {
			case *gateway.Done:
				done++
			case *gateway.Failed:
				if refused++; f.Err.Reason != millrace.ReasonRateLimited {
					h.Errorf("refused as %s", f.Err.Reason)
				}
			}
		}
		if done < 8 || done > 32 || done+refused != 40 {
			h.Errorf("%d done, %d refused", done, refused)
		}
		var got []string
		for _, e := range h.broker.Lifecycle("room")[2:] {
			got = append(got, string(e.Member.Data))
		}
		if want := texts(1, done+1); !slices.Equal(got, want) {
			h.Errorf("the updates were %q, want %q", got, want)
		}
	})
}

func TestMembershipsHaveTheirPlaceInTheBoundedCursor(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		long := strings.Repeat("x", 100)
		joined, refused := 0, 0
		for i := range 40 {
			switch f := do(h, p, uint32(i+1), entering(fmt.Sprint(long, i), "")).(type) {
			case *gateway.Joined:
				joined++
			case *gateway.Failed:
				if refused++; f.Err.Reason != millrace.ReasonTooManyTopics {
					h.Errorf("refused as %s", f.Err.Reason)
				}
			}
		}
		var beginning string
		for _, f := range gatewaytest.Frames[gateway.Joined](p) {
			beginning = f.Prefix
		}
		if joined == 0 || refused == 0 || len(beginning) > 3072 || w == h.lead && len(p.Cursor()) > millrace.MaxCursorBytes {
			h.Errorf("%d joined, %d refused; the cursor has %d bytes", joined, refused, len(p.Cursor()))
		}
		c, err := millrace.ParseCursor(beginning)
		if err != nil || len(c.Parts) != joined {
			h.Errorf("%d parts of %d: %v", len(c.Parts), joined, err)
		}
		do(h, p, 100, gateway.Leave{Topic: fmt.Sprint(long, 0)})
		if _, ok := do(h, p, 101, entering(fmt.Sprint(long, 39), "")).(*gateway.Joined); w == h.wire && !ok {
			h.Error("no room for one in place of another")
		}
	})
}

package gateway_test

import (
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

const grace = 5 * time.Second

// shared is what gateways have in common among which a session keeps its identity.
func shared() gateway.Config { return gateway.Config{SealKey: []byte("a key of the same gateways")} }

// member opens a session that is a member of a topic.
func (h *house) member(w *gateway.Wire, topic, data string) *gatewaytest.Peer {
	h.Helper()
	p := h.join(w)
	do(h, p, 1, entering(topic, data))
	return p
}

func TestWhoIsCutOffHasLeftWhenTheGraceIsOver(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.member(w, "room", "1")
		h.cut(p)
		h.elapse(grace - time.Second)
		h.wantRoster("room", p.Session.ID()+"=1")
		h.elapse(2 * time.Second)
		h.wantRoster("room")
		h.elapse(time.Minute)
		h.wantLifecycle("room", "joined > occupied > left:lost > vacated")
		h.wantLifecycle(millrace.SessionsTopic, "joined > left:lost")
	})
}

func TestHowASessionEndsIsWhyItsMembershipsDo(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(h *house, p *gatewaytest.Peer)
		reason string
		waits  bool
	}{
		"the peer is done": {func(_ *house, p *gatewaytest.Peer) { p.Session.Closed() }, "closed", false},
		"the page is left": {func(_ *house, p *gatewaytest.Peer) { p.Session.End(nil) }, "lost", true},
		"no more is read":  {func(_ *house, p *gatewaytest.Peer) { p.Session.Gone() }, "lost", true},
		"it broke the rules": {func(_ *house, p *gatewaytest.Peer) {
			p.Session.End(millrace.Errorf(millrace.ReasonBadRequest, "bad"))
		}, "bad_request", false},
		"it may not be here": {func(_ *house, p *gatewaytest.Peer) {
			p.Session.End(millrace.Errorf(millrace.ReasonForbidden, "no"))
		}, "forbidden", false},
		"its token expired": {func(_ *house, p *gatewaytest.Peer) {
			p.Session.End(millrace.Errorf(millrace.ReasonTokenExpired, "late"))
		}, "token_expired", true},
		"it is stale": {func(_ *house, p *gatewaytest.Peer) {
			p.Session.End(millrace.Errorf(millrace.ReasonStale, "silent"))
		}, "stale", true},
		"it is sent away": {func(h *house, _ *gatewaytest.Peer) { h.gateway.StartDrain(0, 0) }, "draining", true},
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				p := h.member(w, "room", "1")
				c.end(h, p)
				h.elapse(time.Millisecond)
				<-p.Session.Done()
				if c.waits {
					h.wantRoster("room", p.Session.ID()+"=1")
					h.elapse(grace + time.Second)
				}
				h.wantRoster("room")
				h.wantRoster(millrace.SessionsTopic)
				h.wantLifecycle("room", "joined > occupied > left:"+c.reason+" > vacated")
				h.wantLifecycle(millrace.SessionsTopic, "joined > left:"+c.reason)
			})
		})
	}
}

// TestWhoComesBackInTimeHasNotLeft takes a session from gateway to gateway and from wire to wire, as fast as it may.
func TestWhoComesBackInTimeHasNotLeft(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		other := h.beside(shared())
		p := h.member(w, "room", `"me"`)
		do(h, p, 2, gateway.Join{Subscribe: gateway.Subscribe{Topic: "quiet"}})
		do(h, p, 3, gateway.Subscribe{Topic: "watched", Members: true})
		id := p.Session.ID()
		for i, at := range []*house{other, other, h, other, h, h} {
			wantParts(h, p, "j.room m.watched q.quiet")
			cursor := p.Cursor()
			h.cut(p)
			h.elapse(time.Duration(i) * 700 * time.Millisecond)
			p = at.resume([]*gateway.Wire{h.lead, h.wire}[i%2], cursor)
			h.settle()
			if p.Session.ID() != id {
				h.Fatalf("after %d times it is another session", i)
			}
			var again []string
			for _, f := range gatewaytest.Frames[gateway.Joined](p) {
				again = append(again, f.Topic+"="+string(f.Member.Data))
			}
			slices.Sort(again)
			if !slices.Equal(again, []string{"quiet=", `room="me"`}) {
				h.Errorf("told to be a member as %q", again)
			}
			if _, ok := do(at, p, 9, saying("room", "back", true)).(*gateway.Published); !ok {
				h.Error("it can't broadcast")
			}
		}
		h.elapse(time.Minute)
		h.wantRoster("room", id+`="me"`)
		h.wantLifecycle("room", "joined > occupied")
		h.wantLifecycle("quiet", "joined > occupied")
		h.wantStay(millrace.SessionsTopic)
		p.Session.Closed()
		h.elapse(time.Minute)
		h.wantLifecycle("room", "joined > occupied > left:closed > vacated")
	})
}

func TestWhoComesBackTooLateIsToldSoAndStaysSubscribed(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		other := h.beside(shared())
		for i, at := range []*house{h, other} {
			p := h.member(w, "room", "1")
			h.broker.Put("room", "1")
			h.settle()
			h.cut(p)
			h.elapse(grace + time.Second)
			h.broker.Put("room", "2")
			q := at.resume(w, p.Cursor())
			h.settle()
			if got := leftOf(q, "room"); got != "not_found" {
				h.Errorf("gateway %d: told %q", i, got)
			}
			wantParts(h, q, "")
			q.CheckHead(h, "room")
			if got := q.Texts("room"); !slices.Equal(got, []string{"2"}) {
				h.Errorf("got %q", got)
			}
			h.wantRoster("room")
			q.Session.Closed()
			h.settle()

			o := gateway.Opening{Grant: everything("alice"), Cursor: q.Cursor(), Joins: []gateway.Join{entering("room", "3")}}
			r := at.connect(at.seat(w), o)
			h.settle()
			if f := gatewaytest.Frames[gateway.Joined](r); len(f) != 1 || string(f[0].Member.Data) != "3" {
				h.Errorf("gateway %d: told %+v", i, f)
			}
			o.Cursor = r.Cursor()
			h.cut(r)
			h.elapse(grace + time.Second)
			r = at.connect(at.seat(w), o) // of the membership of its cursor nothing is left
			h.settle()
			wantParts(h, r, "j.room")
			if got := leftOf(r, "room"); got != "" {
				h.Errorf("gateway %d: told %q", i, got)
			}
			h.wantRoster("room", r.Session.ID()+"=3")
			r.Session.Closed()
			h.settle()
		}
		const once = "joined > occupied > left:lost > vacated > joined > occupied > left:lost > vacated > joined > occupied > left:closed > vacated"
		h.wantLifecycle("room", once+" > "+once)
	})
}

func TestACursorAloneMakesNobodyAMember(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		p := h.member(w, "room", "1")
		for name, o := range map[string]gateway.Opening{
			"without the seal": {Grant: everything("alice"), Cursor: unsealed(p.Cursor())},
			"another subject":  {Grant: everything("mallory"), Cursor: p.Cursor()},
		} {
			q := h.connect(h.seat(w), o)
			h.settle()
			if got := leftOf(q, "room"); got != "not_found" || q.Session.ID() == p.Session.ID() {
				h.Errorf("%s: told %q", name, got)
			}
			if got := q.Topics(); !slices.Equal(got, []string{"room"}) {
				h.Errorf("%s: it has %q", name, got)
			}
			wantParts(h, q, "")
			q.Session.Closed()
		}
		h.settle()
		h.wantRoster("room", p.Session.ID()+"=1")
		h.wantLifecycle("room", "joined > occupied")
	})
}

func TestMembersOfAGatewayThatDiesLeaveWithItsLeaseUnlessTheyAreBack(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		doomed := h.beside(shared())
		stays, gone := doomed.member(w, "room", "1"), doomed.member(w, "room", "2")
		doomed.gateway.Close()
		doomed.broker.Close()
		h.elapse(10 * time.Second)
		h.wantRoster("room", stays.Session.ID()+"=1", gone.Session.ID()+"=2")
		back := h.resume(w, stays.Cursor())
		h.settle()
		doomed.broker.Expire()
		h.settle()
		h.wantRoster("room", back.Session.ID()+"=1")
		h.wantLifecycle("room", "joined > occupied > joined > left:lease")
		h.wantLifecycle(millrace.SessionsTopic, "joined > joined > left:lease")
	})
}

// The broker is away while sessions come and go; what was not asked for now is made up for.
func TestWhatComesOfAResumeOutlastsAnOutage(t *testing.T) {
	for name, outage := range map[string]func(h *house) (over func()){
		"the gateway is cut off": func(h *house) func() { h.broker.Detach(); return h.broker.Attach },
		"the broker fails": func(h *house) func() {
			h.broker.FailMembers(millrace.Errorf(millrace.ReasonUnavailable, "no broker"))
			return func() { h.broker.FailMembers(nil) }
		},
		"the broker hangs": func(h *house) func() { return h.broker.HoldMembers() },
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				back, leaves := h.member(w, "room", "1"), h.member(w, "room", "2")
				over := outage(h)
				h.cut(back)
				leaves.Session.Closed()
				h.elapse(time.Second)
				q := h.resume(w, back.Cursor())
				fresh := h.connect(h.seat(w), gateway.Opening{Grant: everything("bob"), Joins: []gateway.Join{entering("room", "3")}})
				h.elapse(time.Minute)
				wantParts(h, q, "j.room")
				over()
				h.elapse(time.Minute)
				h.wantRoster("room", q.Session.ID()+"=1", fresh.Session.ID()+"=3")
				h.wantRoster(millrace.SessionsTopic, q.Session.ID()+`={"transport":"`+w.Name+`"}`, fresh.Session.ID()+`={"transport":"`+w.Name+`"}`)
				if n := len(gatewaytest.Frames[gateway.Joined](q)); n != 1 {
					h.Errorf("told %d times to be a member", n)
				}
				if got := leftOf(q, "room"); got != "" {
					h.Errorf("told %q", got)
				}
			})
		})
	}
}

func TestEverySessionIsAMemberOfAllSessions(t *testing.T) {
	c := shared()
	c.Peer = "gateway-1"
	in(t, c, func(h *house) {
		d := shared()
		d.Peer = "gateway-2"
		other := h.beside(d)
		p := h.join(h.wire)
		h.settle()
		h.wantRoster(millrace.SessionsTopic, p.Session.ID()+`={"gateway":"gateway-1","transport":"lines"}`)
		cursor := p.Cursor()
		h.cut(p)
		q := other.resume(h.wire, cursor)
		h.settle()
		h.wantRoster(millrace.SessionsTopic, q.Session.ID()+`={"gateway":"gateway-2","transport":"lines"}`)
		if m := h.broker.Roster(millrace.SessionsTopic)[p.Session.ID()]; m.Subject != "alice" {
			h.Errorf("the member is %+v", m)
		}
		q.Session.Closed()
		h.elapse(time.Minute)
		h.wantLifecycle(millrace.SessionsTopic, "joined > updated > left:closed")
	})
}

func TestASessionHasItsPersonalTopicUnasked(t *testing.T) {
	c := shared()
	c.PersonalTopics = true
	wires(t, c, func(h *house, w *gateway.Wire) {
		nothing := func(subject string) *millrace.Grant { return &millrace.Grant{Subject: subject} }
		p := h.connect(h.seat(w), gateway.Opening{Grant: nothing("alice")})
		q := h.connect(h.seat(w), gateway.Opening{Grant: everything("bob"), Topics: []gateway.Subscribe{{Topic: "user:bob"}}})
		for _, subject := range []string{"", "a:b", "*"} {
			if got := h.connect(h.seat(w), gateway.Opening{Grant: nothing(subject)}); len(got.Topics()) != 0 {
				h.Errorf("%q has %q", subject, got.Topics())
			}
		}
		h.settle()
		for _, peer := range []*gatewaytest.Peer{p, q} {
			if f := gatewaytest.Frames[gateway.Subscribed](peer); len(f) != 1 || f[0].Topic != "user:"+peer.Session.Subject() {
				h.Errorf("told %+v", f)
			}
		}
		if r := reasonOf(do(h, p, 1, gateway.Subscribe{Topic: "user:bob"})); r != millrace.ReasonForbidden {
			h.Errorf("another's topic: %q", r)
		}
		h.broker.Put("user:alice", "1")
		h.settle()
		h.cut(p)
		h.broker.Put("user:alice", "2")
		h.settle()
		back := h.connect(h.seat(w), gateway.Opening{Grant: nothing("alice"), Cursor: p.Cursor()})
		h.settle()
		if got := back.Texts("user:alice"); !slices.Equal(got, []string{"2"}) {
			h.Errorf("got %q", got)
		}
		back.CheckHead(h, "user:alice")
		if f, ok := do(h, back, 2, gateway.Unsubscribe{Topic: "user:alice"}).(*gateway.Unsubscribed); !ok || f.Err != nil {
			h.Errorf("unsubscribe: %+v", f)
		}
		again := h.connect(h.seat(w), gateway.Opening{Grant: nothing("alice"), Cursor: back.Cursor()})
		h.settle()
		if got := again.Topics(); !slices.Equal(got, []string{"user:alice"}) {
			h.Errorf("the next session has %q", got)
		}
	})
}

package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// back opens a session of a subject with a cursor and a narrow grant.
func (h *house) back(w *gateway.Wire, subject, cursor string) *gatewaytest.Peer {
	h.Helper()
	return h.connect(h.seat(w), gateway.Opening{Grant: narrow(subject), Cursor: cursor})
}

func member(topic, data string) gateway.Join {
	return gateway.Join{Subscribe: gateway.Subscribe{Topic: topic, Members: true}, Data: []byte(data)}
}

func TestAnOperatorMakesSessionsMembersAndEndsIt(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		one, two, other := h.visit(w, "alice"), h.visit(w, "alice"), h.visit(w, "bob")
		alice := millrace.Target{Subject: "alice"}
		h.steer(alice, member("room", `1`), 2, "")
		roster := h.broker.Roster("room")
		if len(roster) != 2 || string(roster[one.Session.ID()].Data) != "1" || roster[two.Session.ID()].Subject != "alice" {
			h.Errorf("the members are %v, as soon as the operator is told", roster)
		}
		h.steer(millrace.Target{Session: one.Session.ID()}, member("room", `2`), 1, "")
		if got := h.broker.Roster("room")[one.Session.ID()]; string(got.Data) != "2" {
			h.Errorf("the member shows %s", got.Data)
		}
		h.settle()
		if told := gatewaytest.Frames[gateway.Joined](two); len(told) != 1 || told[0].Topic != "room" {
			h.Errorf("the session was told %+v", told)
		}
		h.broker.Put("room", "hello")
		h.settle()
		if got := one.Texts("room"); !slices.Equal(got, []string{"hello"}) {
			h.Errorf("a member got %q", got)
		}
		cast := gateway.Broadcast{Publish: millrace.Publish{Event: &millrace.Event{Topic: "room", Data: []byte("1")}}}
		if _, ok := do(h, one, 1, cast).(*gateway.Published); !ok {
			h.Error("a member can't broadcast")
		}
		h.steer(millrace.Target{Session: one.Session.ID()}, gateway.Leave{Topic: "room"}, 1, "")
		h.steer(millrace.Target{Session: one.Session.ID()}, gateway.Leave{Topic: "room"}, 0, millrace.ReasonNotFound)
		h.steer(millrace.Target{Session: other.Session.ID()}, gateway.Leave{Topic: "room"}, 0, millrace.ReasonNotFound)
		h.steer(alice, gateway.Unsubscribe{Topic: "room"}, 2, "")
		h.settle()
		if roster := h.broker.Roster("room"); len(roster) != 0 {
			h.Errorf("the members are %v", roster)
		}
		for _, p := range []*gatewaytest.Peer{one, two} {
			if told := gatewaytest.Frames[gateway.Left](p); len(told) != 1 || told[0].Topic != "room" || told[0].Err != nil {
				h.Errorf("the session was told %+v", told)
			}
		}
		for _, c := range []struct {
			topic  string
			reason millrace.Reason
		}{{"room:*", millrace.ReasonTopicInvalid}, {"$presence:room", millrace.ReasonForbidden}, {"a::b", millrace.ReasonTopicInvalid}} {
			h.steer(alice, member(c.topic, ""), 0, c.reason)
		}
	})
}

// What the upstream says why not is for the operator, and the peer is told of nothing.
func TestAJoinThatTheUpstreamRefusesIsToldToTheOperatorAlone(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		p := h.visit(h.wire, "alice")
		h.settle()
		h.broker.FailMembers(millrace.Errorf(millrace.ReasonFull, "as scripted"))
		h.steer(millrace.Target{Subject: "alice"}, member("room", ""), 0, millrace.ReasonFull)
		h.settle()
		if told := gatewaytest.Frames[gateway.Failed](p); len(told) > 0 {
			h.Errorf("the peer was told %+v", told)
		}
	})
}

func TestAJoinOfAnOperatorReturnsWhenTheUpstreamHasAcked(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		h.visit(h.wire, "alice")
		h.settle()
		release := h.broker.HoldMembers()
		done := make(chan error, 1)
		go func() {
			_, err := h.gateway.Steer(h.Context(), millrace.Target{Subject: "alice"}, member("room", ""))
			done <- err
		}()
		h.settle()
		select {
		case err := <-done:
			h.Errorf("it returned before the ack: %v", err)
		default:
		}
		release()
		if err := <-done; err != nil {
			h.Error(err)
		}
	})
}

func TestWhatAnOperatorGaveASessionItKeepsWhenItComesBack(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.visit(w, "alice")
		session := millrace.Target{Session: p.Session.ID()}
		h.steer(session, gateway.Subscribe{Topic: "a"}, 1, "")
		h.steer(session, gateway.Subscribe{Topic: "b:*"}, 1, "")
		h.steer(session, member("room", `1`), 1, "")
		h.broker.Put("b:1", "before")
		h.settle()
		for round := range 3 {
			cursor := p.Cursor()
			h.cut(p)
			h.broker.Put("a", "away")
			h.broker.Put("b:1", "away")
			h.broker.Put(fmt.Sprintf("b:born%d", round), "away")
			p = h.back(w, "alice", cursor)
			h.settle()
			if told := gatewaytest.Frames[gateway.Unsubscribed](p); len(told) > 0 {
				h.Errorf("round %d: told %+v", round, told)
			}
			if told := gatewaytest.Frames[gateway.Left](p); len(told) > 0 {
				h.Errorf("round %d: told %+v", round, told)
			}
			for _, topic := range []string{"a", "b:1", fmt.Sprintf("b:born%d", round)} {
				if got := p.Texts(topic); !slices.Contains(got, "away") {
					h.Errorf("round %d: of %s it got %q", round, topic, got)
				}
			}
			if m, ok := h.broker.Roster("room")[session.Session]; !ok || string(m.Data) != "1" {
				h.Errorf("round %d: the membership is %+v", round, m)
			}
		}
		h.steer(session, gateway.Unsubscribe{Topic: "a"}, 1, "")
		h.steer(session, gateway.Unsubscribe{Topic: "b:*"}, 1, "")
		h.steer(session, gateway.Unsubscribe{Topic: "room"}, 1, "")
		h.settle()
		if cursor := p.Cursor(); strings.Contains(cursor, "p.") {
			h.Errorf("the cursor still has a permit: %s", cursor)
		}
	})
}

// A permit is of one session, subject and topic.
func TestAPermitIsGoodForNothingElse(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		p := h.visit(h.wire, "alice")
		h.steer(millrace.Target{Session: p.Session.ID()}, gateway.Subscribe{Topic: "a"}, 1, "")
		h.settle()
		c, err := millrace.ParseCursor(p.Cursor())
		if err != nil || len(c.Permits) != 1 {
			h.Fatalf("the cursor is %+v, %v", c, err)
		}
		other := h.visit(h.wire, "alice")
		h.settle()
		theirs, err := millrace.ParseCursor(other.Cursor())
		if err != nil {
			h.Fatal(err)
		}
		h.cut(p)
		h.cut(other)
		at := func(topic string) []millrace.Piece { return []millrace.Piece{{Topic: topic}} }
		for name, use := range map[string]struct {
			subject string
			cursor  millrace.Cursor
		}{
			"of another subject":        {"bob", c},
			"of another session":        {"alice", millrace.Cursor{Seal: theirs.Seal, Permits: c.Permits, Pieces: c.Pieces}},
			"for another topic":         {"alice", millrace.Cursor{Seal: c.Seal, Permits: c.Permits, Pieces: at("b")}},
			"for a pattern":             {"alice", millrace.Cursor{Seal: c.Seal, Permits: c.Permits, Pieces: at("*")}},
			"of a session without seal": {"alice", millrace.Cursor{Permits: c.Permits, Pieces: c.Pieces}},
			"made by hand":              {"alice", millrace.Cursor{Seal: c.Seal, Permits: []string{"p.AAAAAAAAAAAAAAAAAAAAAA"}, Pieces: c.Pieces}},
		} {
			q := h.back(h.wire, use.subject, use.cursor.String())
			h.settle()
			if told := gatewaytest.Frames[gateway.Unsubscribed](q); len(told) != 1 || told[0].Err.Reason != millrace.ReasonForbidden {
				h.Errorf("a permit %s: told %+v", name, told)
			}
			h.cut(q)
		}
		q := h.back(h.wire, "alice", c.String())
		h.settle()
		if told := gatewaytest.Frames[gateway.Unsubscribed](q); len(told) > 0 {
			h.Errorf("a permit for its own session: told %+v", told)
		}
	})
}

// A session that could not come back whole is not given more.
func TestWhatAnOperatorGivesFitsTheCursor(t *testing.T) {
	wires(t, gateway.Config{MaxTopics: 1000}, func(h *house, w *gateway.Wire) {
		p := h.visit(w, "alice")
		given := 0
		for i := range 1000 {
			if _, err := h.gateway.Steer(h.Context(), millrace.Target{Subject: "alice"}, gateway.Subscribe{Topic: fmt.Sprintf("a:%d", i)}); err != nil {
				if millrace.AsError(err).Reason != millrace.ReasonTooManyTopics {
					h.Errorf("refused: %v", err)
				}
				break
			}
			given++
		}
		h.settle()
		if given < 20 || given == 1000 {
			h.Errorf("the session was given %d topics", given)
		}
		c, _, _ := strings.Cut(p.Cursor(), ",--")
		if begins, _, _ := strings.Cut(c, ",0-0-"); len(begins) > 3072 {
			h.Errorf("the cursor begins with %d bytes", len(begins))
		}
	})
}

// Who was only given events does not become a member by a permit, nor does who was a member and is none any more.
func TestAPermitToSubscribeIsNoneToJoin(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		p := h.visit(h.wire, "alice")
		session := millrace.Target{Session: p.Session.ID()}
		h.steer(session, gateway.Subscribe{Topic: "a"}, 1, "")
		h.steer(session, gateway.Subscribe{Topic: "b:*"}, 1, "")
		h.steer(session, member("c", ""), 1, "")
		h.steer(session, gateway.Leave{Topic: "c"}, 1, "")
		h.broker.Put("b:1", "x")
		h.settle()
		for _, topic := range []string{"a", "b:1", "c"} {
			if r := reasonOf(do(h, p, uint32(len(p.Lines())), member(topic, ""))); r != millrace.ReasonForbidden {
				h.Errorf("to join %s is answered %q", topic, r)
			}
		}
		cursor := p.Cursor()
		h.cut(p)
		p = h.connect(h.seat(h.wire), gateway.Opening{
			Grant: narrow("alice"), Cursor: cursor, Joins: []gateway.Join{member("a", ""), member("b:1", ""), member("c", "")},
		})
		h.settle()
		// b:1 is not held at all: what comes with a membership is held for itself, and its permit is the pattern's.
		if told := gatewaytest.Frames[gateway.Left](p); len(told) != 2 || told[0].Err.Reason != millrace.ReasonForbidden {
			h.Errorf("told %+v", told)
		}
		for _, topic := range []string{"a", "b:1", "c"} {
			if roster := h.broker.Roster(topic); len(roster) > 0 {
				h.Errorf("the members of %s are %v", topic, roster)
			}
		}
	})
}

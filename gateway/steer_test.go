package gateway_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// narrow is a grant that allows almost nothing.
func narrow(subject string) *millrace.Grant {
	return &millrace.Grant{Subject: subject, Rules: []millrace.Rule{{Pattern: "own:*", Actions: millrace.ActionSubscribe}}}
}

// visit opens a session of a subject with a narrow grant.
func (h *house) visit(w *gateway.Wire, subject string) *gatewaytest.Peer {
	h.Helper()
	return h.connect(h.seat(w), gateway.Opening{Grant: narrow(subject)})
}

// steer has sessions do a command, and checks for how many it was done, or the reason why for none.
func (h *house) steer(target millrace.Target, c gateway.Command, want int, reason millrace.Reason) {
	h.Helper()
	n, err := h.gateway.Steer(h.Context(), target, c)
	h.reached("steer", n, err, want, reason)
}

func (h *house) disconnect(target millrace.Target, why *millrace.Error, want int, reason millrace.Reason) {
	h.Helper()
	n, err := h.gateway.Disconnect(h.Context(), target, why)
	h.reached("disconnect", n, err, want, reason)
}

func (h *house) reached(what string, n int, err error, want int, reason millrace.Reason) {
	h.Helper()
	switch e := millrace.AsError(err); {
	case n != want, e == nil && reason != "", e != nil && e.Reason != reason:
		h.Errorf("%s: reached %d, %v; want %d, %q", what, n, err, want, reason)
	}
}

func TestAnOperatorSubscribesSessionsToWhatTheirGrantsLack(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		one, two, other := h.visit(w, "alice"), h.visit(w, "alice"), h.visit(w, "bob")
		h.broker.Put("a", "before")
		h.steer(millrace.Target{Subject: "alice"}, gateway.Subscribe{Topic: "a", Start: millrace.Start{Kind: millrace.StartLast, Count: 1}}, 2, "")
		h.steer(millrace.Target{Session: one.Session.ID()}, gateway.Subscribe{Topic: "b:*"}, 1, "")
		h.steer(millrace.Target{Session: one.Session.ID()}, gateway.Subscribe{Topic: "a"}, 1, "") // has it
		h.settle()
		h.broker.Put("a", "after")
		h.broker.Put("b:1", "born")
		h.settle()
		for _, p := range []*gatewaytest.Peer{one, two} {
			if got := p.Texts("a"); !slices.Equal(got, []string{"before", "after"}) {
				h.Errorf("a session of the subject got %q", got)
			}
		}
		if got := one.Texts("b:1"); !slices.Equal(got, []string{"born"}) {
			h.Errorf("the session got %q of the pattern", got)
		}
		if got := slices.Concat(other.Texts("a"), two.Texts("b:1"), other.Texts("b:1")); len(got) > 0 {
			h.Errorf("others got %q", got)
		}
		if r := reasonOf(do(h, one, 1, gateway.Subscribe{Topic: "c"})); r != millrace.ReasonForbidden {
			h.Errorf("what it asks for itself is refused with %q", r)
		}
		h.steer(millrace.Target{Subject: "alice"}, gateway.Unsubscribe{Topic: "a"}, 2, "")
		h.steer(millrace.Target{Session: one.Session.ID()}, gateway.Unsubscribe{Topic: "b:1"}, 0, millrace.ReasonConflict)
		h.steer(millrace.Target{Subject: "alice"}, gateway.Unsubscribe{Topic: "b:*"}, 1, "")
		h.settle()
		h.broker.Put("a", "late")
		h.broker.Put("b:1", "late")
		h.settle()
		if told := gatewaytest.Frames[gateway.Unsubscribed](one); len(told) != 3 || told[1].Topic != "a" || told[1].Err != nil || told[2].Topic != "b:*" || told[2].Err != nil {
			h.Errorf("the session was told %+v", told)
		}
		if got := one.Texts("a"); len(got) != 2 {
			h.Errorf("a session that is unsubscribed got %q", got)
		}
	})
}

func TestAnOperatorIsToldWhyNoSessionDidIt(t *testing.T) {
	in(t, gateway.Config{MaxTopics: 1}, func(h *house) {
		nobody, alice := millrace.Target{Subject: "nobody"}, millrace.Target{Subject: "alice"}
		h.visit(h.wire, "alice")
		full := h.visit(h.wire, "alice")
		h.steer(millrace.Target{Session: full.Session.ID()}, gateway.Subscribe{Topic: "a"}, 1, "")
		h.steer(alice, gateway.Subscribe{Topic: "b"}, 1, "") // of two
		for _, c := range []struct {
			target  millrace.Target
			command gateway.Command
			want    millrace.Reason
		}{
			{millrace.Target{}, gateway.Subscribe{Topic: "a"}, millrace.ReasonBadRequest},
			{nobody, gateway.Subscribe{Topic: "a"}, millrace.ReasonNotFound},
			{millrace.Target{Session: "x"}, gateway.Subscribe{Topic: "a"}, millrace.ReasonNotFound},
			{alice, gateway.Subscribe{Topic: "c"}, millrace.ReasonTooManyTopics},
			{alice, gateway.Subscribe{Topic: "c:*"}, millrace.ReasonTooManyTopics},
			{alice, gateway.Subscribe{Topic: "a::"}, millrace.ReasonTopicInvalid},
			{alice, gateway.Subscribe{Topic: "a:*", Start: millrace.After(millrace.Position{Offset: 1, Mark: 1})}, millrace.ReasonBadRequest},
			{alice, gateway.Unsubscribe{Topic: "c"}, millrace.ReasonNotFound},
			{alice, gateway.Ping{}, millrace.ReasonUnsupported},
		} {
			h.steer(c.target, c.command, 0, c.want)
		}
		for _, p := range h.peers {
			if refused := gatewaytest.Frames[gateway.Failed](p); len(refused) > 0 {
				h.Errorf("the peer was told %+v", refused)
			}
		}
	})
}

// A peer that does not read holds up no operator, and one that is gone is not counted.
func TestAnOperatorWaitsForNoPeer(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		seat := h.seat(h.wire)
		seat.Stalled, seat.Bytes = true, 200
		stalled := h.connect(seat, gateway.Opening{Grant: narrow("alice")})
		gone := h.visit(h.wire, "alice")
		h.settle()
		h.cut(gone)
		h.steer(millrace.Target{Subject: "alice"}, gateway.Subscribe{Topic: "a"}, 1, "")
		h.steer(millrace.Target{Subject: "alice"}, gateway.Subscribe{Topic: "b"}, 1, "")
		h.disconnect(millrace.Target{Subject: "alice"}, millrace.Errorf(millrace.ReasonForbidden, "out"), 1, "")
		h.disconnect(millrace.Target{Subject: "alice"}, millrace.Errorf(millrace.ReasonForbidden, "out"), 0, millrace.ReasonNotFound)
		stalled.Flow()
		<-stalled.Session.Done()
		<-stalled.Over()
		if why, over := stalled.End(); !over || why == nil || why.Reason != millrace.ReasonForbidden {
			h.Errorf("the session ended with %v", why)
		}
	})
}

func TestAnOperatorWhoHasGivenUpIsNotAnswered(t *testing.T) {
	in(t, gateway.Config{Loops: 1}, func(h *house) {
		p := h.visit(h.wire, "alice")
		h.settle()
		ctx, cancel := context.WithCancel(h.Context())
		cancel()
		busy := make(chan struct{})
		seat := h.seat(h.wire)
		seat.OnTry = func() { <-busy }
		h.connect(seat, gateway.Opening{Grant: narrow("bob")})
		h.elapse(time.Millisecond)
		_, err := h.gateway.Steer(ctx, millrace.Target{Session: p.Session.ID()}, gateway.Subscribe{Topic: "a"})
		if e := millrace.AsError(err); e == nil || e.Reason != millrace.ReasonCanceled {
			h.Errorf("got %v", err)
		}
		close(busy)
		seat.OnTry = nil
	})
}

func TestADisconnectedPeerIsToldWhetherItMayComeBack(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		kicked, moved, other := h.visit(w, "alice"), h.visit(w, "bob"), h.visit(w, "carol")
		h.settle()
		h.disconnect(millrace.Target{Session: kicked.Session.ID()}, millrace.Errorf(millrace.ReasonForbidden, "go away"), 1, "")
		h.disconnect(millrace.Target{Subject: "bob"}, millrace.Errorf(millrace.ReasonDraining, "go elsewhere"), 1, "")
		<-kicked.Session.Done()
		<-moved.Session.Done()
		<-kicked.Over()
		<-moved.Over()
		if why, over := kicked.End(); !over || why == nil || why.Reason != millrace.ReasonForbidden || why.Message != "go away" || why.RetryAfter != 0 {
			h.Errorf("the one that may not come back was told %+v", why)
		}
		told := gatewaytest.Frames[gateway.Goaway](moved)
		if len(told) != 1 || told[0].Err.Reason != millrace.ReasonDraining || told[0].Err.Message != "go elsewhere" || told[0].Err.RetryAfter < 500*time.Millisecond {
			h.Errorf("the one that may was told %+v", told)
		}
		if len(gatewaytest.Frames[gateway.Goaway](kicked)) > 0 {
			h.Error("the one that may not was told to come back")
		}
		if _, over := other.End(); over {
			h.Error("a session of another ended")
		}
		again := func(p *gatewaytest.Peer, subject string) error {
			o := gateway.Opening{Grant: narrow(subject), Cursor: p.Cursor()}
			q, err := h.seat(w).Dial(o)
			if err == nil {
				h.peers = append(h.peers, q)
				err = h.gateway.Check(o)
			}
			return err
		}
		if err := again(kicked, "alice"); millrace.AsError(err) == nil || millrace.AsError(err).Reason != millrace.ReasonForbidden || millrace.AsError(err).Message != "go away" {
			h.Errorf("the one that may not come back does: %v", err)
		}
		if err := again(moved, "bob"); err != nil {
			h.Errorf("the one that may come back does not: %v", err)
		}
		h.visit(w, "alice") // anew
	})
}

// A gateway that a session was not at keeps it out too: it may come there next.
func TestWhoWasSentAwayForGoodDoesNotComeBackWithItsCursor(t *testing.T) {
	out := millrace.Errorf(millrace.ReasonForbidden, "out")
	in(t, gateway.Config{SealKey: []byte("0123456789abcdef")}, func(h *house) {
		comes := func(cursor string) millrace.Reason {
			q, err := h.seat(h.wire).Dial(gateway.Opening{Grant: narrow("alice"), Cursor: cursor})
			if err != nil {
				return millrace.AsError(err).Reason
			}
			h.peers = append(h.peers, q)
			h.cut(q)
			return ""
		}
		p := h.visit(h.wire, "alice")
		h.settle()
		h.disconnect(millrace.Target{Subject: "alice"}, out, 1, "") // in the same second
		<-p.Over()
		if r := comes(p.Cursor()); r != millrace.ReasonForbidden {
			h.Errorf("one of a subject is answered %q", r)
		}
		elsewhere := h.visit(h.wire, "alice")
		h.settle()
		cursor := elsewhere.Cursor()
		h.cut(elsewhere)
		if r := comes(cursor); r != "" {
			h.Errorf("one that began after that is answered %q", r)
		}
		h.disconnect(millrace.Target{Session: elsewhere.Session.ID()}, out, 0, millrace.ReasonNotFound)
		if r := comes(cursor); r != millrace.ReasonForbidden {
			h.Errorf("one that is not here is answered %q", r)
		}
	})
}

package gateway_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

func wantEnd(h *house, p *gatewaytest.Peer, reason millrace.Reason) {
	h.Helper()
	if err, ok := p.End(); !ok || err == nil || err.Reason != reason {
		h.Errorf("the session ended with %v, want %s", err, reason)
	}
}

func TestALiveSessionGoesOnWithTheConnectionThatCameLast(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		p := h.member(w, "room", "1")
		id := p.Session.ID()
		for _, w := range []*gateway.Wire{h.lead, h.wire, w} {
			q := h.resume(w, p.Cursor())
			h.settle()
			wantEnd(h, p, millrace.ReasonConflict)
			if f := gatewaytest.Frames[gateway.Connected](q); q.Session.ID() != id || !f[0].Resumed {
				h.Errorf("told %+v", f)
			}
			if s, ok := h.gateway.Session(id); !ok || s != q.Session {
				h.Error("the session is not found by its id")
			}
			wantParts(h, q, "j.room")
			if _, ok := do(h, q, 1, gateway.Update{Topic: "room", Data: []byte("1")}).(*gateway.Done); !ok {
				h.Error("it is no member")
			}
			p = q
		}
		h.elapse(time.Minute)
		h.wantRoster("room", id+"=1")
		h.wantLifecycle("room", "joined > occupied")
		h.wantStay(millrace.SessionsTopic)
	})
}

// A peer that takes nothing is not waited for by the one that comes in its place.
func TestASessionThatIsBlockedGivesWayAtOnce(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		seat := h.seat(w)
		seat.Bytes = 4000
		p := h.connect(seat, open("a"))
		do(h, p, 1, entering("room", "1"))
		cursor := p.Cursor()
		p.Stall()
		for range 50 {
			h.broker.Put("a", "a text that fills what the connection holds, and then some more of it to be sure")
		}
		h.settle()
		q := h.resume(w, cursor)
		h.settle()
		if q.Session.ID() != p.Session.ID() {
			h.Error("it got another id")
		}
		<-p.Session.Done()
		p.Cut()
		q.CheckHead(h, "a")
		h.elapse(time.Minute)
		h.wantLifecycle("room", "joined > occupied")
	})
}

// The peer of a session that was heard of has that session's cursor; who brings an older one has a copy.
func TestACopyOfAnOlderCursorDisturbsNobody(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		p := h.member(w, "room", "1")
		older := p.Cursor()
		h.cut(p)
		q := h.resume(w, older)
		h.settle()
		q.Session.Heard()
		copied := h.resume(w, older)
		h.settle()
		if copied.Session.ID() == q.Session.ID() {
			h.Error("the copy got the session's id")
		}
		if _, ended := q.End(); ended {
			h.Error("the session was ended")
		}
		if got := leftOf(copied, "room"); got != "not_found" {
			h.Errorf("the copy was told %q", got)
		}
		h.elapse(time.Minute)
		h.wantRoster("room", q.Session.ID()+"=1")
		h.wantLifecycle("room", "joined > occupied")
	})
}

// On a wire whose peers say nothing, such as SSE, a copy of the cursor can be the first to come; it can't go on for ever.
func TestTwoPeersWithOneCursorDoNotThrowEachOtherOutForEver(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		p := h.member(w, "room", "1")
		older := p.Cursor()
		h.cut(p)
		q := h.resume(w, older)
		h.settle()
		copied := h.resume(w, older)
		h.settle()
		back := h.resume(w, q.Cursor())
		h.settle()
		if _, ended := copied.End(); ended || back.Session.ID() == copied.Session.ID() {
			h.Error("the second takeover was followed by a third")
		}
	})
}

// A peer whose new connection breaks before it got a word comes back with the cursor that it had.
func TestAPeerThatNeverGotItsNewCursorComesBackWithTheOldOne(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		p := h.member(w, "room", "1")
		h.cut(p)
		var dead []*gatewaytest.Peer
		for i := range 6 {
			seat := h.seat(w)
			seat.Stalled = true
			q := h.connect(seat, gateway.Opening{Grant: everything("alice"), Cursor: p.Cursor()})
			h.settle()
			if q.Session.ID() != p.Session.ID() {
				h.Fatalf("try %d got another id", i)
			}
			if i%2 == 0 {
				h.cut(q)
			} else { // the gateway takes the socket for alive
				dead = append(dead, q)
			}
		}
		q := h.resume(w, p.Cursor())
		h.elapse(time.Minute)
		if q.Session.ID() != p.Session.ID() {
			h.Fatal("it got another id")
		}
		h.wantRoster("room", q.Session.ID()+"=1")
		h.wantLifecycle("room", "joined > occupied")
		for _, p := range dead {
			p.Cut()
		}
	})
}

// A gateway that does not know that a session has gone on elsewhere learns it when it asks for something.
func TestASessionThatWentOnElsewhereEndsWithConflictAndTakesNothingAlong(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		other := h.beside(shared())
		p := h.member(w, "room", "1")
		q := other.resume(w, p.Cursor())
		h.settle()
		p.Session.Do(h.Context(), 5, gateway.Update{Topic: "room", Data: []byte("2")})
		h.settle()
		wantEnd(h, p, millrace.ReasonConflict)
		h.elapse(time.Minute)
		h.wantRoster("room", q.Session.ID()+"=1")
		h.wantLifecycle("room", "joined > occupied")
		h.wantStay(millrace.SessionsTopic)

		q.Session.Heard()
		late := h.resume(w, q.Cursor()) // the peer's, which has been elsewhere
		h.settle()
		if copied := other.resume(w, p.Cursor()); copied.Session.ID() == late.Session.ID() {
			h.Error("a copy of an older cursor got the session's id")
		}
		h.settle()
		if late.Session.ID() != p.Session.ID() {
			h.Error("it got another id")
		}
		if _, ended := late.End(); ended {
			h.Error("the session was ended by a copy of an older cursor")
		}
		h.elapse(time.Minute)
		h.wantRoster("room", late.Session.ID()+"=1")
		h.wantLifecycle("room", "joined > occupied")
	})
}

// Protocol 4.6: the beginning alone, and then the pieces.
func TestACursorThatIsGivenBackInPartsTakesMembershipsOver(t *testing.T) {
	wires(t, shared(), func(h *house, w *gateway.Wire) {
		p := h.member(w, "room", "1")
		do(h, p, 2, gateway.Subscribe{Topic: "watched", Members: true})
		for _, at := range []*house{h, h.beside(shared())} {
			full, err := millrace.ParseCursor(p.Cursor())
			if err != nil {
				h.Fatal(err)
			}
			h.cut(p)
			p = at.resume(w, millrace.Cursor{Seal: full.Seal, Parts: full.Parts}.String())
			h.settle()
			if got := p.Topics(); len(got) > 0 {
				h.Errorf("it has %q before the pieces", got)
			}
			wantParts(h, p, "")
			p.Session.Do(h.Context(), 1, gateway.Resume(full, millrace.Option{}))
			h.settle()
			wantParts(h, p, "j.room m.watched")
		}
		h.elapse(time.Minute)
		h.wantRoster("room", p.Session.ID()+"=1")
		h.wantStay("room")
	})
}

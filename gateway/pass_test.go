package gateway_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// TestWhateverHappensBetweenTheSlicesOfAPassNobodyMissesOrRepeats has one event on its way to nine sessions, two at a
// turn, and makes one thing happen at each point of the way to each of the sessions.
func TestWhateverHappensBetweenTheSlicesOfAPassNobodyMissesOrRepeats(t *testing.T) {
	const sessions = 9
	// The things that happen run on the loop, in the midst of a pass. by lets a command of a reader get into the loop's
	// mailbox meanwhile.
	by := func(f func()) {
		go f()
		<-time.After(1)
	}
	happens := map[string]func(h *house, victim *gatewaytest.Peer){
		"ends":              func(_ *house, p *gatewaytest.Peer) { p.Session.End(nil) },
		"is gone":           func(_ *house, p *gatewaytest.Peer) { p.Session.Gone() },
		"is cut off":        func(_ *house, p *gatewaytest.Peer) { p.Cut() },
		"takes nothing":     func(_ *house, p *gatewaytest.Peer) { p.Stall(); p.Resize(0) },
		"takes a few bytes": func(_ *house, p *gatewaytest.Peer) { p.Stall(); p.Resize(7) },
		"unsubscribes": func(h *house, p *gatewaytest.Peer) {
			by(func() { p.Session.Do(h.Context(), 1, gateway.Unsubscribe{Topic: "a"}) })
		},
		"unsubscribes and subscribes again": func(h *house, p *gatewaytest.Peer) {
			by(func() { p.Session.Do(h.Context(), 1, gateway.Unsubscribe{Topic: "a"}) })
			by(func() { p.Session.Do(h.Context(), 2, gateway.Subscribe{Topic: "a"}) })
		},
		"asks for an answer": func(h *house, p *gatewaytest.Peer) {
			by(func() { p.Session.Do(h.Context(), 1, gateway.Subscribe{Topic: "a"}) })
		},
		"is joined by another": func(h *house, p *gatewaytest.Peer) {
			h.join(h.wire, "a")
			h.join(h.lead, "a")
			h.connect(h.seat(h.lead), openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		},
		"is overtaken by another event": func(h *house, p *gatewaytest.Peer) { h.broker.Put("a", "next") },
		"is delivered another topic's event to": func(h *house, p *gatewaytest.Peer) {
			h.broker.Put("b", "other")
			<-time.After(1)
		},
		"loses the broker": func(h *house, p *gatewaytest.Peer) {
			h.broker.Detach()
			h.join(h.wire, "a")
			h.broker.Reset("a")
			h.broker.Put("a", "new")
			h.broker.Attach()
			<-time.After(1)
		},
	}
	for name, happen := range happens {
		t.Run(name, func(t *testing.T) {
			for point := range sessions {
				for who := range sessions {
					in(t, gateway.Config{Loops: 1, Slice: 2}, func(h *house) {
						onTry, tries := func() {}, 0
						var peers []*gatewaytest.Peer
						for i := range sessions {
							seat := h.seat([]*gateway.Wire{h.wire, h.lead}[i%2])
							seat.OnTry = func() { onTry() }
							peers = append(peers, h.connect(seat, open("a", "b")))
						}
						h.broker.Put("a", "before")
						h.settle()
						onTry = func() {
							if tries++; tries == point+1 {
								happen(h, peers[who])
							}
						}
						h.broker.Put("a", "now")
						h.elapse(time.Millisecond)
						onTry = func() {}
						h.broker.Put("a", "after")
						h.settle()
						for _, p := range peers {
							p.Resize(1 << 20)
							p.Flow()
						}
						h.elapse(time.Second)
						h.checkAll(fmt.Sprintf("session %d at point %d", who, point))
					})
				}
			}
		})
	}
}

// checkAll fails the test unless every session that is there has all of its topics.
func (h *house) checkAll(when string) {
	h.Helper()
	for i, p := range h.peers {
		select {
		case <-p.Session.Done():
			p.Check(h)
			continue
		default:
		}
		for _, topic := range p.Topics() {
			if gatewaytest.ClassOf(topic) == millrace.ClassEphemeral {
				p.CheckLast(h, topic)
			} else {
				p.CheckHead(h, topic)
			}
		}
		if h.Failed() {
			h.Fatalf("%s: session %d", when, i)
		}
	}
}

// TestALargeAudienceDoesNotHoldUpOthers has an event for one session come to the loop in the midst of the first slice of
// a pass to forty: it has its turn behind that slice.
func TestALargeAudienceDoesNotHoldUpOthers(t *testing.T) {
	const slice = 4
	in(t, gateway.Config{Loops: 1, Slice: slice}, func(h *house) {
		onTry := func(string) {}
		sit := func(topic string) {
			seat := h.seat(h.wire)
			seat.OnTry = func() { onTry(topic) }
			h.connect(seat, open(topic))
		}
		for range 40 {
			sit("large")
		}
		sit("small")
		h.settle()
		var order []string
		onTry = func(topic string) {
			if order = append(order, topic); len(order) == 1 {
				h.broker.Put("small", "1")
				<-time.After(1) // when all but the loop is quiet, and the event in its mailbox
			}
		}
		h.broker.Put("large", "1")
		h.elapse(time.Millisecond)
		if at := slices.Index(order, "small"); at != slice || len(order) != 41 {
			h.Errorf("the small topic had its turn after %d of %d writes, want after a slice of %d", at, len(order), slice)
		}
	})
}

func TestALargeAudienceWithFiltersIsToldItsPlaceInSlices(t *testing.T) {
	in(t, gateway.Config{Loops: 1, Slice: 4}, func(h *house) {
		onTry := func(string) {}
		for range 40 {
			seat := h.seat(h.wire)
			seat.OnTry = func() { onTry("large") }
			h.connect(seat, filtered(h, "large", `name == "yes"`))
		}
		seat := h.seat(h.wire)
		seat.OnTry = func() { onTry("small") }
		h.connect(seat, open("small"))
		h.settle()
		var order []string
		onTry = func(name string) { // on the loop
			if order = append(order, name); len(order) == 1 {
				h.broker.Put("small", "1")
				<-time.After(1)
			}
		}
		h.named("large", "no", "1", "2")
		h.elapse(3 * time.Second)
		if at := slices.Index(order, "small"); at < 0 || at > 8 {
			h.Errorf("another topic had its turn after %d sessions were told where they are", at)
		}
		for _, p := range h.peers[:40] {
			p.CheckHead(h, "large")
		}
	})
}

func TestAPatternThatCoversMuchDoesNotHoldUpOthers(t *testing.T) {
	in(t, gateway.Config{Loops: 1, Slice: 4}, func(h *house) {
		for i := range 30 {
			h.broker.Put(fmt.Sprint("c:", i), "1")
		}
		small := h.seat(h.wire)
		onTry := func(string) {}
		small.OnTry = func() { onTry("small") }
		h.connect(small, open("small"))
		h.settle()
		h.broker.Detach()
		for range 20 {
			seat := h.seat(h.wire)
			seat.OnTry = func() { onTry("large") }
			h.connect(seat, open("c:*"))
		}
		h.elapse(2 * time.Second)
		var order []string
		onTry = func(name string) { // on the loop
			if order = append(order, name); len(order) == 1 {
				h.broker.Put("small", "1")
				<-time.After(1)
			}
		}
		h.broker.Attach()
		h.elapse(time.Second)
		if at := slices.Index(order, "small"); at < 0 || at > 80 {
			h.Errorf("another topic had its turn after %d words of the pattern's topics", at)
		}
		onTry = func(string) {}
		for _, p := range h.peers[1:] {
			if n := len(held(p)); n != 31 {
				h.Errorf("a session holds %d topics of 30 and the pattern", n)
			}
		}
	})
}

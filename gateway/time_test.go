package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// inWith is in with wires that ping and expect to be answered.
func inWith(t *testing.T, interval, timeout time.Duration, body func(h *house)) {
	t.Helper()
	in(t, gateway.Config{Loops: 2}, func(outer *house) {
		wire, lead := gatewaytest.Wire(), gatewaytest.LeadWire()
		for _, w := range []*gateway.Wire{wire, lead} {
			w.PingInterval, w.PongTimeout = interval, timeout
		}
		h := build(outer.T, gateway.Config{Loops: 2}, wire, lead)
		outer.Cleanup(h.close)
		body(h)
	})
}

func pings(p *gatewaytest.Peer) int {
	n := 0
	for _, l := range p.Lines() {
		if l.Ping {
			n++
		}
	}
	return n
}

func TestAPeerHearsSomethingEachInterval(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 25 * time.Second, 3 * time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			inWith(t, interval, 0, func(h *house) {
				var peers []*gatewaytest.Peer
				for range 50 {
					peers = append(peers, h.join(h.wire, "a"))
				}
				h.elapse(interval + 2*time.Second)
				least, most := pings(peers[0]), pings(peers[0])
				for range 3 {
					for _, p := range peers {
						least, most = min(least, pings(p)), max(most, pings(p))
					}
				}
				if least < 1 || most > 4 {
					h.Errorf("between %d and %d pings in the first interval", least, most)
				}
				before := make([]int, len(peers))
				for i, p := range peers {
					before[i] = pings(p)
				}
				h.elapse(10 * interval)
				for i, p := range peers {
					if n := pings(p) - before[i]; n < 9 || n > 11 {
						h.Errorf("%d pings in 10 intervals", n)
					}
				}
			})
		})
	}
}

func TestHeartbeatsAreForThoseWhoAskForThem(t *testing.T) {
	inWith(t, 10*time.Second, 0, func(h *house) {
		o := open("a")
		o.Heartbeats = true
		asked, not := h.connect(h.seat(h.wire), o), h.join(h.wire, "a")
		h.elapse(time.Minute)
		if n := len(gatewaytest.Frames[gateway.Heartbeat](asked)); n < 5 || n > 7 {
			h.Errorf("%d heartbeats in a minute", n)
		}
		if n := len(gatewaytest.Frames[gateway.Heartbeat](not)); n != 0 {
			h.Errorf("%d heartbeats unasked", n)
		}
	})
}

func TestAPeerThatAnswersNothingIsStale(t *testing.T) {
	inWith(t, 25*time.Second, 20*time.Second, func(h *house) {
		silent, talks := h.join(h.wire, "a"), h.join(h.wire, "a")
		seat := h.seat(h.wire)
		seat.Bytes, seat.Stalled = 300, true
		stalled := h.connect(seat, open("a"))
		for range 44 {
			talks.Session.Heard()
			h.elapse(time.Second)
		}
		if _, ended := silent.End(); ended {
			h.Error("ended before its time")
		}
		for range 100 {
			talks.Session.Heard()
			h.elapse(time.Second)
		}
		if err, ok := silent.End(); !ok || err == nil || err.Reason != millrace.ReasonStale {
			h.Errorf("silent: %v", err)
		}
		<-stalled.Session.Done() // the transport lost its patience
		if _, ended := talks.End(); ended {
			h.Error("one that answers was ended")
		}
		h.broker.Put("a", "1")
		h.settle()
		talks.CheckHead(h, "a")
	})
}

// However its beginning lies to the gateway's ticks, a peer has the whole time to answer.
func TestNoPeerIsStaleBeforeItsTime(t *testing.T) {
	const interval, timeout = time.Second, time.Second
	for _, late := range []time.Duration{0, time.Millisecond, 500 * time.Millisecond, 999 * time.Millisecond} {
		t.Run(late.String(), func(t *testing.T) {
			inWith(t, interval, timeout, func(h *house) {
				h.elapse(10*time.Second + late)
				p := h.join(h.wire, "a")
				h.elapse(interval + timeout - time.Millisecond)
				if _, ended := p.End(); ended {
					h.Error("ended before its time")
				}
				h.elapse(time.Second + time.Millisecond)
				if err, ok := p.End(); !ok || err == nil || err.Reason != millrace.ReasonStale {
					h.Errorf("not ended a second after its time: %v", err)
				}
			})
		})
	}
}

func TestASlowPeerThatTakesALittleAllTheTimeIsNotStale(t *testing.T) {
	inWith(t, 25*time.Second, 20*time.Second, func(h *house) {
		for range 500 {
			h.broker.Put("a", strings.Repeat("x", 1000))
		}
		seat := h.seat(h.wire)
		seat.Bytes, seat.Chunk, seat.Pace, seat.Answers = 1000, 1000, time.Second, true
		p := h.connect(seat, openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		h.elapse(10 * time.Minute)
		p.CheckHead(h, "a")
		if err, ended := p.End(); ended {
			h.Errorf("ended with %v", err)
		}
	})
}

func TestASessionEndsWhenItsTokenExpires(t *testing.T) {
	for _, life := range []time.Duration{time.Second, 7 * time.Second, 10 * time.Minute} {
		t.Run(life.String(), func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				o := open("a")
				o.Grant.Expires = time.Now().Add(life)
				p := h.connect(h.seat(w), o)
				h.elapse(life - 500*time.Millisecond)
				if _, ended := p.End(); ended {
					h.Error("ended before its time")
				}
				h.elapse(2 * time.Second)
				if err, ok := p.End(); !ok || err == nil || err.Reason != millrace.ReasonTokenExpired {
					h.Errorf("ended with %v", err)
				}
			})
		})
	}
}

func TestAnIdleTopicStaysForTheLingerTime(t *testing.T) {
	in(t, gateway.Config{Linger: 10 * time.Second}, func(h *house) {
		p := h.join(h.wire, "a")
		h.settle()
		h.broker.Put("a", "0")
		h.settle()
		cursor := p.Cursor()
		h.cut(p)
		h.broker.Put("a", "1")
		h.elapse(8 * time.Second)
		if !h.broker.Subscribed("a") {
			h.Fatal("let go of within the linger time")
		}
		back := h.resume(h.wire, cursor)
		h.settle()
		if n := h.broker.Reads(); n != 0 {
			h.Errorf("the log was read %d times, though the tail was there", n)
		}
		back.CheckHead(h, "a")
		h.elapse(time.Minute)
		if !h.broker.Subscribed("a") {
			h.Error("let go of while a session is there")
		}
		do(h, back, 1, gateway.Unsubscribe{Topic: "a"})
		h.elapse(15 * time.Second)
		if h.broker.Subscribed("a") {
			h.Error("still held after the linger time")
		}
		h.broker.Put("a", "2")
		again := h.resume(h.wire, cursor)
		h.settle()
		h.broker.Put("a", "3")
		h.settle()
		again.CheckHead(h, "a")
		if n := len(again.Texts("a")); n != 3 {
			h.Errorf("%d events of 3", n)
		}
	})
}

func TestOnlySoManyIdleTopicsStay(t *testing.T) {
	in(t, gateway.Config{MaxIdleTopics: 3}, func(h *house) {
		names := texts(0, 10)
		subscribed := func() (n int) {
			for _, topic := range names {
				if h.broker.Subscribed(topic) {
					n++
				}
			}
			return n
		}
		p := h.join(h.wire, "a")
		for round := range 3 {
			for _, topic := range names {
				p.Session.Do(h.Context(), 1, gateway.Subscribe{Topic: topic})
				h.broker.Put(topic, "x")
				p.Session.Do(h.Context(), 2, gateway.Unsubscribe{Topic: topic})
			}
			h.settle()
			if n := subscribed(); n != 3 {
				h.Errorf("round %d: %d topics that nobody holds are subscribed", round, n)
			}
		}
		h.elapse(time.Minute)
		if n := subscribed(); n != 0 {
			h.Errorf("%d are still held after the linger time", n)
		}
		h.broker.Put("a", "1")
		h.settle()
		p.CheckHead(h, "a")
	})
}

func TestUnsubscribingAndSubscribingAgainIsClean(t *testing.T) {
	wires(t, gateway.Config{Linger: time.Second}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		for i := range 30 {
			do(h, p, uint32(2*i+1), gateway.Subscribe{Topic: "a"})
			h.broker.Put("a", "seen")
			if i%2 == 0 {
				h.settle()
			}
			if i%3 == 0 {
				h.elapse(5 * time.Second)
			}
			do(h, p, uint32(2*i+2), gateway.Unsubscribe{Topic: "a"})
			h.broker.Put("a", "unseen")
			if i%5 == 0 {
				h.elapse(5 * time.Second)
			}
		}
		do(h, p, 100, gateway.Subscribe{Topic: "a"})
		h.settle()
		p.CheckHead(h, "a")
	})
}

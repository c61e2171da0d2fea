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

// sentAway returns how many of the peers were told to go, and fails if one was told otherwise than it should be.
func sentAway(h *house, peers []*gatewaytest.Peer) int {
	h.Helper()
	n := 0
	for _, p := range peers {
		told := gatewaytest.Frames[gateway.Goaway](p)
		if len(told) == 0 {
			if end, ended := p.End(); ended {
				h.Errorf("a peer was ended with %v without being told", end)
			}
			continue
		}
		n++
		err := told[0].Err
		if len(told) > 1 || err.Reason != millrace.ReasonDraining || err.RetryAfter < 500*time.Millisecond || err.RetryAfter >= time.Second {
			h.Fatalf("told %+v", told)
		}
		if end, ok := p.End(); !ok || end == nil || end.Reason != millrace.ReasonDraining || end.RetryAfter != err.RetryAfter {
			h.Errorf("told %v, ended with %v", err, end)
		}
	}
	return n
}

// drained reports whether a drain is over.
func drained(over <-chan struct{}) bool {
	select {
	case <-over:
		return true
	default:
		return false
	}
}

// drain begins a drain and returns a channel that is closed when it is over.
func (h *house) drain(window time.Duration) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		h.gateway.Drain(h.Context(), window)
	}()
	h.settle()
	return over
}

// Promise: docs/delivery.md 7.2.
func TestADrainSendsPeersAwayEvenlyAndServesEachUntilItsTurn(t *testing.T) {
	in(t, gateway.Config{Loops: 3}, func(h *house) {
		const crowd, window = 1500, 10 * time.Second
		peers := h.crowd(crowd, "a")
		over := h.drain(window)
		if err := h.gateway.Ready(); millrace.AsError(err).Reason != millrace.ReasonDraining {
			h.Errorf("while it drains the gateway is ready: %v", err)
		}
		if _, err := h.seat(h.wire).Dial(open("a")); millrace.AsError(err).Reason != millrace.ReasonDraining {
			h.Errorf("opened while draining: %v", err)
		}
		const slices = 20
		for i := range slices {
			h.broker.Put("a", "on the way out")
			h.elapse(window / slices)
			n := sentAway(h, peers)
			if want := crowd * (i + 1) / slices; n < want-10 || n > want+10 {
				h.Errorf("after %d of %d parts of the window %d of %d were told", i+1, slices, n, crowd)
			}
			for j, p := range peers {
				if _, ended := p.End(); ended != (j < n) {
					h.Fatalf("number %d by age was not told in its turn, when %d were", j, n)
				} else if !ended {
					p.CheckHead(h, "a")
				}
			}
		}
		if h.settle(); !drained(over) {
			h.Error("all are gone, and the drain is not over")
		}
		times := map[time.Duration]bool{}
		for _, p := range peers {
			times[gatewaytest.Frames[gateway.Goaway](p)[0].Err.RetryAfter] = true
		}
		if len(times) < crowd/2 {
			h.Errorf("%d times to come back for %d peers", len(times), crowd)
		}
	})
}

func TestAGatewayWithFewPeersDoesNotTakeTheWholeWindow(t *testing.T) {
	in(t, gateway.Config{Loops: 2}, func(h *house) {
		peers := h.crowd(3, "a")
		over := h.drain(time.Hour)
		h.elapse(100 * time.Millisecond)
		if n := sentAway(h, peers); n != 3 || !drained(over) {
			h.Errorf("%d of 3 peers were told", n)
		}
		if empty := h.drain(time.Hour); !drained(empty) {
			h.Error("a drain that is over is waited for")
		}
	})
	in(t, gateway.Config{}, func(h *house) {
		if over := h.drain(time.Hour); !drained(over) {
			h.Error("nobody is there, and the drain is not over")
		}
	})
}

// TestOfTwoDrainsTheOneThatEndsSoonerCounts is a stop while an operator's drain is under way, and the other way round.
func TestOfTwoDrainsTheOneThatEndsSoonerCounts(t *testing.T) {
	for name, windows := range map[string][2]time.Duration{"shorter": {20 * time.Second, 5 * time.Second}, "longer": {8 * time.Second, time.Hour}} {
		t.Run(name, func(t *testing.T) {
			in(t, gateway.Config{Loops: 2}, func(h *house) {
				const crowd = 2400
				peers := h.crowd(crowd, "a")
				if n := h.gateway.StartDrain(windows[0], 0); n != crowd {
					h.Errorf("%d sessions are to be told, of %d", n, crowd)
				}
				h.elapse(3 * time.Second)
				before := sentAway(h, peers)
				if n := h.gateway.StartDrain(windows[1], 0); n != crowd-before {
					h.Errorf("%d are still to be told, of %d", n, crowd-before)
				}
				over := h.drain(windows[1])
				const left = 5 * time.Second // of the window that ends sooner, at least
				h.elapse(left / 2)
				if n := sentAway(h, peers); n < before+100 || n > crowd-100 {
					h.Errorf("%d were told until half of the rest of the window, %d before it", n, before)
				}
				h.elapse(2 * left)
				if n := sentAway(h, peers); n != crowd || !drained(over) {
					h.Errorf("%d of %d were told", n, crowd)
				}
			})
		})
	}
}

func TestAWindowOfZeroTellsAllAtOnce(t *testing.T) {
	in(t, gateway.Config{Loops: 2}, func(h *house) {
		peers := h.crowd(1000, "a")
		over := h.drain(0)
		if n := sentAway(h, peers); n != 1000 || !drained(over) {
			h.Errorf("%d were told", n)
		}
	})
}

func TestADrainEndsThoughPeersDoNotRead(t *testing.T) {
	in(t, gateway.Config{Loops: 2}, func(h *house) {
		seat := h.seat(h.wire)
		seat.Bytes, seat.Stalled = 300, true
		stalled, reads := h.connect(seat, open("a")), h.join(h.wire, "a")
		h.settle()
		over := h.drain(0)
		h.elapse(4 * time.Second)
		if drained(over) {
			h.Error("the peer that does not read had no time to")
		}
		if n := sentAway(h, []*gatewaytest.Peer{reads}); n != 1 {
			h.Error("the other was not told")
		}
		h.elapse(2 * time.Second)
		<-stalled.Session.Done()
		if !drained(over) {
			h.Error("the drain is not over")
		}
		if _, ended := stalled.End(); ended {
			h.Error("the peer has read what it did not")
		}
	})
}

func TestADrainThatMustBeOverSoonerTellsAllBeforeItsEnd(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		peers := h.crowd(2000, "a")
		h.gateway.StartDrain(time.Minute, 2*time.Second)
		h.elapse(time.Second)
		if n := sentAway(h, peers); n < 950 || n > 1050 {
			h.Errorf("%d of 2,000 were told in half of the time", n)
		}
		h.elapse(time.Second)
		if n := sentAway(h, peers); n != 2000 {
			h.Errorf("%d of 2,000 were told", n)
		}
	})
}

func TestDrainsThatBeginOrEndTogetherAreOne(t *testing.T) {
	in(t, gateway.Config{Loops: 2}, func(h *house) {
		peers := h.crowd(100, "a")
		ended, cancel := context.WithCancel(h.Context())
		cancel()
		h.gateway.Drain(ended, time.Hour) // whose caller does not wait
		var overs []<-chan struct{}
		for i := range 10 {
			overs = append(overs, h.drain(time.Duration(i)*time.Second))
		}
		h.settle()
		for _, over := range overs {
			if !drained(over) {
				h.Error("a drain is not over")
			}
		}
		if n := sentAway(h, peers); n != 100 {
			h.Errorf("%d of 100 were told", n)
		}
	})
}

// Promise: docs/delivery.md 7.3.
func TestAnOldConnectionIsToldToComeBack(t *testing.T) {
	const age = 100 * time.Second
	in(t, gateway.Config{MaxSessionAge: age, Loops: 2}, func(h *house) {
		peers := h.crowd(200, "a")
		expires := open("a")
		expires.Grant.Expires = time.Now().Add(50 * time.Second)
		before := h.connect(h.seat(h.wire), expires)
		h.elapse(age * 89 / 100)
		if n := sentAway(h, peers); n != 0 {
			h.Errorf("%d were told more than a tenth too early", n)
		}
		if err, ok := before.End(); !ok || err.Reason != millrace.ReasonTokenExpired {
			h.Errorf("the peer whose token expired earlier ended with %v", err)
		}
		var counts []int
		for range 5 {
			h.elapse(age * 4 / 100)
			counts = append(counts, sentAway(h, peers))
		}
		if counts[0] == 0 || counts[0] == 200 || counts[3] == 200 || !slices.IsSorted(counts) {
			h.Errorf("of 200 peers that came together were told, over time, %v", counts)
		}
		h.elapse(age * 4 / 100)
		if n := sentAway(h, peers); n != 200 {
			h.Errorf("%d of 200 were told until a tenth after their time", n)
		}
		fresh := h.join(h.wire, "a")
		h.elapse(age / 2)
		if _, ended := fresh.End(); ended {
			h.Error("a new connection was ended")
		}
	})
	in(t, gateway.Config{}, func(h *house) {
		p := h.join(h.lead, "a")
		h.elapse(24 * time.Hour)
		if err, ended := p.End(); ended {
			h.Errorf("without a limit a connection was ended with %v", err)
		}
	})
}

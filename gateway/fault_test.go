package gateway_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// crowd joins so many sessions on both wires.
func (h *house) crowd(n int, topics ...string) []*gatewaytest.Peer {
	h.Helper()
	var peers []*gatewaytest.Peer
	for i := range n {
		peers = append(peers, h.join([]*gateway.Wire{h.wire, h.lead}[i%2], topics...))
	}
	h.settle()
	return peers
}

func TestAHoleFromUpstreamIsRepairedFromTheLogForLiveSessions(t *testing.T) {
	in(t, gateway.Config{Loops: 2, Slice: 3}, func(h *house) {
		peers := h.crowd(20, "a")
		h.broker.Put("a", "0")
		h.broker.Lose("a", 3)
		h.broker.Put("a", texts(1, 6)...)
		h.settle()
		for _, p := range peers {
			p.CheckHead(h, "a")
			if got := p.Texts("a"); !slices.Equal(got, texts(0, 6)) {
				h.Errorf("got %q", got)
			}
		}
		if n := h.broker.Reads(); n > 2*2 {
			h.Errorf("the log was read %d times for 2 loops", n)
		}
	})
}

func TestARepairThatFailsIsTriedAgain(t *testing.T) {
	in(t, gateway.Config{Loops: 2}, func(h *house) {
		peers := h.crowd(6, "a")
		h.broker.Fail(errors.New("the log is away"))
		h.broker.Lose("a", 1)
		h.broker.Put("a", "lost", "last") // nothing comes after it that would wake anyone
		h.settle()
		late := h.connect(h.seat(h.wire), openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		h.settle()
		h.broker.Fail(nil)
		h.elapse(2 * time.Second)
		for _, p := range append(peers, late) {
			p.CheckHead(h, "a")
			if n := len(p.Texts("a")); n != 2 {
				h.Errorf("%d events of 2", n)
			}
		}
	})
}

func TestASlowLogHoldsUpOnlyThoseWhoNeedIt(t *testing.T) {
	in(t, gateway.Config{TailEvents: 2}, func(h *house) {
		h.broker.Put("a", texts(0, 10)...)
		live := h.crowd(4, "a", "b")
		release := h.broker.Hold()
		late := h.connect(h.seat(h.wire), openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		h.settle()
		h.broker.Put("a", "10")
		h.broker.Put("b", "0")
		h.settle()
		for _, p := range live {
			p.CheckHead(h, "a")
			p.CheckHead(h, "b")
		}
		late.Session.Do(h.Context(), 1, gateway.Ping{})
		h.settle()
		if len(gatewaytest.Frames[gateway.Pong](late)) != 1 {
			h.Error("a session that waits for the log does not answer")
		}
		release()
		h.settle()
		late.CheckHead(h, "a")
	})
}

func TestAResetIsToldToEveryLiveSessionExactlyOnceThenItGoesOn(t *testing.T) {
	for name, careless := range map[string]bool{"told by the upstream": false, "found by the mark": true} {
		t.Run(name, func(t *testing.T) {
			in(t, gateway.Config{Loops: 2, Slice: 3}, func(h *house) {
				if careless {
					h.broker.Careless()
				}
				peers := h.crowd(20, "a")
				seat := h.seat(h.wire)
				seat.Bytes = 300
				stalled := h.connect(seat, open("a"))
				h.settle()
				stalled.Stall()
				last := h.broker.Put("a", texts(0, 9)...)
				h.settle()
				h.broker.Reset("a")
				h.broker.Put("a", "new")
				h.settle()
				h.broker.Put("a", "newer")
				stalled.Flow()
				h.settle()
				for _, p := range append(peers, stalled) {
					p.CheckHead(h, "a")
					gaps := p.Gaps("a")
					if len(gaps) != 1 || gaps[0].Cause != millrace.CauseReset || gaps[0].Until.Offset != 0 {
						h.Fatalf("gaps %v", gaps)
					}
					if p != stalled && gaps[0].After != last {
						h.Errorf("gap %v after %s", gaps[0], last)
					}
					got := p.Texts("a")
					if !slices.Equal(got[len(got)-2:], []string{"new", "newer"}) {
						h.Errorf("got %q", got)
					}
				}
			})
		})
	}
}

// Promise: docs/delivery.md 1.5.
func TestAResetToTheSameOffsetIsFoundAtTheNextEvent(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		h.broker.Careless()
		peers := h.crowd(4, "a")
		h.broker.Put("a", texts(0, 5)...)
		h.settle()
		h.broker.Lose("a", 5)
		h.broker.Reset("a")
		h.broker.Put("a", texts(0, 5)...) // the same offsets, other marks
		h.broker.Put("a", "6")
		h.settle()
		for _, p := range peers {
			p.CheckHead(h, "a")
			if gaps := p.Gaps("a"); len(gaps) != 1 || gaps[0].Cause != millrace.CauseReset {
				h.Errorf("gaps %v", gaps)
			}
			if n := len(p.Texts("a")); n != 5+6 {
				h.Errorf("%d events", n)
			}
		}
	})
}

func TestABrokerRestartDisconnectsNobodyAndLosesNothing(t *testing.T) {
	in(t, gateway.Config{Loops: 2, TailEvents: 4, Slice: 3}, func(h *house) {
		peers := h.crowd(10, "a", "quiet")
		h.broker.Put("a", "0")
		for round := range 5 {
			h.broker.Detach()
			h.settle()
			h.broker.Put("a", texts(20*round, 20*round+20)...)
			h.elapse(3 * time.Second)
			h.broker.Attach()
			h.settle()
		}
		h.broker.Put("quiet", "0")
		h.settle()
		for _, p := range peers {
			p.CheckHead(h, "a")
			p.CheckHead(h, "quiet")
			if n := len(p.Texts("a")); n != 101 || len(p.Gaps("a")) > 0 {
				h.Errorf("%d events, gaps %v", n, p.Gaps("a"))
			}
			if n := len(gatewaytest.Frames[gateway.Subscribed](p)); n != 2 {
				h.Errorf("told %d times to be subscribed to 2 topics", n)
			}
		}
	})
}

func TestAResumeWhileTheBrokerIsAwayIsNotServedFromTheTail(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Put("a", "0")
		start := h.broker.Head("a")
		h.join(w, "a")
		h.settle()
		h.broker.Put("a", "1", "2")
		h.settle()
		h.broker.Detach()
		h.broker.Reset("a")
		h.broker.Put("a", "new")
		h.settle()
		p := h.connect(h.seat(w), openAt("a", millrace.After(start)))
		h.elapse(2 * time.Second)
		if got := p.Texts("a"); len(got) > 0 {
			h.Errorf("got %q from a tail that nobody verified", got)
		}
		h.broker.Attach()
		h.settle()
		p.CheckHead(h, "a")
		if gaps := p.Gaps("a"); len(gaps) != 1 || gaps[0].After != start {
			h.Errorf("gaps %v", gaps)
		}
	})
}

func TestATopicThatTheBrokerRefusesEndsItsSubscriptionsAndCanBeTriedAgain(t *testing.T) {
	in(t, gateway.Config{Loops: 2, Slice: 3}, func(h *house) {
		full := millrace.Errorf(millrace.ReasonFull, "too many topics")
		peers := h.crowd(12, "a", "b")
		h.broker.Put("a", "0")
		h.broker.Deny("a", full)
		h.settle()
		late := h.join(h.wire, "a")
		h.broker.Put("b", "0")
		h.settle()
		for _, p := range append(peers, late) {
			told := gatewaytest.Frames[gateway.Unsubscribed](p)
			if len(told) != 1 || told[0].Topic != "a" || told[0].Err == nil || told[0].Err.Reason != millrace.ReasonFull {
				h.Errorf("told %+v", told)
			}
			if p != late {
				p.CheckHead(h, "b")
			}
		}
		h.broker.Deny("a", nil)
		late.Session.Do(h.Context(), 5, gateway.Subscribe{Topic: "a"})
		h.settle()
		h.broker.Put("a", "1")
		h.settle()
		late.CheckHead(h, "a")
	})
}

func TestARefusalThatNobodyWasThereToHearIsNotToldToWhoComesLater(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		first := h.join(h.wire, "a")
		h.settle()
		h.cut(first)
		h.broker.Deny("a", millrace.Errorf(millrace.ReasonFull, "too many topics"))
		h.settle()
		h.broker.Deny("a", nil)
		late := h.join(h.wire, "a")
		h.settle()
		h.broker.Put("a", "1")
		h.settle()
		late.CheckHead(h, "a")
		if told := gatewaytest.Frames[gateway.Unsubscribed](late); len(told) > 0 {
			h.Errorf("told %+v", told)
		}
	})
}

func TestARefusalLeavesNoOldPositionInTheCursorsThatAreToldMeanwhile(t *testing.T) {
	in(t, gateway.Config{Loops: 1}, func(h *house) {
		for range 300 {
			h.join(h.lead, "a", "b")
		}
		h.settle()
		h.broker.Put("a", texts(0, 3)...)
		h.settle()
		h.broker.Deny("a", millrace.Errorf(millrace.ReasonFull, "too many topics"))
		h.broker.Put("b", texts(0, 3)...)
		h.settle()
	})
}

func TestAGatewayWhoseUpstreamEndedIsNotReady(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		p := h.join(h.wire, "a")
		h.settle()
		if err := h.gateway.Ready(); err != nil {
			h.Errorf("not ready: %v", err)
		}
		h.broker.Close()
		h.settle()
		if err := h.gateway.Ready(); millrace.AsError(err).Reason != millrace.ReasonUnavailable {
			h.Errorf("ready: %v", err)
		}
		p.Session.Do(h.Context(), 1, gateway.Subscribe{Topic: "b"})
		h.settle()
		told := gatewaytest.Frames[gateway.Unsubscribed](p)
		if len(told) != 1 || told[0].Err.Reason != millrace.ReasonUnavailable {
			h.Errorf("told %+v", told)
		}
		if _, err := h.seat(h.wire).Dial(open("a")); millrace.AsError(err).Reason != millrace.ReasonUnavailable {
			h.Errorf("opened: %v", err)
		}
	})
}

func TestAnEventThatGotLostIsFoundWhenTheBrokerComesBack(t *testing.T) {
	in(t, gateway.Config{Loops: 2}, func(h *house) {
		peers := h.crowd(6, "a")
		h.broker.Put("a", "0")
		h.settle()
		h.broker.Lose("a", 1)
		h.broker.Put("a", "1") // nothing comes after it
		h.settle()
		h.broker.Detach()
		h.broker.Attach()
		h.settle()
		for _, p := range peers {
			p.CheckHead(h, "a")
		}
	})
}

func TestAGapFromUpstreamThatBeginsElsewhereIsReadFromTheLog(t *testing.T) {
	in(t, gateway.Config{Loops: 2}, func(h *house) {
		peers := h.crowd(6, "a")
		h.broker.Put("a", "0")
		h.settle()
		h.broker.Lose("a", 1)
		h.broker.Put("a", "lost")
		h.broker.Reset("a")
		h.broker.Put("a", "new") // told after a gap that begins at the lost event
		h.settle()
		for _, p := range peers {
			p.CheckHead(h, "a")
			if gaps := p.Gaps("a"); len(gaps) != 1 || gaps[0].Cause != millrace.CauseReset || gaps[0].After.Offset != 1 {
				h.Errorf("gaps %v", gaps)
			}
		}
	})
}

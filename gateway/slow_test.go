package gateway_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// Promise: docs/delivery.md 6.3.
func TestAStalledPeerDelaysNobodyAndIsCaughtUpWhole(t *testing.T) {
	for name, c := range map[string]gateway.Config{
		"from the tail":        {},
		"from the log":         {TailEvents: 8, BatchBytes: 4000},
		"in slices":            {TailEvents: 8, BatchBytes: 4000, Slice: 2},
		"in pages of one":      {TailEvents: 1, BatchBytes: 1},
		"with one read a time": {TailEvents: 8, BatchBytes: 4000, Replays: 1},
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				seat := h.seat(w)
				seat.Bytes, seat.Stalled = 2000, true
				var stalled []*gatewaytest.Peer
				for range 5 {
					stalled = append(stalled, h.connect(seat, open("a", "b")))
				}
				quick := h.join(w, "a", "b")
				h.settle()
				for i := range 300 {
					h.broker.Put([]string{"a", "b"}[i%2], texts(i, i+1)...)
					h.settle()
					if i%50 == 0 {
						quick.CheckHead(h, "a")
						quick.CheckHead(h, "b")
					}
				}
				for _, p := range stalled {
					if n := p.Tries(); n > 40 {
						h.Errorf("a stalled peer was tried %d times", n)
					}
					p.Flow()
				}
				h.settle()
				for _, p := range stalled {
					p.CheckHead(h, "a")
					p.CheckHead(h, "b")
					if n := len(p.Texts("a")) + len(p.Texts("b")); n != 300 {
						h.Errorf("%d events of 300", n)
					}
				}
			})
		})
	}
}

// Promise: docs/delivery.md 6.2.
func TestWhatAStalledPeerHoldsIsBounded(t *testing.T) {
	wires(t, gateway.Config{BatchBytes: 4000, TailEvents: 8}, func(h *house, w *gateway.Wire) {
		seat := h.seat(w)
		seat.Bytes, seat.Stalled = 100, true
		p := h.connect(seat, openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		data := strings.Repeat("x", 1000)
		for range 500 {
			h.broker.Put("a", data)
			h.settle()
		}
		p.Flow()
		h.settle()
		p.CheckHead(h, "a")
		if n := p.Most(); n > 4000+3000 {
			h.Errorf("%d bytes waited for the peer at once", n)
		}
	})
}

func TestCommandsThatArePassedToAStalledPeerHoldUpNobody(t *testing.T) {
	wires(t, gateway.Config{MaxOutboxBytes: 10_000}, func(h *house, w *gateway.Wire) {
		seat := h.seat(w)
		seat.Bytes, seat.Stalled = 100, true
		p := h.connect(seat, open("a"))
		for i := range 1000 {
			p.Session.Pass(uint32(i+1), gateway.Subscribe{Topic: "a"})
		}
		h.settle()
		p.Flow()
		<-p.Over()
		if err, _ := p.End(); err == nil || err.Reason != millrace.ReasonSlow {
			h.Errorf("ended with %v; want %s", err, millrace.ReasonSlow)
		}
		if n := p.Most(); n > 20_000 {
			h.Errorf("%d bytes waited for the peer at once", n)
		}
	})
}

// Promise: docs/delivery.md 1.6, 6.1.
func TestAReplayFarBiggerThanTailAndPageComesAtThePeersOwnPace(t *testing.T) {
	wires(t, gateway.Config{BatchBytes: 5000, TailEvents: 4, TailBytes: 5000}, func(h *house, w *gateway.Wire) {
		data := strings.Repeat("x", 500)
		for range 2000 {
			h.broker.Put("a", data)
		}
		seat := h.seat(w)
		seat.Bytes, seat.Chunk, seat.Pace = 3000, 2000, 100*time.Millisecond
		p := h.connect(seat, openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		for range 100 {
			h.elapse(time.Second)
			h.broker.Put("a", data)
		}
		h.elapse(20 * time.Second)
		p.CheckHead(h, "a")
		if n := len(p.Texts("a")); n != 2100 {
			h.Errorf("%d events of 2100", n)
		}
	})
}

func TestASlowPeerThatFallsOutOfTheLogIsToldTheGap(t *testing.T) {
	wires(t, gateway.Config{TailEvents: 4, BatchBytes: 1000}, func(h *house, w *gateway.Wire) {
		seat := h.seat(w)
		seat.Bytes = 500
		p := h.connect(seat, open("a"))
		h.settle()
		p.Stall()
		h.broker.Put("a", texts(0, 100)...)
		h.settle()
		h.broker.Trim("a", 10)
		h.broker.Put("a", texts(100, 105)...)
		p.Flow()
		h.settle()
		p.CheckHead(h, "a")
		gaps := p.Gaps("a")
		if len(gaps) != 1 || gaps[0].Cause != millrace.CauseTrimmed || gaps[0].Until.Offset != 90 {
			h.Errorf("gaps %v", gaps)
		}
		if got := p.Texts("a"); !slices.Equal(got[len(got)-15:], texts(90, 105)) {
			h.Errorf("got %q at last", got)
		}
	})
}

func TestTooManyAnswersThatAreNotReadEndTheSessionAsSlow(t *testing.T) {
	wires(t, gateway.Config{MaxOutboxBytes: 2000}, func(h *house, w *gateway.Wire) {
		other := h.join(w, "busy")
		seat := h.seat(w)
		seat.Bytes, seat.Stalled = 400, true
		o := open("busy")
		for _, name := range texts(0, 30) {
			o.Topics = append(o.Topics, gateway.Subscribe{Topic: "away:" + name})
		}
		h.settle()
		h.broker.Detach()
		h.settle()
		p := h.connect(seat, o)
		h.elapse(3 * time.Second) // each topic is told as pending
		p.Flow()
		h.settle()
		<-p.Over()
		if err, ok := p.End(); !ok || err == nil || err.Reason != millrace.ReasonSlow {
			h.Errorf("ended with %v", err)
		}
		h.broker.Attach()
		h.broker.Put("busy", "1")
		h.settle()
		other.CheckHead(h, "busy")
	})
}

func TestAPeerThatDoesNotReadItsAnswersIsNotReadFrom(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		seat := h.seat(w)
		seat.Bytes, seat.Stalled = 500, true
		p := h.connect(seat, open())
		answered := make(chan int, 100)
		go func() {
			defer close(answered)
			for i := range 100 {
				p.Session.Do(h.Context(), uint32(i+1), gateway.Ping{})
				answered <- i
			}
		}()
		h.settle()
		if n := len(answered); n > 40 {
			h.Errorf("%d commands were taken from a peer that reads nothing", n)
		}
		p.Flow()
		h.settle()
		if n := len(gatewaytest.Frames[gateway.Pong](p)); n != 100 {
			h.Errorf("%d answers of 100", n)
		}
	})
}

func TestOneLargeAnswerIsNotTooManyAnswers(t *testing.T) {
	wires(t, gateway.Config{MaxOutboxBytes: 500}, func(h *house, w *gateway.Wire) {
		h.broker.Put("a", texts(0, 100)...)
		seat := h.seat(w)
		seat.Bytes, seat.Stalled = 500, true
		p := h.connect(seat, openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		h.settle()
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Session.Do(h.Context(), 7, gateway.ReadHistory{
				Topic: "a", Range: millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}},
			})
		}()
		h.settle()
		p.Flow()
		h.settle()
		<-done
		p.CheckHead(h, "a")
		if got := gatewaytest.Frames[gateway.History](p); len(got) != 1 || len(got[0].Page.Events) != 100 {
			h.Errorf("%d answers", len(got))
		}
	})
}

func TestAnEndedSessionWhosePeerReadsNothingIsCutOff(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		seat := h.seat(w)
		seat.Bytes, seat.Stalled = 100, true
		p := h.connect(seat, open("a"))
		h.settle()
		p.Session.End(nil)
		h.elapse(time.Second)
		select {
		case <-p.Session.Done():
			h.Error("ended before the last words were read")
		default:
		}
		h.elapse(2 * time.Minute)
		<-p.Session.Done()
		p.Cut()
	})
}

func TestCommandsOfManyAtOnceThatAreNotReadEndTheSessionAsSlow(t *testing.T) {
	wires(t, gateway.Config{MaxOutboxBytes: 500}, func(h *house, w *gateway.Wire) {
		seat := h.seat(w)
		seat.Bytes, seat.Stalled = 300, true
		p := h.connect(seat, open())
		var posts sync.WaitGroup
		for i := range 100 {
			posts.Go(func() { p.Session.Do(h.Context(), uint32(i+1), gateway.Ping{}) })
		}
		h.settle()
		p.Flow()
		posts.Wait()
		<-p.Over()
		if err, ok := p.End(); !ok || err == nil || err.Reason != millrace.ReasonSlow {
			h.Errorf("ended with %v", err)
		}
		p.Session.Do(h.Context(), 101, gateway.Ping{}) // returns, though nobody will answer
		p.Session.Do(h.Context(), 102, gateway.Ping{})
		h.settle()
	})
}

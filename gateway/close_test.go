package gateway_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// TestCloseLeaksNothingWhateverTheSessionsAreAt leaves it to the bubble to find goroutines that stay.
func TestCloseLeaksNothingWhateverTheSessionsAreAt(t *testing.T) {
	in(t, gateway.Config{Loops: 2, TailEvents: 2, BatchBytes: 2000, Slice: 2, Replays: 1}, func(h *house) {
		for range 200 {
			h.broker.Put("a", strings.Repeat("x", 300))
		}
		h.crowd(10, "a", "b")
		seat := h.seat(h.wire)
		seat.Bytes, seat.Stalled = 1000, true
		h.connect(seat, openAt("a", millrace.Start{Kind: millrace.StartEarliest})) // blocked within a replay
		ending := h.connect(seat, openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		owing := h.connect(seat, open("a"))
		h.settle()
		ending.Session.End(nil)
		go func() {
			for range 100 {
				owing.Session.Do(h.Context(), 1, gateway.Ping{})
			}
		}()
		h.settle()
		release := h.broker.Hold()
		defer release()
		for range 3 { // waiting for the log, and for a turn to read it
			h.connect(h.seat(h.lead), openAt("a", millrace.Start{Kind: millrace.StartEarliest}))
		}
		h.broker.Lose("b", 1)
		h.broker.Put("b", "1", "2") // live ones that wait for the log
		h.settle()
		h.broker.Detach()
		h.join(h.wire, "c") // pending
		h.settle()
		h.join(h.wire, "a") // has hardly begun
		h.gateway.Close()
		for _, p := range h.peers {
			<-p.Session.Done()
		}
	})
}

func TestOpeningWhileClosingOrDrainingIsRefusedOrEnded(t *testing.T) {
	for round := range 200 {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, gateway.Config{Loops: 2}, gatewaytest.Wire(), gatewaytest.LeadWire())
			var opens sync.WaitGroup
			var mu sync.Mutex
			for range 8 {
				opens.Go(func() {
					p, err := h.seat(h.wire).Dial(open("a"))
					if err != nil && millrace.AsError(err).Reason != millrace.ReasonDraining {
						t.Error(err)
					}
					if err == nil {
						mu.Lock()
						h.peers = append(h.peers, p)
						mu.Unlock()
					}
				})
			}
			if round%2 == 0 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				h.gateway.Drain(ctx, time.Second)
				if err := ctx.Err(); err != nil {
					t.Errorf("drain: %v", err)
				}
				cancel()
			}
			h.gateway.Close()
			opens.Wait()
			h.close()
			for _, p := range h.peers {
				if lines := p.Lines(); len(lines) > 0 {
					if _, ok := lines[0].Frame.(*gateway.Connected); !ok {
						t.Errorf("the first line is %+v", lines[0])
					}
				}
			}
		})
	}
}

func TestASessionIsOverHoweverItEnds(t *testing.T) {
	ends := map[string]func(h *house, p *gatewaytest.Peer){
		"by the gateway":        func(_ *house, p *gatewaytest.Peer) { p.Session.End(nil) },
		"with an error":         func(_ *house, p *gatewaytest.Peer) { p.Session.End(millrace.Errorf(millrace.ReasonBadRequest, "bad")) },
		"by the reader":         func(_ *house, p *gatewaytest.Peer) { p.Session.Gone() },
		"by a write that fails": func(h *house, p *gatewaytest.Peer) { p.Cut(); h.broker.Put("a", "x") },
		"by all of these": func(h *house, p *gatewaytest.Peer) {
			p.Session.End(nil)
			p.Session.Gone()
			p.Cut()
			h.broker.Put("a", "x")
			p.Session.End(nil)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				p, other := h.join(w, "a", "b"), h.join(w, "a")
				h.settle()
				if s, ok := h.gateway.Session(p.Session.ID()); !ok || s != p.Session {
					h.Error("the session is not found by its id")
				}
				end(h, p)
				h.settle()
				<-p.Session.Done()
				if !p.Closed() {
					h.Error("the transport is not closed")
				}
				if _, ok := h.gateway.Session(p.Session.ID()); ok {
					h.Error("the session is still found")
				}
				for i := range 5 { // commands that come late are not answered, and wait for nothing
					p.Session.Do(h.Context(), uint32(i+1), gateway.Subscribe{Topic: "a"})
				}
				h.broker.Put("a", "1")
				h.settle()
				other.CheckHead(h, "a")
				h.elapse(2 * time.Minute)
				if h.broker.Subscribed("b") {
					h.Error("the topic that only the ended session had is still held")
				}
			})
		})
	}
}

func TestAFaultyConfigIsReportedWhole(t *testing.T) {
	faulty := gateway.Config{
		Loops: -1, MaxIdleTopics: -1, Linger: -1, AdmitRate: -1, MaxAdmitWait: -1, MaxSessionAge: -1, SealKey: []byte("short"),
	}
	_, err := gateway.New(faulty, gatewaytest.NewBroker(), gatewaytest.Wire())
	for _, name := range []string{"Loops", "MaxIdleTopics", "Linger", "AdmitRate", "MaxAdmitWait", "MaxSessionAge", "SealKey"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not reported in %v", name, err)
		}
	}
	if _, err := gateway.New(gateway.Config{}, gatewaytest.NewBroker()); err == nil {
		t.Error("a gateway without a wire")
	}
}

// TestManyReadsThatNobodyWaitsForAnyMoreAreNotMade has a peer that takes topics on and off while the log is slow.
func TestManyReadsThatNobodyWaitsForAnyMoreAreNotMade(t *testing.T) {
	in(t, gateway.Config{TailEvents: 1, Replays: 1}, func(h *house) {
		h.broker.Put("a", texts(0, 9)...)
		p := h.join(h.wire)
		release := h.broker.Hold()
		for i := range 200 {
			p.Session.Do(h.Context(), uint32(2*i+1), gateway.Subscribe{Topic: "a", Start: millrace.Start{Kind: millrace.StartEarliest}})
			p.Session.Do(h.Context(), uint32(2*i+2), gateway.Unsubscribe{Topic: "a"})
		}
		h.settle()
		release()
		h.settle()
		if n := h.broker.Reads(); n > 3 {
			h.Errorf("the log was read %d times", n)
		}
		h.broker.Fail(errors.New("away"))
		do(h, p, 1000, gateway.Subscribe{Topic: "b"})
	})
}

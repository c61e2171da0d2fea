package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

func (h *house) paced(w *gateway.Wire, topic string, rate float64) *gatewaytest.Peer {
	h.Helper()
	o := open()
	o.Topics = []gateway.Subscribe{{Topic: topic, MaxRate: rate}}
	return h.connect(h.seat(w), o)
}

// docs/delivery.md 4.3
func TestARateIsKeptAndTheLastEventAlwaysComes(t *testing.T) {
	for _, topic := range []string{prices, cursors} {
		for _, rate := range []float64{0.5, 2, 10} {
			t.Run(fmt.Sprintf("%s at %g", topic, rate), func(t *testing.T) {
				wires(t, gateway.Config{TailEvents: 16}, func(h *house, w *gateway.Wire) {
					p, quick := h.paced(w, topic, rate), h.join(w, topic)
					h.settle()
					const seconds = 20
					for i := range 100 * seconds {
						h.broker.Set(topic, "k", fmt.Sprint(i))
						h.elapse(10 * time.Millisecond)
						if got, most := len(p.Texts(topic)), 1+int(rate*float64(i+1)/100); got > most {
							h.Fatalf("%d events in the first %d ms", got, 10*(i+1))
						}
					}
					h.elapse(3 * time.Second)
					got := p.Texts(topic)
					if least := int(rate * seconds); len(got) < least {
						h.Errorf("%d events in %d s", len(got), seconds)
					}
					if last := got[len(got)-1]; last != fmt.Sprint(100*seconds-1) {
						h.Errorf("the last event is %s", last)
					}
					if n := len(quick.Texts(topic)); n != 100*seconds {
						h.Errorf("the peer without a rate got %d events", n)
					}
				})
			})
		}
	}
}

// docs/delivery.md 4.3
func TestAtARateEachKeyHasItsTurn(t *testing.T) {
	wires(t, gateway.Config{TailEvents: 8}, func(h *house, w *gateway.Wire) {
		for i := range 10 {
			h.broker.Set(prices, fmt.Sprint("k", i), "old")
		}
		p := h.paced(w, prices, 5)
		h.settle()
		for i := range 200 {
			h.broker.Set(prices, "busy", fmt.Sprint(i))
			h.elapse(20 * time.Millisecond)
		}
		h.elapse(time.Second)
		p.CheckHead(h, prices)
		if got := keyed(p, prices); len(got) != 11 || got["busy"] != "199" {
			h.Errorf("the peer holds %v", got)
		}
	})
}

// docs/delivery.md 4.3
func TestClassLogRefusesARate(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.paced(w, "a", 1)
		h.settle()
		told := gatewaytest.Frames[gateway.Unsubscribed](p)
		if len(told) != 1 || told[0].Err == nil || told[0].Err.Reason != millrace.ReasonUnsupported || told[0].Prefix == "" {
			h.Errorf("told %+v", told)
		}
		for i, rate := range []float64{-1, 0.0001, 1001} {
			if r := reasonOf(do(h, p, uint32(i+1), gateway.Subscribe{Topic: prices, MaxRate: rate})); r != millrace.ReasonBadRequest {
				h.Errorf("a rate of %g: %q", rate, r)
			}
		}
	})
}

func TestARateSurvivesAResume(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.paced(w, cursors, 1)
		h.settle()
		h.cut(p)
		q := h.resume(w, p.Cursor())
		h.settle()
		h.broker.Put(cursors, texts(0, 50)...)
		h.elapse(1500 * time.Millisecond)
		if n := len(q.Texts(cursors)); n > 2 {
			h.Errorf("%d events in 1.5 s at a rate of 1", n)
		}
	})
}

// docs/delivery.md 4.3
func TestWhoeverComesBackAgainAndAgainGetsNoMoreThanItsRate(t *testing.T) {
	for _, topic := range []string{prices, cursors} {
		t.Run(topic, func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				h.broker.Set(topic, "k", "0")
				p := h.paced(w, topic, 0.1)
				h.settle()
				got := 0
				for i := range 25 { // a second each
					h.broker.Set(topic, "k", fmt.Sprint(i))
					h.elapse(time.Second)
					got += len(p.Texts(topic))
					h.cut(p)
					p = h.resume(w, p.Cursor())
				}
				if got > 1 {
					h.Errorf("%d events in 25 s at one in ten, over as many connections", got)
				}
				h.elapse(11 * time.Second)
				h.broker.Set(topic, "k", "last")
				h.elapse(11 * time.Second)
				if all := p.Texts(topic); len(all) == 0 || all[len(all)-1] != "last" {
					h.Errorf("the last connection got %q", all)
				}
			})
		})
	}
}

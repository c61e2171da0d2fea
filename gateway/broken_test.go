package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// breaking is a place whose connection breaks when the gateway is about to write to it for the nth time from when armed is
// called.
func breaking(h *house, w *gateway.Wire, o gateway.Opening) (p *gatewaytest.Peer, arm func(n int)) {
	h.Helper()
	left := -1
	seat := h.seat(w)
	seat.OnTry = func() {
		if left--; left == 0 {
			p.Cut()
		}
	}
	p = h.connect(seat, o)
	h.settle()
	return p, func(n int) { left = n }
}

func TestAConnectionThatBreaksAtAnyWriteOfACommandHarmsNobodyElse(t *testing.T) {
	const writes = 8 // more than any of the commands makes
	for _, c := range []gateway.Command{
		gateway.Subscribe{Topic: "other:1"},
		gateway.Subscribe{Topic: "chat:1"},
		gateway.Subscribe{Topic: "chat:own"},
		gateway.Subscribe{Topic: "other:*"},
		gateway.Subscribe{Topic: "chat:*"},
		gateway.Subscribe{Topic: "no:*:**:x"},
		gateway.SubscribeAll{{Topic: "other:*"}, {Topic: "other:**"}, {Topic: "other:1"}, {Topic: "chat:1"}},
		gateway.Unsubscribe{Topic: "chat:*"},
		gateway.Unsubscribe{Topic: "chat:**"},
		gateway.Unsubscribe{Topic: "chat:own"},
		gateway.Unsubscribe{Topic: "chat:1"},
		gateway.Unsubscribe{Topic: "alone"},
		gateway.Unsubscribe{Topic: "none"},
		text("chat:1", "from the peer"),
		gateway.ReadHistory{Topic: "chat:1"},
		gateway.Ping{},
		gateway.WirePing{Payload: []byte("x")},
	} {
		t.Run(strings.TrimPrefix(fmt.Sprintf("%T", c), "gateway."), func(t *testing.T) {
			wires(t, gateway.Config{Loops: 1}, func(h *house, w *gateway.Wire) {
				for _, topic := range []string{"chat:1", "chat:2", "chat:own", "other:1", "other:2"} {
					h.broker.Put(topic, "old")
				}
				all := []string{"chat:own", "alone", "chat:*", "chat:**", "other:**"}
				before := h.join(w, all...)
				for n := range writes {
					p, breakAt := breaking(h, w, open("chat:own", "alone", "chat:*", "chat:**"))
					between := h.join(w, all...)
					h.settle()
					breakAt(n + 1)
					p.Session.Do(h.Context(), 1, c)
					h.settle()
					h.cut(p)
					born := fmt.Sprint("chat:born-", n)
					h.broker.Put(born, "1")
					h.broker.Put("other:1", "2")
					h.settle()
					for _, o := range []*gatewaytest.Peer{before, between} {
						for _, topic := range []string{born, "chat:1", "other:1", "alone"} {
							o.CheckHead(h, topic)
						}
					}
					h.cut(between)
				}
			})
		})
	}
}

func TestASessionThatEndsAsSlowWhileItsPatternDoesHarmsNobodyElse(t *testing.T) {
	wires(t, gateway.Config{Loops: 1, MaxOutboxBytes: 200}, func(h *house, w *gateway.Wire) {
		for i := range 20 {
			h.broker.Put(fmt.Sprint("chat:", i), "x")
		}
		before := h.join(w, "chat:*", "chat:**")
		p := h.connect(h.seat(w), open("chat:*", "chat:**", "big"))
		after := h.join(w, "chat:*", "chat:**")
		h.settle()
		p.Stall()
		h.broker.Put("big", strings.Repeat("y", 100_000))
		h.settle()
		p.Session.Pass(1, gateway.Unsubscribe{Topic: "chat:*"})
		h.broker.Put("chat:born", "1")
		h.settle()
		before.CheckHead(h, "chat:born")
		after.CheckHead(h, "chat:born")
		p.Flow()
		<-p.Over()
		if err, _ := p.End(); err == nil || err.Reason != millrace.ReasonSlow {
			h.Errorf("ended with %v; want %s", err, millrace.ReasonSlow)
		}
	})
}

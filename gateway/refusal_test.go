package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// docs/delivery.md 6.3
func TestAPeerThatIsNotTheTopicsTurnYetKeepsNoRefusedTopicFromOthers(t *testing.T) {
	for name, begin := range map[string]func(h *house) *gatewaytest.Peer{
		"it waits for its rate": func(h *house) *gatewaytest.Peer {
			h.broker.Set(prices, "k", "1")
			p := h.paced(h.wire, prices, 0.001)
			h.settle()
			h.broker.Set(prices, "k", "2")
			return p
		},
		"it does not read": func(h *house) *gatewaytest.Peer {
			seat := h.seat(h.wire)
			seat.Bytes = 2000
			p := h.connect(seat, open(prices))
			h.settle()
			p.Stall()
			for range 3 {
				h.broker.Set(prices, "k", strings.Repeat("x", 5000))
				h.settle()
			}
			return p
		},
		"it reads a log that does not answer": func(h *house) *gatewaytest.Peer {
			h.broker.Set(prices, "k", "1")
			release := h.broker.Hold()
			h.Cleanup(release)
			return h.connect(h.seat(h.wire), openAt(prices, millrace.Start{Kind: millrace.StartEarliest}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, gateway.Config{Loops: 1}, func(h *house) {
				slow := begin(h)
				h.settle()
				h.broker.Deny(prices, millrace.Errorf(millrace.ReasonUnavailable, "for a moment"))
				h.settle()
				h.broker.Deny(prices, nil)
				o := openAt(prices, millrace.Start{Kind: millrace.StartNow})
				late := h.connect(h.seat(h.wire), o)
				h.settle()
				h.broker.Set(prices, "k", "new")
				h.settle()
				late.CheckHead(h, prices)
				if told := gatewaytest.Frames[gateway.Unsubscribed](late); len(told) > 0 {
					h.Errorf("the newcomer was told %+v", told)
				}
				slow.Flow()
				h.elapse(time.Minute)
				if told := gatewaytest.Frames[gateway.Unsubscribed](slow); len(told) != 1 || told[0].Err.Reason != millrace.ReasonUnavailable {
					h.Errorf("the slow peer was told %+v", told)
				}
				another := h.connect(h.seat(h.wire), o)
				h.cut(slow)
				h.broker.Set(prices, "k", "newer")
				h.settle()
				late.CheckHead(h, prices)
				another.CheckHead(h, prices)
			})
		})
	}
}

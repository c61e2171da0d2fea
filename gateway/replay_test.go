package gateway_test

import (
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

func TestPeersThatReadOnFromOnePositionShareItsPages(t *testing.T) {
	for name, c := range map[string]gateway.Config{
		"while a page is under way": {Loops: 2, TailEvents: 2, BatchBytes: 1000},
		"while it waits":            {Loops: 2, TailEvents: 2, BatchBytes: 1000, Replays: 1},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, c, func(h *house) {
				at := h.broker.Put("a", "0")
				h.broker.Put("a", texts(1, 200)...)
				h.broker.Put("b", texts(0, 10)...)
				release := h.broker.Hold()
				h.connect(h.seat(h.wire), openAt("b", millrace.Start{Kind: millrace.StartEarliest})) // has the one read, if there is just one
				h.settle()
				cursor := millrace.Cursor{Pieces: []millrace.Piece{{Topic: "a", Position: at, Attached: true}}}.String()
				var peers []*gatewaytest.Peer
				for i := range 60 {
					peers = append(peers, h.resume([]*gateway.Wire{h.wire, h.lead}[i%2], cursor))
					h.settle()
				}
				for _, leaves := range []int{0, 1, 30, 59} { // the one that asked first among them
					h.cut(peers[leaves])
				}
				release()
				h.settle()
				for i, p := range peers {
					if i == 0 || i == 1 || i == 30 || i == 59 {
						continue
					}
					p.CheckHead(h, "a")
					if n := len(p.Texts("a")); n != 199 {
						h.Errorf("peer %d got %d events of 199", i, n)
					}
				}
				before := h.broker.Reads()
				one := h.resume(h.wire, cursor)
				h.settle()
				one.CheckHead(h, "a")
				// As they go on they drift apart, the more so where a read takes no time, as here.
				if alone := h.broker.Reads() - before; before > 56*alone/4 {
					h.Errorf("the log was read %d times for 56 peers, %d times for one", before, alone)
				}
			})
		})
	}
}

func TestAReadThatNobodyWaitsForIsNotMade(t *testing.T) {
	in(t, gateway.Config{TailEvents: 2, Replays: 1}, func(h *house) {
		at := h.broker.Put("a", "0")
		h.broker.Put("a", texts(1, 20)...)
		h.broker.Put("b", texts(0, 10)...)
		release := h.broker.Hold()
		other := h.connect(h.seat(h.wire), openAt("b", millrace.Start{Kind: millrace.StartEarliest}))
		h.settle()
		cursor := millrace.Cursor{Pieces: []millrace.Piece{{Topic: "a", Position: at, Attached: true}}}.String()
		for range 3 {
			h.cut(h.resume(h.wire, cursor))
		}
		h.settle()
		release()
		h.settle()
		other.CheckHead(h, "b")
		if n := h.broker.Reads(); n > 2 {
			h.Errorf("the log was read %d times", n)
		}
		last := h.resume(h.wire, cursor) // joins none of those reads
		h.settle()
		last.CheckHead(h, "a")
	})
}

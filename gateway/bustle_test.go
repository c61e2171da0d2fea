package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// Sessions come and go, stall and are cut off while the members change and the broker has its faults. In the end everyone
// is right, and each was all the way.
func TestInAnyScheduleOfFaultsWhoLooksIsTold(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			c := gateway.Config{
				Loops: 1 + r.IntN(3), Slice: 1 + r.IntN(4), TailEvents: 2 + r.IntN(20), Replays: 1 + r.IntN(2),
				MaxListedMembers: 3 + r.IntN(20), Linger: time.Second,
			}
			in(t, c, func(h *house) { bustle(h, r) })
		})
	}
}

func bustle(h *house, r *rand.Rand) {
	other := h.broker.Beside()
	var peers []*gatewaytest.Peer
	topics := []string{"a", "b"}
	away := false
	for range 200 {
		topic := topics[r.IntN(2)]
		i := r.IntN(20)
		var p *gatewaytest.Peer
		if len(peers) > 0 {
			p = peers[r.IntN(len(peers))]
		}
		switch n := r.IntN(16); {
		case n < 3:
			crowd(h, other, millrace.MemberJoin, topic, i, i+1+r.IntN(5))
		case n < 5:
			crowd(h, other, millrace.MemberLeave, topic, i, i+1+r.IntN(5))
		case n < 8:
			seat := h.seat([]*gateway.Wire{h.wire, h.lead}[r.IntN(2)])
			seat.Bytes = 400 + r.IntN(3000)
			o := joining(topic)
			if r.IntN(2) == 0 {
				o = watching(topic)
				o.Topics = append(o.Topics, gateway.Subscribe{Topic: "b", Members: true})
			}
			peers = append(peers, h.connect(seat, o))
		case n < 9 && p != nil:
			peers = slices.DeleteFunc(peers, func(o *gatewaytest.Peer) bool { return o == p })
			h.cut(p)
		case n < 11 && p != nil:
			p.Stall()
		case n < 13 && p != nil:
			p.Flow()
		case n < 14:
			if away = !away; away {
				h.broker.Detach()
			} else {
				h.broker.Attach()
			}
		case n < 15:
			h.broker.Trim("$presence:"+topic, r.IntN(3))
		default:
			h.elapse(time.Duration(r.IntN(2000)) * time.Millisecond)
		}
	}
	if away {
		h.broker.Attach()
	}
	for _, p := range peers {
		p.Flow()
	}
	h.elapse(time.Minute)
	for _, topic := range topics {
		crowd(h, other, millrace.MemberJoin, topic, 100, 101)
	}
	h.elapse(time.Minute)
	for _, p := range peers {
		for _, topic := range topics {
			if slices.Contains(p.Topics(), topic) {
				h.sees(p, topic)
			}
		}
	}
}

package gateway_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// room is what a peer was told of a topic's members.
type room struct {
	members map[string]millrace.Member // nil while only the counts are told
	last    gateway.MemberChanges
	frames  int
	resets  int
}

// members adds up what the peer was told of a topic's members. Each frame must be one that follows on those before.
func (h *house) members(p *gatewaytest.Peer, topic string) *room {
	h.Helper()
	r := &room{}
	for _, c := range gatewaytest.Frames[gateway.MemberChanges](p) {
		if c.Topic != topic {
			continue
		}
		if err := r.apply(c); err != nil {
			h.Errorf("frame %d of %s, as of %s: %v", r.frames, topic, c.AsOf, err)
		}
	}
	return r
}

func (r *room) apply(c gateway.MemberChanges) error {
	r.last = c
	r.frames++
	switch {
	case c.CountOnly:
		r.members = nil
		return nil
	case c.Reset:
		r.members = map[string]millrace.Member{}
		r.resets++
	case r.members == nil:
		return fmt.Errorf("a change, but of what?")
	}
	for _, m := range c.Joined {
		if _, ok := r.members[m.Session]; ok {
			return fmt.Errorf("%s joins again", m.Session)
		}
		r.members[m.Session] = m
	}
	for _, m := range c.Updated {
		if _, ok := r.members[m.Session]; !ok {
			return fmt.Errorf("%s changes and is not there", m.Session)
		}
		r.members[m.Session] = m
	}
	for _, m := range c.Left {
		if _, ok := r.members[m.Session]; !ok {
			return fmt.Errorf("%s leaves and is not there", m.Session)
		}
		delete(r.members, m.Session)
	}
	if len(r.members) != c.Count {
		return fmt.Errorf("there are %d, not %d", len(r.members), c.Count)
	}
	return nil
}

// sees fails the test unless a peer has been told of exactly those who are in a topic.
func (h *house) sees(p *gatewaytest.Peer, topic string) *room {
	h.Helper()
	r := h.members(p, topic)
	want := h.broker.Roster(topic)
	if r.frames == 0 || r.last.Count != len(want) {
		h.Errorf("%d members were told in %d frames; there are %d", r.last.Count, r.frames, len(want))
	} else if !r.last.CountOnly && !slices.Equal(slices.Sorted(maps.Keys(r.members)), slices.Sorted(maps.Keys(want))) {
		h.Errorf("told %v\nwant %v", r.members, want)
	}
	return r
}

// joining opens a session that joins a topic and wants to be told of the others.
func joining(topic string) gateway.Opening {
	o := open()
	o.Joins = []gateway.Join{{Subscribe: gateway.Subscribe{Topic: topic, Members: true}, Data: []byte(`{"n":1}`)}}
	return o
}

// watching opens a session that is told of a topic's members and is none.
func watching(topic string) gateway.Opening {
	o := open()
	o.Topics = []gateway.Subscribe{{Topic: topic, Members: true}}
	return o
}

// crowd makes sessions of another gateway members, or lets them leave.
func crowd(h *house, end *gatewaytest.Broker, kind millrace.MemberChangeKind, topic string, from, to int) {
	h.Helper()
	for i := from; i < to; i++ {
		c := millrace.MemberChange{Kind: kind, Topic: topic, Generation: 1, Member: millrace.Member{Session: "crowd" + strconv.Itoa(i), Subject: "u" + strconv.Itoa(i%7)}}
		if _, err := end.Enroll(context.Background(), []millrace.MemberChange{c}); err != nil {
			h.Fatal(err)
		}
	}
}

func TestEveryoneInATopicIsToldOfEveryoneOnAnyWire(t *testing.T) {
	in(t, gateway.Config{Loops: 3, Slice: 3}, func(h *house) {
		var peers []*gatewaytest.Peer
		for i := range 40 {
			w := []*gateway.Wire{h.wire, h.lead}[i%2]
			peers = append(peers, h.connect(h.seat(w), joining("room:1")))
			if i%10 == 0 {
				peers = append(peers, h.connect(h.seat(w), watching("room:1")))
				h.elapse(time.Second)
			}
		}
		h.elapse(time.Second)
		for _, p := range peers {
			if r := h.sees(p, "room:1"); r.resets != 1 || !r.last.Reset && r.frames == 1 {
				t.Errorf("%d resets in %d frames", r.resets, r.frames)
			}
		}
		for _, p := range peers[:10] {
			h.cut(p)
		}
		h.elapse(time.Minute)
		for _, p := range peers[10:] {
			if r := h.sees(p, "room:1"); r.resets != 1 {
				t.Errorf("%d resets", r.resets)
			}
		}
	})
}

// Whoever leaves is told nothing more of those who stay.
func TestWhoNoLongerLooksIsToldNothing(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		stays, leaves := h.connect(h.seat(w), joining("a")), h.connect(h.seat(w), joining("a"))
		h.elapse(time.Second)
		leaves.Session.Do(h.Context(), 1, gateway.Leave{Topic: "a"})
		h.elapse(time.Second)
		before := h.members(leaves, "a").frames
		crowd(h, h.broker.Beside(), millrace.MemberJoin, "a", 0, 3)
		h.elapse(time.Second)
		h.sees(stays, "a")
		if n := h.members(leaves, "a").frames; n != before {
			t.Errorf("%d frames", n-before)
		}
		leaves.Session.Do(h.Context(), 2, gateway.Join{Subscribe: gateway.Subscribe{Topic: "a", Members: true}})
		h.elapse(time.Second)
		if r := h.members(leaves, "a"); r.resets != 2 {
			t.Errorf("%d resets", r.resets)
		}
		h.sees(leaves, "a")
	})
}

func TestAPeerThatDoesNotReadDelaysNobodyAndIsBroughtUpToDate(t *testing.T) {
	wires(t, gateway.Config{Slice: 2}, func(h *house, w *gateway.Wire) {
		other := h.broker.Beside()
		var slow []*gatewaytest.Peer
		for range 5 {
			seat := h.seat(w)
			seat.Bytes = 700
			slow = append(slow, h.connect(seat, watching("a")))
		}
		quick := h.connect(h.seat(w), watching("a"))
		h.elapse(time.Second)
		for i, p := range slow {
			h.sees(p, "a")
			if i < 4 {
				p.Stall()
			}
		}
		for i := range 100 {
			crowd(h, other, millrace.MemberJoin, "a", i, i+1)
			if i%10 == 9 {
				h.elapse(time.Second)
				if h.sees(quick, "a"); i == 19 {
					slow[0].Flow() // within what is kept of the editions
					h.settle()
					if r := h.sees(slow[0], "a"); r.resets != 1 {
						t.Errorf("%d resets", r.resets)
					}
				}
			}
		}
		for _, p := range slow {
			p.Flow()
		}
		h.elapse(time.Second)
		for _, p := range slow {
			h.sees(p, "a")
			if n := p.Most(); n > 20_000 {
				t.Errorf("%d bytes waited for the peer at once", n)
			}
		}
	})
}

func TestOfATopicWithThousandsOnlyTheCountsAreTold(t *testing.T) {
	wires(t, gateway.Config{MaxListedMembers: 1000}, func(h *house, w *gateway.Wire) {
		other := h.broker.Beside()
		crowd(h, other, millrace.MemberJoin, "a", 0, 900)
		early := h.connect(h.seat(w), joining("a"))
		h.elapse(time.Second)
		if r := h.sees(early, "a"); len(r.members) != 901 {
			t.Errorf("%d are told", len(r.members))
		}
		for i := 900; i < 2000; i += 100 {
			crowd(h, other, millrace.MemberJoin, "a", i, i+100)
			h.elapse(100 * time.Millisecond)
		}
		late := h.connect(h.seat(w), joining("a"))
		h.elapse(2 * time.Second)
		for _, p := range []*gatewaytest.Peer{early, late} {
			if r := h.sees(p, "a"); !r.last.CountOnly || r.last.Subjects != 8 {
				t.Errorf("told %+v", r.last)
			}
		}
		crowd(h, other, millrace.MemberLeave, "a", 500, 2000)
		h.elapse(2 * time.Second)
		for _, p := range []*gatewaytest.Peer{early, late} {
			if r := h.sees(p, "a"); len(r.members) != 502 {
				t.Errorf("%d are told", len(r.members))
			}
		}
	})
}

func TestABrokerThatLosesItsMembersIsNotSeenByWhoLooks(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		other := h.broker.Beside()
		crowd(h, other, millrace.MemberJoin, "a", 0, 20)
		p, looks := h.connect(h.seat(w), joining("a")), h.connect(h.seat(w), watching("a"))
		h.elapse(time.Second)
		before := h.sees(looks, "a").frames
		h.broker.Detach()
		other.Detach()
		h.settle()
		h.broker.Expire()
		other.Expire()
		h.broker.Reset("$presence:a")
		h.elapse(time.Minute)
		h.broker.Attach()
		h.elapse(500 * time.Millisecond)
		other.Attach()
		h.elapse(time.Minute)
		if n := h.sees(looks, "a").frames - before; n != 0 {
			t.Errorf("told %d frames", n)
		}
		crowd(h, other, millrace.MemberJoin, "a", 20, 21)
		h.elapse(time.Second)
		h.sees(p, "a")
		if n := h.sees(looks, "a").frames - before; n != 1 {
			t.Errorf("told %d frames", n)
		}
	})
}

func TestAGapInTheLifecycleLogIsToldAsTheDifference(t *testing.T) {
	wires(t, gateway.Config{TailEvents: 4}, func(h *house, w *gateway.Wire) {
		other := h.broker.Beside()
		crowd(h, other, millrace.MemberJoin, "a", 0, 20)
		p := h.connect(h.seat(w), watching("a"))
		h.elapse(time.Second)
		h.broker.Detach()
		h.settle()
		crowd(h, other, millrace.MemberLeave, "a", 0, 5)
		crowd(h, other, millrace.MemberJoin, "a", 20, 40)
		h.broker.Trim("$presence:a", 2)
		h.broker.Attach()
		h.elapse(time.Second)
		if r := h.sees(p, "a"); r.frames != 2 || r.resets != 1 || len(r.last.Joined) != 20 || len(r.last.Left) != 5 {
			t.Errorf("told %d frames, the last %+v", r.frames, r.last)
		}
	})
}

func TestWhoGoesWhileTheOthersAreBeingToldTakesNobodysTurn(t *testing.T) {
	wires(t, gateway.Config{Loops: 1, Slice: 1}, func(h *house, w *gateway.Wire) {
		for gone := range 8 {
			topic := "a:" + strconv.Itoa(gone)
			var peers []*gatewaytest.Peer
			armed := false
			for range 8 {
				seat := h.seat(w)
				seat.OnTry = func() {
					if armed { // whoever is told first
						armed = false
						peers[gone].Session.End(nil)
					}
				}
				peers = append(peers, h.connect(seat, watching(topic)))
			}
			h.elapse(time.Second)
			other := h.broker.Beside()
			for i := range 3 {
				armed = i == 0
				crowd(h, other, millrace.MemberJoin, topic, i, i+1)
				h.elapse(time.Second)
				for j, p := range peers {
					if j != gone {
						h.sees(p, topic)
					}
				}
			}
		}
	})
}

// The list of all live sessions is its own lifecycle log.
func TestTheLiveSessionsCanBeLookedAtLikeAnyTopic(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		o := watching(millrace.SessionsTopic)
		o.Grant = &millrace.Grant{Subject: "operator", Rules: []millrace.Rule{{Pattern: "$sessions", Actions: millrace.ActionAll}}}
		p := h.connect(h.seat(w), o)
		h.elapse(time.Second)
		h.sees(p, millrace.SessionsTopic)
		others := []*gatewaytest.Peer{h.join(w, "a"), h.join(w, "a")}
		h.elapse(time.Second)
		if r := h.sees(p, millrace.SessionsTopic); r.last.Count != 3 || r.resets != 1 {
			t.Errorf("told %+v", r.last)
		}
		others[0].Session.Closed()
		h.elapse(time.Second)
		if r := h.sees(p, millrace.SessionsTopic); r.last.Count != 2 {
			t.Errorf("told %+v", r.last)
		}
	})
}

package gateway_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

const cursors = "ephemeral:cursors"

// docs/delivery.md 3.1
func TestAnEphemeralTopicGoesToThoseWhoAreThere(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Put(cursors, "before")
		p := h.connect(h.seat(w), openAt(cursors, millrace.Start{Kind: millrace.StartEarliest}))
		h.settle()
		told := gatewaytest.Frames[gateway.Subscribed](p)
		if len(told) != 1 || told[0].Class != millrace.ClassEphemeral || told[0].HasPosition() {
			h.Errorf("told %+v", told)
		}
		ack, ok := do(h, p, 1, text(cursors, "own")).(*gateway.Published)
		if !ok || !ack.Ack.Position.IsZero() {
			h.Errorf("acked %+v", ack)
		}
		h.broker.Put(cursors, texts(0, 3)...)
		h.settle()
		if got := p.Texts(cursors); !slices.Equal(got, []string{"own", "0", "1", "2"}) {
			h.Errorf("got %q", got)
		}
		h.cut(p)
		h.broker.Put(cursors, "nobody sees it")
		h.settle()
		q := h.resume(w, p.Cursor())
		h.settle()
		h.broker.Put(cursors, "again")
		h.settle()
		if got := q.Texts(cursors); !slices.Equal(got, []string{"again"}) {
			h.Errorf("the next connection got %q", got)
		}
		if r := reasonOf(do(h, q, 2, gateway.ReadHistory{Topic: cursors})); r != millrace.ReasonUnsupported {
			h.Errorf("its history: %q", r)
		}
	})
}

// docs/delivery.md 3.2
func TestASlowPeerIsToldExactlyHowManyEphemeralEventsItDidNotGet(t *testing.T) {
	for name, c := range map[string]gateway.Config{"a long tail": {}, "a tail of two": {TailEvents: 2, BatchBytes: 1}, "in slices": {Slice: 2, Loops: 2}} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				var slow []*gatewaytest.Peer
				for range 5 {
					seat := h.seat(w)
					seat.Bytes = 400
					slow = append(slow, h.connect(seat, open(cursors)))
				}
				quick := h.join(w, cursors)
				h.settle()
				for round := range 3 {
					for _, p := range slow {
						p.Stall()
					}
					for i := range 100 {
						h.broker.Put(cursors, fmt.Sprint(round, i))
						h.settle()
					}
					for _, p := range slow {
						p.Flow()
					}
					h.settle()
				}
				if n := len(quick.Texts(cursors)); n != 300 || len(quick.Gaps(cursors)) > 0 {
					h.Errorf("the quick peer got %d events of 300", n)
				}
				for _, p := range slow {
					p.CheckLast(h, cursors)
					n := uint64(len(p.Texts(cursors)))
					for _, g := range p.Gaps(cursors) {
						if g.Cause != millrace.CauseSlow || g.Count == 0 || g.After != g.Until {
							h.Errorf("gap %+v", g)
						}
						n += g.Count
					}
					if n != 300 {
						h.Errorf("%d events of 300 were delivered or told", n)
					}
				}
			})
		})
	}
}

// docs/delivery.md 3.2
func TestWhatALoopIsTooSlowForIsCounted(t *testing.T) {
	wires(t, gateway.Config{Loops: 1, TailEvents: 4, BatchBytes: 1}, func(h *house, w *gateway.Wire) {
		p := h.join(w, cursors)
		h.settle()
		h.broker.Put(cursors, texts(0, 100)...) // at once
		h.settle()
		p.CheckLast(h, cursors)
		n := uint64(len(p.Texts(cursors)))
		for _, g := range p.Gaps(cursors) {
			n += g.Count
		}
		if n != 100 {
			h.Errorf("%d events of 100 were delivered or told", n)
		}
	})
}

// docs/delivery.md 3.3
func TestAfterAnOutageAnEphemeralTopicSaysThatEventsMayBeMissing(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, cursors)
		h.settle()
		h.broker.Put(cursors, "1")
		h.settle()
		h.broker.Detach()
		h.broker.Put(cursors, "lost")
		h.broker.Attach()
		h.broker.Put(cursors, "2")
		h.settle()
		gaps := p.Gaps(cursors)
		if len(gaps) != 1 || gaps[0].Cause != millrace.CauseReset || gaps[0].Count != 0 {
			h.Errorf("gaps %v", gaps)
		}
		if got := p.Texts(cursors); !slices.Equal(got, []string{"1", "2"}) {
			h.Errorf("got %q", got)
		}
		h.broker.Lose(cursors, 3)
		h.broker.Put(cursors, texts(3, 8)...)
		h.settle()
		if gaps := p.Gaps(cursors); len(gaps) != 2 || gaps[1].Cause != millrace.CauseSlow || gaps[1].Count != 3 {
			h.Errorf("gaps %v", gaps)
		}
	})
}

func TestAFilterAndAnEchoHoldInClassEphemeral(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.connect(h.seat(w), filtered(h, cursors, `name == "yes"`))
		h.settle()
		h.named(cursors, "no", "0", "1")
		h.named(cursors, "yes", "2")
		own := text(cursors, "own")
		own.Publish.Event.NoEcho, own.Publish.Event.Name = true, "yes"
		do(h, p, 1, own)
		h.named(cursors, "yes", "3")
		h.elapse(2 * time.Second)
		if got := p.Texts(cursors); !slices.Equal(got, []string{"2", "3"}) || len(gatewaytest.Frames[gateway.Advanced](p)) > 0 {
			h.Errorf("got %q", got)
		}
	})
}

// docs/delivery.md 3.2
func TestWhoeverComesInTheMidstOfAPassHasMissedNothingOfIt(t *testing.T) {
	for _, rate := range []float64{0, 10} {
		wires(t, gateway.Config{Loops: 1, Slice: 1}, func(h *house, w *gateway.Wire) {
			var newcomer *gatewaytest.Peer
			onTry := func() {}
			for range 5 {
				seat := h.seat(w)
				seat.OnTry = func() { onTry() }
				h.connect(seat, open(cursors))
			}
			h.settle()
			onTry = func() { // on the loop
				if newcomer == nil {
					newcomer = h.paced(w, cursors, rate)
				}
			}
			h.broker.Lose(cursors, 1)
			h.broker.Put(cursors, texts(0, 4)...)
			h.settle()
			h.broker.Put(cursors, "next")
			h.elapse(time.Second)
			if got := newcomer.Texts(cursors); len(newcomer.Gaps(cursors)) > 0 || len(got) == 0 || got[len(got)-1] != "next" {
				h.Errorf("at rate %g: gaps %v, events %q", rate, newcomer.Gaps(cursors), got)
			}
		})
	}
}

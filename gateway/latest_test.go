package gateway_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

const prices = "latest:prices"

// keyed returns what the peer holds of a topic of class latest: the newest data of each key that is not gone.
func keyed(p *gatewaytest.Peer, topic string) map[string]string {
	state := map[string]string{}
	for _, l := range p.Lines() {
		switch {
		case l.Gap != nil && l.Gap.Topic == topic:
			clear(state)
		case l.Event == nil || l.Event.Topic != topic:
		case len(l.Event.Data) == 0:
			delete(state, l.Event.Key)
		default:
			state[l.Event.Key] = string(l.Event.Data)
		}
	}
	return state
}

// passedOver returns how many events the peer was told were conflated.
func passedOver(p *gatewaytest.Peer, topic string) uint64 {
	var n uint64
	for _, f := range gatewaytest.Frames[gateway.Advanced](p) {
		if f.Topic == topic {
			n += f.Conflated
		}
	}
	return n
}

// docs/delivery.md 2.1
func TestAStateBeginsWithTheNewestOfEachKeyAndGoesOnWithTheChanges(t *testing.T) {
	for name, c := range map[string]gateway.Config{"in one page": {}, "in pages of one": {BatchBytes: 1, TailEvents: 2}} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				for i := range 20 {
					h.broker.Set(prices, fmt.Sprint("k", i%4), fmt.Sprint(i))
				}
				h.broker.Delete(prices, "k1")
				p, now := h.join(w, prices), h.connect(h.seat(w), openAt(prices, millrace.Start{Kind: millrace.StartNow}))
				h.settle()
				told := gatewaytest.Frames[gateway.Subscribed](p)
				if len(told) != 1 || told[0].Class != millrace.ClassLatest || told[0].Pending {
					h.Errorf("told %+v", told)
				}
				want := []string{"16", "18", "19", ""}
				if got := p.Texts(prices); !slices.Equal(got, want) {
					h.Errorf("the state is %q, want %q", got, want)
				}
				h.broker.Set(prices, "k1", "20", "21")
				h.settle()
				p.CheckHead(h, prices)
				now.CheckHead(h, prices)
				if got := now.Texts(prices); !slices.Equal(got, []string{"20", "21"}) {
					h.Errorf("from now on came %q", got)
				}
				if got := p.Texts(prices); !slices.Equal(got, append(want, "20", "21")) {
					h.Errorf("with the changes came %q", got)
				}
			})
		})
	}
}

// docs/delivery.md 2.2
func TestASlowPeerGetsOnlyTheNewestOfEachKeyAndHowManyOlderOnesWereLeftOut(t *testing.T) {
	for name, c := range map[string]gateway.Config{"from the tail": {}, "from the log": {TailEvents: 8}} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				seat := h.seat(w)
				seat.Bytes = 300
				slow, quick := h.connect(seat, open(prices)), h.join(w, prices)
				h.settle()
				slow.Stall()
				for i := range 200 {
					h.broker.Set(prices, fmt.Sprint("k", i%5), fmt.Sprint(i))
					h.settle()
				}
				slow.Flow()
				h.settle()
				for _, p := range []*gatewaytest.Peer{slow, quick} {
					p.CheckHead(h, prices)
				}
				got, told := len(slow.Texts(prices)), passedOver(slow, prices)
				if uint64(got)+told != 200 || got > 50 {
					h.Errorf("the slow peer got %d events and was told of %d conflated; want 200 in all, most of them conflated", got, told)
				}
				if n := len(quick.Texts(prices)); n != 200 || passedOver(quick, prices) > 0 {
					h.Errorf("the quick peer got %d events of 200", n)
				}
				if got, want := keyed(slow, prices), keyed(quick, prices); fmt.Sprint(got) != fmt.Sprint(want) {
					h.Errorf("the slow peer holds %v, the quick one %v", got, want)
				}
			})
		})
	}
}

// docs/delivery.md 2.3
func TestWhatWasConflatedOnTheWayToTheGatewayIsToldBeforeTheEventThatFollows(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, prices)
		h.settle()
		h.broker.Set(prices, "a", "0")
		h.broker.Detach()
		for i := range 9 {
			h.broker.Set(prices, "a", fmt.Sprint(i))
		}
		h.broker.Set(prices, "b", "9")
		h.broker.Attach()
		h.settle()
		h.broker.Set(prices, "a", "10")
		h.settle()
		p.CheckHead(h, prices)
		if got := p.Texts(prices); !slices.Equal(got, []string{"0", "8", "9", "10"}) || passedOver(p, prices) != 8 {
			h.Errorf("got %q and %d conflated", got, passedOver(p, prices))
		}
	})
}

// docs/delivery.md 2.4
func TestAStateThatLostAKeyBeginsAnew(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Set(prices, "gone", "1")
		p := h.join(w, prices)
		h.settle()
		h.cut(p)
		h.elapse(time.Minute)
		for i := range 6 {
			h.broker.Set(prices, fmt.Sprint("k", i%3), fmt.Sprint(i))
		}
		h.broker.Trim(prices, 3)
		h.broker.Set(prices, "last", "7")
		h.broker.Trim(prices, 3)
		q := h.resume(w, p.Cursor())
		h.settle()
		q.CheckHead(h, prices)
		if gaps := q.Gaps(prices); len(gaps) != 1 || gaps[0].Cause != millrace.CauseTrimmed {
			h.Errorf("gaps %v", gaps)
		}
		if got := keyed(q, prices); fmt.Sprint(got) != "map[k1:4 k2:5 last:7]" {
			h.Errorf("the state is %v", got)
		}
	})
}

// Every third peer has a filter, every third wants a rate.
func TestAttachingToAStateAtFullSpeedMissesNoKey(t *testing.T) {
	wires(t, gateway.Config{Loops: 2, TailEvents: 16, BatchBytes: 2000, Slice: 3}, func(h *house, w *gateway.Wire) {
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					for j := range 7 {
						h.broker.Set(prices, fmt.Sprint("k", (i*j)%23), fmt.Sprint(i, j))
					}
				}
			}
		}()
		var peers []*gatewaytest.Peer
		odd := filter(h, `key in ("k1", "k3", "k5")`)
		for i := range 300 {
			o := open(prices)
			o.Topics[0].Filter = []*millrace.Filter{nil, odd, nil}[i%3]
			o.Topics[0].MaxRate = []float64{0, 0, 500}[i%3]
			peers = append(peers, h.connect(h.seat(w), o))
			<-time.After(time.Millisecond / 2)
		}
		close(stop)
		<-stopped
		h.elapse(5 * time.Second)
		whole := keyed(peers[0], prices)
		some := maps.Clone(whole)
		maps.DeleteFunc(some, func(key, _ string) bool { return !slices.Contains([]string{"k1", "k3", "k5"}, key) })
		for i, p := range peers {
			p.CheckHead(h, prices)
			want := []map[string]string{whole, some, whole}[i%3]
			if got := keyed(p, prices); !maps.Equal(got, want) || len(got) < 3 {
				h.Errorf("peer %d holds %v, want %v", i, got, want)
			}
		}
	})
}

// docs/delivery.md 1.5, 2.4. The former lineage had let go of more than the new one has.
func TestWhatALostLogHadLetGoOfExcusesNothingInTheNextOne(t *testing.T) {
	for name, slow := range map[string]func(h *house, p *gatewaytest.Peer) (done func()){
		"a peer that stalls": func(_ *house, p *gatewaytest.Peer) func() { p.Stall(); return p.Flow },
		"a gateway that falls behind": func(h *house, _ *gatewaytest.Peer) func() {
			h.broker.Detach()
			return h.broker.Attach
		},
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, gateway.Config{Loops: 1, TailEvents: 2}, func(h *house, w *gateway.Wire) {
				seat := h.seat(w)
				seat.Bytes = 300
				p := h.connect(seat, open(prices))
				h.settle()
				behind := func(keys ...string) {
					done := slow(h, p)
					for _, k := range keys {
						h.broker.Set(prices, k, "of "+k)
						if name == "a peer that stalls" {
							h.settle()
						}
					}
					h.broker.Trim(prices, 3)
					done()
					h.settle()
				}
				behind(texts(0, 50)...) // and the log is read when much was lost
				before := len(p.Gaps(prices))
				h.broker.Reset(prices)
				for _, k := range []string{"a", "b", "c"} {
					h.broker.Set(prices, k, "of "+k)
					h.settle()
				}
				if gaps := p.Gaps(prices); len(gaps) != before+1 || gaps[before].Cause != millrace.CauseReset {
					h.Fatalf("gaps %v", gaps)
				}
				behind(texts(100, 120)...)
				h.broker.Set(prices, "last", "1")
				h.settle()
				p.CheckHead(h, prices)
				gaps := p.Gaps(prices)
				if last := gaps[len(gaps)-1]; last.Cause != millrace.CauseTrimmed {
					h.Errorf("gaps %v", gaps)
				}
				if got := fmt.Sprint(keyed(p, prices)); got != "map[117:of 117 118:of 118 119:of 119 last:1]" {
					h.Errorf("the state is %s", got)
				}
			})
		})
	}
}

// docs/delivery.md 2.4
func TestAStateInPagesIsWholeWhereAKeyWasLetGoOfBefore(t *testing.T) {
	wires(t, gateway.Config{BatchBytes: 1, TailEvents: 2}, func(h *house, w *gateway.Wire) {
		for _, k := range texts(0, 10) {
			h.broker.Set(prices, k, k)
		}
		h.broker.LetGo(prices, "7")
		p := h.join(w, prices)
		h.settle()
		p.CheckHead(h, prices)
		if gaps := p.Gaps(prices); len(gaps) > 0 || len(keyed(p, prices)) != 9 {
			h.Errorf("gaps %v, %v", gaps, keyed(p, prices))
		}
	})
}

// docs/delivery.md 2.4
func TestAGapThatAFullSocketKeepsBackIsToldLater(t *testing.T) {
	wires(t, gateway.Config{TailEvents: 2}, func(h *house, w *gateway.Wire) {
		for _, k := range texts(0, 10) {
			h.broker.Set(prices, k, k)
		}
		seat := h.seat(w)
		seat.Bytes = 2000
		first := h.join(w, prices)
		h.settle()
		h.cut(first)
		for _, k := range texts(10, 20) {
			h.broker.Set(prices, k, k)
		}
		h.broker.Trim(prices, 3)
		release := h.broker.Hold()
		p := h.connect(seat, gateway.Opening{Grant: everything("alice"), Cursor: first.Cursor()})
		h.settle()
		do(h, p, 1, gateway.Subscribe{Topic: "a"})
		p.Stall()
		h.broker.Put("a", strings.Repeat("x", 5000)) // which fills the socket while the log is read
		h.settle()
		release()
		h.settle()
		p.Flow()
		h.settle()
		p.CheckHead(h, prices)
		if gaps := p.Gaps(prices); len(gaps) != 1 || gaps[0].Cause != millrace.CauseTrimmed {
			h.Errorf("gaps %v", gaps)
		}
	})
}

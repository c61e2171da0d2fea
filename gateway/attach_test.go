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

func TestTheFirstFrameIsConnectedWithSessionAndSubject(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "chat:1")
		h.settle()
		lines := p.Lines()
		c, ok := lines[0].Frame.(*gateway.Connected)
		if !ok || c.Session != p.Session.ID() || c.Subject != "alice" || c.Resumed || c.Prefix == "" || c.PingInterval != w.PingInterval {
			h.Errorf("first frame is %+v", lines[0].Frame)
		}
		s, ok := lines[1].Frame.(*gateway.Subscribed)
		if !ok || s.Topic != "chat:1" || s.Pending {
			h.Errorf("second frame is %+v", lines[1].Frame)
		}
	})
}

func TestEventsReachEverySessionInOrderOnce(t *testing.T) {
	wires(t, gateway.Config{Loops: 2, Slice: 3}, func(h *house, w *gateway.Wire) {
		var peers []*gatewaytest.Peer
		for range 20 {
			peers = append(peers, h.join(w, "a", "b"))
		}
		h.settle()
		for i := range 50 {
			h.broker.Put([]string{"a", "b"}[i%2], fmt.Sprint(i))
		}
		h.settle()
		for _, p := range peers {
			p.CheckHead(h, "a")
			p.CheckHead(h, "b")
			if n := len(p.Texts("a")); n != 25 {
				h.Errorf("%d events of 25", n)
			}
		}
	})
}

func TestAttachingWhilePublishingMeetsTheLiveEventsWithoutHoleOrRepeat(t *testing.T) {
	const attaches = 1000
	for name, c := range map[string]gateway.Config{
		"a tail that reaches back": {Loops: 2},
		"a tail of two events":     {Loops: 2, TailEvents: 2, Slice: 7, BatchBytes: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				stop := make(chan struct{})
				stopped := make(chan struct{})
				go func() {
					defer close(stopped)
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
							h.broker.Put("a", fmt.Sprint(i), "and")
							h.broker.Trim("a", 100)
						}
					}
				}()
				starts := []millrace.Start{{}, {Kind: millrace.StartEarliest}, {Kind: millrace.StartLast, Count: 7}, {Kind: millrace.StartSince, Since: time.Now()}}
				var standing []*gatewaytest.Peer
				for i := range attaches {
					start := starts[i%len(starts)]
					if i%5 == 4 {
						start = millrace.After(h.broker.Head("a"))
					}
					standing = append(standing, h.connect(h.seat(w), openAt("a", start)))
					if i%3 == 0 {
						<-time.After(time.Millisecond / 2)
					}
					if len(standing) > 40 {
						standing[0].Session.End(nil)
						standing = standing[1:]
					}
				}
				close(stop)
				<-stopped
				h.settle()
				for _, p := range standing {
					p.CheckHead(h, "a")
					if gaps := p.Gaps("a"); len(gaps) > 0 {
						h.Errorf("gaps %v in a log that kept everything since the attach", gaps)
					}
				}
			})
		})
	}
}

func TestStartsBeginWhereTheySay(t *testing.T) {
	wires(t, gateway.Config{TailEvents: 2}, func(h *house, w *gateway.Wire) {
		for i := range 10 {
			h.broker.Put("a", fmt.Sprint(i))
			h.elapse(time.Second)
		}
		want := map[string]struct {
			start millrace.Start
			texts []string
		}{
			"now":      {millrace.Start{}, nil},
			"earliest": {millrace.Start{Kind: millrace.StartEarliest}, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
			"last":     {millrace.Start{Kind: millrace.StartLast, Count: 3}, []string{"7", "8", "9"}},
			"since":    {millrace.Start{Kind: millrace.StartSince, Since: time.Now().Add(-2500 * time.Millisecond)}, []string{"8", "9"}},
			"after 0":  {millrace.After(millrace.Position{}), []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
			"nothing":  {millrace.Start{Kind: millrace.StartLast}, nil},
		}
		for name, c := range want {
			p := h.connect(h.seat(w), openAt("a", c.start))
			h.settle()
			p.CheckHead(h, "a")
			if got := p.Texts("a"); !slices.Equal(got, c.texts) {
				h.Errorf("%s: got %q, want %q", name, got, c.texts)
			}
		}
	})
}

func TestATopicThatWasNeverPublishedToBeginsAtZeroAndIsWhole(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "new")
		h.settle()
		if pos, attached := p.Position("new"); !attached || !pos.IsZero() {
			h.Errorf("at %s, attached %v", pos, attached)
		}
		cursor := p.Cursor()
		h.broker.Put("new", "1", "2")
		h.settle()
		q := h.resume(w, cursor)
		h.settle()
		for _, p := range []*gatewaytest.Peer{p, q} {
			p.CheckHead(h, "new")
			if got := p.Texts("new"); len(got) != 2 {
				h.Errorf("got %q", got)
			}
		}
	})
}

func TestSubscribingWhileTheBrokerIsAwayIsPendingThenAttached(t *testing.T) {
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("topic known %v", known), func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				h.broker.Put("a", "old")
				if known {
					h.join(w, "a")
					h.settle()
				}
				h.broker.Detach()
				h.settle()
				p := h.join(w, "a")
				h.elapse(3 * time.Second)
				told := gatewaytest.Frames[gateway.Subscribed](p)
				if len(told) != 1 || !told[0].Pending || !told[0].Position.IsZero() {
					h.Fatalf("told %+v, want pending once", told)
				}
				c, err := millrace.ParseCursor(p.Cursor())
				if err != nil {
					h.Fatal(err)
				}
				if len(c.Pieces) != 1 || c.Pieces[0].Attached {
					h.Errorf("cursor %q has a position for a pending topic", p.Cursor())
				}
				h.broker.Attach()
				h.settle()
				h.broker.Put("a", "live")
				h.settle()
				p.CheckHead(h, "a")
				if got := p.Texts("a"); !slices.Equal(got, []string{"live"}) {
					h.Errorf("got %q", got)
				}
				if told := gatewaytest.Frames[gateway.Subscribed](p); len(told) != 2 || told[1].Pending {
					h.Errorf("told %+v, want pending, then attached", told)
				}
			})
		})
	}
}

func TestASessionThatResumesWhileTheBrokerIsAwayKeepsItsPlace(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		first := h.join(w, "a", "b")
		h.settle()
		h.broker.Put("a", "1")
		h.settle()
		h.cut(first)
		h.elapse(time.Minute) // the topics are let go of
		h.broker.Detach()
		second := h.resume(w, first.Cursor())
		h.elapse(2 * time.Second)
		h.cut(second)
		h.broker.Put("a", "2")
		third := h.resume(w, second.Cursor())
		h.elapse(2 * time.Second)
		h.broker.Put("b", "3")
		h.broker.Attach()
		h.settle()
		third.CheckHead(h, "a")
		third.CheckHead(h, "b")
		if a, b := third.Texts("a"), third.Texts("b"); !slices.Equal(a, []string{"2"}) || !slices.Equal(b, []string{"3"}) {
			h.Errorf("got %q and %q", a, b)
		}
	})
}

func TestASessionThatWasCutBeforeItAttachedStillBeginsWhereItAskedTo(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Put("a", "1", "2")
		h.broker.Detach()
		o := openAt("a", millrace.Start{Kind: millrace.StartEarliest})
		first := h.connect(h.seat(w), o)
		h.elapse(2 * time.Second)
		h.cut(first)
		h.broker.Attach()
		o.Cursor = first.Cursor()
		if c, err := millrace.ParseCursor(o.Cursor); err != nil || len(c.Pieces) != 1 || c.Pieces[0].Attached {
			h.Fatalf("cursor %q: want the topic without a position", o.Cursor)
		}
		second := h.connect(h.seat(w), o)
		h.settle()
		if got := second.Texts("a"); !slices.Equal(got, []string{"1", "2"}) {
			h.Errorf("got %q", got)
		}
	})
}

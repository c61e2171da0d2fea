package gateway_test

import (
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// docs/delivery.md 5.2
func TestATopicThatIsUnsubscribedFromGoesOnForThePatternThatCoversIt(t *testing.T) {
	for name, begin := range map[string]func(h *house, w *gateway.Wire) *gatewaytest.Peer{
		"asked for before the pattern": func(h *house, w *gateway.Wire) *gatewaytest.Peer {
			h.broker.Put("chat:1", "before")
			return h.join(w, "chat:1", "chat:*")
		},
		"asked for under the pattern": func(h *house, w *gateway.Wire) *gatewaytest.Peer {
			h.broker.Put("chat:1", "before")
			p := h.join(w, "chat:*")
			h.settle()
			do(h, p, 1, gateway.Subscribe{Topic: "chat:1"})
			return p
		},
		"with a start and options of its own": func(h *house, w *gateway.Wire) *gatewaytest.Peer {
			h.broker.Put("chat:1", "before")
			o := open("chat:*", "chat:1")
			o.Topics[0].Start = millrace.Start{Kind: millrace.StartEarliest}
			o.Topics[1].Filter = filter(h, `name != "no"`)
			return h.connect(h.seat(w), o)
		},
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				p := begin(h, w)
				h.settle()
				h.broker.Put("chat:1", "1")
				h.settle()
				at := h.broker.Head("chat:1")
				f, ok := do(h, p, 2, gateway.Unsubscribe{Topic: "chat:1"}).(*gateway.Subscribed)
				if !ok || f.Topic != "chat:1" || f.Pattern != "chat:*" || f.Position != at {
					h.Errorf("answered %+v", f)
				}
				h.broker.Put("chat:1", "2")
				h.settle()
				h.holds(p, "chat:*: chat:1:chat:*")
				p.CheckHead(h, "chat:1")
				h.cut(p)
				h.broker.Put("chat:1", "3")
				q := h.resume(w, p.Cursor())
				h.settle()
				q.CheckHead(h, "chat:1")
				if got := slices.Concat(p.Texts("chat:1"), q.Texts("chat:1")); !slices.Equal(got, []string{"1", "2", "3"}) {
					h.Errorf("got %q", got)
				}
				if r := reasonOf(do(h, q, 1, gateway.Unsubscribe{Topic: "chat:1"})); r != millrace.ReasonConflict {
					h.Errorf("unsubscribing what is held for a pattern: %q", r)
				}
			})
		})
	}
}

// docs/delivery.md 5.2
func TestAPatternEndsWithATopicOfItThatTheBrokerRefuses(t *testing.T) {
	for name, topics := range map[string][]string{
		"held for it":     {"chat:*", "chat:**", "other:*"},
		"held for itself": {"chat:1", "chat:*", "chat:**", "other:*"},
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, gateway.Config{Linger: time.Second}, func(h *house, w *gateway.Wire) {
				p := h.join(w, topics...)
				h.settle()
				h.broker.Put("chat:1", "1")
				h.broker.Put("chat:2", "1")
				h.settle()
				h.broker.Deny("chat:1", millrace.Errorf(millrace.ReasonUnavailable, "for a moment"))
				h.settle()
				h.broker.Deny("chat:1", nil)
				h.elapse(5 * time.Second)
				h.broker.Put("chat:1", "2")
				h.broker.Put("chat:2", "2")
				h.settle()
				h.holds(p, "chat:2: other:*:")
				p.CheckHead(h, "chat:2")
				var ended []string
				for _, f := range gatewaytest.Frames[gateway.Unsubscribed](p) {
					ended = append(ended, f.Topic)
					if f.Err == nil || f.Err.Reason != millrace.ReasonUnavailable {
						h.Errorf("%s ended with %v", f.Topic, f.Err)
					}
				}
				if !slices.Equal(ended, []string{"chat:*", "chat:**", "chat:1"}) {
					h.Errorf("told the end of %q", ended)
				}
				h.cut(p)
				q := h.resume(w, p.Cursor())
				h.settle()
				h.holds(q, "chat:2: other:*:")
				if got := q.Texts("chat:1"); len(got) > 0 {
					h.Errorf("resumed with %q", got)
				}
			})
		})
	}
}

func TestAnyCutInTheMidstOfAPatternsEndIsResumedOrWasTold(t *testing.T) {
	for n := range 4 {
		in(t, gateway.Config{Loops: 1}, func(h *house) {
			p, breakAt := breaking(h, h.lead, open("chat:*", "chat:**"))
			h.broker.Put("chat:1", "1")
			h.broker.Put("chat:2", "1")
			h.settle()
			breakAt(n + 1)
			h.broker.Deny("chat:1", millrace.Errorf(millrace.ReasonUnavailable, "for a moment"))
			h.settle()
			h.broker.Deny("chat:1", nil)
			h.cut(p)
			h.broker.Put("chat:3", "born")
			q := h.resume(h.lead, p.Cursor())
			h.settle()
			told := map[string]bool{}
			for _, f := range gatewaytest.Frames[gateway.Unsubscribed](p) {
				told[f.Topic] = true
			}
			for _, pattern := range []string{"chat:*", "chat:**"} {
				if _, has := held(q)[pattern]; has == told[pattern] {
					h.Errorf("cut at write %d: the end of %s was told: %v; it was resumed: %v", n, pattern, told[pattern], has)
				}
			}
			if got := q.Texts("chat:1"); len(got) > 0 {
				h.Errorf("cut at write %d: %q came again", n, got)
			}
		})
	}
}

func TestATopicThatItsRateKeepsOutIsHeldForAPatternWithoutOne(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Put("log:1", "old")
		h.broker.Detach()
		o := open("log:1", "log:*", "log:**")
		o.Topics[0].MaxRate, o.Topics[1].MaxRate = 5, 5
		p := h.connect(h.seat(w), o)
		h.settle()
		h.broker.Attach()
		h.settle()
		h.broker.Put("log:1", "1")
		h.settle()
		h.holds(p, "log:*: log:**: log:1:log:**")
		p.CheckHead(h, "log:1")
		if got := p.Texts("log:1"); !slices.Equal(got, []string{"1"}) {
			h.Errorf("got %q", got)
		}
	})
}

func TestASubscribeThatIsTakenBackWhileItIsPendingIsAnswered(t *testing.T) {
	for _, topic := range []string{"chat:1", "chat:*"} {
		wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
			h.broker.Detach()
			p := h.join(w)
			p.Session.Do(h.Context(), 1, gateway.Subscribe{Topic: topic})
			if _, ok := do(h, p, 2, gateway.Unsubscribe{Topic: topic}).(*gateway.Unsubscribed); !ok {
				h.Errorf("unsubscribe %s: %+v", topic, reply(h, p, 2))
			}
			if r := reasonOf(reply(h, p, 1)); r != millrace.ReasonCanceled {
				h.Errorf("subscribe %s: %q, want %q", topic, r, millrace.ReasonCanceled)
			}
		})
	}
}

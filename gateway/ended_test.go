package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// Promise: docs/delivery.md 9.1.
func TestASessionThatHasEndedBecomesNoMemberByWhatComesLate(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		gone := h.join(w, "a")
		h.settle()
		h.cut(gone)
		gone.Session.Do(h.Context(), 1, entering("b", `1`))
		gone.Session.Pass(2, entering("c", `1`))
		h.elapse(time.Minute)
		h.wantRoster("b")
		h.wantRoster("c")

		ending := h.join(w, "a")
		h.settle()
		ending.Stall()
		ending.Resize(1)
		ending.Session.Pass(1, gateway.Ping{})
		ending.Session.Pass(2, gateway.Ping{}) // the socket is full
		ending.Session.End(nil)
		ending.Session.Pass(3, entering("b", `1`))
		h.settle()
		h.wantRoster("b")
		ending.Flow()
		h.elapse(time.Minute)
		h.wantRoster("b")
	})
}

// Promise: docs/protocol.md 12.4, 12.10.
func TestAChangeWhoseTimeIsUpDoesNotEndTheMembershipThatThereWas(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		h.settle()
		if f, ok := do2(h, p, 1, entering("a", `1`)).(*gateway.Joined); !ok {
			h.Fatalf("told %+v", f)
		}
		release := h.broker.HoldMembers()
		ctx, cancel := context.WithTimeout(h.Context(), time.Second)
		defer cancel()
		p.Session.Do(ctx, 2, entering("a", `2`))
		h.settle()
		if f, ok := do2(h, p, 3, saying("a", `"here"`, false)).(*gateway.Published); !ok {
			h.Errorf("a member that asked for other data can't broadcast: %+v", f)
		}
		h.cut(p)
		release()
		h.elapse(time.Second)
		if got := len(h.broker.Roster("a")); got != 1 {
			h.Errorf("%d members within the grace: %s", got, h.lifecycle("a"))
		}
		h.elapse(time.Minute)
		h.wantRoster("a")
		if got := h.broker.Lifecycle("a"); got[len(got)-2].Reason != millrace.LeftLost {
			h.Errorf("of a is told %q", h.lifecycle("a"))
		}
	})
}

// Promise: docs/protocol.md 12.4.
func TestAJoinThatFailsLeavesASubscriptionThatWasAskedForMeanwhile(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		h.settle()
		h.broker.FailMembers(millrace.Errorf(millrace.ReasonFull, "too many members"))
		release := h.broker.HoldMembers()
		p.Session.Pass(1, entering("a", `1`))
		p.Session.Pass(2, gateway.Subscribe{Topic: "a"})
		h.settle()
		release()
		h.settle()
		h.broker.Put("a", "0")
		h.settle()
		p.CheckHead(h, "a")
	})
}

func TestWhoseTimeIsUpTakesNoJoinAlongThatIsUnderWay(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		h.settle()
		release := h.broker.HoldMembers()
		p.Session.Pass(1, entering("a", `1`))
		ctx, cancel := context.WithTimeout(h.Context(), time.Second)
		defer cancel()
		p.Session.Do(ctx, 2, entering("a", `2`))
		release()
		h.elapse(time.Second)
		h.wantRoster("a", p.Session.ID()+"=1")
		if r := reasonOf(reply(h, p, 2)); r != millrace.ReasonDeadline {
			h.Errorf("the later one is answered by %q", r)
		}
	})
}

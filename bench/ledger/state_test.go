package ledger_test

import (
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// stated is a run in which a subscriber of a state is told a gap that leads back, after which its state begins anew.
func stated(again bool) *history {
	h := newHistory()
	h.expects["ws"] = ledger.Expectation{Class: ledger.Latest, State: true}
	h.attach("ws")
	h.attach("grpc")
	h.publish(9)
	h.deliver("grpc", "ws")
	if again {
		h.gap("ws", h.log[6].at, millrace.CauseReset)
		h.acts[len(h.acts)-1].after = h.log[8].at
		h.deliver("ws")
	}
	return h
}

func TestAStateThatBeginsAnewIsWholeAndMayRepeat(t *testing.T) {
	t.Run("what came before the gap comes again", func(t *testing.T) {
		r := stated(true).check()
		if r.Violations[ledger.Repeated] > 0 || r.Violations[ledger.Lost] > 0 {
			t.Errorf("%v", r.First)
		}
	})
	t.Run("a key is missing after the gap", func(t *testing.T) {
		h := stated(false)
		h.gap("ws", h.log[7].at, millrace.CauseReset)
		h.deliver("ws")
		if r := h.check(); r.Violations[ledger.Lost] != 1 {
			t.Errorf("%v: %v", r.Violations, r.First)
		}
	})
	t.Run("what came is repeated without a gap", func(t *testing.T) {
		h := stated(false)
		h.insert(len(h.acts), h.acts[h.find(t, "event", "ws", -1)])
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Repeated: 1})
	})
}

func TestWhatIsMissingInClassEphemeralIsCounted(t *testing.T) {
	book := ledger.New(ledger.Config{})
	c := book.Chain("ws", "ws", topic, ledger.Expectation{Class: ledger.Ephemeral})
	c.Attach(millrace.Position{})
	for i := range uint32(6) {
		id := ledger.Ident{Publisher: 1, Serial: i + 1}
		book.Intend(ledger.Publication{Ident: id, Topic: topic})
		book.Pass(topic, id)
		if i == 0 || i == 5 {
			c.Event(ledger.Delivery{Ident: id})
		}
	}
	c.Gap(millrace.Gap{Topic: topic, Cause: millrace.CauseSlow, Count: 3})
	want(t, book.Check(), map[ledger.Kind]uint64{ledger.Unreported: 1})
	c.Gap(millrace.Gap{Topic: topic, Cause: millrace.CauseSlow, Count: 1})
	want(t, book.Check(), nil)
}

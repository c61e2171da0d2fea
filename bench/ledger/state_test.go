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

// An ack does not say which event came before, so one that comes near a loss may be of either log. A tombstone that only its
// ack tells of, and that the log has let go of since, may be what became of a key.
func TestAKeyIsNotMissedWhoseEndMayBeAnEventOfAnUnknownLog(t *testing.T) {
	book := ledger.New(ledger.Config{})
	c := book.Chain("grpc", "grpc", topic, ledger.Expectation{Class: ledger.Latest, State: true})
	early := book.Chain("early", "grpc", topic, ledger.Expectation{Class: ledger.Latest, State: true})
	at := func(offset uint64) millrace.Position { return millrace.Position{Offset: offset, Mark: 100 + offset} }
	publish := func(serial uint32, key string, tombstone bool) ledger.Ident {
		id := ledger.Ident{Publisher: 1, Serial: serial}
		book.Intend(ledger.Publication{Ident: id, Topic: topic, Key: key, Tombstone: tombstone})
		return id
	}
	buried := publish(1, "x", true) // under way while the log is lost
	book.Lose()
	first := publish(2, "x", false)
	book.Ack(topic, first, at(1))
	early.Attach(at(0))
	early.Event(ledger.Delivery{At: at(1), Prev: at(0).Mark, Ident: first})
	book.Ack(topic, buried, at(2))
	replaced, last := publish(3, "y", false), publish(4, "y", false)
	book.Ack(topic, replaced, at(3))
	book.Ack(topic, last, at(4))
	c.Attach(at(0))
	c.Advance(at(3), 3)
	early.Advance(at(3), 2)
	for _, one := range []*ledger.Chain{c, early} {
		one.Event(ledger.Delivery{At: at(4), Prev: at(3).Mark, Ident: last})
	}
	want(t, book.Check(), nil)
}

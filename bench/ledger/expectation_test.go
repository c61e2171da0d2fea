package ledger_test

import (
	"testing"

	"github.com/millrace-dev/millrace/bench/ledger"
)

func even(p *ledger.Publication) bool { return p.Serial%2 == 0 }

// filtered is a run in which one subscriber gets every second event and is moved on over the others.
func filtered() *history {
	h := newHistory()
	h.expects["ws"] = ledger.Expectation{Wants: even}
	h.attach("ws")
	h.attach("grpc")
	h.publish(11)
	h.deliver("grpc")
	for _, e := range h.log {
		if e.id.Serial%2 == 0 {
			e.who, e.prev = "ws", 0
			h.add(e)
			h.at["ws"] = e.at
		} else {
			h.advance("ws", e.at)
		}
	}
	return h
}

func TestAFilterIsHeldToItsPredicate(t *testing.T) {
	t.Run("correct", func(t *testing.T) { want(t, filtered().check(), nil) })
	t.Run("an event that passes is passed over", func(t *testing.T) {
		h := filtered()
		i := h.find(t, "event", "ws", 2)
		h.acts[i].do = "advance"
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Untrue: 1})
	})
	t.Run("an event that does not pass is delivered", func(t *testing.T) {
		h := filtered()
		i := h.find(t, "advance", "ws", 2)
		e := h.log[4]
		e.who, e.prev = "ws", 0
		h.acts[i] = e
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Untrue: 1})
	})
	t.Run("an event that passes is dropped", func(t *testing.T) {
		h := filtered()
		h.drop(h.find(t, "event", "ws", 2))
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Untrue: 1}) // the next advance leads over it
	})
	t.Run("an advance is not told", func(t *testing.T) {
		h := filtered()
		h.drop(h.find(t, "advance", "ws", 2))
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Unreported: 1})
	})
}

// conflated is a run of two keys in turn in which one subscriber gets the newest of each.
func conflated() *history {
	h := newHistory()
	h.expects["ws"] = ledger.Expectation{Class: ledger.Latest}
	h.attach("ws")
	h.attach("grpc")
	h.publish(9)
	h.deliver("grpc")
	h.advance("ws", h.log[6].at)
	h.deliver("ws")
	return h
}

func TestWhatIsConflatedHasANewerEventOfItsKey(t *testing.T) {
	t.Run("correct", func(t *testing.T) { want(t, conflated().check(), nil) })
	t.Run("the newest of a key is passed over", func(t *testing.T) {
		h := conflated()
		i := h.find(t, "advance", "ws", 0)
		h.acts[i].at, h.acts[i].n = h.log[7].at, h.acts[i].n+1
		h.drop(h.find(t, "event", "ws", 0))
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Untrue: 1, ledger.Lost: 1})
	})
	t.Run("fewer are told as conflated than were left out", func(t *testing.T) {
		h := conflated()
		h.acts[h.find(t, "advance", "ws", 0)].n--
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Untrue: 1})
	})
	t.Run("the newest does not come", func(t *testing.T) {
		h := conflated()
		h.drop(h.find(t, "event", "ws", -1))
		want(t, h.check(), map[ledger.Kind]uint64{ledger.Lost: 1})
	})
}

func TestAnEphemeralEventIsHeldToItsContentAndComesOnce(t *testing.T) {
	h := newHistory()
	h.expects["ws"] = ledger.Expectation{Class: ledger.Ephemeral}
	h.publish(3)
	e := h.log[1]
	e.who = "ws"
	h.add(e)
	want(t, h.check(), nil)
	h.add(e)
	want(t, h.check(), map[ledger.Kind]uint64{ledger.Repeated: 1})
	h.acts[len(h.acts)-1].sum++
	want(t, h.check(), map[ledger.Kind]uint64{ledger.Altered: 1, ledger.Repeated: 1})
}

package ledger_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
)

const (
	topic = "a"
	keeps = 5
)

// act is one entry to be made in a book.
type act struct {
	do    string // intend, ack, lose, attach, resume, event, gap, advance
	who   string
	at    millrace.Position
	after millrace.Position // of a gap
	cause millrace.Cause
	prev  uint64
	id    ledger.Ident
	sum   uint64
	key   string
	n     uint64 // that are conflated
}

// history is a run that kept every promise, to be played as it is or with one thing broken.
type history struct {
	chance  *rand.Rand
	acts    []act
	log     []act // the events of the lineage at hand, as a subscriber would get them
	birth   millrace.Position
	at      map[string]millrace.Position
	serial  uint32
	expects map[string]ledger.Expectation
}

func newHistory() *history {
	h := &history{chance: rand.New(rand.NewPCG(1, 2)), at: map[string]millrace.Position{}, expects: map[string]ledger.Expectation{}}
	h.lose()
	h.acts = nil
	return h
}

func (h *history) add(a act) { h.acts = append(h.acts, a) }

func (h *history) head() millrace.Position {
	if len(h.log) == 0 {
		return h.birth
	}
	return h.log[len(h.log)-1].at
}

func (h *history) lose() {
	h.add(act{do: "lose"})
	h.log, h.birth = nil, millrace.Position{Mark: h.chance.Uint64()}
}

// publish stores n events and acks them.
func (h *history) publish(n int) {
	for range n {
		h.serial++
		id := ledger.Ident{Publisher: 1, Serial: h.serial}
		h.add(act{do: "intend", id: id, sum: uint64(h.serial) * 7, key: []string{"x", "y"}[h.serial%2]})
		h.store(id)
		h.add(act{do: "ack", id: id, at: h.head()})
	}
}

func (h *history) store(id ledger.Ident) {
	head := h.head()
	at := millrace.Position{Offset: head.Offset + 1, Mark: h.chance.Uint64()}
	h.log = append(h.log, act{do: "event", at: at, prev: head.Mark, id: id, sum: uint64(id.Serial) * 7})
}

func (h *history) attach(who string) {
	if _, back := h.at[who]; back {
		h.add(act{do: "resume", who: who, at: h.at[who]})
	} else {
		h.at[who] = h.head()
	}
	h.add(act{do: "attach", who: who, at: h.at[who]})
}

func (h *history) gap(who string, until millrace.Position, cause millrace.Cause) {
	h.add(act{do: "gap", who: who, after: h.at[who], at: until, cause: cause})
	h.at[who] = until
}

func (h *history) advance(who string, to millrace.Position) {
	a := act{do: "advance", who: who, at: to}
	if h.expects[who].Class == ledger.Latest {
		a.n = to.Offset - h.at[who].Offset
	}
	h.add(a)
	h.at[who] = to
}

// deliver gives everyone named what the log has behind their places. Only gRPC says what an event follows on.
func (h *history) deliver(who ...string) {
	for _, w := range who {
		for _, e := range h.log {
			if e.at.Offset > h.at[w].Offset {
				if e.who = w; w != "grpc" {
					e.prev = 0
				}
				h.add(e)
				h.at[w] = e.at
			}
		}
	}
}

// correct is a run with all that may happen: a lost log with an event that had to be stored again, a gap, and subscribers
// that come back.
func correct() *history {
	h := newHistory()
	all := []string{"ws", "sse", "grpc"}
	for _, w := range all {
		h.attach(w)
	}
	h.publish(10)
	h.deliver(all...)
	h.attach("ws")
	again := h.acts[len(h.acts)-1]
	for _, a := range h.acts {
		if a.do == "ack" {
			again = a
		}
	}
	h.publish(2)
	h.deliver("sse")
	h.lose()
	h.store(again.id)
	h.add(act{do: "ack", id: again.id, at: h.head()})
	h.publish(6)
	for _, w := range all {
		h.gap(w, h.birth, millrace.CauseReset)
	}
	h.deliver(all...)
	h.publish(40)
	h.deliver("ws", "grpc")
	h.gap("sse", h.log[len(h.log)-1-keeps].at, millrace.CauseTrimmed)
	h.deliver("sse")
	h.publish(3)
	h.deliver(all...)
	h.attach("sse")
	h.publish(3)
	h.deliver(all...)
	return h
}

// find returns where the n-th act of a kind of somebody is, counted from 0; from the end if n is negative.
func (h *history) find(t *testing.T, do, who string, n int) int {
	t.Helper()
	var found []int
	for i, a := range h.acts {
		if a.do == do && (a.who == who || who == "") {
			found = append(found, i)
		}
	}
	if n < 0 {
		n += len(found)
	}
	if n < 0 || n >= len(found) {
		t.Fatalf("there is no %s %d of %q", do, n, who)
	}
	return found[n]
}

func (h *history) drop(i int) { h.acts = slices.Delete(h.acts, i, i+1) }

func (h *history) insert(i int, a act) { h.acts = slices.Insert(h.acts, i, a) }

// check plays the history into a book and returns its report.
func (h *history) check() *ledger.Report {
	book := ledger.New(ledger.Config{Keeps: func(string) uint64 { return keeps }, MarksPerEvent: 16})
	chains := map[string]*ledger.Chain{}
	for _, a := range h.acts {
		if a.who != "" && chains[a.who] == nil {
			chains[a.who] = book.Chain(a.who, a.who, topic, h.expects[a.who])
		}
		c := chains[a.who]
		switch a.do {
		case "intend":
			book.Intend(ledger.Publication{Ident: a.id, Topic: topic, Key: a.key, Digest: a.sum})
		case "ack":
			book.Ack(topic, a.id, a.at)
		case "lose":
			book.Lose()
		case "attach":
			c.Attach(a.at)
		case "resume":
			c.Resume(a.at)
		case "event":
			c.Event(ledger.Delivery{At: a.at, Prev: a.prev, Ident: a.id, Digest: a.sum})
		case "gap":
			c.Gap(millrace.Gap{Topic: topic, After: a.after, Until: a.at, Cause: a.cause})
		case "advance":
			c.Advance(a.at, a.n)
		}
	}
	return book.Check()
}

// want checks that a report has exactly these violations.
func want(t *testing.T, r *ledger.Report, violations map[ledger.Kind]uint64) {
	t.Helper()
	for _, k := range ledger.Kinds() {
		if r.Violations[k] != violations[k] {
			t.Errorf("%d %s, want %d", r.Violations[k], k, violations[k])
		}
	}
	if t.Failed() {
		for i := range r.First {
			t.Log(r.First[i].String())
		}
	}
}

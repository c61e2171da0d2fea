package ledger_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
)

func TestARunThatKeptEveryPromiseIsWhole(t *testing.T) {
	r := correct().check()
	want(t, r, nil)
	if !r.Whole() {
		t.Error("the report is not whole")
	}
	if r.Published != 64 || r.Acked != 64 || r.Lineages != 2 || r.Chains != 3 || r.Resumes != 2 {
		t.Errorf("the counts are %+v", r)
	}
	if r.Gaps[millrace.CauseReset] != 3 || r.Gaps[millrace.CauseTrimmed] != 1 {
		t.Errorf("the gaps are %v", r.Gaps)
	}
	// Of the lost log ws and grpc did not get the last two events. Of the new one sse did not get 35 of 40.
	if r.ReportedMissing != 2+2+35 {
		t.Errorf("%d events are reported as missing", r.ReportedMissing)
	}
	if r.AcrossResets != 3 {
		t.Errorf("%d events came again across the reset", r.AcrossResets)
	}
}

// What follows breaks one promise at a time.
func TestTheCheckerNamesWhatIsBroken(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(t *testing.T, h *history)
		want   map[ledger.Kind]uint64
	}{
		"whole or told: an event is dropped at a queue": {
			func(t *testing.T, h *history) { h.drop(h.find(t, "event", "ws", 4)) },
			map[ledger.Kind]uint64{ledger.Unreported: 1},
		},
		"whole or told: events are dropped before a gap": {
			func(t *testing.T, h *history) {
				for range 3 { // of the seven that come between the reset and the gap
					h.drop(h.find(t, "event", "sse", 12+4))
				}
			},
			map[ledger.Kind]uint64{ledger.Unreported: 3},
		},
		"whole or told: the last event does not come": {
			func(t *testing.T, h *history) { h.drop(h.find(t, "event", "grpc", -1)) },
			map[ledger.Kind]uint64{ledger.Lost: 1},
		},
		"whole or told: a subscriber does not come back": {
			func(t *testing.T, h *history) {
				for range 6 {
					h.drop(h.find(t, "event", "ws", -1))
				}
			},
			map[ledger.Kind]uint64{ledger.Lost: 6},
		},
		"whole or told: a subscriber is never attached": {
			func(t *testing.T, h *history) {
				h.acts = append(h.acts, act{do: "none", who: "nobody"})
			},
			map[ledger.Kind]uint64{ledger.Lost: 53},
		},
		"once: an event is repeated": {
			func(t *testing.T, h *history) {
				i := h.find(t, "event", "sse", 3)
				h.insert(i, h.acts[i])
			},
			map[ledger.Kind]uint64{ledger.Repeated: 1},
		},
		"once: a resume begins too early": {
			func(t *testing.T, h *history) {
				i, first := h.find(t, "attach", "ws", 1), h.find(t, "event", "ws", 7)
				h.acts = slices.Insert(h.acts, i+1, h.acts[first], h.acts[first+1], h.acts[first+2])
			},
			map[ledger.Kind]uint64{ledger.Repeated: 3},
		},
		"order: two events change places": {
			func(t *testing.T, h *history) {
				i, k := h.find(t, "event", "ws", 4), h.find(t, "event", "ws", 5)
				h.acts[i], h.acts[k] = h.acts[k], h.acts[i]
			},
			map[ledger.Kind]uint64{ledger.Reordered: 1},
		},
		"order: a publisher's events are stored in another order": {
			func(t *testing.T, h *history) {
				// Who publishes second is acked first, and everybody gets what is stored.
				a, b := h.acts[h.find(t, "ack", "", -2)].id, h.acts[h.find(t, "ack", "", -1)].id
				for i, act := range h.acts {
					switch {
					case act.do == "intend":
					case act.id == a:
						h.acts[i].id, h.acts[i].sum = b, uint64(b.Serial)*7
					case act.id == b:
						h.acts[i].id, h.acts[i].sum = a, uint64(a.Serial)*7
					}
				}
				i := h.find(t, "intend", "", -1)
				late := h.acts[i]
				h.drop(i)
				h.insert(h.find(t, "intend", "", -1), late)
			},
			map[ledger.Kind]uint64{ledger.Reordered: 1},
		},
		"marks: the check of the mark is skipped at a reused offset": {
			func(t *testing.T, h *history) { skipMark(t, h, "ws") },
			map[ledger.Kind]uint64{ledger.Unreported: 1},
		},
		"marks: a reset is not told": {
			func(t *testing.T, h *history) { h.drop(h.find(t, "gap", "ws", 0)) },
			map[ledger.Kind]uint64{ledger.Unreported: 1},
		},
		"marks: a reset is not told to who has the events' word": {
			func(t *testing.T, h *history) { h.drop(h.find(t, "gap", "grpc", 0)) },
			map[ledger.Kind]uint64{ledger.Unreported: 1},
		},
		"marks: a reset is told as trimmed": {
			func(t *testing.T, h *history) { h.acts[h.find(t, "gap", "ws", 0)].cause = millrace.CauseTrimmed },
			map[ledger.Kind]uint64{ledger.Untrue: 1},
		},
		"truth: a reset is told that there was not": {
			func(t *testing.T, h *history) { h.acts[h.find(t, "gap", "sse", 1)].cause = millrace.CauseReset },
			map[ledger.Kind]uint64{ledger.Untrue: 1},
		},
		"truth: what is told as trimmed is kept": {
			func(t *testing.T, h *history) {
				from, to := h.find(t, "event", "ws", -3), h.find(t, "event", "ws", -2)
				before := h.acts[h.find(t, "event", "ws", -4)].at
				h.acts[to] = act{do: "gap", who: "ws", after: before, at: h.acts[to].at, cause: millrace.CauseTrimmed}
				h.drop(from)
			},
			map[ledger.Kind]uint64{ledger.Untrue: 1},
		},
		"truth: a gap tells what was delivered": {
			func(t *testing.T, h *history) {
				i := h.find(t, "gap", "sse", 1)
				h.acts[i].after = h.acts[h.find(t, "event", "sse", 17)].at
			},
			map[ledger.Kind]uint64{ledger.Untrue: 1},
		},
		"truth: a gap has a cause that there is not": {
			func(t *testing.T, h *history) { h.acts[h.find(t, "gap", "sse", 1)].cause = millrace.CauseDenied },
			map[ledger.Kind]uint64{ledger.Untrue: 1},
		},
		"truth: a subscriber of everything is advanced over an event": {
			func(t *testing.T, h *history) {
				i := h.find(t, "event", "ws", 4)
				h.acts[i] = act{do: "advance", who: "ws", at: h.acts[i].at}
			},
			map[ledger.Kind]uint64{ledger.Untrue: 1},
		},
		"one cursor: it is ahead of what was delivered": {
			func(t *testing.T, h *history) {
				for range 3 { // of the ten before the subscriber comes back
					h.drop(h.find(t, "event", "ws", 7))
				}
			},
			map[ledger.Kind]uint64{ledger.Unreported: 3},
		},
		"one cursor: a resume is taken up elsewhere": {
			func(t *testing.T, h *history) {
				h.acts[h.find(t, "attach", "ws", 1)].at = h.acts[h.find(t, "event", "ws", 7)].at
			},
			map[ledger.Kind]uint64{ledger.Untrue: 1},
		},
		"content: the payload of another event": {
			func(t *testing.T, h *history) { h.acts[h.find(t, "event", "ws", 4)].sum++ },
			map[ledger.Kind]uint64{ledger.Altered: 1},
		},
		"content: an event that nobody published": {
			func(t *testing.T, h *history) { h.drop(h.find(t, "intend", "", 4)) },
			map[ledger.Kind]uint64{ledger.Altered: 3},
		},
		"acked means stored: another event stands there": {
			func(t *testing.T, h *history) {
				id := ledger.Ident{Publisher: 2, Serial: 1}
				at := h.acts[h.find(t, "ack", "", -3)].at
				at.Mark++
				h.insert(len(h.acts)-1, act{do: "intend", id: id})
				h.insert(len(h.acts)-1, act{do: "ack", id: id, at: at})
			},
			map[ledger.Kind]uint64{ledger.Unstored: 1},
		},
		"acked means stored: it is behind the end of the log": {
			func(t *testing.T, h *history) {
				id := ledger.Ident{Publisher: 2, Serial: 1}
				h.add(act{do: "intend", id: id})
				h.add(act{do: "ack", id: id, at: millrace.Position{Offset: h.head().Offset + 1, Mark: 1}})
			},
			map[ledger.Kind]uint64{ledger.Lost: 3},
		},
		"stored once: an event is stored twice": {
			func(t *testing.T, h *history) {
				h.store(h.acts[h.find(t, "ack", "", -2)].id)
				h.deliver("ws", "sse", "grpc")
			},
			map[ledger.Kind]uint64{ledger.Doubled: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := correct()
			c.breaks(t, h)
			want(t, h.check(), c.want)
		})
	}
}

// skipMark makes somebody go on in the new lineage as if it were the old one.
func skipMark(t *testing.T, h *history, who string) {
	t.Helper()
	i := h.find(t, "gap", who, 0)
	stands := h.acts[i].after.Offset
	h.drop(i)
	for ; h.acts[i].do != "event" || h.acts[i].who != who || h.acts[i].at.Offset <= stands; i++ {
		for h.acts[i].do == "event" && h.acts[i].who == who && h.acts[i].at.Offset <= stands {
			h.drop(i)
		}
	}
}

func TestAViolationIsToldWithTheStepsAroundIt(t *testing.T) {
	h := correct()
	h.drop(h.find(t, "event", "sse", 4))
	r := h.check()
	if len(r.First) != 1 {
		t.Fatalf("%d violations are described", len(r.First))
	}
	text := r.First[0].String()
	for _, want := range []string{"unreported: 1 of a", "subscriber sse by sse", "attached at", "4 events", "> stood at", "over a hole", "gap after"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

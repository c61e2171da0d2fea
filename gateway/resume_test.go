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

func texts(from, to int) []string {
	var s []string
	for i := from; i < to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

// TestResumingGoesOnWhereTheCursorSays has a session that saw events 0 to 9 and missed 10 to 19.
func TestResumingGoesOnWhereTheCursorSays(t *testing.T) {
	cases := map[string]struct {
		config gateway.Config
		stay   bool // another session keeps the topic's tail alive
		reads  bool // the log is needed
	}{
		"from the tail":                      {gateway.Config{}, true, false},
		"from the log, behind a short tail":  {gateway.Config{TailEvents: 4}, true, true},
		"from the log, in pages":             {gateway.Config{TailEvents: 4, BatchBytes: 600}, true, true},
		"from the log, without a tail":       {gateway.Config{}, false, true},
		"from the tail, in batches of a few": {gateway.Config{BatchBytes: 600}, true, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			wires(t, c.config, func(h *house, w *gateway.Wire) {
				if c.stay {
					h.join(w, "a")
				}
				p := h.join(w, "a")
				h.settle()
				h.broker.Put("a", texts(0, 10)...)
				h.settle()
				h.cut(p)
				if !c.stay {
					h.elapse(time.Minute)
				}
				h.broker.Put("a", texts(10, 20)...)
				h.settle()
				before := h.broker.Reads()
				q := h.resume(w, p.Cursor())
				h.settle()
				h.broker.Put("a", "20")
				h.settle()
				q.CheckHead(h, "a")
				if got := q.Texts("a"); !slices.Equal(got, texts(10, 21)) {
					h.Errorf("got %q", got)
				}
				if reads := h.broker.Reads() - before; (reads > 0) != c.reads {
					h.Errorf("the log was read %d times", reads)
				}
			})
		})
	}
}

func TestTwoDoorsOneCursor(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		p := h.join(h.wire, "a", "b")
		h.settle()
		h.broker.Put("a", "1")
		h.settle()
		cursor := p.Cursor()
		h.broker.Put("b", "2")
		for _, w := range []*gateway.Wire{h.lead, h.wire, h.lead} {
			q := h.resume(w, cursor)
			h.settle()
			q.CheckHead(h, "a")
			q.CheckHead(h, "b")
			if got := q.Texts("b"); !slices.Equal(got, []string{"2"}) {
				h.Errorf("got %q", got)
			}
			cursor = q.Cursor()
			h.broker.Put("b", "2")
		}
	})
}

func TestACursorAheadOfTheTailIsReadFromTheLogBeforeAnythingIsSaid(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.join(w, "a")
		h.settle()
		h.broker.Lose("a", 5) // the gateway does not hear of them
		h.broker.Put("a", texts(0, 3)...)
		ahead := h.broker.Head("a")
		h.broker.Put("a", texts(3, 5)...)
		h.settle()
		p := h.connect(h.seat(w), openAt("a", millrace.After(ahead)))
		h.settle()
		if got := p.Texts("a"); !slices.Equal(got, texts(3, 5)) {
			h.Errorf("got %q", got)
		}
		h.broker.Put("a", "5")
		h.elapse(2 * time.Second)
		for _, p := range h.peers {
			p.CheckHead(h, "a")
			if gaps := p.Gaps("a"); len(gaps) > 0 {
				h.Errorf("gaps %v", gaps)
			}
		}
	})
}

// Somebody was told elsewhere that the log is lost and its topic not born again yet. That position has no mark to be
// checked by, so what is left of the old log here must not be taken for what follows on it.
func TestABirthThatIsYetToComeIsNotServedFromATail(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		stays := h.join(w, "a")
		h.settle()
		h.broker.Put("a", texts(0, 3)...)
		h.settle()
		h.broker.Reset("a") // of which this gateway does not hear yet
		p := h.connect(h.seat(w), openAt("a", millrace.After(millrace.Position{})))
		h.settle()
		if got := p.Texts("a"); len(got) > 0 {
			h.Errorf("got %q of the log that is lost", got)
		}
		h.broker.Put("a", "new")
		h.settle()
		for _, peer := range []*gatewaytest.Peer{p, stays} {
			peer.CheckHead(h, "a")
		}
		if got := p.Texts("a"); !slices.Equal(got, []string{"new"}) || len(p.Gaps("a")) > 0 {
			h.Errorf("got %q and the gaps %v", got, p.Gaps("a"))
		}
	})
}

func TestAPositionOfAnotherLineageIsToldAsReset(t *testing.T) {
	for name, pos := range map[string]millrace.Position{
		"an unknown mark":     {Offset: 5, Mark: 99},
		"beyond the head":     {Offset: 500, Mark: 99},
		"another birth":       {Mark: 99},
		"the head's, by half": {Offset: 10, Mark: 99},
	} {
		t.Run(name, func(t *testing.T) {
			wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
				h.broker.Put("a", "lost")
				h.broker.Reset("a")
				h.join(w, "a")
				h.settle()
				h.broker.Put("a", texts(0, 10)...)
				h.broker.Trim("a", 3)
				p := h.connect(h.seat(w), openAt("a", millrace.After(pos)))
				h.settle()
				p.CheckHead(h, "a")
				gaps := p.Gaps("a")
				if len(gaps) != 1 || gaps[0].Cause != millrace.CauseReset || gaps[0].After != pos || gaps[0].Until.Offset != 7 {
					h.Errorf("gaps %v", gaps)
				}
				if got := p.Texts("a"); !slices.Equal(got, texts(7, 10)) {
					h.Errorf("got %q", got)
				}
			})
		})
	}
}

func TestTrimmedEventsAreToldExactly(t *testing.T) {
	wires(t, gateway.Config{TailEvents: 2}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "a")
		h.settle()
		h.broker.Put("a", texts(0, 3)...)
		h.settle()
		h.cut(p)
		h.broker.Put("a", texts(3, 10)...)
		h.settle() // or the gateway would be told the gap too, at whatever it had taken by then
		h.broker.Trim("a", 4)
		q := h.resume(w, p.Cursor())
		zero := h.connect(h.seat(w), openAt("a", millrace.After(millrace.Position{})))
		h.settle()
		for _, c := range []struct {
			peer  *gatewaytest.Peer
			after uint64
		}{{q, 3}, {zero, 0}} {
			c.peer.CheckHead(h, "a")
			gaps := c.peer.Gaps("a")
			if len(gaps) != 1 || gaps[0].Cause != millrace.CauseTrimmed || gaps[0].After.Offset != c.after || gaps[0].Until.Offset != 6 {
				h.Errorf("gaps %v", gaps)
			}
			if got := c.peer.Texts("a"); !slices.Equal(got, texts(6, 10)) {
				h.Errorf("got %q", got)
			}
		}
	})
}

func TestASessionGoesOnUnderItsIDForItsSubjectOnly(t *testing.T) {
	key := []byte("a key of the same gateways")
	in(t, gateway.Config{SealKey: key}, func(h *house) {
		other := build(t, gateway.Config{SealKey: key}, h.wire, h.lead)
		stranger := build(t, gateway.Config{}, h.wire, h.lead)
		p := h.join(h.wire, "a")
		h.settle()
		h.cut(p)
		for name, c := range map[string]struct {
			at      *house
			subject string
			resumed bool
		}{
			"the same subject here":           {h, "alice", true},
			"the same subject elsewhere":      {other, "alice", true},
			"another subject":                 {h, "mallory", false},
			"nobody":                          {h, "", false},
			"a gateway with a key of its own": {stranger, "alice", false},
		} {
			r := c.at.connect(c.at.seat(h.wire), gateway.Opening{Grant: everything(c.subject), Cursor: p.Cursor()})
			h.settle()
			told := gatewaytest.Frames[gateway.Connected](r)[0]
			if told.Resumed != c.resumed || (r.Session.ID() == p.Session.ID()) != c.resumed {
				h.Errorf("%s: resumed %v", name, told.Resumed)
			}
			c.at.cut(r)
		}
		other.close()
		stranger.close()
	})
}

// TestEveryCursorResumesExactly takes each cursor that a session was told, and holds what a session with that cursor gets
// against what the first one got from there on.
func TestEveryCursorResumesExactly(t *testing.T) {
	topics := []string{"a", "b", "c"}
	wires(t, gateway.Config{BatchBytes: 2000}, func(h *house, w *gateway.Wire) {
		p := h.join(w, topics...)
		for i := range 20 {
			h.broker.Put(topics[i%2], texts(3*i, 3*i+3)...)
			if i == 7 {
				h.settle()
				p.Session.Do(h.Context(), 1, gateway.PublishEvent{Publish: millrace.Publish{
					Event: &millrace.Event{Topic: "a", NoEcho: true, Data: []byte("own")},
				}})
				h.broker.Put("c", "rare")
			}
			if i == 12 {
				h.settle()
				p.Session.Do(h.Context(), 2, gateway.Ping{})
			}
		}
		h.settle()
		lines := p.Lines()
		id := p.Session.ID()
		h.cut(p)
		tried := map[string]bool{}
		for i, line := range lines {
			if line.Ping || tried[line.Cursor] {
				continue
			}
			tried[line.Cursor] = true
			c, err := millrace.ParseCursor(line.Cursor)
			if err != nil {
				h.Fatal(err)
			}
			q := h.resume(w, line.Cursor)
			h.settle()
			if q.Session.ID() != id {
				h.Fatalf("after line %d: another session", i)
			}
			for _, piece := range c.Pieces {
				var want []string
				for _, later := range lines[i+1:] {
					if later.Event != nil && later.Event.Topic == piece.Topic && piece.Attached {
						want = append(want, string(later.Event.Data))
					}
				}
				if got := q.Texts(piece.Topic); !slices.Equal(got, want) {
					h.Errorf("after line %d (%+v): got %q of %s, want %q", i, line, got, piece.Topic, want)
				}
				q.CheckHead(h, piece.Topic)
			}
			if len(c.Pieces) != len(topics) && w == h.lead {
				h.Errorf("after line %d (%+v): the cursor has %v", i, line, c.Pieces)
			}
			h.cut(q)
		}
	})
}

package memlog_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
)

// model is a topic's log as the rules say it, without regard to cost: all events of the lineage, for ever.
type model struct {
	rule  broker.Rule
	birth millrace.Position
	all   []*millrace.Event
	old   []millrace.Position // positions of lineages that ended
}

func (m *model) head() millrace.Position {
	if len(m.all) == 0 {
		return m.birth
	}
	return m.all[len(m.all)-1].Position
}

func (m *model) kept(now time.Time) []*millrace.Event {
	kept := m.all[max(0, len(m.all)-m.rule.MaxEvents):]
	for len(kept) > 0 && now.UnixMilli()-kept[0].Time.UnixMilli() >= m.rule.MaxAge.Milliseconds() {
		kept = kept[1:]
	}
	return kept
}

// after returns what reading after p must give.
func (m *model) after(p millrace.Position, now time.Time) (gap *millrace.Gap, events []*millrace.Event) {
	kept := m.kept(now)
	base := m.head()
	if len(kept) > 0 {
		base = kept[0].Before()
	}
	oldestMark := max(0, len(m.all)-m.rule.MaxMarks())
	fits := p.IsZero() || p.Offset <= m.head().Offset && int(p.Offset) >= oldestMark && m.mark(int(p.Offset)) == p.Mark
	switch {
	case !fits:
		return &millrace.Gap{Topic: "a", After: p, Until: base, Cause: millrace.CauseReset}, kept
	case p.Offset < base.Offset:
		return &millrace.Gap{Topic: "a", After: p, Until: base, Cause: millrace.CauseTrimmed}, kept
	}
	for _, e := range kept {
		if e.Position.Offset > p.Offset {
			events = append(events, e)
		}
	}
	return nil, events
}

func (m *model) mark(offset int) uint64 {
	if offset == 0 {
		return m.birth.Mark
	}
	return m.all[offset-1].Position.Mark
}

func (m *model) someone(chance *rand.Rand) millrace.Position {
	switch chance.IntN(8) {
	case 0:
		return millrace.Position{}
	case 1:
		return millrace.Position{Offset: chance.Uint64N(uint64(len(m.all)) + 5), Mark: 1 + chance.Uint64N(3)}
	case 2:
		if len(m.old) > 0 {
			return m.old[chance.IntN(len(m.old))]
		}
	case 3:
		return m.birth
	}
	if len(m.all) == 0 {
		return m.birth
	}
	return m.all[len(m.all)-1-chance.IntN(min(len(m.all), 2*m.rule.MaxMarks()))].Position
}

func TestTheLogReadsAsTheModelSays(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compare(t, rand.New(rand.NewPCG(seed, seed))) })
		})
	}
}

func compare(t *testing.T, chance *rand.Rand) {
	m := &model{rule: broker.Rule{MaxEvents: 1 + chance.IntN(12), MaxAge: 10 * time.Second, HeadRetention: time.Minute}.WithDefaults()}
	l := openRules(t, m.rule)
	for step := range 300 {
		switch n := chance.IntN(20); {
		case n < 10:
			e := brokertest.Event("a", step)
			if ack := appendOne(t, l, e); ack.Err != nil {
				t.Fatal(ack.Err)
			}
			if len(m.all) == 0 {
				m.birth = e.Before()
			}
			if !m.head().Precedes(e) {
				t.Fatalf("step %d: %s does not follow on %s", step, e.Position, m.head())
			}
			m.all = append(m.all, e)
		case n < 13:
			<-time.After(time.Duration(chance.IntN(5_000)) * time.Millisecond)
			synctest.Wait()
		case n == 13 && chance.IntN(8) == 0 && len(m.all) > 0:
			<-time.After(2 * time.Minute)
			synctest.Wait()
			for _, e := range m.all {
				m.old = append(m.old, e.Position)
			}
			m.all, m.birth = nil, millrace.Position{}
		default:
			check(t, l, m, m.someone(chance), 1+chance.IntN(8))
		}
	}
}

// check reads forward after p and backward from the head, in pages of limit.
func check(t *testing.T, l broker.Log, m *model, p millrace.Position, limit int) {
	t.Helper()
	gap, want := m.after(p, time.Now())
	var got []*millrace.Event
	at := p
	for first := true; ; first = false {
		page, err := l.Read(t.Context(), "a", millrace.Range{Start: millrace.After(at), Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case first && (gap == nil) != (page.Gap == nil), first && gap != nil && *gap != *page.Gap:
			t.Fatalf("after %s of head %s the gap is %v, want %v", p, m.head(), page.Gap, gap)
		case !first && page.Gap != nil:
			t.Fatalf("paging met a gap: %v", page.Gap)
		}
		if page.Gap != nil {
			at = page.Gap.Until
		}
		for _, e := range page.Events {
			if !at.Precedes(e) {
				t.Fatalf("%s does not follow on %s", e.Position, at)
			}
			at = e.Position
		}
		if page.Next != at || page.Head != m.head() {
			t.Fatalf("the page goes on at %s of %s, want %s of %s", page.Next, page.Head, at, m.head())
		}
		got = append(got, page.Events...)
		if !page.More {
			break
		}
	}
	if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
		t.Fatalf("after %s there are %d events, want %d", p, len(got), len(want))
	}
	kept := m.kept(time.Now())
	start, left := millrace.Start{}, len(kept)
	for left > 0 {
		page, err := l.Read(t.Context(), "a", millrace.Range{Start: start, Limit: limit, Backward: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			left--
			if e != kept[left] {
				t.Fatalf("backward, %s stands for %s", e.Position, kept[left].Position)
			}
		}
		if page.More != (left > 0) {
			t.Fatalf("backward, %d events are left and More is %v", left, page.More)
		}
		start = millrace.After(page.Next)
	}
}

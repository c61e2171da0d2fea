package memlog_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
)

// stateModel is a topic of class latest as the rules say it, without regard to cost.
type stateModel struct {
	rule broker.Rule
	all  []*millrace.Event // that were stored, for ever
	kept []*millrace.Event // by offset
	gone uint64            // offset of the newest that was let go of
}

func (m *stateModel) drop(i int) {
	m.gone = max(m.gone, m.kept[i].Position.Offset)
	m.kept = slices.Delete(m.kept, i, i+1)
}

func (m *stateModel) expire(now time.Time) {
	for len(m.kept) > 0 && now.Sub(m.kept[0].Time) >= m.rule.MaxAge {
		m.drop(0)
	}
}

// fits reports whether there is a place for a key.
func (m *stateModel) fits(key string) bool {
	living := 0
	for _, e := range m.kept {
		if e.Key == key {
			return true
		}
		if !e.Tombstone {
			living++
		}
	}
	return living < m.rule.MaxEvents
}

func (m *stateModel) put(e *millrace.Event) {
	m.all = append(m.all, e)
	m.kept = slices.DeleteFunc(m.kept, func(other *millrace.Event) bool { return other.Key == e.Key })
	m.kept = append(m.kept, e)
	for len(m.kept) > m.rule.MaxEvents {
		m.drop(slices.IndexFunc(m.kept, func(e *millrace.Event) bool { return e.Tombstone }))
	}
}

// Promise: docs/delivery.md 2.1, 2.4.
func TestAStateReadsAsTheModelSays(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compareState(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func compareState(t *testing.T, chance *rand.Rand) {
	m := &stateModel{rule: broker.Rule{Class: millrace.ClassLatest, MaxEvents: 2 + chance.IntN(12), MaxAge: 30 * time.Second}.WithDefaults()}
	l := open(t, memlog.Config{Rules: []broker.Rule{m.rule}, SweepInterval: 7 * time.Second})
	for step := range 500 {
		switch n := chance.IntN(20); {
		case n < 12:
			e := &millrace.Event{Topic: "a", Key: fmt.Sprint("k", chance.IntN(16)), Data: fmt.Append(nil, step)}
			if chance.IntN(4) == 0 {
				e.Tombstone, e.Data = true, nil
			}
			m.expire(time.Now())
			ack := appendOne(t, l, e)
			if stored := ack.Err == nil; stored != m.fits(e.Key) {
				t.Fatalf("step %d: key %s was answered %v; the model has room: %v", step, e.Key, ack.Err, m.fits(e.Key))
			}
			if ack.Err == nil {
				m.put(e)
			}
		case n < 15:
			<-time.After(time.Duration(chance.IntN(5_000)) * time.Millisecond)
			synctest.Wait()
		default:
			if len(m.all) > 0 {
				checkState(t, l, m, chance)
			}
		}
	}
	bytes := int64(0)
	for _, e := range m.kept {
		bytes += int64(e.Size())
	}
	m.expire(time.Now())
	if states, err := l.Topics(t.Context(), "", 1); err != nil || states[0].Events != len(m.kept) {
		t.Fatalf("the log has %+v, %v; the model %d events of %d bytes", states, err, len(m.kept), bytes)
	}
}

// checkState reads after some position, in pages.
func checkState(t *testing.T, l broker.Log, m *stateModel, chance *rand.Rand) {
	t.Helper()
	m.expire(time.Now())
	head := m.all[len(m.all)-1].Position
	p := m.all[len(m.all)-1-chance.IntN(min(len(m.all), m.rule.MaxMarks()))].Position
	if chance.IntN(6) == 0 {
		p = millrace.Position{}
	}
	want := m.kept
	from := p
	gap := p.Offset < m.gone // perhaps until where the reader is: what it knows is not whole all the same
	if !gap {
		want = slices.DeleteFunc(slices.Clone(want), func(e *millrace.Event) bool { return e.Position.Offset <= p.Offset })
	} else {
		from = head
		if len(m.kept) > 0 {
			from = m.kept[0].Before()
		}
	}
	var got []*millrace.Event
	start := millrace.After(p)
	var at millrace.Position
	for first := true; ; first = false {
		page, err := l.Read(t.Context(), "a", millrace.Range{Start: start, Limit: 1 + chance.IntN(5)})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case first && (page.Gap != nil) != gap, first && page.Gap != nil && (page.Gap.Until != from || page.Gap.Cause != millrace.CauseTrimmed):
			t.Fatalf("after %s, with all up to %d gone, the gap is %v; want it until %s", p, m.gone, page.Gap, from)
		case !first && page.Gap != nil:
			t.Fatalf("paging met a gap: %v", page.Gap)
		}
		got, start, at = append(got, page.Events...), page.Resume(), page.Next
		if !page.More {
			break
		}
	}
	if !slices.Equal(got, want) || at != head {
		t.Fatalf("after %s there are %d events up to %s; want %d up to %s", p, len(got), at, len(want), head)
	}
}

package memlog

import (
	"sort"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/internal/ring"
)

// run is the shelf of a topic of class log: its newest events, without holes. The oldest make room for new ones.
type run struct {
	rule   *broker.Rule
	events ring.Ring[*millrace.Event]
	size   int64
	gone   uint64 // offset of the newest event that was let go of
}

func (r *run) fit(events []millrace.Publish) (freed int64, err *millrace.Error) {
	var size int64
	for i := range events {
		size += int64(events[i].Event.Size())
	}
	switch {
	case size > r.rule.MaxBytes:
		return 0, millrace.Errorf(millrace.ReasonTooLarge, "what is published counts %d bytes; the topic keeps at most %d", size, r.rule.MaxBytes)
	case len(events) > r.rule.MaxEvents:
		return 0, millrace.Errorf(millrace.ReasonTooLarge, "%d events are published as one; the topic keeps at most %d", len(events), r.rule.MaxEvents)
	}
	for n := 0; n < r.events.Len() && r.over(r.events.Len()-n+len(events), r.size-freed+size); n++ {
		freed += int64(r.events.At(n).Size())
	}
	return freed, nil
}

// over reports whether so many events, and bytes of them, are more than the topic keeps.
func (r *run) over(events int, bytes int64) bool {
	return events > r.rule.MaxEvents || bytes > r.rule.MaxBytes
}

func (r *run) put(e *millrace.Event) {
	r.events.Push(e)
	r.size += int64(e.Size())
}

func (r *run) trim() {
	for r.over(r.events.Len(), r.size) {
		r.pop()
	}
}

func (r *run) expire(until int64) {
	for r.events.Len() > 0 && r.events.At(0).Time.UnixMilli() <= until {
		r.pop()
	}
}

func (r *run) pop() {
	e := r.events.Pop()
	r.size -= int64(e.Size())
	r.gone = e.Position.Offset
}

func (r *run) count() int                  { return r.events.Len() }
func (r *run) bytes() int64                { return r.size }
func (r *run) lost() uint64                { return r.gone }
func (r *run) slots() int                  { return r.events.Len() }
func (r *run) at(slot int) *millrace.Event { return r.events.At(slot) }

func (r *run) behind(offset uint64) int {
	if r.events.Len() == 0 {
		return 0
	}
	first := r.events.At(0).Position.Offset
	if offset < first {
		return 0
	}
	return int(min(offset-first+1, uint64(r.events.Len())))
}

func (r *run) since(at time.Time) int {
	return sort.Search(r.events.Len(), func(i int) bool { return !r.events.At(i).Time.Before(at) })
}

package memlog

import (
	"slices"
	"sort"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/internal/ring"
)

// state is the shelf of a topic of class latest: the newest event of each key. The one whose place it takes leaves an
// empty slot behind, until there are more of those than of the others.
type state struct {
	rule   *broker.Rule
	line   []slot            // by offset
	keys   map[string]uint64 // offset of each key's event
	graves ring.Ring[uint64] // offsets of tombstones, oldest first, those among them whose place was taken too
	size   int64
	gone   uint64 // offset of the newest event that was let go of
}

// slot is where an event stands or stood.
type slot struct {
	offset uint64
	time   int64           // when the event was stored, in Unix milliseconds
	event  *millrace.Event // nil: it is here no more
}

func newState(rule *broker.Rule) *state { return &state{rule: rule, keys: map[string]uint64{}} }

// fit takes a new key as long as there are less than there may be; tombstones make room for it.
func (s *state) fit(events []millrace.Publish) (freed int64, err *millrace.Error) {
	var size int64
	fresh := 0 // keys that were not there
	newest := make(map[string]*millrace.Event, len(events))
	for i := range events {
		e := events[i].Event
		size += int64(e.Size())
		older := newest[e.Key]
		if older == nil {
			older = s.of(e.Key)
		}
		if older == nil {
			fresh++
		} else {
			freed += int64(older.Size())
		}
		newest[e.Key] = e
	}
	buried := 0
	for i := 0; i < s.graves.Len() && s.over(len(s.keys)+fresh-buried, s.size+size-freed); i++ {
		if e := s.find(s.graves.At(i)); e != nil && newest[e.Key] == nil {
			buried++
			freed += int64(e.Size())
		}
	}
	switch {
	case !s.over(len(s.keys)+fresh-buried, s.size+size-freed):
		return freed, nil
	case fresh > s.rule.MaxEvents || size > s.rule.MaxBytes:
		return 0, millrace.Errorf(millrace.ReasonTooLarge, "what is published is more than the topic keeps: %d keys, %d bytes", s.rule.MaxEvents, s.rule.MaxBytes)
	}
	return 0, millrace.Errorf(millrace.ReasonFull, "the topic keeps as many keys, or bytes of them, as it may: %d keys, %d bytes", s.rule.MaxEvents, s.rule.MaxBytes)
}

// over reports whether so many keys, and bytes of them, are more than the topic keeps.
func (s *state) over(keys int, bytes int64) bool {
	return keys > s.rule.MaxEvents || bytes > s.rule.MaxBytes
}

func (s *state) put(e *millrace.Event) {
	if older, ok := s.keys[e.Key]; ok {
		s.empty(older)
	}
	s.keys[e.Key] = e.Position.Offset
	s.line = append(s.line, slot{offset: e.Position.Offset, time: e.Time.UnixMilli(), event: e})
	s.size += int64(e.Size())
	if e.Tombstone {
		s.graves.Push(e.Position.Offset)
	}
	s.compact()
}

func (s *state) trim() {
	for s.graves.Len() > 0 && s.over(len(s.keys), s.size) {
		if e := s.find(s.graves.Pop()); e != nil {
			s.drop(e)
		}
	}
}

func (s *state) expire(until int64) {
	for len(s.line) > 0 && s.line[0].time <= until {
		if e := s.line[0].event; e != nil {
			s.drop(e)
		}
		s.line = s.line[1:] // or each call would go over what is gone
	}
	for s.graves.Len() > 0 && s.find(s.graves.At(0)) == nil {
		s.graves.Pop()
	}
	s.compact()
}

// drop lets go of an event that nothing took the place of.
func (s *state) drop(e *millrace.Event) {
	s.empty(e.Position.Offset)
	delete(s.keys, e.Key)
	s.gone = max(s.gone, e.Position.Offset)
}

// empty empties the slot of an offset.
func (s *state) empty(offset uint64) {
	one := &s.line[s.behind(offset)-1]
	s.size -= int64(one.event.Size())
	one.event = nil
}

// compact does away with empty slots once they are the most, so that what one costs is paid by those who made it.
func (s *state) compact() {
	const few = 16
	if len(s.line) > 2*len(s.keys)+few {
		s.line = slices.DeleteFunc(s.line, func(one slot) bool { return one.event == nil })
	}
	if s.graves.Len() > 2*len(s.keys)+few {
		var live ring.Ring[uint64]
		for i := range s.graves.Len() {
			if offset := s.graves.At(i); s.find(offset) != nil {
				live.Push(offset)
			}
		}
		s.graves = live
	}
}

// of returns the event of a key, nil if there is none.
func (s *state) of(key string) *millrace.Event {
	offset, ok := s.keys[key]
	if !ok {
		return nil
	}
	return s.find(offset)
}

// find returns the event with an offset, nil if it is here no more.
func (s *state) find(offset uint64) *millrace.Event {
	i := s.behind(offset) - 1
	if i < 0 || s.line[i].offset != offset {
		return nil
	}
	return s.line[i].event
}

func (s *state) count() int                  { return len(s.keys) }
func (s *state) bytes() int64                { return s.size }
func (s *state) lost() uint64                { return s.gone }
func (s *state) slots() int                  { return len(s.line) }
func (s *state) at(slot int) *millrace.Event { return s.line[slot].event }

func (s *state) behind(offset uint64) int {
	return sort.Search(len(s.line), func(i int) bool { return s.line[i].offset > offset })
}

func (s *state) since(at time.Time) int {
	ms := at.Add(time.Millisecond - 1).UnixMilli() // events are stamped in whole ones
	return sort.Search(len(s.line), func(i int) bool { return s.line[i].time >= ms })
}

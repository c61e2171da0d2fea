package broker

import (
	"math"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// intervalOf returns how long it is from one event to the next at a rate of events a second; 0 for no limit.
func intervalOf(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(float64(time.Second) / rate))
}

// proceed takes what follows on the position from the hub's tail. Where that has no way on, the log is read, unless the
// position is the hub's head beyond doubt, or the log was read to its end since the hub last changed.
func (s *subscription) proceed(b *batch) {
	v := s.hub.look(s.pos, s.appetite(b), min(turnBytes, b.bytes))
	switch {
	case len(v.events) > 0:
		s.hand(b, v.events)
		if s.phase == phaseLive && (s.pos != v.head || s.version < v.doubt) {
			s.feed.ready.Push(s)
		}
	case s.pos == v.head && s.version >= v.doubt:
	case s.version == v.version && !s.more:
	default:
		s.feed.read(s, millrace.Start{Kind: millrace.StartAfter, After: s.pos, Lost: s.lost})
	}
}

// appetite returns how many events are looked at in one turn: at least one.
func (s *subscription) appetite(b *batch) int {
	if s.interval > 0 && s.filter == nil {
		return 1
	}
	return max(1, min(turnEvents, b.events))
}

// turnPage hands out a turn's worth of a page from the log.
func (s *subscription) turnPage(b *batch) {
	if n := turnOf(s.page, b); n > 0 {
		s.page = s.page[s.hand(b, s.page[:n]):]
	}
	switch paced := s.phase == phasePacing; {
	case len(s.page) == 0:
		s.passTo(b, s.until)
	case paced:
		s.more = true // the rest will be read again, as it is then
	default:
		s.feed.ready.Push(s)
		return
	}
	s.page = nil
	s.feed.yield(s)
	if s.phase == phasePaging {
		s.phase = phaseLive
		s.proceed(b)
	}
}

// turnOf returns how many of the events are handed out in one turn: at least one, if there is one.
func turnOf(events []*millrace.Event, b *batch) int {
	n, size := 0, 0
	for n < len(events) && n < max(1, min(turnEvents, b.events)) && (n == 0 || size < min(turnBytes, b.bytes)) {
		size += events[n].Size()
		n++
	}
	return n
}

// hand hands out events that come after the position. It returns how many it got through: not all if the rate says to
// wait.
//
// An event is handed out right behind the position that the consumer holds. Where events in between are left out, because
// the filter took them or, in class latest, because there are newer ones of their keys, the position is first moved on
// over them; and at the end of the turn too, so that one whose filter takes much does not fall behind what the log keeps.
func (s *subscription) hand(b *batch, events []*millrace.Event) int {
	if s.filter == nil && s.interval == 0 && s.hub.rule.Class == millrace.ClassLog {
		b.addEvents(s.topic, slices.Clip(events))
		s.pos = events[len(events)-1].Position
		return len(events)
	}
	told, conflated := s.pos, uint64(0) // where the consumer stands, and what was conflated behind there
	first := 0                          // the events from here up to the current one pass and are in a row
	for i, e := range events {
		hole := e.Position.Offset - s.pos.Offset - 1
		passes := s.filter.Passes(e)
		if i > first && (hole > 0 || !passes) {
			b.addEvents(s.topic, events[first:i:i])
			told, first = s.pos, i
		}
		conflated += hole
		s.pos = e.Position
		if !passes {
			first = i + 1
			continue
		}
		if i == first && !told.Precedes(e) {
			b.addAdvanced(s.topic, e.Before(), conflated)
			conflated = 0
		}
		if s.interval > 0 {
			b.addEvents(s.topic, events[i:i+1:i+1])
			s.rest(s.interval, phasePacing, phaseLive)
			return i + 1
		}
	}
	if first < len(events) {
		b.addEvents(s.topic, slices.Clip(events[first:]))
		return len(events)
	}
	if told != s.pos {
		b.addAdvanced(s.topic, s.pos, conflated)
	}
	return len(events)
}

// passTo moves the position on to where nothing more comes before.
func (s *subscription) passTo(b *batch, to millrace.Position) {
	if s.pos == to {
		return
	}
	b.addAdvanced(s.topic, to, to.Offset-s.pos.Offset)
	s.pos = to
}

// batch is what one call of Next returns. A full batch is not open any more.
type batch struct {
	updates []millrace.Update
	events  int // that still fit
	bytes   int // that still fit
}

// maxUpdates bounds the updates in a batch, where they have few events.
const maxUpdates = 1024

func (b *batch) open() bool { return b.events > 0 && b.bytes > 0 && len(b.updates) < maxUpdates }

func (b *batch) add(u millrace.Update) { b.updates = append(b.updates, u) }

// addEvents adds events of one topic, as part of the last update if that is of the same topic.
func (b *batch) addEvents(topic string, events []*millrace.Event) {
	b.events -= len(events)
	for _, e := range events {
		b.bytes -= e.Size()
	}
	last := events[len(events)-1].Position
	if n := len(b.updates); n > 0 && b.updates[n-1].Kind == millrace.UpdateEvents && b.updates[n-1].Topic == topic {
		u := &b.updates[n-1]
		u.Events = append(u.Events, events...)
		u.Position = last
		return
	}
	b.add(millrace.Update{Kind: millrace.UpdateEvents, Topic: topic, Position: last, Events: events})
}

// addAdvanced moves a topic's position on over events of which some were conflated, as part of the last update if that
// does the same.
func (b *batch) addAdvanced(topic string, to millrace.Position, conflated uint64) {
	if n := len(b.updates); n > 0 && b.updates[n-1].Kind == millrace.UpdateAdvanced && b.updates[n-1].Topic == topic {
		u := &b.updates[n-1]
		u.Position = to
		u.Conflated += conflated
		return
	}
	b.add(millrace.Update{Kind: millrace.UpdateAdvanced, Topic: topic, Position: to, Conflated: conflated})
}

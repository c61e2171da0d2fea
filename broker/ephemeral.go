package broker

import "github.com/millrace-dev/millrace"

// listen hands out what passed in a topic of class ephemeral since the subscription last looked. There is no log behind
// the hub's tail: what that no longer has is counted and told. What the filter takes is not told, nor what the rate takes,
// as newer events take its place.
func (s *subscription) listen(b *batch) {
	events, missed, more := s.hub.listen(s.heard, max(1, min(turnEvents, b.events)), min(turnBytes, b.bytes))
	s.heard += missed + uint64(len(events))
	if more {
		s.feed.ready.Push(s)
	}
	// Where both filter and rate are at work nobody knows whether anything took the place of what is missing.
	if missed > 0 && (s.interval == 0 || s.filter != nil) {
		gap := &millrace.Gap{Topic: s.topic, Cause: millrace.CauseSlow, Count: missed}
		b.add(millrace.Update{Kind: millrace.UpdateGap, Topic: s.topic, Gap: gap})
	}
	passed := events[:0]
	for _, e := range events {
		if s.filter.Passes(e) {
			passed = append(passed, e)
		}
	}
	if s.interval == 0 {
		if len(passed) > 0 {
			b.addEvents(s.topic, passed)
		}
		return
	}
	if n := len(passed); n > 0 {
		s.page = passed[n-1:]
	}
	if len(s.page) > 0 && !more && s.phase == phaseLive {
		b.addEvents(s.topic, s.page)
		s.page = nil
		s.rest(s.interval, phasePacing, phaseLive)
	}
}

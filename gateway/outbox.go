package gateway

import (
	"slices"

	"github.com/millrace-dev/millrace"
)

// outbox is what waits to be written to a session's peer while a flusher is at work: answers and other frames for this
// session alone. Events never wait here: a session that is blocked falls behind in its topics instead, and is caught up
// from the tail or the log.
type outbox struct {
	bytes []byte
}

// offerShared writes bytes that many sessions share, if the session is not blocked: all of them are then as good as
// written. What the socket does not take is kept by reference, so they must be immutable.
func (s *Session) offerShared(b []byte) bool {
	rest, ok := s.try(b)
	if len(rest) > 0 {
		s.flush(rest)
	}
	return ok
}

// offerCopy is offerShared for bytes that the caller goes on to use.
func (s *Session) offerCopy(b []byte) bool {
	rest, ok := s.try(b)
	if len(rest) > 0 {
		s.flush(slices.Clone(rest))
	}
	return ok
}

// try writes what the socket takes, if the session is not blocked, and returns what it does not take.
func (s *Session) try(b []byte) (rest []byte, ok bool) {
	if s.blocked || s.ending {
		return nil, false
	}
	n, err := s.transport.TryWrite(b)
	if err != nil {
		s.lost()
		return nil, false
	}
	return b[n:], true
}

// write writes bytes for this session alone, or keeps them until the socket takes more. The caller gives them up. A
// session that lets too many wait is ended; one answer may wait whatever its size, since what was asked for is bounded.
func (s *Session) write(b []byte) {
	switch {
	case s.ending:
	case !s.blocked:
		s.offerShared(b)
	case len(s.outbox.bytes) > 0 && len(s.outbox.bytes)+len(b) > s.gateway.config.MaxOutboxBytes:
		s.outbox.bytes = nil
		s.end(millrace.Errorf(millrace.ReasonSlow, "too many answers were not read"))
	default:
		s.outbox.bytes = append(s.outbox.bytes, b...)
	}
}

// say writes a frame.
func (s *Session) say(re uint32, f Frame) {
	if s.ending {
		return
	}
	if s.refresh(); s.fresh {
		f = s.withPrefix(f)
	}
	var cursor []byte
	if s.wire.AppendLead != nil {
		cursor = s.appendCursor(nil, nil)
	}
	s.write(s.wire.AppendFrame(nil, re, f, cursor))
}

// flush hands what the socket did not take to a goroutine that can wait. The session is blocked until it is through.
func (s *Session) flush(rest []byte) {
	s.blocked = true
	s.gateway.flushers.Go(func() {
		err := s.transport.Write(rest)
		s.hear()
		s.loop.post(call(func() { s.flushed(err) }))
	})
}

// flushed goes on after a flusher: with what waits in the outbox, then with the topics that fell behind.
func (s *Session) flushed(err error) {
	s.blocked = false
	switch {
	case s.ended:
		return
	case err != nil:
		s.lost()
		return
	}
	if waiting := s.outbox.bytes; len(waiting) > 0 {
		s.outbox.bytes = nil
		n, err := s.transport.TryWrite(waiting)
		switch {
		case err != nil:
			s.lost()
			return
		case n < len(waiting):
			s.flush(waiting[n:])
			return
		}
	}
	if s.ending {
		s.over()
		return
	}
	s.settle()
	for _, sub := range s.stalled {
		s.loop.queue(sub)
	}
	clear(s.stalled)
	s.stalled = s.stalled[:0]
	s.loop.bringBack(s)
}

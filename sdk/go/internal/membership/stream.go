package membership

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// MaxID is the largest id of a command. Whoever else sends commands on the stream has those above.
const MaxID = 1<<31 - 1

// Command is what is to be sent.
type Command struct {
	ID        uint32 // the reply has it; 0 if there is none
	Change    millrace.MemberChange
	Broadcast *millrace.Publish // instead of a change
	Settled   bool              // instead of a change: these were all members
}

// Answer is what the broker says to a command: one of the acks, or an error.
type Answer struct {
	Member millrace.MemberAck
	Ack    millrace.Ack
	Err    *millrace.Error
}

// Open says that there is a stream at hand, in the place of any other. It takes commands of so many bytes; 0 says nothing.
// All members are told on it anew, and then what is asked is said in the order in which it was.
func (r *Registry) Open(limit int) {
	r.Lost()
	r.open, r.limit = true, limit
	r.untold, r.unsettled = len(r.seats), true
	seats := slices.SortedFunc(maps.Values(r.seats), func(a, b *seat) int { return cmp.Compare(a.number, b.number) })
	for _, held := range []bool{true, false} { // so that what is asked is answered with the counts of all
		for _, s := range seats {
			if s.held == held {
				s.first = true
				r.push(s)
			}
		}
	}
}

// Lost says that there is no stream at hand. What was under way is to be sent again, but for leaves: whoever is not told
// anew has left.
func (r *Registry) Lost() {
	r.open, r.unsettled, r.untold = false, false, 0
	r.ready, r.later = nil, nil
	clear(r.flying)
	r.casts.lost()
	for _, s := range r.seats {
		s.told, s.said, s.flying, s.queued, s.first, s.tries, s.due = false, false, nothing, false, false, 0, time.Time{}
		kept := s.asks[:0]
		for _, a := range s.asks {
			switch {
			case a.change.Kind == millrace.MemberLeave:
				for _, earlier := range kept {
					earlier.overtake()
				}
				a.overtake()
				kept = kept[:0]
			case a.batch != nil:
				kept = append(kept, a)
			}
		}
		clear(s.asks[len(kept):])
		s.asks = kept
		r.tidy(s)
	}
}

// Next returns what is to be sent next, so many commands at most and about as many bytes, and when there is more to send
// without anything happening until then; the zero time if there is not.
func (r *Registry) Next(now time.Time, commands, bytes int) (out []Command, due time.Time) {
	if !r.open {
		return nil, time.Time{}
	}
	due = r.recall(now)
	for len(r.ready) > 0 && len(out) < commands && bytes > 0 {
		s := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		s.queued = false
		r.refuse(s)
		if c, ok := r.say(s); ok {
			out = append(out, c)
			bytes -= sizeOf(&c.Change)
		}
		if s.first {
			s.first = false
			r.untold--
		}
		r.tidy(s)
	}
	if r.unsettled && r.untold == 0 && len(out) < commands {
		r.unsettled = false
		out = append(out, Command{Settled: true})
	}
	return r.casts.next(r, out, commands, bytes), due
}

// recall lets those have their turn whose time has come, and returns when that of the others does.
func (r *Registry) recall(now time.Time) (due time.Time) {
	waiting := r.later[:0]
	for _, s := range r.later {
		if !s.due.After(now) {
			r.ready = append(r.ready, s)
			continue
		}
		waiting = append(waiting, s)
		if due.IsZero() || s.due.Before(due) {
			due = s.due
		}
	}
	clear(r.later[len(waiting):])
	r.later = waiting
	return due
}

// say returns what is to be said of a seat, if there is something.
func (r *Registry) say(s *seat) (Command, bool) {
	c := Command{}
	switch {
	case s.held && !s.told:
		c.Change, s.flying = s.anew, anew
	case len(s.asks) > 0:
		c.Change, s.flying = s.asks[0].change, asked
	default:
		return c, false
	}
	s.said = true
	c.ID = r.fly(s)
	return c, true
}

// refuse answers what is next to be asked of a seat and would not be taken. Sent all the same it could end the stream.
func (r *Registry) refuse(s *seat) {
	for r.limit > 0 && len(s.asks) > 0 && sizeOf(&s.asks[0].change) > r.limit {
		s.asks[0].answer(refusal(tooLarge(sizeOf(&s.asks[0].change), r.limit)))
		s.asks = s.asks[1:]
	}
}

func (r *Registry) fly(s *seat) uint32 {
	r.mint()
	r.flying[r.last] = s
	return r.last
}

// mint makes the next id of a command, which is not 0.
func (r *Registry) mint() uint32 {
	r.last = r.last%MaxID + 1
	return r.last
}

// Reply takes the answer to a command of the stream at hand. It returns why a member is none any more that was told anew, if
// that is so. An answer to what was not asked is passed over.
func (r *Registry) Reply(now time.Time, id uint32, a Answer) *millrace.Error {
	s := r.flying[id]
	if s == nil {
		r.casts.reply(id, a)
		return nil
	}
	delete(r.flying, id)
	was := s.flying
	s.flying = nothing
	var lost *millrace.Error
	if was == anew {
		lost = r.toldAnew(now, s, a.Err)
	} else {
		r.answered(now, s, a)
	}
	if s.held && !s.told || len(s.asks) > 0 {
		r.push(s)
	}
	r.tidy(s)
	return lost
}

func (r *Registry) toldAnew(now time.Time, s *seat, err *millrace.Error) (lost *millrace.Error) {
	switch {
	case err == nil:
		s.told, s.tries = s.held, 0
	case !s.held: // it is about to leave
	case retryable(err):
		r.postpone(now, s, err)
	default:
		s.held, s.said = false, false
		return err
	}
	return nil
}

// answered takes the answer to the first of what was asked.
func (r *Registry) answered(now time.Time, s *seat, answer Answer) {
	a := s.asks[0]
	ack := answer.Member
	ack.Err = answer.Err
	if a.change.Kind == millrace.MemberLeave {
		r.left(now, s, a, ack)
		return
	}
	s.asks = s.asks[1:]
	switch {
	case s.leaves(): // it counts no more what it is now
	case ack.Err == nil:
		s.held, s.told, s.tries = true, true, 0
		s.anew = millrace.MemberChange{Kind: millrace.MemberJoin, Topic: s.topic, Member: ack.Member, Generation: a.change.Generation}
		s.anew.Member.Session = s.session // which may be empty, for the link's own
	case ack.Err.Reason == millrace.ReasonNotFound, ack.Err.Reason == millrace.ReasonConflict && a.change.Generation >= s.anew.Generation:
		s.held = false // it has left, or went on elsewhere
	}
	a.answer(ack)
}

// leaves reports whether a leave is asked.
func (s *seat) leaves() bool {
	for _, a := range s.asks {
		if a.change.Kind == millrace.MemberLeave {
			return true
		}
	}
	return false
}

// left takes the answer to a leave. One that could not be done for now is asked again, though nobody waits for that, unless
// the session is about to join again.
func (r *Registry) left(now time.Time, s *seat, a *ask, ack millrace.MemberAck) {
	if ack.Err == nil || !retryable(ack.Err) {
		s.asks, s.said, s.tries = s.asks[1:], false, 0
		a.answer(ack)
		return
	}
	a.overtake()
	if len(s.asks) > 1 {
		s.asks = s.asks[1:]
		return
	}
	r.postpone(now, s, ack.Err)
}

// postpone lets a seat wait for its next turn.
func (r *Registry) postpone(now time.Time, s *seat, why *millrace.Error) {
	s.tries++
	s.due = now.Add(why.RetryAfter + r.delay(s.tries))
	s.queued = true
	r.later = append(r.later, s)
}

func retryable(err *millrace.Error) bool { return err.Reason.Outcome().Retryable }

// changeBytes is more than what a change takes beside its texts.
const changeBytes = 64

// sizeOf returns about how many bytes a change has in a message.
func sizeOf(c *millrace.MemberChange) int {
	return changeBytes + len(c.Topic) + len(c.Member.Session) + len(c.Member.Subject) + len(c.Member.Data) + len(c.Reason)
}

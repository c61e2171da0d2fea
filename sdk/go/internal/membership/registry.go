// Package membership is what a link says of the members that it holds, and on their strength. It neither waits nor sends: a
// [Registry] is told what is asked, what streams there are and what the broker answers, and says what is to be sent.
package membership

import (
	"time"

	"github.com/millrace-dev/millrace"
)

// Registry is the members that a link holds. What it says follows from them: on each new stream all are told anew, and of
// each member one command is under way at a time. So what waits to be sent grows with the members and not with time.
//
// Its methods are not to be called concurrently.
type Registry struct {
	delay Delay

	seats  map[key]*seat
	ready  []*seat          // those that may have something to be said, each once
	later  []*seat          // those that have, but not before their time
	flying map[uint32]*seat // whose command is under way on the stream at hand, by its id
	casts  casts
	last   uint32 // the newest id of a command
	taken  uint64 // seats so far

	open      bool // there is a stream at hand
	limit     int  // the largest command that it takes, in bytes; 0: not known
	untold    int  // seats that were there when it opened and have not had their turn since
	unsettled bool // the broker is yet to be told that these were all
}

type key struct{ topic, session string }

// seat is one session's membership in one topic: what is asked of it, and whether there is one.
type seat struct {
	key

	number uint64 // in the order in which they were taken

	held bool                  // it is a member, by the broker's word and our wish
	anew millrace.MemberChange // how it is told anew, if it is held
	asks []*ask                // without an answer, in order; the first may be under way

	// On the stream at hand.
	told   bool    // the broker knows of the member
	said   bool    // the broker may know of it, as it was told and no leave was answered since
	flying sending // what is under way
	queued bool    // it stands in ready or later
	first  bool    // it counts as untold
	tries  int     // that failed in a row
	due    time.Time
}

type sending uint8

const (
	nothing sending = iota
	anew            // that it is a member
	asked           // the first of what is asked
)

// ask is a change that somebody waits for, or that is to be done although nobody does.
type ask struct {
	change millrace.MemberChange
	batch  *Batch // nil once it is answered
	place  int    // in the batch
}

// Batch is changes that were asked for at once.
type Batch struct {
	Done chan struct{}        // closed when all are answered
	Acks []millrace.MemberAck // what the answers are, in order; to be read after Done

	asks []*ask
	left int
}

// Delay says how long to wait before a command is tried again that failed so often in a row.
type Delay func(failures int) time.Duration

// New returns a registry without members.
func New(delay Delay) *Registry {
	return &Registry{delay: delay, seats: map[key]*seat{}, flying: map[uint32]*seat{}}
}

// Ask asks for changes. They are answered by Reply, or are done at once.
func (r *Registry) Ask(changes []millrace.MemberChange) *Batch {
	b := &Batch{Done: make(chan struct{}), Acks: make([]millrace.MemberAck, len(changes)), left: len(changes)}
	for i, c := range changes {
		a := &ask{change: c, batch: b, place: i}
		b.asks = append(b.asks, a)
		s := r.seat(key{c.Topic, c.Member.Session})
		if c.Kind == millrace.MemberLeave && s.outdates(c.Generation) {
			a.answer(refusal(millrace.Errorf(millrace.ReasonConflict, "the session has come back since")))
			continue
		}
		if c.Kind == millrace.MemberLeave {
			r.leave(s, a)
			continue
		}
		s.asks = append(s.asks, a)
		r.push(s)
	}
	if len(changes) == 0 {
		close(b.Done)
	}
	return b
}

func refusal(err *millrace.Error) millrace.MemberAck { return millrace.MemberAck{Err: err} }

// Withdraw answers what a batch still waits for with an error. What could make a session a member is taken back; a leave is
// done all the same.
func (r *Registry) Withdraw(b *Batch, why *millrace.Error) {
	for _, a := range b.asks {
		if a.batch == nil {
			continue
		}
		a.answer(refusal(why))
		s := r.seats[key{a.change.Topic, a.change.Member.Session}]
		flies := s.flying == asked && s.asks[0] == a
		if a.change.Kind != millrace.MemberLeave && !flies {
			s.drop(a)
		}
		if joins(&a.change) && !s.goesOn(a) {
			r.leave(s, &ask{change: leaveOf(a.change, millrace.LeftLost)})
		}
		r.tidy(s)
	}
}

// leaveOf returns what takes a change back.
func leaveOf(c millrace.MemberChange, reason string) millrace.MemberChange {
	c.Kind, c.Reason, c.Member.Data = millrace.MemberLeave, reason, nil
	return c
}

// joins reports whether a change makes a session a member.
func joins(c *millrace.MemberChange) bool {
	return c.Kind == millrace.MemberJoin || c.Kind == millrace.MemberResume
}

// outdates reports whether the seat is, or is asked to be, of a newer generation than another.
func (s *seat) outdates(older uint32) bool {
	for _, a := range s.asks {
		if joins(&a.change) && a.batch != nil && a.change.Generation > older {
			return true
		}
	}
	return s.held && s.anew.Generation > older
}

// goesOn reports whether something is asked after a change that makes its withdrawal needless: another join, or a leave.
func (s *seat) goesOn(a *ask) bool {
	for _, other := range s.asks {
		if other != a && other.change.Kind != millrace.MemberUpdate {
			return true
		}
	}
	return false
}

// Leaves returns what makes all members leave, with a reason.
func (r *Registry) Leaves(reason string) []millrace.MemberChange {
	var leaves []millrace.MemberChange
	for _, s := range r.seats {
		if s.held {
			leaves = append(leaves, leaveOf(s.anew, reason))
		}
	}
	return leaves
}

// Len returns how many members there are, and such sessions of which something is asked.
func (r *Registry) Len() int { return len(r.seats) }

func (r *Registry) seat(k key) *seat {
	s := r.seats[k]
	if s == nil {
		r.taken++
		s = &seat{key: k, number: r.taken}
		r.seats[k] = s
	}
	return s
}

// push lets a seat have its turn.
func (r *Registry) push(s *seat) {
	if r.open && !s.queued && s.flying == nothing {
		s.queued = true
		r.ready = append(r.ready, s)
	}
}

// tidy forgets a seat that is none any more.
func (r *Registry) tidy(s *seat) {
	if !s.held && len(s.asks) == 0 && s.flying == nothing && !s.queued {
		delete(r.seats, s.key)
	}
}

// leave ends a membership: it is not told again. What was asked before and is not under way has been overtaken. Where the
// broker can't know of the member the leave is done.
func (r *Registry) leave(s *seat, a *ask) {
	s.held = false
	keep := 0
	if s.flying == asked {
		keep = 1
	}
	for _, earlier := range s.asks[keep:] {
		earlier.overtake()
	}
	s.asks = s.asks[:keep]
	if !s.said {
		a.overtake()
		r.tidy(s)
		return
	}
	s.asks = append(s.asks, a)
	r.push(s)
}

// overtake answers what is not asked of the broker any more, as the session left.
func (a *ask) overtake() {
	if a.change.Kind == millrace.MemberLeave {
		a.answer(millrace.MemberAck{Member: a.change.Member})
		return
	}
	a.answer(refusal(millrace.Errorf(millrace.ReasonCanceled, "the session left the topic meanwhile")))
}

// answer tells whoever waits for it, if somebody does.
func (a *ask) answer(ack millrace.MemberAck) {
	b := a.batch
	if b == nil {
		return
	}
	a.batch = nil
	b.Acks[a.place] = ack
	if b.left--; b.left == 0 {
		close(b.Done)
	}
}

func (s *seat) drop(a *ask) {
	for i := range s.asks {
		if s.asks[i] == a {
			s.asks = append(s.asks[:i], s.asks[i+1:]...)
			return
		}
	}
}

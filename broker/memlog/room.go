package memlog

import (
	"sort"
	"time"

	"github.com/millrace-dev/millrace"
)

// room is the members of one topic, in the order in which they joined. Who leaves makes an empty place, until there are more of
// those than of the others. All of it is protected by the roster's mu.
type room struct {
	topic    string
	line     []place
	count    int
	subjects int // distinct ones
}

// place is where a member stands or stood.
type place struct {
	number uint64      // the member's, counted over all rooms
	member *membership // nil: it left
	skip   int         // of an empty one: so many places from here on are empty, at least
}

// seat is a session or a subject in a room. The roster has one map of all, since most rooms are too small for their own.
type seat struct {
	room *room
	name string
}

// membership is one session in one room. All of it is protected by the roster's mu.
type membership struct {
	room       *room
	session    string
	subject    string
	data       string
	joined     int64 // Unix milliseconds
	number     uint64
	generation uint32

	holder     *holder
	told       uint64      // the lease under which the holder last told of it
	prev, next *membership // among the holder's
}

func (m *membership) member() millrace.Member {
	one := millrace.Member{Session: m.session, Subject: m.subject, Joined: time.UnixMilli(m.joined)}
	if m.data != "" {
		one.Data = []byte(m.data)
	}
	return one
}

// arrives returns how many distinct subjects there are more with one more member of a subject: none or one.
func (r *Roster) arrives(in *room, subject string) int {
	if subject == "" || r.subjects[seat{in, subject}] > 0 {
		return 0
	}
	return 1
}

// departs returns how many distinct subjects there are less without one of the members of a subject: none or one.
func (r *Roster) departs(in *room, subject string) int {
	if subject == "" || r.subjects[seat{in, subject}] > 1 {
		return 0
	}
	return 1
}

// count counts members of a subject.
func (r *Roster) count(in *room, subject string, more int) {
	if subject == "" {
		return
	}
	at := seat{in, subject}
	if n := r.subjects[at] + more; n > 0 {
		r.subjects[at] = n
	} else {
		delete(r.subjects, at)
	}
}

// add lets a member stand at the end.
func (in *room) add(m *membership, number uint64) {
	m.number = number
	in.line = append(in.line, place{number: number, member: m})
	in.count++
}

// remove empties the place of a member. Empty places are done away with once they are the most, so that what one costs is paid
// by those who made it.
func (in *room) remove(m *membership) {
	const few = 16
	in.line[in.behind(m.number)-1] = place{number: m.number, skip: 1}
	in.count--
	if len(in.line) <= 2*in.count+few {
		return
	}
	line := make([]place, 0, in.count+in.count/4)
	for _, s := range in.line {
		if s.member != nil {
			line = append(line, s)
		}
	}
	in.line = line
}

// behind returns the index of the first place with a larger number.
func (in *room) behind(number uint64) int {
	return sort.Search(len(in.line), func(i int) bool { return in.line[i].number > number })
}

// page returns up to limit members with a larger number, and the number of the last of them, or 0 if nobody stands behind it.
func (in *room) page(after uint64, limit int) (members []millrace.Member, last uint64) {
	at := in.occupied(in.behind(after))
	members = make([]millrace.Member, 0, min(limit, len(in.line)-at))
	for ; at < len(in.line) && len(members) < limit; at = in.occupied(at + 1) {
		members = append(members, in.line[at].member.member())
		last = in.line[at].number
	}
	if at == len(in.line) {
		return members, 0
	}
	return members, last
}

// occupied returns the first place from one on where a member stands. On the way it lets empty places know how many follow
// on them, so that a long row of them is gone over once.
func (in *room) occupied(from int) int {
	at := from
	for at < len(in.line) && in.line[at].member == nil {
		at += in.line[at].skip
	}
	for from < at {
		step := in.line[from].skip
		in.line[from].skip = at - from
		from += step
	}
	return at
}

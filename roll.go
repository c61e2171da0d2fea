package millrace

import (
	"bytes"
	"iter"
	"maps"
)

// Roll is the members of one topic as whoever follows its lifecycle log knows them: what was read of them, and the events
// applied since. The zero value is a list of none. It is not for concurrent use, but may be read by several at a time.
type Roll struct {
	members  map[string]Member
	subjects map[string]int // how many members each has; anonymous ones have none
}

// RollChange is what sets one list of members apart from another.
type RollChange struct {
	Joined  []Member // who came
	Updated []Member // who stayed and changed, as it is now
	Left    []Member // who went, as it was
}

// Len returns how many members there are.
func (r *Roll) Len() int { return len(r.members) }

// Subjects returns how many distinct subjects they have. Anonymous members have none.
func (r *Roll) Subjects() int { return len(r.subjects) }

// Get returns the member that a session is.
func (r *Roll) Get(session string) (Member, bool) {
	m, ok := r.members[session]
	return m, ok
}

// Members returns all members, in no promised order. The list must not change meanwhile.
func (r *Roll) Members() iter.Seq[Member] { return maps.Values(r.members) }

// Apply takes an event of the lifecycle log, and reports whether it made a difference. Events are applied in their order.
// Those that the list contains already may be applied again: after the last of them it is the same list.
//
// An update of a session that is no member makes it one. It stands in the log between its join and its leave, so it is one
// or has left since, and then that follows. A kind that is not known changes nothing.
func (r *Roll) Apply(e MemberEvent) bool {
	switch e.Kind {
	case MemberJoined, MemberUpdated:
		if before, ok := r.members[e.Member.Session]; ok && sameMember(before, e.Member) {
			return false
		}
		r.put(e.Member)
		return true
	case MemberLeft:
		_, ok := r.members[e.Member.Session]
		r.remove(e.Member.Session)
		return ok
	case TopicOccupied, TopicVacated:
	}
	return false
}

// Replace makes the list that of members that were read anew, and returns the difference. A session that is there twice,
// as one that left and came back between two pages, counts as it is the last time.
func (r *Roll) Replace(members []Member) RollChange {
	var change RollChange
	before := r.members
	r.members, r.subjects = make(map[string]Member, len(members)), nil
	for _, m := range members {
		r.put(m)
	}
	for session, m := range r.members {
		was, ok := before[session]
		switch {
		case !ok:
			change.Joined = append(change.Joined, m)
		case !sameMember(was, m):
			change.Updated = append(change.Updated, m)
		}
	}
	for session, was := range before {
		if _, ok := r.members[session]; !ok {
			change.Left = append(change.Left, was)
		}
	}
	return change
}

func (r *Roll) put(m Member) {
	r.remove(m.Session)
	if r.members == nil {
		r.members = map[string]Member{}
	}
	r.members[m.Session] = m
	if m.Subject == "" {
		return
	}
	if r.subjects == nil {
		r.subjects = map[string]int{}
	}
	r.subjects[m.Subject]++
}

func (r *Roll) remove(session string) {
	was, ok := r.members[session]
	if !ok {
		return
	}
	delete(r.members, session)
	if n := r.subjects[was.Subject]; n > 1 {
		r.subjects[was.Subject] = n - 1
	} else {
		delete(r.subjects, was.Subject)
	}
}

func sameMember(a, b Member) bool {
	return a.Session == b.Session && a.Subject == b.Subject && a.Joined.Equal(b.Joined) && bytes.Equal(a.Data, b.Data)
}

package roster

import (
	"time"

	"github.com/millrace-dev/millrace"
)

// sum is what the lifecycle log adds up to, and how that differs from what was told.
type sum struct {
	known     bool // what follows means something
	countOnly bool
	roll      millrace.Roll     // but in count only
	count     int               // in count only
	subjects  int               // likewise
	pos       millrace.Position // in the lifecycle log
	whole     millrace.Position // before it the roll may have what comes later, and is no list

	reset   bool                // everyone has to be told
	touched map[string]struct{} // sessions that are perhaps not as they were told
	changed time.Time           // when the first change came that was not told; zero: there is none
	last    *Changes            // the newest edition; nil: there is none
	told    time.Time           // when that was
}

// most is how many members there may be for a list of them. One that has grown too long is taken up again only when there
// are a good deal fewer, so that it is not read again and again.
func (l *List) most() int {
	if l.known && l.countOnly {
		return (9*l.lists.config.Most - 1) / 10
	}
	return l.lists.config.Most
}

func (l *List) listable(count int) bool { return count <= l.most() }

// adopt goes on from what was read.
func (l *List) adopt(now time.Time, r *reading) {
	l.pos, l.whole = r.from, r.until
	if r.countOnly {
		l.recount(now, r.count, r.subjects)
		return
	}
	change := l.roll.Replace(r.members)
	if !l.known || l.countOnly {
		l.known, l.countOnly, l.reset = true, false, true
		l.touch(now)
		return
	}
	for _, list := range [][]millrace.Member{change.Joined, change.Updated, change.Left} {
		for _, m := range list {
			l.touch(now, m.Session)
		}
	}
}

// recount takes counts, and gives up the list if there is one.
func (l *List) recount(now time.Time, count, subjects int) {
	if !l.known || !l.countOnly {
		l.known, l.countOnly, l.reset = true, true, false
		l.roll, l.touched = millrace.Roll{}, nil
		l.whole = millrace.Position{}
	}
	l.count, l.subjects = count, subjects
	l.touch(now)
}

// apply takes an event of the lifecycle log.
func (l *List) apply(now time.Time, e *millrace.Event) error {
	m, err := millrace.ParseMemberEvent(e)
	if err != nil {
		return err
	}
	l.pos = e.Position
	switch m.Kind {
	case millrace.MemberJoined, millrace.MemberUpdated, millrace.MemberLeft, millrace.TopicOccupied, millrace.TopicVacated:
	default: // of a newer broker
		return nil
	}
	switch {
	case l.countOnly:
		l.recount(now, m.Count, m.Subjects)
	case !l.roll.Apply(m):
	case !l.listable(l.roll.Len()):
		l.recount(now, m.Count, m.Subjects)
	default:
		l.touch(now, m.Member.Session)
	}
	return nil
}

// touch notes that there is perhaps something to tell.
func (l *List) touch(now time.Time, sessions ...string) {
	if l.changed.IsZero() {
		l.changed = now
	}
	for _, session := range sessions {
		if l.touched == nil {
			l.touched = map[string]struct{}{}
		}
		l.touched[session] = struct{}{}
	}
}

// gather is how long the first change after a quiet time waits for others that come with it.
const gather = 5 * time.Millisecond

// cut makes an edition of what was not told, when it is time.
func (l *List) cut(now time.Time) {
	if l.changed.IsZero() || !l.countOnly && l.pos.Offset < l.whole.Offset {
		return
	}
	due := l.changed.Add(gather)
	if next := l.told.Add(l.interval()); next.After(due) {
		due = next
	}
	if l.last != nil && now.Before(due) {
		l.remind(due)
		return
	}
	c := l.edition()
	l.reset, l.touched, l.changed = false, nil, time.Time{}
	if c != nil {
		l.last, l.told = c, now
		l.publish(c)
	}
}

// edition returns what is to be told, nil if that is nothing.
func (l *List) edition() *Changes {
	c := &Changes{Topic: l.topic, AsOf: l.pos, Count: l.count, Subjects: l.subjects}
	if l.countOnly {
		if last := l.last; last != nil && last.CountOnly && last.Count == c.Count && last.Subjects == c.Subjects {
			return nil
		}
		c.CountOnly = true
		return c
	}
	c.Count, c.Subjects = l.roll.Len(), l.roll.Subjects()
	if l.reset {
		c.Reset, c.Joined = true, make([]millrace.Member, 0, c.Count)
		for m := range l.roll.Members() {
			c.Joined = append(c.Joined, m)
		}
		c.order()
		return c
	}
	for session := range l.touched {
		was, told := l.members[session]
		now, is := l.roll.Get(session)
		switch {
		case told && is && alike(was, now):
		case is:
			c.tell(told, true, now)
		default:
			c.tell(told, false, was)
		}
	}
	if c.size() == 0 {
		return nil
	}
	c.order()
	return c
}

package roster

import (
	"math"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/source"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// state is what a list waits for.
type state uint8

const (
	stateOpening   state = iota // the source to be attached
	statePausing                // a time
	stateReading                // the members to be read
	stateMeeting                // the source to come to where the members were read
	stateFollowing              // whatever comes
)

// following is how a list keeps up with the lifecycle log of its topic.
type following struct {
	state   state
	source  *source.Topic // nil if there is none
	times   uint64        // how often the source was attached when the members were read
	lost    uint64        // likewise, how often its log was lost
	next    uint64        // number of the source's entry that was not looked at
	until   time.Time     // while pausing
	latest  time.Time     // likewise, if the log was lost: when to read even if it has not come to rest; else zero
	fresh   *reading      // while meeting
	failed  int           // attempts since the list was last right
	entries []*tail.Entry // reused space
}

// A log that was lost is let come to rest before the members are read: the gateways tell a broker that has lost them of their
// members anew, and who was not told yet has not left.
const (
	rest    = time.Second
	unrest  = 5 * time.Second // after which it is read in any case
	backoff = 250 * time.Millisecond
	longest = 5 * time.Second // that a failed attempt is followed by
)

// work does what can be done now.
func (l *List) work(now time.Time) {
	if l.closed() {
		l.letGo()
		return
	}
	for l.step(now) {
	}
	l.cut(now)
}

// step goes on to another state, if it can.
func (l *List) step(now time.Time) bool {
	switch l.state {
	case stateOpening:
		return l.open(now)
	case statePausing:
		return l.pause(now)
	case stateMeeting:
		return l.meet(now)
	case stateFollowing:
		return l.follow(now)
	}
	return false
}

// letGo gives the source back.
func (l *List) letGo() {
	if l.source == nil {
		return
	}
	l.source.Unwatch(l)
	l.lists.sources.Release(l.source, l.lists.config.Now())
	l.source = nil
}

// look returns how the source stands.
func (l *List) look() source.View { return l.source.Since(math.MaxUint64, nil, 0) }

// open asks for the members once the source is there.
func (l *List) open(now time.Time) bool {
	if l.source == nil {
		t, err := l.lists.sources.Topic(millrace.PresenceTopic(l.topic))
		if err != nil {
			return l.fail(now, err)
		}
		l.source = t
		t.Watch(l)
	}
	switch v := l.look(); {
	case v.Refused != nil:
		return l.refuse(now, v.Refused)
	case v.Attached:
		l.state, l.times, l.lost, l.next = stateReading, v.Times, v.Lost, v.End
		l.lists.waiting = append(l.lists.waiting, l)
	}
	return false
}

// receive takes what was read.
func (l *List) receive(r *reading) {
	if l.state == stateReading && l.source != nil {
		l.state, l.fresh = stateMeeting, r
	}
}

// meet takes the list up where the members were read.
func (l *List) meet(now time.Time) bool {
	r := l.fresh
	if r.err != nil {
		return l.fail(now, r.err)
	}
	v := l.source.Since(l.next, nil, 0)
	next, found := l.source.Locate(r.from)
	switch {
	case v.Refused != nil:
		return l.refuse(now, v.Refused)
	case !v.Attached:
		l.state, l.fresh = stateOpening, nil
	case r.torn, l.forked(&v, r.from):
		l.lose(now)
	case found:
		l.state, l.fresh, l.next, l.failed = stateFollowing, nil, next, 0
		l.adopt(now, r)
	case r.from.Offset > v.Head.Offset:
		return false // the source is on its way
	case v.Behind && r.countOnly && l.overtake(&v):
		l.state, l.fresh, l.failed = stateFollowing, nil, 0
		l.adopt(now, r)
	default: // it does not reach back so far
		return l.fail(now, nil)
	}
	return true
}

// overtake goes on with the newest entry of a source that does not reach back to where the list is, if it may: counts need
// nothing of what is passed over, since each event has them. So they are told of a topic however busy it is. A source that was
// attached anew meanwhile is perhaps that of a broker which has to be told of the members first.
func (l *List) overtake(v *source.View) bool {
	if v.Times != l.times || v.First == v.End {
		return false
	}
	l.next = v.End - 1
	return true
}

// forked reports whether the log is perhaps another than the one in which a position is. The source does not always know: of
// the beginning of a log it can't be told of which log it is.
func (l *List) forked(v *source.View, at millrace.Position) bool {
	anew := v.Times != l.times
	return v.Lost != l.lost || anew && (at.IsZero() || v.Behind && v.Head.Offset < at.Offset)
}

// follow applies what has come.
func (l *List) follow(now time.Time) bool {
	v := l.source.Since(l.next, l.entries[:0], batchBytes)
	l.entries = v.Entries
	defer clear(v.Entries)
	switch {
	case v.Refused != nil:
		return l.refuse(now, v.Refused)
	case l.forked(&v, l.pos):
		l.lose(now)
		return true
	case v.Behind && l.countOnly && l.overtake(&v):
		return true
	case v.Behind: // more has come at once than the source keeps
		l.state = stateOpening
		return true
	}
	for _, e := range v.Entries {
		l.next++
		switch {
		case e.Gap != nil:
			l.state = stateOpening
			return true
		case e.Event == nil:
			continue
		}
		if err := l.apply(now, e.Event); err != nil {
			return l.fail(now, err)
		}
		if l.countOnly && l.listable(l.count) {
			l.state = stateOpening
			return true
		}
	}
	if len(v.Entries) > 0 {
		l.Schedule() // there may be more, and others have a turn before
	}
	return false
}

// batchBytes is how much is applied in one turn, in bytes of events.
const batchBytes = 64 << 10

// lose pauses until a log that is perhaps new has come to rest. What was told stands meanwhile.
func (l *List) lose(now time.Time) {
	l.state, l.fresh = statePausing, nil
	l.next = l.look().End
	l.until, l.latest = now.Add(rest), now.Add(unrest)
}

// refuse lets go of a source that is over, and tries again later.
func (l *List) refuse(now time.Time, err *millrace.Error) bool {
	l.source.Unwatch(l)
	l.lists.sources.Discard(l.source)
	l.lists.sources.Release(l.source, l.lists.config.Now())
	l.source = nil
	return l.fail(now, err)
}

// fail tries again later. Nil for an error is what happens on a busy topic.
func (l *List) fail(now time.Time, err error) bool {
	c := &l.lists.config
	if err != nil {
		c.Failed(l.topic, err)
	}
	wait := min(backoff<<min(l.failed, 10), longest)
	l.failed++
	l.state, l.fresh = statePausing, nil
	l.until, l.latest = now.Add(time.Duration((1+c.Chance())/2*float64(wait))), time.Time{}
	return true
}

func (l *List) pause(now time.Time) bool {
	if l.source != nil && !l.latest.IsZero() {
		if end := l.look().End; end != l.next {
			l.next, l.until = end, now.Add(rest)
		}
		if l.until.After(l.latest) {
			l.until = l.latest
		}
	}
	if now.Before(l.until) {
		l.remind(l.until)
		return false
	}
	l.state = stateOpening
	return true
}

// remind gives the list a turn at a time.
func (l *List) remind(at time.Time) {
	if l.alarm.IsZero() || at.Before(l.alarm) {
		l.alarm = at
	}
}

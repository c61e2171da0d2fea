package ledger

import (
	"fmt"

	"github.com/millrace-dev/millrace"
)

// era is what a subscriber of class latest got since its state began, or began anew.
type era struct {
	from  millrace.Position
	whole bool // it is owed the newest event of each key, also of those before from
	grave bool // it got a tombstone: the older ones that are passed over are not let go of, they are lost
}

// anew judges a gap in class latest, after which the state begins anew: nothing that came before counts any more.
func (j *judge) anew(i int, s *span) {
	from, to := j.lineage(s.from), j.lineage(s.to)
	switch keeps := j.forest.page.keeps; {
	case s.cause == millrace.CauseTrimmed && apart(from, to):
		j.violate(Untrue, 1, i, "what is told as trimmed is a reset")
	case s.cause == millrace.CauseTrimmed && keeps > 0 && j.forest.page.keys() <= keeps:
		j.violate(Untrue, 1, i, "what is told as trimmed is kept: there never were more keys than places")
	case s.cause == millrace.CauseReset && from != nil && from == to && (j.marks == 0 || j.kept(from, s.from, j.marks)):
		j.violate(Untrue, 1, i, "there was no reset")
	}
	j.covered = map[*lineage][]run{}
	j.era = era{from: s.to, whole: true}
}

// keys returns how many keys there were at most at a time.
func (pg *page) keys() uint64 {
	keys := map[string]bool{}
	for _, in := range pg.intents {
		keys[in.Key] = true
	}
	return uint64(len(keys))
}

// may reports whether an event that is for the subscriber may be passed over in class latest: one that has a newer one of
// its key, or a tombstone that was let go of before the state was read. These go oldest first.
func (j *judge) may(l *lineage, offset uint64, p *Publication) bool {
	if p.Tombstone && j.era.whole && !j.era.grave {
		return true
	}
	return j.replaced(l, offset, p.Key)
}

// bury notes the tombstones of a run of events.
func (j *judge) bury(l *lineage, r run) {
	if j.chain.want.Class != Latest || j.era.grave {
		return
	}
	for o := r.first; o <= r.last; o++ {
		if p := j.publication(l, o); p != nil && p.Tombstone {
			j.era.grave = true
			return
		}
	}
}

// replaced reports whether an event has, or may have had, a newer one of its key.
func (j *judge) replaced(l *lineage, offset uint64, key string) bool {
	if l.newest == nil {
		l.newest, l.maybe = map[string]uint64{}, map[string]bool{}
		here := map[Ident]bool{}
		for o, e := range l.at {
			if p := j.publication(l, o); p != nil {
				l.newest[p.Key] = max(l.newest[p.Key], o)
				here[e.id] = true
			}
		}
		// An ack does not say what the event follows on, so where a loss was near it is not known of which log it was.
		stored := map[Ident]bool{}
		for _, e := range j.forest.entries {
			stored[e.id] = stored[e.id] || e.named && apart(j.lineage(e.at), l)
		}
		final := j.head != nil && j.lineage(j.head.at) == l
		for id, in := range j.forest.page.intents {
			// It may have been stored here without anybody having been told, and have gone with the log.
			if in.epoch <= l.until && !here[id] && (!final || !stored[id]) {
				l.maybe[in.Key] = true
			}
		}
	}
	return l.newest[key] > offset || l.maybe[key]
}

// state judges that a subscriber that is at the topic's head has the newest event of each key.
func (j *judge) state() {
	if j.chain.want.Class != Latest || j.head == nil || j.chain.held != j.head.at {
		return
	}
	l := j.lineage(j.head.at)
	j.replaced(l, 0, "")
	for key, o := range l.newest {
		p := j.publication(l, o)
		switch {
		case p == nil || !j.wants(p) || l.maybe[key]:
		case o <= j.era.from.Offset && (p.Tombstone || !j.era.whole):
		case p.Tombstone && !j.era.grave:
		case j.overlap(l, run{o, o}) > 0:
		default:
			j.violate(Lost, 1, len(j.chain.spans)-1, fmt.Sprintf("the newest event of key %q, %s at offset %d, did not come since the state began", key, describe(p.Ident), o))
		}
	}
}

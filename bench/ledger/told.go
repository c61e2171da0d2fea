package ledger

import (
	"fmt"

	"github.com/millrace-dev/millrace"
)

// gap judges what a subscriber was told that it does not get.
func (j *judge) gap(i int, s *span) {
	j.report.Gaps[s.cause]++
	if j.chain.want.Class == Ephemeral {
		j.missed(i, s)
		return
	}
	if s.from != s.held && (s.from.Offset != 0 || s.held.Offset != 0) {
		if s.from.Offset > s.held.Offset && !apart(j.lineage(s.held), j.lineage(s.from)) {
			j.violate(Unreported, s.from.Offset-s.held.Offset, i, "a gap begins behind events that were passed over")
		} else {
			j.violate(Untrue, 1, i, "a gap begins where the subscriber did not stand")
		}
	}
	if !j.stands(s.to) {
		j.violate(Untrue, 1, i, "a gap leads to a place that there is not")
	}
	switch {
	case j.chain.want.Class == Latest && (s.cause == millrace.CauseTrimmed || s.cause == millrace.CauseReset):
		j.anew(i, s)
		return
	}
	switch s.cause {
	case millrace.CauseTrimmed:
		j.trimmed(i, s)
	case millrace.CauseReset:
		j.reset(i, s)
	default:
		j.violate(Untrue, 1, i, "nothing here can be the cause of such a gap")
	}
}

func (j *judge) trimmed(i int, s *span) {
	from, to := j.lineage(s.from), j.lineage(s.to)
	switch {
	case apart(from, to):
		j.violate(Untrue, 1, i, "what is told as trimmed is a reset")
	case s.to.Offset <= s.from.Offset:
		j.violate(Untrue, 1, i, "a gap without events")
		return
	case j.kept(to, s.to, j.forest.page.keeps):
		j.violate(Untrue, 1, i, "what is told as trimmed is kept")
	}
	j.report.ReportedMissing += s.to.Offset - s.from.Offset
}

func (j *judge) reset(i int, s *span) {
	from, to := j.lineage(s.from), j.lineage(s.to)
	j.report.ReportedMissing += s.to.Offset
	if from != nil {
		for o, e := range from.at {
			if o > s.from.Offset && e.acked {
				j.report.ReportedMissing++
			}
		}
	}
	switch {
	case from != nil && from == to && (j.marks == 0 || j.kept(from, s.from, j.marks)):
		j.violate(Untrue, 1, i, "there was no reset")
	case s.to.Offset > 0 && j.kept(to, s.to, j.forest.page.keeps):
		j.violate(Untrue, 1, i, "the new log is taken up behind events that are kept")
	}
}

// kept reports whether a log that keeps so many surely never let go of what stands at a position. 0 is not known.
func (j *judge) kept(l *lineage, at millrace.Position, keeps uint64) bool {
	return keeps > 0 && l != nil && l.top+j.forest.unknown(l) < at.Offset+keeps
}

// unknown returns how many events may stand in a lineage that nobody was told of.
func (f *forest) unknown(l *lineage) uint64 {
	if f.untold == nil {
		f.untold = map[*lineage]uint64{}
		stored := map[Ident]bool{}
		for _, e := range f.entries {
			stored[e.id] = stored[e.id] || e.named
		}
		for id, in := range f.page.intents {
			if stored[id] {
				continue
			}
			for _, l := range f.all {
				if in.epoch <= l.until {
					f.untold[l]++
				}
			}
		}
	}
	return f.untold[l]
}

// advance judges that a subscriber was moved on over events.
func (j *judge) advance(i int, s *span) {
	from, to := j.lineage(s.from), j.lineage(s.to)
	switch {
	case apart(from, to):
		j.violate(Unreported, 1, i, "a reset was not told")
		return
	case s.to.Offset <= s.from.Offset:
		j.violate(Untrue, 1, i, "an advance over no events")
		return
	case s.n > s.to.Offset-s.from.Offset:
		j.violate(Untrue, 1, i, "more events were conflated than passed over")
	case s.n > 0 && j.chain.want.Class == Log:
		j.violate(Untrue, 1, i, "events of class log were conflated")
	case !j.stands(s.to):
		j.violate(Untrue, 1, i, "an advance to a place that there is not")
	}
	if to == nil {
		return
	}
	wanted := uint64(0)
	for o := s.from.Offset + 1; o <= s.to.Offset; o++ {
		p := j.publication(to, o)
		if p == nil || !j.wants(p) {
			continue
		}
		wanted++
		if j.chain.want.Class == Latest && j.may(to, o, p) {
			continue
		}
		j.violate(Untrue, 1, i, fmt.Sprintf("%s at offset %d is for the subscriber and was passed over", describe(p.Ident), o))
	}
	if j.chain.want.Class == Latest && wanted > s.n {
		j.violate(Untrue, wanted-s.n, i, fmt.Sprintf("%d events that are for the subscriber were passed over, of which %d are told as conflated", wanted, s.n))
	}
}

// bears reports whether an event may come.
func (j *judge) bears(p *Publication) bool {
	return j.wants(p) || j.chain.want.Bears != nil && j.chain.want.Bears(p)
}

func (j *judge) wants(p *Publication) bool {
	return j.chain.want.Wants == nil || j.chain.want.Wants(p)
}

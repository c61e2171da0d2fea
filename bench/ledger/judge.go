package ledger

import (
	"fmt"

	"github.com/millrace-dev/millrace"
)

// judge goes over the steps of one subscriber with all that is known of the topic's lineages. The chain's mu is held.
type judge struct {
	chain  *Chain
	forest *forest
	report *Report
	head   *entry // the newest event of the log that was not lost; nil: not known
	marks  uint64 // how many marks the log keeps at least; 0: not known

	covered map[*lineage][]run // what was delivered, in class latest since the state began
	era     era                // in class latest
}

// run is offsets that were delivered one after the other.
type run struct{ first, last uint64 }

func (j *judge) judge() {
	c := j.chain
	j.covered = map[*lineage][]run{}
	j.report.Deliveries += c.deliveries
	j.report.Resumes += c.resumes
	share := &j.report.ByClass[c.want.Class]
	share.Subscriptions++
	share.Deliveries += c.deliveries
	if c.want.Wants != nil {
		share.Filtered++
	}
	for i := range c.spans {
		switch s := &c.spans[i]; {
		case s.kind == spanAdvanced:
			share.Advances++
			share.Conflated += s.n
		case s.kind == spanGap:
			share.Gaps++
			if c.want.Class == Ephemeral {
				share.Counted += s.n
			}
		}
	}
	j.era.whole = c.want.State
	for i := range c.spans {
		j.step(i)
	}
	j.visits()
	for _, h := range c.holes {
		s := &c.spans[h.span]
		if !apart(j.lineage(s.from), j.lineage(s.to)) {
			j.violate(Unreported, h.to-h.from+1, h.span, fmt.Sprintf("offsets %d to %d were passed over", h.from, h.to))
		}
	}
	j.end()
	j.state()
	j.acrossResets()
}

func (j *judge) step(i int) {
	s := &j.chain.spans[i]
	from, to := j.lineage(s.from), j.lineage(s.to)
	switch s.kind {
	case spanAttached:
		if !j.stands(s.to) {
			j.violate(Untrue, 1, i, "attached at a place that there is not")
		}
		j.era.from = s.to
	case spanEvents:
		j.deliver(i, s, to)
	case spanGap:
		j.gap(i, s)
	case spanAdvanced:
		j.advance(i, s)
	case spanSkipped:
		if apart(from, to) {
			j.violate(Unreported, 1, i, "a reset was not told")
		}
	case spanLate:
		if apart(from, to) {
			j.violate(Unreported, 1, i, "a reset was not told")
			return
		}
		j.violate(Reordered, 1, i, "an event came after a later one")
	case spanRepeated:
		j.violate(Repeated, s.n, i, "events came again")
	case spanMoved:
		j.moved(i, s, from, to)
	case spanPlaced:
		j.placed(i, s, from, to)
	}
}

// deliver enters a run of events, and finds those that came before and those that nobody wanted.
func (j *judge) deliver(i int, s *span, l *lineage) {
	if l == nil || j.lineage(s.last) != l { // if it went astray within, that was told
		return
	}
	r := run{s.to.Offset, s.last.Offset}
	if again := j.overlap(l, r); again > 0 {
		j.violate(Repeated, again, i, "events came again")
	}
	j.covered[l] = append(j.covered[l], r)
	j.bury(l, r)
	if j.chain.want.Wants == nil {
		return
	}
	for o := r.first; o <= r.last; o++ {
		if p := j.publication(l, o); p != nil && !j.bears(p) {
			j.violate(Untrue, 1, i, fmt.Sprintf("%s at offset %d is not for the subscriber", describe(p.Ident), o))
		}
	}
}

// moved judges an event at or behind the place where the subscriber stood.
func (j *judge) moved(i int, s *span, from, to *lineage) {
	switch {
	case s.from.IsZero():
		j.violate(Unreported, 1, i, "an event came before it was told from where everything comes")
	case from == nil || from != to:
		j.violate(Unreported, 1, i, "a reset was not told")
	case j.overlap(to, run{s.to.Offset, s.to.Offset}) == 0: // else the run of events that follows says how many came again
		j.violate(Reordered, 1, i, "an event came after a later one")
	}
}

// placed judges an attachment or cursor that is not where the subscriber stood.
func (j *judge) placed(i int, s *span, from, to *lineage) {
	switch {
	case apart(from, to):
		j.violate(Unreported, 1, i, "a reset was not told")
	case s.to.Offset > s.from.Offset:
		j.violate(Unreported, s.to.Offset-s.from.Offset, i, "events were passed over")
	default:
		j.violate(Untrue, 1, i, "it is not where the subscriber stands")
	}
}

// end judges where the subscriber stands at the end.
func (j *judge) end() {
	c := j.chain
	if j.head == nil || c.want.Class == Ephemeral || c.held == j.head.at {
		return
	}
	l, behind := j.lineage(j.head.at), c.held.Offset
	if apart(l, j.lineage(c.held)) {
		behind = 0
	}
	n := uint64(0)
	for o := range l.at {
		if o > behind {
			n++
		}
	}
	detail := fmt.Sprintf("stands at %s at the end, the topic at %s", c.held, j.head.at)
	if !c.attached {
		detail = fmt.Sprintf("never attached; the topic stands at %s", j.head.at)
	}
	j.violate(Lost, n, len(c.spans)-1, detail)
}

// acrossResets counts what came again because its publisher had to store it in a new lineage.
func (j *judge) acrossResets() {
	if len(j.covered) < 2 {
		return
	}
	for _, entries := range j.forest.restored() {
		n := uint64(0)
		for _, e := range entries {
			if j.overlap(j.lineage(e.at), run{e.at.Offset, e.at.Offset}) > 0 {
				n++
			}
		}
		j.report.AcrossResets += max(n, 1) - 1
	}
}

// restored returns the entries of each event that stands in several lineages.
func (f *forest) restored() [][]*entry {
	if f.again == nil {
		by := map[Ident][]*entry{}
		for _, e := range f.entries {
			if e.named {
				by[e.id] = append(by[e.id], e)
			}
		}
		f.again = [][]*entry{}
		for _, e := range f.entries {
			if all := by[e.id]; e.named && len(all) > 1 && all[0] == e {
				f.again = append(f.again, all)
			}
		}
	}
	return f.again
}

// overlap returns how many events of a run were delivered before.
func (j *judge) overlap(l *lineage, r run) (n uint64) {
	for _, before := range j.covered[l] {
		first, last := max(r.first, before.first), min(r.last, before.last)
		if first <= last {
			n += last - first + 1
		}
	}
	return n
}

// stands reports whether a position is one of its topic, as far as can be known.
func (j *judge) stands(p millrace.Position) bool {
	if p.Offset == 0 {
		return true
	}
	e := j.forest.page.entries[p.Mark]
	return e == nil || e.at == p
}

func (j *judge) lineage(p millrace.Position) *lineage { return j.forest.lineage(p) }

// publication returns what was published at an offset, nil if that is not known.
func (j *judge) publication(l *lineage, offset uint64) *Publication {
	e := l.at[offset]
	if e == nil || !e.named {
		return nil
	}
	in := j.forest.page.intents[e.id]
	if in == nil {
		return nil
	}
	return &in.Publication
}

func (j *judge) violate(kind Kind, n uint64, at int, detail string) {
	v := j.forest.page.violation(kind, j.chain, detail)
	v.Events = n
	v.Context = j.chain.context(at)
	j.report.violate(v)
}

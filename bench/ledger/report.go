package ledger

import "github.com/millrace-dev/millrace"

// perKind is how many violations of a kind a report describes. All are counted.
const perKind = 4

// Report is what Check found. Nothing of it changes any more.
type Report struct {
	Violations map[Kind]uint64 // events by what happened to them; kinds of which there are none are left out
	First      []Violation     // the first of each kind

	Published  uint64 // events that somebody wanted to publish
	Acked      uint64 // of these, those that were acked at least once
	Lineages   uint64 // of all topics together, as far as events of them are known
	Chains     uint64
	Deliveries uint64
	Resumes    uint64 // attachments after the first

	Gaps            map[millrace.Cause]uint64 // gaps told
	ReportedMissing uint64                    // events told as missing, for each subscriber that was told
	AcrossResets    uint64                    // deliveries of an event that had come in an earlier lineage, which its publisher then stored again
}

// Whole reports whether every promise was kept.
func (r *Report) Whole() bool { return len(r.Violations) == 0 }

// violate counts a violation, and describes it if there are few of its kind.
func (r *Report) violate(v Violation) {
	v.Events = max(v.Events, 1)
	r.Violations[v.Kind] += v.Events
	n := 0
	for i := range r.First {
		if r.First[i].Kind == v.Kind {
			n++
		}
	}
	if n < perKind {
		r.First = append(r.First, v)
	}
}

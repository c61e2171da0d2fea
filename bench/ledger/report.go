package ledger

import (
	"fmt"
	"strings"

	"github.com/millrace-dev/millrace"
)

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
	ByClass         [3]Share                  // by Class
	AcrossResets    uint64                    // deliveries of an event that had come in an earlier lineage, which its publisher then stored again
}

// Share is what there was of one class.
type Share struct {
	Subscriptions, Filtered, Deliveries uint64

	Gaps      uint64
	Advances  uint64 // times that a position was moved on over events
	Conflated uint64 // events that were told as left out for newer ones
	Counted   uint64 // events of class ephemeral that were told as missing
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

// Kind is which promise was broken.
type Kind int

// The kinds of violation.
const (
	Lost       Kind = iota + 1 // an event in a log that was not lost, which a subscriber that stayed did not get to
	Repeated                   // an event that came before
	Reordered                  // an event that came after a later one, or was stored after one that was published later
	Unreported                 // events or a reset that a subscriber was led past without a word
	Untrue                     // a gap, an advance or an attachment that says what is not so
	Altered                    // an event that is not what was published, or that nobody published
	Unstored                   // an event that was acked where another one stands
	Doubled                    // an event that is stored twice in one lineage
)

var kindNames = [...]string{
	Lost: "lost", Repeated: "repeated", Reordered: "reordered", Unreported: "unreported",
	Untrue: "untrue", Altered: "altered", Unstored: "unstored", Doubled: "doubled",
}

// Kinds returns all kinds in a fixed order.
func Kinds() []Kind {
	all := make([]Kind, 0, len(kindNames))
	for k := Lost; int(k) < len(kindNames); k++ {
		all = append(all, k)
	}
	return all
}

// String returns the kind's word.
func (k Kind) String() string {
	if k <= 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// Violation is one breach of a promise.
type Violation struct {
	Kind       Kind
	Events     uint64 // how many
	Topic      string
	Subscriber string // empty where it is the log that is at fault
	Transport  string // the one that it came over last
	Detail     string
	Context    string // the steps of the subscriber around it, in lines; the one at hand is marked
}

// String describes the violation for people, with its context.
func (v *Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %s", v.Kind, v.Events, v.Topic)
	if v.Subscriber != "" {
		fmt.Fprintf(&b, ", subscriber %s by %s", v.Subscriber, v.Transport)
	}
	fmt.Fprintf(&b, ": %s\n%s", v.Detail, v.Context)
	return b.String()
}

func describe(id Ident) string {
	return fmt.Sprintf("event %d of publisher %d", id.Serial, id.Publisher)
}

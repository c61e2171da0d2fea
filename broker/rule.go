package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// Rule bounds the logs of the topics that a pattern covers. Zero fields take their defaults. Every engine keeps to it.
type Rule struct {
	Pattern millrace.Pattern // the topics it is for
	Class   millrace.Class   // how their events are kept and delivered

	MaxEvents int           // events kept; in class latest keys, which are then all there may be; default 1,000
	MaxAge    time.Duration // how long an event is kept; default 10 min, and 24 h in class latest
	MaxBytes  int64         // what the kept events may be charged for together; default 16 MiB

	DedupWindow time.Duration // how long an event's id is remembered; default 5 min
	DedupIDs    int           // how many ids are remembered at most, the newest; default 10,000

	HeadRetention time.Duration // how long the head and marks of a topic outlive its newest event; default 24 h, or MaxAge if longer
}

// marksPerEvent says how many more marks than events a topic keeps.
const marksPerEvent = 8

// leastStateMarks is how many marks class latest keeps at least: however few its keys are, their offsets run on.
const leastStateMarks = 8192

// MaxMarks returns how many marks are kept for a topic, so that old positions can be checked: eight for each event.
func (r *Rule) MaxMarks() int {
	if r.Class == millrace.ClassLatest {
		return max(marksPerEvent*r.MaxEvents, leastStateMarks)
	}
	return marksPerEvent * r.MaxEvents
}

// WithDefaults returns the rule with its zero fields filled.
func (r Rule) WithDefaults() Rule {
	r.Pattern = cmp.Or(r.Pattern, "**")
	r.MaxEvents = cmp.Or(r.MaxEvents, 1_000)
	r.MaxAge = cmp.Or(r.MaxAge, maxAge(r.Class))
	r.MaxBytes = cmp.Or(r.MaxBytes, 16<<20)
	r.DedupWindow = cmp.Or(r.DedupWindow, 5*time.Minute)
	r.DedupIDs = cmp.Or(r.DedupIDs, 10_000)
	r.HeadRetention = cmp.Or(r.HeadRetention, max(24*time.Hour, r.MaxAge))
	return r
}

func maxAge(c millrace.Class) time.Duration {
	if c == millrace.ClassLatest {
		return 24 * time.Hour
	}
	return 10 * time.Minute
}

// Validate reports every fault at once.
func (r Rule) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("rule for %q: "+format, append([]any{string(r.Pattern)}, args...)...))
	}
	if r.Class.String() == "unknown" {
		fault("Class is %d; there are log, latest and ephemeral", r.Class)
	}
	if millrace.Reserved(string(r.Pattern)) && r.Class != millrace.ClassLog {
		fault("Class is %s; reserved topics are of class log, or they would not tell what they are for", r.Class)
	}
	if r.Pattern != "" {
		if err := r.Pattern.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("rule: %w", err))
		}
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxEvents", int64(r.MaxEvents)},
		{"MaxBytes", r.MaxBytes},
		{"DedupIDs", int64(r.DedupIDs)},
	} {
		if f.value < 0 {
			fault("%s is %d; it can't be negative", f.name, f.value)
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"MaxAge", r.MaxAge},
		{"DedupWindow", r.DedupWindow},
		{"HeadRetention", r.HeadRetention},
	} {
		if f.value < 0 {
			fault("%s is %v; it can't be negative", f.name, f.value)
		}
	}
	if d := r.WithDefaults(); len(faults) == 0 && d.HeadRetention < d.MaxAge {
		fault("HeadRetention is %v; it can't be less than MaxAge, which is %v", d.HeadRetention, d.MaxAge)
	}
	return errors.Join(faults...)
}

// Rules finds the rule of a topic. It is immutable.
type Rules struct {
	rules    []Rule
	fallback Rule
}

// lifecycleRules are for the logs of who comes and goes. They are longer than others, and bounded in bytes instead: whoever
// misses some of their events has to read the members anew.
var lifecycleRules = []Rule{
	{Pattern: millrace.Pattern(millrace.PresenceTopic("**")), MaxEvents: 10_000, MaxBytes: 8 << 20},
	{Pattern: millrace.SessionsTopic, MaxEvents: 10_000, MaxBytes: 8 << 20},
}

// NewRules returns the rules with their defaults filled. The first whose pattern matches a topic counts. A topic that none
// covers has the defaults, which for lifecycle logs (millrace.PresenceTopic) are 10,000 events and 8 MiB. The rules must be valid.
func NewRules(rules []Rule) *Rules {
	rs := &Rules{fallback: Rule{}.WithDefaults()}
	for _, r := range slices.Concat(rules, lifecycleRules) {
		rs.rules = append(rs.rules, r.WithDefaults())
	}
	return rs
}

// For returns the topic's rule.
func (rs *Rules) For(topic string) *Rule {
	for i := range rs.rules {
		if rs.rules[i].Pattern.Matches(topic) {
			return &rs.rules[i]
		}
	}
	return &rs.fallback
}

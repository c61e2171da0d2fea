package ledger

import (
	"fmt"

	"github.com/millrace-dev/millrace"
)

// Check judges everything that was entered. It is for the end: what is entered meanwhile may or may not count.
func (b *Book) Check() *Report {
	r := &Report{Violations: map[Kind]uint64{}, Gaps: map[millrace.Cause]uint64{}}
	for _, pg := range b.sorted() {
		pg.mu.Lock()
		b.check(pg, r)
		pg.mu.Unlock()
	}
	return r
}

// check judges a topic. pg.mu is held.
func (b *Book) check(pg *page, r *Report) {
	for _, f := range pg.faults {
		r.violate(pg.violation(f.kind, f.by, f.detail))
	}
	f := pg.grow(func(by *Chain, e *entry, prev uint64) {
		v := pg.violation(Unreported, by, fmt.Sprintf("%s came after the event with mark %d, and follows on another", e.at, prev))
		v.Context = by.locate(e.at)
		r.violate(v)
	})
	b.count(pg, f, r)
	pg.checkStored(f, r)
	var head *entry
	for _, l := range f.all {
		if l.since == b.epoch.Load() && l.until == l.since {
			head = l.at[l.top]
		}
	}
	for _, c := range pg.chains {
		c.mu.Lock()
		j := judge{chain: c, forest: f, report: r, head: head, marks: b.config.MarksPerEvent * pg.keeps}
		j.judge()
		c.mu.Unlock()
	}
}

func (b *Book) count(pg *page, f *forest, r *Report) {
	r.Published += uint64(len(pg.intents))
	acked := map[Ident]bool{}
	for _, e := range f.entries {
		if e.acked {
			acked[e.id] = true
		}
	}
	for id, in := range pg.intents {
		if in.passed {
			acked[id] = true
		}
	}
	r.Acked += uint64(len(acked))
	r.Lineages += uint64(len(f.all))
	r.Chains += uint64(len(pg.chains))
}

func (pg *page) violation(kind Kind, by *Chain, detail string) Violation {
	v := Violation{Kind: kind, Events: 1, Topic: pg.topic, Detail: detail}
	if by != nil {
		v.Subscriber, v.Transport = by.subscriber, by.transport
	}
	return v
}

// checkStored judges what publishers were told.
func (pg *page) checkStored(f *forest, r *Report) {
	for _, l := range f.all {
		for _, e := range l.spare {
			kind, what := Unstored, "is said to stand"
			if e.acked {
				what = "was acked"
			}
			r.violate(pg.violation(kind, nil, fmt.Sprintf("%s %s at %s, where %s stands", describe(e.id), what, e.at, l.at[e.at.Offset].at)))
		}
	}
	pg.checkOrder(f, r)
}

// checkOrder finds events that are stored twice in a lineage, and such of one publisher that are not in its order. An
// event whose publisher began to publish it in an earlier epoch may be stored late: a try that was given up may arrive
// after the log that had the event was lost.
func (pg *page) checkOrder(f *forest, r *Report) {
	for _, l := range f.all {
		stored := map[Ident]*entry{}
		newest := map[uint32]*entry{}
		for _, e := range f.entries {
			if f.lineage(e.at) != l || !e.named {
				continue
			}
			if first := stored[e.id]; first != nil {
				r.violate(pg.violation(Doubled, nil, fmt.Sprintf("%s stands at %s and at %s", describe(e.id), first.at, e.at)))
				continue
			}
			stored[e.id] = e
			if in := pg.intents[e.id]; in == nil || in.epoch != l.since || l.since != l.until {
				continue
			}
			if last := newest[e.id.Publisher]; last != nil && last.id.Serial > e.id.Serial {
				r.violate(pg.violation(Reordered, nil, fmt.Sprintf("%s stands at %s, behind %s at %s", describe(e.id), e.at, describe(last.id), last.at)))
				continue
			}
			newest[e.id.Publisher] = e
		}
	}
}

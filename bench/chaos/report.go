package main

import (
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/chaos/peer"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// result is what came of a run.
type result struct {
	run    *run
	report *ledger.Report
	took   time.Duration
}

// whole reports whether every promise was kept, and nothing else went wrong either.
func (r *result) whole() bool {
	n, _ := r.run.troubles.all()
	return r.report.Whole() && n == 0
}

// print writes the result for people.
func (r *result) print(out io.Writer) {
	c, rep := r.run.config, r.report
	fmt.Fprintf(out, "chaos: seed %d, %s of faults and %s until all had arrived; %d subscribers of %d topics, 2 + 2 gateways\n\n",
		c.seed, c.length, (r.took - c.length).Round(100*time.Millisecond), c.subscribers, c.topics)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\ttimes\thits\t")
	for k, b := range r.run.blows {
		fmt.Fprintf(w, "%s\t%d\t%d\t\n", faultKind(k), b.faults, b.hits)
	}
	flush(w)

	counts := &r.run.world.Counts
	row := func(what string, n uint64) { fmt.Fprintf(w, "%s\t%d\t\n", what, n) }
	row("events published", rep.Published)
	row("of these, acked", rep.Acked)
	row("publishes tried again by hand", counts.Retries.Load())
	row("lineages of all topics", rep.Lineages)
	row("subscriptions", rep.Chains)
	row("deliveries", rep.Deliveries)
	for t := range counts.Connects {
		row("connections by "+peer.Transport(t).String(), counts.Connects[t].Load())
	}
	row("connections that failed", counts.Failures.Load())
	row("subscriptions resumed", rep.Resumes)
	for cause := millrace.CauseTrimmed; cause <= millrace.CauseDenied; cause++ {
		row("gaps told: "+cause.String(), rep.Gaps[cause])
	}
	row("reported missing", rep.ReportedMissing)
	row("repeats across a reset", rep.AcrossResets)
	flush(w)

	fmt.Fprintln(w, "class\tsubscriptions\tthat choose\tdeliveries\tgaps\tadvances\tconflated\tcounted as missing\t")
	for class, s := range rep.ByClass {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", millrace.Class(class),
			s.Subscriptions, s.Filtered, s.Deliveries, s.Gaps, s.Advances, s.Conflated, s.Counted)
	}
	flush(w)
	for _, k := range ledger.Kinds() {
		row(k.String(), rep.Violations[k])
	}
	n, first := r.run.troubles.all()
	row("refusals and crashes", uint64(n))
	flush(w)
	for i := range rep.First {
		fmt.Fprintln(out, rep.First[i].String())
	}
	for _, t := range first {
		fmt.Fprintln(out, t)
	}
	if r.whole() {
		fmt.Fprintln(out, "whole or told: every promise was kept")
	} else {
		fmt.Fprintf(out, "BROKEN; to do it again: make chaos SEED=%d DURATION=%s SUBSCRIBERS=%d TOPICS=%d\n", c.seed, c.length, c.subscribers, c.topics)
	}
}

// flush writes out a table and begins another one.
func flush(w *tabwriter.Writer) {
	fmt.Fprintln(w)
	w.Flush() // what can't be written to the terminal can't be told there either
}

// troubles is what went wrong that no ledger can see: refusals, words of a server that can't be read, a crash. Its methods
// may be called concurrently.
type troubles struct {
	mu    sync.Mutex
	count int
	first []string
}

// shownTroubles is how many are described. All are counted.
const shownTroubles = 10

func (t *troubles) addf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if len(t.first) < shownTroubles {
		t.first = append(t.first, fmt.Sprintf(format, args...))
	}
}

func (t *troubles) all() (int, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count, t.first
}

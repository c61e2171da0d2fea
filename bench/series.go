package main

import (
	"fmt"
	"slices"
	"time"
)

// series is the outcomes of the runs of one kind.
type series []outcome

// figure is one number of a run.
type figure struct {
	name string
	unit string
	of   func(outcome) float64
}

// memory is the unit of what is not to be the same in each setting.
const memory = "MiB"

func figures() []figure {
	latency := func(name string, q float64) figure {
		return figure{name: name, unit: "ms", of: func(o outcome) float64 { return float64(o.latencies.quantile(q)) / float64(time.Millisecond) }}
	}
	return []figure{
		latency("p50", 0.5), latency("p90", 0.9), latency("p99", 0.99), latency("p99.9", 0.999), latency("max", 1),
		{name: "server CPU a delivery", unit: "µs", of: outcome.perDelivery},
		{name: "gateway RSS", unit: memory, of: func(o outcome) float64 { return float64(o.rss) / (1 << 20) }},
	}
}

func (s series) each(f figure) []float64 {
	values := make([]float64, 0, len(s))
	for _, o := range s {
		values = append(values, f.of(o))
	}
	return values
}

// all returns the latencies of all runs.
func (s series) all() distribution {
	var all []time.Duration
	for _, o := range s {
		all = append(all, o.latencies...)
	}
	return newDistribution(all)
}

// results is the series of each setting.
type results [settings]series

// print shows the settings beside each other, and whether their medians are such as runs alone have too.
func (r results) print() {
	var drawn [settings]distribution
	for i, s := range r {
		drawn[i] = s.all()
	}
	fmt.Println("\nfrom publish to receive, all runs:")
	draw(drawn)
	fmt.Printf("\nmedians of the runs (least … most):\n  %-21s", "")
	for i := range settings {
		fmt.Printf(" %-28s", i)
	}
	fmt.Println()
	for _, f := range figures() {
		fmt.Printf("  %-21s", f.name)
		for _, s := range r {
			v := s.each(f)
			fmt.Printf(" %-28s", fmt.Sprintf("%.2f %s (%.2f … %.2f)", median(v), f.unit, slices.Min(v), slices.Max(v)))
		}
		fmt.Println()
	}
	fmt.Printf("\nthe median %s is\n", beside)
	for _, f := range figures() {
		if f.unit == memory {
			continue
		}
		fmt.Printf("  %-21s %s\n", f.name, verdict(r[beside].each(f), r[alone].each(f)))
	}
}

// verdict says where the median of v lies among the values of runs alone, and in how many of the runs, which took turns, it
// was the larger: half of them by chance.
func verdict(v, alone []float64) string {
	larger := 0
	for i := range v {
		if v[i] > alone[i] {
			larger++
		}
	}
	turns := fmt.Sprintf("; larger in %d of %d turns", larger, len(v))
	switch m := median(v); {
	case m < slices.Min(alone):
		return "below every run alone" + turns
	case m <= slices.Max(alone):
		return "within the spread of the runs alone" + turns
	default:
		return fmt.Sprintf("%.0f %% above every run alone%s", 100*(m/slices.Max(alone)-1), turns)
	}
}

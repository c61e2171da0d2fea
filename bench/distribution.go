package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// distribution is latencies in order.
type distribution []time.Duration

func newDistribution(latencies []time.Duration) distribution {
	return slices.Sorted(slices.Values(latencies))
}

// between returns the latencies of what was sent from one time on and below another.
func between(arrivals []arrival, from, to time.Duration) distribution {
	latencies := make([]time.Duration, 0, len(arrivals))
	for _, a := range arrivals {
		if a.sent >= from && a.sent < to {
			latencies = append(latencies, a.latency)
		}
	}
	return newDistribution(latencies)
}

// quantile returns the latency that a share q of all do not exceed.
func (d distribution) quantile(q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[min(int(math.Ceil(q*float64(len(d))))-1, len(d)-1)]
}

// share returns which part of the latencies lies from one on and below another.
func (d distribution) share(from, to time.Duration) float64 {
	i, _ := slices.BinarySearch(d, from)
	j, _ := slices.BinarySearch(d, to)
	return float64(j-i) / float64(max(len(d), 1))
}

// steps is how many rows of a drawing a latency takes to double.
const steps = 2

// draw prints distributions beside each other, by classes whose bounds grow by a factor.
func draw(all [settings]distribution) {
	const (
		classes = 64
		width   = 24
	)
	bound := func(i int) time.Duration {
		if i == 0 {
			return 0
		}
		return time.Duration(float64(100*time.Microsecond) * math.Pow(2, float64(i)/steps))
	}
	most := 0.0
	for i := range classes {
		for _, d := range all {
			most = max(most, d.share(bound(i), bound(i+1)))
		}
	}
	fmt.Printf("  %19s", "")
	for s := range settings {
		fmt.Printf("  %-*s", width+9, s)
	}
	fmt.Println()
	for i := range classes {
		row, empty := fmt.Sprintf("  up to %10s", milliseconds(bound(i+1))), true
		for _, d := range all {
			share := d.share(bound(i), bound(i+1))
			empty = empty && share == 0
			row += fmt.Sprintf("  %6.2f %% %-*s", 100*share, width, bar(share/most*width))
		}
		if !empty {
			fmt.Println(strings.TrimRight(row, " "))
		}
	}
}

// bar returns a bar of a length; however short it is, it is seen.
func bar(length float64) string {
	if n := int(math.Round(length)); n > 0 || length == 0 {
		return strings.Repeat("█", n)
	}
	return "▏"
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

// Command bench measures what a delivery costs: server CPU seconds per event written to a subscriber, for millrace dev
// with real WebSocket peers, beside a floor taken in the same run: a process that does nothing but write(2) the same
// number of bytes to the same number of sockets. The two are interleaved, and medians are printed with their spread.
//
// "bench stalled" asks instead what peers that read nothing take from those that do: see stalled.go. "bench members" asks what
// a room of a hundred thousand members costs, and whom: see members.go.
//
// It starts the servers itself, on loopback, and ends them by their process ids.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/millrace-dev/millrace/bench/crowd"
)

// plan is one measurement: so many events, at a rate, to so many subscribers.
type plan struct {
	binary      string
	subscribers int
	rate        int // events per second; 0: as fast as acks allow, batch at a time
	batch       int // events per publish call
	seconds     int
	payload     int // bytes of data
	runs        int
}

func main() {
	if len(os.Args) > 1 {
		if do := commands()[os.Args[1]]; do != nil {
			if err := do(os.Args[2:]); err != nil {
				fail(err)
			}
			return
		}
	}
	var p plan
	flag.StringVar(&p.binary, "binary", "../bin/millrace", "the millrace to measure")
	flag.IntVar(&p.subscribers, "subscribers", 1000, "WebSocket subscribers of one topic")
	flag.IntVar(&p.rate, "rate", 20, "publish calls per second; 0 is one after the other without a pause")
	flag.IntVar(&p.batch, "batch", 1, "events per publish call")
	flag.IntVar(&p.seconds, "seconds", 10, "length of one run")
	flag.IntVar(&p.payload, "payload", 128, "bytes of data of an event")
	flag.IntVar(&p.runs, "runs", 3, "runs of each, interleaved")
	flag.Parse()
	if err := p.report(); err != nil {
		fail(err)
	}
}

// commands are what bench does beside its own measurement, by the first argument.
func commands() map[string]func(args []string) error {
	return map[string]func(args []string) error{
		"stalled": compareStalled,
		"members": measureMembers,

		// The processes that measurements start.
		"floor-server": serveFloor,
		"crowd":        func(args []string) error { return crowd.Serve(args, os.Stdin, os.Stdout) },
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// report measures and prints.
func (p plan) report() error {
	fmt.Printf("%d subscribers, %d events a publish, %d publishes/s, %d bytes of data, %d runs of %d s\n",
		p.subscribers, p.batch, p.rate, p.payload, p.runs, p.seconds)
	var server, floor []float64
	frame := 0
	for run := range p.runs {
		m, err := p.measureMillrace()
		if err != nil {
			return fmt.Errorf("measure millrace: %w", err)
		}
		frame = int(m.bytes / max(m.deliveries, 1))
		server = append(server, m.perDelivery())
		fmt.Printf("  run %d millrace: %s\n", run+1, m)
		if p.rate == 0 {
			continue
		}
		f, err := p.measureFloor(frame * p.batch)
		if err != nil {
			return fmt.Errorf("measure floor: %w", err)
		}
		f.deliveries *= uint64(p.batch)
		floor = append(floor, f.perDelivery())
		fmt.Printf("  run %d floor:    %s\n", run+1, f)
	}
	fmt.Printf("server CPU per delivery: %s\n", spread(server))
	if len(floor) > 0 {
		fmt.Printf("floor CPU per delivery:  %s\n", spread(floor))
		fmt.Printf("ratio of medians:        %.2f\n", median(server)/median(floor))
	}
	return nil
}

// measurement is what one run gave.
type measurement struct {
	deliveries uint64
	bytes      uint64
	faults     uint64 // deliveries that were lost, repeated or out of order
	cpu        time.Duration
	wall       time.Duration
	generator  time.Duration
	idleRSS    int64 // growth per subscriber before the first event, in bytes
}

// perDelivery returns microseconds of server CPU.
func (m measurement) perDelivery() float64 {
	return float64(m.cpu.Nanoseconds()) / 1e3 / float64(max(m.deliveries, 1))
}

func (m measurement) String() string {
	s := fmt.Sprintf("%.2f µs a delivery, %d deliveries in %.1f s (%.0f/s; %.0f per server CPU second), generator CPU %.1f s, %d faults",
		m.perDelivery(), m.deliveries, m.wall.Seconds(), float64(m.deliveries)/m.wall.Seconds(),
		float64(m.deliveries)/m.cpu.Seconds(), m.generator.Seconds(), m.faults)
	if m.idleRSS > 0 {
		s += fmt.Sprintf(", %.1f KiB RSS an idle subscriber", float64(m.idleRSS)/1024)
	}
	return s
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func spread(v []float64) string {
	return fmt.Sprintf("median %.2f µs (%.2f to %.2f)", median(v), slices.Min(v), slices.Max(v))
}

package main

import (
	"errors"
	"flag"
	"fmt"
)

// comparison is what is measured in each setting, in turn: so many healthy subscribers alone, and the same beside others
// that read nothing. Each run has a broker and a WebSocket gateway of its own.
type comparison struct {
	binary  string
	healthy int
	stalled int
	rate    int // events per second
	seconds int
	payload int // bytes of data
	runs    int
}

// setting is what stands beside the healthy subscribers.
type setting int

const (
	alone  setting = iota
	beside         // stalled peers of the same topic on the same gateway

	settings
)

func (s setting) String() string {
	return [...]string{"alone", "beside stalled"}[s]
}

// compareStalled measures and prints.
func compareStalled(args []string) error {
	var c comparison
	flags := flag.NewFlagSet("bench stalled", flag.ContinueOnError)
	flags.StringVar(&c.binary, "binary", "../bin/millrace", "the millrace to measure")
	flags.IntVar(&c.healthy, "healthy", 1000, "WebSocket subscribers that read")
	flags.IntVar(&c.stalled, "stalled", 1000, "WebSocket subscribers of the same topic that read nothing")
	flags.IntVar(&c.rate, "rate", 20, "events per second")
	flags.IntVar(&c.seconds, "seconds", 5, "length of one run; a longer one meets the kernel's next probes")
	flags.IntVar(&c.payload, "payload", 128, "bytes of data of an event")
	flags.IntVar(&c.runs, "runs", 10, "runs in each setting, in turn")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	fmt.Printf("%d healthy WebSockets, alone and beside %d that read nothing\n"+
		"%d events/s of %d bytes, %d runs of %d s in each setting, in turn\n\n", c.healthy, c.stalled, c.rate, c.payload, c.runs, c.seconds)
	var all results
	for i := range c.runs {
		for j := range settings {
			s := (j + setting(i)) % settings
			o, err := c.run(s)
			if err != nil {
				return fmt.Errorf("run %d, %s: %w", i+1, s, err)
			}
			all[s] = append(all[s], o)
			fmt.Printf("  run %-2d %-15s %s\n", i+1, s.String()+":", o)
		}
	}
	all.print()
	return nil
}

// Command chaos runs a broker and its gateways as real processes, hurts them and the network between them by a plan that
// a seed gives, and holds what publishers were told against what subscribers saw (package ledger). It ends with status 1
// if any promise was broken.
//
// The plan, who subscribes to what and who publishes where are the same for the same arguments. When things happen within
// the machine is not.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/millrace-dev/millrace/bench/chaos/proxy"
)

// config is one run.
type config struct {
	binary      string
	seed        uint64
	length      time.Duration // of the part with faults
	pace        time.Duration // mean time between two faults
	subscribers int
	topics      int
	rate        int           // events a second, bursts apart
	patience    time.Duration // how long subscribers may take to arrive once all is well
	verbose     bool

	faults    []fault      // what happens; nil is the plan of the seed
	websocket proxy.Config // between peers and gateways for WebSocket
}

func main() {
	var c config
	flag.StringVar(&c.binary, "binary", "../bin/millrace", "the millrace to run")
	flag.Uint64Var(&c.seed, "seed", 1, "what the plan is made of")
	flag.DurationVar(&c.length, "duration", time.Minute, "how long there are faults")
	flag.DurationVar(&c.pace, "pace", 1300*time.Millisecond, "mean time between two faults")
	flag.IntVar(&c.subscribers, "subscribers", 500, "subscribers, of all transports together")
	flag.IntVar(&c.topics, "topics", 50, "topics")
	flag.IntVar(&c.rate, "rate", 200, "events a second, of all publishers together; bursts are apart")
	flag.DurationVar(&c.patience, "patience", time.Minute, "how long subscribers may take to arrive after the last fault")
	flag.BoolVar(&c.verbose, "v", false, "print each fault as it comes")
	flag.Parse()
	os.Exit(c.main())
}

// main runs and prints, and returns the status to end with.
func (c config) main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := c.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	r.print(os.Stdout)
	if !r.whole() {
		return 1
	}
	return 0
}

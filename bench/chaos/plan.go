package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// faultKind is one way to hurt the cluster.
type faultKind int

const (
	killBroker   faultKind = iota // kill -9; the logs are lost. It is started again
	rebirth                       // the same, and topics outgrow the places of subscribers that do not read meanwhile
	drainBroker                   // SIGTERM; the logs are lost all the same
	killGateway                   // kill -9, and started again
	drainGateway                  // SIGTERM, and started again
	stopBroker                    // SIGSTOP and SIGCONT: to it, the clock jumps
	stopGateway                   // the same
	cutPeers                      // connections of peers are reset
	cutLink                       // a gateway's way to the broker is reset
	cutBackends                   // the ways of backends to the broker are reset
	hangPeers                     // connections of peers are half-open
	hangLink                      // a gateway's way to the broker is half-open
	hangBackends                  // the ways of backends to the broker are half-open
	slowPeers                     // connections of peers are slow
	slowLink                      // a gateway's way to the broker is slow
	pauseReaders                  // subscribers do not read
	burst                         // more events at once than any queue or tight log holds
	faultKinds
)

var faultNames = [...]string{
	"kill broker", "rebirth", "drain broker", "kill gateway", "drain gateway", "stop broker", "stop gateway", "cut peers", "cut link", "cut backends",
	"hang peers", "hang link", "hang backends", "slow peers", "slow link", "pause readers", "burst",
}

// String returns the kind's name.
func (k faultKind) String() string { return faultNames[k] }

// fault is one blow.
type fault struct {
	at    time.Duration // since the run began
	kind  faultKind
	which int           // of several that it could hit; to be taken modulo their number
	hold  time.Duration // until it is healed
	share float64       // of the connections or subscribers that it could hit
	rate  int           // bytes a second, if it slows
	cut   bool          // what hung is not healed but cut
	seed  uint64        // of what it chooses
}

// String describes the fault for people.
func (f *fault) String() string {
	return fmt.Sprintf("%s, #%d for %s, %.0f %%", f.kind, f.which%4, f.hold.Round(time.Millisecond), 100*f.share)
}

// holds is how long a fault of each kind lasts, at least and at most. Those that hang last longer than heartbeats in half
// of the cases.
var holds = [faultKinds][2]time.Duration{
	killBroker:   {100 * time.Millisecond, 2 * time.Second},
	rebirth:      {time.Second, 4 * time.Second},
	drainBroker:  {0, time.Second},
	killGateway:  {0, 2 * time.Second},
	drainGateway: {0, time.Second},
	stopBroker:   {200 * time.Millisecond, 3 * time.Second},
	stopGateway:  {200 * time.Millisecond, 6 * time.Second},
	hangPeers:    {time.Second, 8 * time.Second},
	hangLink:     {500 * time.Millisecond, 5 * time.Second},
	hangBackends: {500 * time.Millisecond, 5 * time.Second},
	slowPeers:    {time.Second, 5 * time.Second},
	slowLink:     {time.Second, 4 * time.Second},
	pauseReaders: {time.Second, 8 * time.Second},
}

// deaf is longer than the SDK takes to find out that a connection to the broker is dead (20 s of silence, and 10 s for an
// answer). In a run that has the time one of four hung ways to the broker hangs so long.
const deaf = 35 * time.Second

// newPlan deals the faults of a run. Each round has every kind once, in an order of its own, so that a run of a round has
// them all; pace is the mean time between two. All are healed before the length is over. The same arguments give the
// same plan.
func newPlan(seed uint64, length, pace time.Duration) []fault {
	chance := rand.New(rand.NewPCG(seed, 0xc4a05))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(chance.Float64()*float64(most-least))
	}
	var faults []fault
	at := time.Duration(0)
	for {
		for _, kind := range chance.Perm(int(faultKinds)) {
			at += between(pace/2, pace*3/2)
			if at >= length {
				slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
				return faults
			}
			f := fault{
				at: at, kind: faultKind(kind), which: chance.IntN(1 << 20), share: 0.15 + 0.45*chance.Float64(),
				rate: 2_000 << chance.IntN(5), cut: chance.IntN(2) == 0, seed: chance.Uint64(),
			}
			f.hold = between(holds[kind][0], holds[kind][1])
			if (f.kind == hangLink || f.kind == hangBackends) && f.which/4%4 == 0 && length >= 4*deaf {
				f.hold = deaf
			}
			f.hold = min(f.hold, length-at)
			faults = append(faults, f)
		}
	}
}

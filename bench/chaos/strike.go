package main

import (
	"context"
	"math/rand/v2"

	"github.com/millrace-dev/millrace/bench/chaos/peer"
	"github.com/millrace-dev/millrace/bench/chaos/proxy"
)

// strike does what a fault says, until it is healed.
func (r *run) strike(ctx context.Context, f *fault) {
	chance := rand.New(rand.NewPCG(f.seed, 1))
	some := func() bool { return chance.Float64() < f.share }
	hold := func() { wait(ctx, f.hold) }
	g := r.cluster.Gateways[f.which%len(r.cluster.Gateways)]
	hits := 1
	var err error
	switch f.kind {
	case killBroker:
		err = r.cluster.KillBroker(hold)
	case rebirth:
		hits, err = r.rebear(f, some, hold)
	case drainBroker:
		err = r.cluster.DrainBroker(hold)
	case killGateway:
		err = g.Kill(hold)
	case drainGateway:
		err = g.Drain(hold)
	case stopBroker:
		err = r.cluster.FreezeBroker(hold)
	case stopGateway:
		err = g.Freeze(hold)
	case cutPeers:
		hits = g.Peers.Cut(some)
	case cutLink:
		hits = g.Link.Cut(proxy.All)
	case cutBackends:
		hits = r.cluster.Backends.Cut(some)
	case hangPeers:
		hits = hang(g.Peers, some, f, hold)
	case hangLink:
		hits = hang(g.Link, proxy.All, f, hold)
	case hangBackends:
		hits = hang(r.cluster.Backends, some, f, hold)
	case slowPeers:
		hits = slow(g.Peers, some, f, hold)
	case slowLink:
		hits = slow(g.Link, proxy.All, f, hold)
	case pauseReaders:
		hits = r.pauseSome(some, hold)
	case burst:
		hits = r.burst(f)
	}
	if err != nil {
		r.troubles.addf("%s: %v", f.kind, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blows[f.kind].faults++
	r.blows[f.kind].hits += hits
}

func hang(p *proxy.Proxy, which proxy.Choice, f *fault, hold func()) int {
	hung := p.Hang(which)
	hold()
	if f.cut {
		hung.Cut()
	} else {
		hung.Heal()
	}
	return hung.Len()
}

func slow(p *proxy.Proxy, which proxy.Choice, f *fault, hold func()) int {
	slowed := p.Slow(which, f.rate)
	hold()
	slowed.Heal()
	return slowed.Len()
}

// rebear restarts the broker at once and publishes so much to some topics that offsets of the lost logs are used again
// before everybody is back.
func (r *run) rebear(f *fault, which func() bool, hold func()) (int, error) {
	var err error
	hits := r.pauseSome(which, func() {
		err = r.cluster.KillBroker(func() {})
		for i := range rebornTopics {
			next := *f
			next.which += i
			r.burst(&next)
		}
		hold()
	})
	return hits, err
}

// rebornTopics is how many topics grow fast after a rebirth.
const rebornTopics = 4

func (r *run) pauseSome(which func() bool, hold func()) int {
	var paused []*peer.Subscriber
	for _, s := range r.subscribers {
		if which() {
			s.Pause()
			paused = append(paused, s)
		}
	}
	hold()
	for _, s := range paused {
		s.Resume()
	}
	return len(paused)
}

// burst publishes more at once than gateways and tight logs keep.
func (r *run) burst(f *fault) int {
	b := peer.Burst{Topic: r.topics[f.which%len(r.topics)], Events: 5 * tightKeeps, Bytes: 500 + f.rate/10}
	r.burster.Burst(b)
	return b.Events
}

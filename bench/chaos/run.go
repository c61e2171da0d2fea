package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/millrace-dev/millrace/bench/chaos/cluster"
	"github.com/millrace-dev/millrace/bench/chaos/peer"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// What logs keep. A burst is more than a tight one keeps.
const (
	tightKeeps = 60
	wideKeeps  = 4_000
)

// endTimeout bounds how long publishers may take to get their last answers, and closing events to be stored.
const endTimeout = 20 * time.Second

// run is one run under way.
type run struct {
	config      config
	cluster     *cluster.Cluster
	world       *peer.World
	topics      []string
	late        map[string]time.Duration // when some of them are born, since the run began
	subscribers []*peer.Subscriber
	publishers  []*peer.Publisher
	burster     *peer.Publisher
	troubles    troubles
	began       time.Time

	mu    sync.Mutex
	blows [faultKinds]blow // protected by mu
}

// blow is what faults of a kind came to.
type blow struct{ faults, hits int }

// run does it all and returns what came of it. An error is that it could not be done.
func (c config) run(ctx context.Context) (res *result, err error) {
	if c.faults == nil {
		c.faults = newPlan(c.seed, c.length, c.pace)
	}
	r := &run{config: c}
	book := ledger.New(ledger.Config{Keeps: func(topic string) uint64 {
		if strings.Contains(topic, ":tight:") {
			return tightKeeps
		}
		return wideKeeps
	}})
	r.cluster, err = cluster.Start(cluster.Config{
		Binary: c.binary, Tight: tightKeeps, Wide: wideKeeps, WebSocket: c.websocket, Lost: book.Lose, Complain: r.troubles.addf,
	})
	defer func() { err = errors.Join(err, r.cluster.Stop()) }()
	if err != nil {
		return nil, err
	}
	r.world = &peer.World{
		Book: book, WebSocket: r.cluster.Doors(cluster.WebSocket), SSE: r.cluster.Doors(cluster.SSE), Broker: r.cluster.Backends.Addr(),
		Complain: r.troubles.addf,
	}
	if err := r.populate(); err != nil {
		return nil, err
	}
	r.began = time.Now()
	if err := r.live(ctx); err != nil {
		return nil, err
	}
	return &result{run: r, report: book.Check(), took: time.Since(r.began)}, nil
}

// live lets everybody live, hurts them and waits until all is well again.
func (r *run) live(ctx context.Context) error {
	everybody, end := context.WithCancel(ctx)
	var subscribers, publishers sync.WaitGroup
	defer func() {
		end()
		subscribers.Wait()
		publishers.Wait()
	}()
	for _, s := range r.subscribers {
		subscribers.Go(func() { s.Run(everybody) })
	}
	pace, enough := context.WithCancel(everybody)
	defer enough()
	answers, give := context.WithCancel(everybody)
	defer give()
	for _, p := range append(r.publishers, r.burster) {
		publishers.Go(func() { p.Run(answers, pace) })
	}

	r.hurt(everybody)

	r.say("all faults are healed")
	enough()
	giveUp := time.AfterFunc(endTimeout, give)
	publishers.Wait()
	giveUp.Stop()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	r.say("all publishers have ended")
	closing, cancel := context.WithTimeout(everybody, endTimeout)
	defer cancel()
	if err := peer.Close(closing, r.world, r.world.Token, r.topics); err != nil {
		r.troubles.addf("publish to a healthy cluster: %v", err)
	}
	r.say("all topics are closed")
	r.arrive(everybody)
	return nil
}

// arrive waits until nobody is behind, or patience is over. What is then missing is for the ledger to tell.
func (r *run) arrive(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.config.patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for last := 0; ; {
		behind := r.world.Book.Behind()
		if len(behind) == 0 {
			return
		}
		if n := len(behind); n != last {
			last = n
			r.say("%d subscriptions are behind, such as %s of %s", n, behind[0].Subscriber(), behind[0].Topic())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// say tells how far the run is, if anybody wants to know.
func (r *run) say(format string, args ...any) {
	if r.config.verbose {
		fmt.Fprintf(os.Stderr, "%8s %s\n", time.Since(r.began).Round(time.Millisecond), fmt.Sprintf(format, args...))
	}
}

// hurt strikes the blows of the plan, each at its time, and returns when all are healed.
func (r *run) hurt(ctx context.Context) {
	var striking sync.WaitGroup
	for _, f := range r.config.faults {
		if !wait(ctx, time.Until(r.began.Add(f.at))) {
			break
		}
		r.say("%s", &f)
		striking.Go(func() { r.strike(ctx, &f) })
	}
	wait(ctx, time.Until(r.began.Add(r.config.length)))
	striking.Wait()
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// populate makes the topics and those who use them.
func (r *run) populate() error {
	var err error
	if r.world.Token, err = r.cluster.Token("subscriber"); err != nil {
		return err
	}
	r.topics, r.late = topicsOf(r.config.topics, r.config.length)
	chance := rand.New(rand.NewPCG(r.config.seed, 0x909))
	r.subscribe(chance)
	return r.publish(chance)
}

// publishersPerDoor is how many share the rate, of each door.
const publishersPerDoor = 3

func (r *run) publish(chance *rand.Rand) error {
	for i := range publishersPerDoor*peer.Doors + 1 {
		p := peer.PublisherPlan{
			ID: uint32(i + 1), Door: peer.Door(i % peer.Doors), Topics: r.topics, Late: r.late, Seed: chance.Uint64(),
			Every: publishersPerDoor * peer.Doors * time.Second / time.Duration(r.config.rate),
		}
		var err error
		if p.Token, err = r.cluster.Token(fmt.Sprint("publisher-", i+1)); err != nil {
			return err
		}
		if i == publishersPerDoor*peer.Doors {
			p.Door, p.Every = peer.DoorStream, 0
			r.burster = peer.NewPublisher(r.world, p)
			continue
		}
		r.publishers = append(r.publishers, peer.NewPublisher(r.world, p))
	}
	return nil
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/millrace-dev/millrace/bench/crowd"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// assembly is a measurement of a large room: what its members cost the broker and the gateway, what those are told who look
// on, and what others feel of it who have to do with another topic.
type assembly struct {
	binary  string
	members int
	onlooks int
	rate    int // events per second of the other topic
	seconds int // of the baseline, and of the churn
	churn   int // leaves per second, and as many joins
	lease   time.Duration
	self    string // this binary
}

const (
	room = "room:1"

	// listed is the gateway's default of --max-listed-members. So many join at a pace at which it can be seen what is told of
	// them, before the others come as fast as they can.
	listed     = 1000
	listedRate = 200
)

// measureMembers measures and prints. It ends with an error if a leave is missing or told twice.
func measureMembers(args []string) (err error) {
	var a assembly
	flags := flag.NewFlagSet("bench members", flag.ContinueOnError)
	flags.StringVar(&a.binary, "binary", "../bin/millrace", "the millrace to measure")
	flags.IntVar(&a.members, "members", 100_000, "members of the room, more than 1,000")
	flags.IntVar(&a.onlooks, "watchers", 1000, "WebSockets that look on without being members")
	flags.IntVar(&a.rate, "rate", 500, "events per second of the other topic")
	flags.IntVar(&a.seconds, "seconds", 10, "length of the baseline, and of the churn")
	flags.IntVar(&a.churn, "churn", 2000, "leaves per second in the churn, and as many joins")
	flags.DurationVar(&a.lease, "lease", 15*time.Second, "the broker's lease term")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case a.members <= listed:
		return fmt.Errorf("%d members are no large room", a.members)
	}
	if a.self, err = os.Executable(); err != nil {
		return err
	}
	fmt.Printf("%d members of %s, held by one link; %d WebSockets that look on (?topic=%s&members=1)\n"+
		"beside it %d events/s of another topic to one WebSocket of the same gateway\n", a.members, room, a.onlooks, room, a.rate)
	dir, err := os.MkdirTemp("", "bench-members-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	whole := filepath.Join(dir, "broker.yaml")
	if err := os.WriteFile(whole, []byte(keepAll), 0o600); err != nil {
		return err
	}
	for _, g := range []gathering{
		{assembly: &a, title: "the lifecycle log as by default, of 10,000 events"},
		{assembly: &a, title: "the lifecycle log keeps all, so that each leave can be counted", whole: true, broker: []string{"--config", whole}},
	} {
		if err := g.measure(); err != nil {
			return fmt.Errorf("with %s: %w", g.title, err)
		}
	}
	return a.restart()
}

// keepAll is a broker's configuration by which a lifecycle log still has all leaves when it is read.
const keepAll = `rules:
  - {pattern: "$presence:**", max_events: 2000000, max_age: 1h, max_bytes: 900MiB}
`

// gathering is one measurement with a broker and a gateway of its own.
type gathering struct {
	*assembly

	title  string
	whole  bool     // the lifecycle log keeps all
	broker []string // further settings

	// Static from measure on.
	servers [2]*server // broker, gateway
	client  millracev1.BrokerServiceClient
	sdk     *sdk.Client
	crowd   *process
	told    *audience

	phases []phase
	notes  []string
}

// start starts a broker and a gateway. Those that it started are to be stopped even if it fails.
func (g *gathering) start() (err error) {
	settings := append([]string{"broker", "--listen", "127.0.0.1:0", "--lease", g.lease.String()}, g.broker...)
	if g.servers[0], err = serve("grpc", g.binary, settings...); err != nil {
		return err
	}
	g.servers[1], err = serve("http", g.binary, "wsgateway", "--listen", "127.0.0.1:0", "--broker", g.servers[0].address, "--anonymous", "--peer", "gateway")
	return err
}

func (g *gathering) stop() (err error) {
	for _, s := range []*server{g.servers[1], g.servers[0]} {
		if s != nil {
			err = errors.Join(err, s.stop())
		}
	}
	return err
}

func (g *gathering) dial() (*sdk.Client, error) {
	return sdk.Dial(g.servers[0].address, sdk.WithInsecurePlaintext(), sdk.WithLogger(slog.New(slog.DiscardHandler)))
}

// measure runs all phases and prints what they gave.
func (g *gathering) measure() (err error) {
	fmt.Printf("\n%s (load of the machine %s)\n", g.title, loadOfMachine())
	defer func() { err = errors.Join(err, g.stop()) }()
	if err := g.start(); err != nil {
		return err
	}
	conn, err := grpc.NewClient(g.servers[0].address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	g.client = millracev1.NewBrokerServiceClient(conn)
	if g.sdk, err = g.dial(); err != nil {
		return err
	}
	defer g.sdk.Close()
	g.told = newAudience()
	paths := make([]string, g.onlooks)
	for i := range paths {
		paths[i] = "/v1/ws?topic=" + room + "&members=1"
	}
	watchers, err := connectEach(g.told, g.servers[1].address, paths)
	if err != nil {
		return err
	}
	defer watchers.close()
	if err := g.told.await(g.onlooks, 0); err != nil {
		return err
	}
	if g.crowd, err = start(g.self, "crowd", "-broker", g.servers[0].address, "-topic", room); err != nil {
		return err
	}
	killed := false
	defer func() {
		if !killed {
			err = errors.Join(err, g.crowd.kill())
		}
	}()
	if _, err := g.crowd.await("ready"); err != nil {
		return err
	}
	present, err := g.fill()
	if err != nil {
		return err
	}
	killed = true
	if err := g.sweep(present); err != nil {
		return err
	}
	if n := watchers.faults.Load(); n > 0 {
		return fmt.Errorf("%d of those who look on were cut off, or missed an event", n)
	}
	g.print()
	return nil
}

// answer is what the crowd answers to an order: its sessions are those from left on and below joined.
type answer struct {
	left, joined int
	took         time.Duration
}

// order tells the crowd to do something, and waits until it is done.
func (g *gathering) order(format string, args ...any) (a answer, err error) {
	if _, err := fmt.Fprintf(g.crowd.stdin, format+"\n", args...); err != nil {
		return a, err
	}
	if !g.crowd.lines.Scan() {
		return a, errors.New("the crowd has ended")
	}
	var ns int64
	if _, err := fmt.Sscanf(g.crowd.lines.Text(), "done %d %d %d", &a.left, &a.joined, &ns); err != nil {
		return a, fmt.Errorf("the crowd says: %s", g.crowd.lines.Text())
	}
	a.took = time.Duration(ns)
	return a, nil
}

// fill lets members come until the room is full, and then some go and others come. It returns who is there in the end.
func (g *gathering) fill() (present answer, err error) {
	wait := func() error {
		time.Sleep(time.Duration(g.seconds) * time.Second)
		return nil
	}
	order := func(members int, format string, args ...any) func() error {
		return func() error {
			if present, err = g.order(format, args...); err != nil {
				return err
			}
			return g.told.await(g.onlooks, members)
		}
	}
	if err := g.phase("before", wait); err != nil {
		return present, err
	}
	before, err := g.memory()
	if err != nil {
		return present, err
	}
	if err := g.phase("the first 1,000, 200/s", order(listed, "join %d %d", listed, listedRate)); err != nil {
		return present, err
	}
	more := g.members - listed
	if err := g.phase("all others", order(g.members, "join %d 0", more)); err != nil {
		return present, err
	}
	g.notef("filled with %d in %.2f s: %.0f joins/s; all that look on were told of the last %.0f ms after its ack", more,
		present.took.Seconds(), float64(more)/present.took.Seconds(), float64(g.phases[len(g.phases)-1].wall-present.took)/1e6)
	after, err := g.memory()
	if err != nil {
		return present, err
	}
	g.notef("RSS grew at the broker by %.0f MiB (%.0f bytes a member), at the gateway by %.1f MiB", float64(after[0]-before[0])/(1<<20),
		float64(after[0]-before[0])/float64(g.members), float64(after[1]-before[1])/(1<<20))
	err = g.phase(fmt.Sprintf("%d leave and join/s", g.churn), order(g.members, "churn %d %d", g.churn*g.seconds, g.churn))
	return present, err
}

// memory returns the RSS of broker and gateway.
func (g *gathering) memory() (rss [2]int64, err error) {
	for i, s := range g.servers {
		bytes, failed := s.rss()
		rss[i], err = bytes, errors.Join(err, failed)
	}
	return rss, err
}

// sweep kills the crowd and waits until all have left.
func (g *gathering) sweep(present answer) error {
	d, err := crowd.Follow(g.sdk, room)
	if err != nil {
		return errors.Join(err, g.crowd.kill())
	}
	defer d.Stop()
	m, err := g.begin()
	if err != nil {
		return errors.Join(err, g.crowd.kill())
	}
	killed := time.Now()
	err = g.dismiss(d, m)
	p, failed := m.end("all leave")
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	g.phases = append(g.phases, p)
	leaves, err := d.Leaves()
	if err != nil {
		return err
	}
	g.notef("killed: the first leave came after %.2f s (lease term %v), the last %.0f ms after the first: %d told one by one, %d in gaps",
		d.Began.Sub(killed).Seconds(), g.lease, float64(d.Ended.Sub(d.Began))/1e6, leaves, d.Missed)
	if missing, all := d.Left(present.left, present.joined); g.whole && (!all || d.Missed > 0 || leaves != g.members) {
		return fmt.Errorf("%d leaves were told, %d in gaps, of %d; the first that is missing is %q", leaves, d.Missed, g.members, missing)
	}
	return nil
}

// dismiss kills the crowd and waits until all have left and everyone was told. What is measured begins with the first leave.
func (g *gathering) dismiss(d *crowd.Departures, m *measuring) error {
	if err := g.crowd.kill(); err != nil {
		return err
	}
	if err := until(d.First, 2*g.lease); err != nil {
		return err
	}
	if err := m.mark(); err != nil {
		return err
	}
	if err := until(d.Done, time.Minute); err != nil {
		return err
	}
	if d.Err != nil {
		return d.Err
	}
	if err := g.told.await(g.onlooks, 0); err != nil {
		return err
	}
	m.from, m.to = d.Began.Add(-margin), time.Now()
	return nil
}

// margin is how long before the first leave was heard of a sweep may have begun.
const margin = 50 * time.Millisecond

// until waits for a channel to be closed.
func until(done <-chan struct{}, within time.Duration) error {
	select {
	case <-done:
		return nil
	case <-time.After(within):
		return fmt.Errorf("not all had left after %v", within)
	}
}

func (g *gathering) notef(format string, args ...any) {
	g.notes = append(g.notes, fmt.Sprintf(format, args...))
}

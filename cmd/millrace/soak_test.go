package main_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

var (
	soakSeed   = flag.Uint64("soak.seed", 0, "seed of the soak of members; 0 is those of the table")
	soakRounds = flag.Int("soak.rounds", 60, "rounds of the soak of members")
)

// soak is guests that come, go and are cut at random, at gateways that are killed, stopped and started anew.
type soak struct {
	t        *testing.T
	chance   *rand.Rand
	broker   *process
	client   millracev1.BrokerServiceClient
	gateways []*process
	log      *lifecycle

	mu     sync.Mutex
	guests []*guest          // protected by mu
	at     map[*guest]string // protected by mu; the address that it came to last
	named  int
}

const (
	soakTopics = 4
	soakGuests = 24 // at a time
)

func soakTopic(i int) string { return fmt.Sprintf("room:%d", i) }

// Guests join, update, leave, close, are cut and come back, gateways are killed and stopped, the broker is started anew: in
// the end the broker's list, every guest's own, and what a backend adds up from the lifecycle log are what the guests want,
// and nobody is listed who is not there.
// Promise: docs/delivery.md 9.1, 9.2, 9.5, 9.6.
func TestAfterASoakOfJoinsKillsAndResumesAllListsAreEqual(t *testing.T) {
	seeds := []uint64{1, 2}
	if *soakSeed != 0 {
		seeds = []uint64{*soakSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { newSoak(t, seed).run(*soakRounds) })
	}
}

func newSoak(t *testing.T, seed uint64) *soak {
	s := &soak{t: t, chance: rand.New(rand.NewPCG(seed, 0)), at: map[*guest]string{}}
	s.broker = start(t, "broker", "--listen", freePort(t), "--lease", "3s")
	for i := range 3 {
		s.gateways = append(s.gateways, start(t, "wsgateway", "--listen", freePort(t), "--broker", s.broker.addr("grpc"), "--anonymous",
			"--seal-key", sealKey, "--grace", "1s", "--drain-window", "100ms", "--peer", fmt.Sprintf("gateway-%d", i)))
	}
	s.client = dialBroker(t, s.broker.addr("grpc"))
	s.log = followLifecycles(t, s.client)
	return s
}

func (s *soak) run(rounds int) {
	for round := range rounds {
		var work sync.WaitGroup
		for range 12 {
			act := s.deed()
			work.Go(act)
		}
		if round%3 == 2 {
			s.fault(&work)
		}
		work.Wait()
	}
	s.end()
	s.settle()
}

// deed returns what one guest does next. Each guest does one thing at a time.
func (s *soak) deed() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	gateway := s.gateways[s.chance.IntN(len(s.gateways))]
	if len(s.guests) < soakGuests/2 || len(s.guests) < soakGuests && s.chance.IntN(4) == 0 {
		s.named++
		g := newGuest(s.t, fmt.Sprintf("guest %d", s.named))
		topic := soakTopic(s.chance.IntN(soakTopics))
		return func() {
			s.come(g, gateway)
			g.joinIfHere(topic, `{"v":0}`)
			s.add(g)
		}
	}
	i := s.chance.IntN(len(s.guests))
	g := s.guests[i]
	s.guests = slices.Delete(s.guests, i, i+1) // until it has done it
	topic, data := soakTopic(s.chance.IntN(soakTopics)), fmt.Sprintf(`{"v":%d}`, s.chance.IntN(1000))
	what, now := s.chance.IntN(12), s.chance.IntN(2) == 0
	return func() {
		stays := true
		switch {
		case !g.connected():
			s.come(g, gateway)
		case what < 4:
			g.join(topic, data)
		case what < 6 && g.wants(topic):
			g.update(topic, data)
		case what < 8 && g.wants(topic):
			g.leave(topic)
		case what == 8:
			g.close()
			stays = false
		case what == 9:
			g.cut()
			stays = false // for good
		default:
			g.cut()
			if now {
				s.come(g, gateway)
			}
		}
		if stays {
			s.add(g)
		}
	}
}

func (s *soak) add(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guests = append(s.guests, g)
}

// come tries to bring a guest to a gateway, which may be away.
func (s *soak) come(g *guest, gateway *process) {
	_ = g.come(gateway.addr("http")) // it tries elsewhere another time
}

func (g *guest) joinIfHere(topic, data string) {
	if g.connected() {
		g.join(topic, data)
	}
}

func (g *guest) wants(topic string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, wanted := g.want[topic]
	return wanted
}

// fault strikes while guests are at work.
func (s *soak) fault(work *sync.WaitGroup) {
	victim := s.gateways[s.chance.IntN(len(s.gateways))]
	switch kind := s.chance.IntN(5); {
	case kind < 2:
		work.Go(func() { victim.kill(); victim.run(victim.args) })
	case kind < 4:
		work.Go(func() { victim.interrupt(); victim.run(victim.args) })
	default:
		work.Go(func() { s.broker.kill(); s.broker.run(s.broker.args) })
	}
}

// end kills a gateway for good and brings half of those who are cut to the others.
func (s *soak) end() {
	s.gateways[0].kill()
	left := s.gateways[1:]
	for i, g := range s.guests {
		if g.connected() || i%2 == 0 {
			continue
		}
		for !g.connected() {
			s.come(g, left[s.chance.IntN(len(left))])
		}
	}
	for _, g := range s.guests {
		if g.connected() {
			g.makeSure()
		}
	}
}

// settle waits until all lists are what the guests want.
func (s *soak) settle() {
	sessions := map[string]string{}
	want := map[string]map[string]string{}
	for i := range soakTopics {
		want[soakTopic(i)] = map[string]string{}
	}
	for _, g := range s.guests {
		if !g.connected() {
			continue
		}
		sessions[g.session] = ""
		for topic, data := range g.want {
			want[topic][g.session] = data
		}
	}
	for topic, list := range want {
		s.until("the broker's list of "+topic, list, func() map[string]string { return s.listed(topic) })
		s.until("the lifecycle log of "+topic, list, func() map[string]string { return s.log.list(topic) })
		for _, g := range s.guests {
			if g.connected() && g.wants(topic) {
				s.until(g.name+"'s view of "+topic, list, func() map[string]string { return g.view(topic) })
			}
		}
	}
	s.until("the sessions", sessions, func() map[string]string { return keysOf(s.listed(millrace.SessionsTopic)) })
	s.until("the log of sessions", sessions, func() map[string]string { return keysOf(s.log.list(millrace.SessionsTopic)) })
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	faults := s.log.faults
	for _, g := range s.guests {
		g.mu.Lock()
		faults = append(faults, g.faults...)
		g.mu.Unlock()
	}
	if len(faults) > 0 {
		s.t.Errorf("%d faults:\n%s", len(faults), strings.Join(faults, "\n"))
	}
}

func keysOf(list map[string]string) map[string]string {
	keys := map[string]string{}
	for k := range list {
		keys[k] = ""
	}
	return keys
}

func (g *guest) view(topic string) map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.views[topic])
}

// listed reads a topic's members at the broker, a few at a time.
func (s *soak) listed(topic string) map[string]string {
	list := map[string]string{}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for page := ""; ; {
		r, err := s.client.Presence(ctx, &millracev1.PresenceRequest{Topic: topic, Limit: 5, Page: page}, grpc.WaitForReady(true))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range r.GetMembers() {
			list[m.GetSession()] = string(m.GetData())
		}
		if page = r.GetNextPage(); page == "" {
			return list
		}
	}
}

// until waits for a list to be as wanted.
func (s *soak) until(what string, want map[string]string, is func() map[string]string) {
	s.t.Helper()
	deadline, look := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for {
		got := is()
		if maps.Equal(got, want) {
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			s.t.Errorf("%s is %v; want %v\n%s", what, got, want, s.gateways[1].stderr())
			for _, g := range s.guests {
				if got[g.session] != want[g.session] {
					s.t.Errorf("%s is %s:\n%s", g.name, g.session, strings.Join(g.trace, "\n"))
				}
			}
			s.t.FailNow()
		}
	}
}

package gateway_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// TestInAnyScheduleOfFaultsEverySessionIsWholeOrTold runs seeded schedules of everything that can happen to sessions,
// broker and log at once, and then lets all be well: every session must then be at the head of its topics, and its books
// must have been right all the way. The seeds fix what happens; what it meets is up to the scheduler.
// Promise: docs/delivery.md 1.1, 1.2.
func TestInAnyScheduleOfFaultsEverySessionIsWholeOrTold(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			c := gateway.Config{
				Loops: 1 + r.IntN(3), Slice: 1 + r.IntN(5), TailEvents: 1 + r.IntN(12), BatchBytes: 1 + r.IntN(4000),
				Replays: 1 + r.IntN(3), Linger: time.Duration(1+r.IntN(3)) * time.Second,
			}
			in(t, c, func(h *house) {
				s := &storm{house: h, r: r, release: func() {}}
				if r.IntN(2) == 0 {
					h.broker.Careless()
				}
				for range 600 {
					s.step()
				}
				s.calm()
				h.checkAll("after the storm")
			})
		})
	}
}

// storm makes things happen.
type storm struct {
	*house
	r       *rand.Rand
	n       int // events so far
	peers   []*gatewaytest.Peer
	release func()
	doing   sync.WaitGroup
}

// topics is what there is, of each class.
var topics = []string{"a", "b", "c", "latest:a", "latest:b", "ephemeral:a", "ephemeral:b"}

// topic is one of them, some more often than others.
func (s *storm) topic() string {
	return append(topics, "a", "a", "latest:a", "latest:a", "ephemeral:a")[s.r.IntN(len(topics)+5)]
}

// put publishes an event that some filters let pass, of one of a few keys.
func (s *storm) put(topic string) {
	s.n++
	s.broker.Store(&millrace.Event{
		Topic: topic, Name: []string{"odd", "even"}[s.r.IntN(2)], Key: fmt.Sprint("key", s.r.IntN(5)), ContentType: "text/plain", Data: []byte(fmt.Sprint(s.n)),
	})
}

// subscription is any way to have a topic, or some of them.
func (s *storm) subscription(topic string) gateway.Subscribe {
	c := gateway.Subscribe{Topic: topic, Start: s.start()}
	if s.r.IntN(3) == 0 {
		c.Filter = s.filter()
	}
	if s.r.IntN(4) == 0 && gatewaytest.ClassOf(topic) != millrace.ClassLog {
		c.MaxRate = []float64{0.5, 5, 200}[s.r.IntN(3)]
	}
	return c
}

func (s *storm) filter() *millrace.Filter {
	f, err := millrace.ParseFilter([]string{`name == "odd"`, `name == "even" && key != "key1"`, `key == "key2"`}[s.r.IntN(3)])
	if err != nil {
		s.Fatal(err)
	}
	return f
}

func (s *storm) pattern() string { return []string{"latest:*", "ephemeral:**", "*"}[s.r.IntN(3)] }

func (s *storm) peer() *gatewaytest.Peer { return s.peers[s.r.IntN(len(s.peers))] }

func (s *storm) step() {
	if len(s.peers) < 4 {
		s.join()
	}
	switch k := s.r.IntN(100); {
	case k < 35:
		for range 1 + s.r.IntN(4) {
			s.put(s.topic())
		}
	case k < 40:
		s.do(text(s.topic(), "echoed"))
	case k < 45:
		c := text(s.topic(), "not echoed")
		c.Publish.Event.NoEcho = true
		s.do(c)
	case k < 55:
		s.join()
	case k < 60:
		s.peer().Stall()
	case k < 66:
		s.peer().Flow()
	case k < 69:
		s.peer().Resize([]int{0, 10, 1000, 64 << 10}[s.r.IntN(4)])
	case k < 73:
		s.leave()
	case k < 75:
		s.do(gateway.Unsubscribe{Topic: s.topic()})
	case k < 76:
		s.do(gateway.Unsubscribe{Topic: s.pattern()})
	case k < 79:
		s.do(s.subscription(s.topic()))
	case k < 80:
		s.do(s.subscription(s.pattern()))
	case k < 81:
		s.broker.Reset(s.topic())
	case k < 84:
		s.broker.Trim(s.topic(), s.r.IntN(10))
	case k < 86:
		s.broker.Lose(s.topic(), 1+s.r.IntN(3))
	case k < 88:
		s.broker.Detach()
	case k < 91:
		s.broker.Attach()
	case k < 92:
		s.broker.Fail(errors.New("the log is away"))
	case k < 94:
		s.broker.Fail(nil)
	case k < 95:
		s.release()
		s.release = s.broker.Hold()
	case k < 97:
		s.release()
	case k < 98:
		s.elapse(time.Duration(s.r.IntN(3000)) * time.Millisecond)
	default:
		s.settle()
	}
}

func (s *storm) start() millrace.Start {
	return []millrace.Start{{}, {Kind: millrace.StartEarliest}, {Kind: millrace.StartLast, Count: 5}}[s.r.IntN(3)]
}

// join opens a session, a new one or with a cursor that somebody holds.
func (s *storm) join() {
	o := gateway.Opening{Grant: everything("alice")}
	for _, topic := range topics {
		if s.r.IntN(3) == 0 {
			o.Topics = append(o.Topics, s.subscription(topic))
		}
	}
	if s.r.IntN(4) == 0 {
		o.Topics = append(o.Topics, s.subscription(s.pattern()))
	}
	if len(s.house.peers) > 0 && s.r.IntN(2) == 0 {
		o.Cursor = s.house.peers[s.r.IntN(len(s.house.peers))].Cursor()
	}
	seat := s.seat([]*gateway.Wire{s.wire, s.lead}[s.r.IntN(2)])
	seat.Bytes = []int{50, 500, 64 << 10}[s.r.IntN(3)]
	seat.Stalled = s.r.IntN(6) == 0
	s.peers = append(s.peers, s.connect(seat, o))
}

// leave ends a session one way or the other.
func (s *storm) leave() {
	i := s.r.IntN(len(s.peers))
	p := s.peers[i]
	s.peers = append(s.peers[:i:i], s.peers[i+1:]...)
	switch s.r.IntN(3) {
	case 0:
		p.Cut()
	case 1:
		p.Session.End(nil)
	case 2:
		p.Session.Gone()
	}
}

// do gives a peer's session a command, without waiting for the answer.
func (s *storm) do(c gateway.Command) {
	p := s.peer()
	s.doing.Go(func() { p.Session.Do(s.Context(), 1, c) })
}

func (s *storm) calm() {
	s.broker.Attach()
	s.broker.Fail(nil)
	s.release()
	for _, p := range s.house.peers {
		p.Resize(1 << 20)
		p.Flow()
	}
	s.elapse(time.Second)
	for _, topic := range topics {
		for range 100 { // whatever is yet to get lost is noticed by what comes after it
			s.put(topic)
		}
	}
	s.elapse(30 * time.Second) // in which the slowest rate lets all keys come
	s.doing.Wait()
	s.elapse(time.Second)
}

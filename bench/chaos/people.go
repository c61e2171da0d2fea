package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/chaos/peer"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// topicsOf returns the topics of a run: of twenty, twelve are of class log, five of latest and three of ephemeral, which
// is said by their names. Every fifth is born at some time in the first two thirds of the run.
func topicsOf(n int, length time.Duration) ([]string, map[string]time.Duration) {
	var topics []string
	late := map[string]time.Duration{}
	for i := range n {
		var topic string
		switch k := i % 20; {
		case k%4 == 1:
			topic = fmt.Sprintf("latest:%s:%d", [...]string{"tight", "wide"}[k/4%2], i)
		case k%6 == 3 && k != 9:
			topic = fmt.Sprintf("ephemeral:all:%d", i)
		case k == 19:
			topic = fmt.Sprintf("ephemeral:all:%d", i)
		default:
			topic = fmt.Sprintf("log:%s:%d", [...]string{"tight", "a", "b"}[i%3], i)
		}
		topics = append(topics, topic)
		if i%5 == 4 {
			late[topic] = length * time.Duration(i+1) * 2 / time.Duration(3*n)
		}
	}
	return topics, late
}

// subscribe makes the subscribers: of ten, four each hold to WebSocket and SSE, one is a backend, and one wanders between
// them all. The backends together have every topic, since only they hear from the events themselves what each follows on;
// of the others some want patterns, some filter, and some of those without topics of class log want a rate.
func (r *run) subscribe(chance *rand.Rand) {
	n := r.config.subscribers
	backends := (n + 1) / 10
	for i := range n {
		p := peer.Plan{Name: fmt.Sprint("subscriber-", i), Small: chance.IntN(4) == 0, Seed: chance.Uint64()}
		switch kind := i % 10; {
		case kind == 8:
			p.Transports = []peer.Transport{peer.GRPC}
			for k := i / 10; k < len(r.topics); k += max(backends, 1) {
				p.Topics = append(p.Topics, r.topics[k])
			}
			if p.Topics == nil {
				p.Topics = []string{r.topics[i/10%len(r.topics)]}
			}
		case kind == 9:
			p.Transports = []peer.Transport{peer.WebSocket, peer.SSE, peer.GRPC}
			chance.Shuffle(3, func(a, b int) { p.Transports[a], p.Transports[b] = p.Transports[b], p.Transports[a] })
		case kind%2 == 0:
			p.Transports = []peer.Transport{peer.WebSocket}
		default:
			p.Transports = []peer.Transport{peer.SSE}
		}
		backend := p.Topics != nil
		if !backend {
			p.Topics = r.wishes(chance)
		}
		p.Covers = r.covered(p.Topics)
		p.Start = []string{"", "", "", "", "", "", "", "", "earliest", "last=5"}[chance.IntN(10)]
		if !backend && chance.IntN(4) == 0 {
			choices := peer.Choices()
			p.Choice = choices[chance.IntN(len(choices))]
		}
		if !backend && chance.IntN(2) == 0 && !strings.Contains(strings.Join(p.Topics, " "), "log:") {
			p.MaxRate = []float64{2, 5, 20, 100}[chance.IntN(4)]
		}
		if i%10 == 2 {
			p.Voice = firstVoice + uint32(i)
		}
		r.subscribers = append(r.subscribers, peer.NewSubscriber(r.world, p))
	}
}

// firstVoice is above the ids of all publishers.
const firstVoice = 1000

// wishes returns some topics, or now and then a pattern; one in three subscribers keeps to one class.
func (r *run) wishes(chance *rand.Rand) []string {
	if chance.IntN(8) == 0 {
		return [][]string{
			{"log:tight:*"}, {"log:a:*"}, {"latest:*:*"}, {"latest:wide:*"}, {"ephemeral:**"}, {"latest:tight:*", "ephemeral:all:*"},
		}[chance.IntN(6)]
	}
	from := r.topics
	if chance.IntN(3) == 0 {
		class := ledger.Class(chance.IntN(3))
		from = nil
		for _, topic := range r.topics {
			if peer.ClassOf(topic) == class {
				from = append(from, topic)
			}
		}
	}
	if len(from) == 0 {
		from = r.topics
	}
	return some(chance, from, []int{1, 1, 1, 1, 1, 1, 1, 3, 3, 10}[chance.IntN(10)])
}

// covered returns the topics that names and patterns cover.
func (r *run) covered(names []string) []string {
	var topics []string
	for _, topic := range r.topics {
		for _, name := range names {
			if millrace.Pattern(name).Matches(topic) {
				topics = append(topics, topic)
				break
			}
		}
	}
	return topics
}

func some(chance *rand.Rand, all []string, n int) []string {
	var chosen []string
	for _, i := range chance.Perm(len(all))[:min(n, len(all))] {
		chosen = append(chosen, all[i])
	}
	return chosen
}

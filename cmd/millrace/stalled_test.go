package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

const (
	wholeTopic, wholeBytes = "whole:1", 8 << 10 // of which the log keeps all, and the size of its events
	shortTopic, shortBytes = "short:1", 1 << 10 // of which it keeps the newest

	pairs = 256 // events in each: 2.3 MB
	burst = 8   // of them are published before the healthy peers must have them
)

// stage is a gateway with as many peers that read as such that do not.
type stage struct {
	name             string
	gateway          *process
	healthy, stalled []*member
	before           int64 // the most memory that was resident before anything was published, in bytes
}

// bound fails if the gateway took more memory, since the last call, than a peer that reads nothing may cost: the rest of
// one write, which is a batch (gateway.Config.BatchBytes) and at most an event more, and a goroutine that waits to write
// it. A queue for each would be 2.3 MB.
func (s *stage) bound(t *testing.T, when string) {
	t.Helper()
	const (
		batch     = 64 << 10
		goroutine = 8 << 10  // its stack and its timer
		garbage   = 2        // what the collector lets the heap grow by before it runs: GOGC=100
		fixed     = 32 << 20 // for all: pages of the log under way, tails, the link's buffers and windows
	)
	n := int64(len(s.stalled))
	limit := n*garbage*(batch+wholeBytes+goroutine) + fixed
	grown := s.gateway.peak() - s.before
	t.Logf("%s, %s: %d MB more, at the most; the bound for %d stalled peers is %d MB", s.name, when, grown>>20, n, limit>>20)
	if grown > limit {
		t.Errorf("%s, %s: the gateway grew by %d bytes", s.name, when, grown)
	}
}

// A thousand peers that read nothing take nothing from the thousand beside them, and a bounded piece of memory (DESIGN
// promise 8). Once they read, at whatever speed, each gets everything or is told what it did not get (promises 2 and 7).
// Promise: docs/delivery.md 6.1, 6.2, 6.3.
func TestAThousandPeersThatReadNothingHarmNobodyAndAreCaughtUp(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {pattern: 'short:*', max_events: 50}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := splitWith(t, []string{"--topic-max-bytes", "64MiB", "--config", rules}, []string{"--tail-bytes", "64KiB"})
	broker := dialBroker(t, s.broker.addr("grpc"))
	stages := []*stage{s.stage(t, s.ws, "/v1/ws", 1000, webSocket), s.stage(t, s.sse, "/v1/events", 100, eventStream)}
	healthy := slices.Concat(stages[0].healthy, stages[1].healthy)
	readTo(t, healthy, map[string]millrace.Position{wholeTopic: {}, shortTopic: {}})
	for _, g := range stages {
		g.before = g.gateway.peak()
	}

	published := map[string][]millrace.Position{}
	for range pairs / burst {
		publishEach(t, broker, published, map[string]int{wholeTopic: wholeBytes, shortTopic: shortBytes}, burst)
		readTo(t, healthy, headsOf(published))
	}
	for _, g := range stages {
		g.bound(t, "while they read nothing")
	}
	for i, m := range healthy {
		for topic, all := range published {
			if missed, err := m.check(topic, all); missed > 0 || err != nil {
				t.Fatalf("healthy peer %d did not get %d events of %s: %v", i+1, missed, topic, err)
			}
		}
	}

	stalled := slices.Concat(stages[0].stalled, stages[1].stalled)
	for i := 0; i < len(stalled); i += 100 { // some sip
		tick := time.NewTicker(2 * time.Millisecond)
		t.Cleanup(tick.Stop)
		stalled[i].pace = tick
	}
	readTo(t, stalled, headsOf(published))
	for _, g := range stages {
		g.bound(t, "while they catch up")
	}
	for i, m := range stalled {
		if missed, err := m.check(wholeTopic, published[wholeTopic]); missed > 0 || err != nil {
			t.Fatalf("stalled peer %d did not get %d events that the log has: %v", i+1, missed, err)
		}
		if missed, err := m.check(shortTopic, published[shortTopic]); missed == 0 || err != nil {
			t.Fatalf("stalled peer %d missed %d events; the log lost most of them before it read: %v", i+1, missed, err)
		}
	}
}

// stage connects n peers that are to read and n that are not.
func (s split) stage(t *testing.T, g *process, path string, n int, next func(*member) (item, error)) *stage {
	t.Helper()
	path += "?topic=" + wholeTopic + "&topic=" + shortTopic
	return &stage{
		name: g.args[0], gateway: g,
		healthy: crowd(t, g.addr("http"), path, n, next), stalled: crowd(t, g.addr("http"), path, n, next),
	}
}

package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// counter is a transport that takes everything and counts.
type counter struct {
	writes *atomic.Int64
	left   *atomic.Int64 // counters that have less than they await
	done   chan struct{} // told when none is left

	mu    sync.Mutex
	bytes int64
	full  int64 // bytes that it awaits; 0: none
}

func (c *counter) await(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes, c.full = 0, bytes
}

func (c *counter) TryWrite(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes.Add(1)
	if c.bytes += int64(len(b)); c.full > 0 && c.bytes >= c.full {
		c.bytes = 0
		if c.left.Add(-1) == 0 {
			c.done <- struct{}{}
		}
	}
	return len(b), nil
}

func (c *counter) Write([]byte) error { return nil }

func (c *counter) Close() {}

// BenchmarkFanOut delivers a batch to 1,000 sessions and waits until all have it. An operation is one delivery: one event
// for one session.
func BenchmarkFanOut(b *testing.B) {
	const sessions = 1000
	for _, lead := range []bool{false, true} {
		for _, batch := range []int{1, 16} {
			b.Run(fmt.Sprintf("cursors=%v/batch=%d", lead, batch), func(b *testing.B) { fanOut(b, lead, sessions, batch) })
		}
	}
}

func fanOut(b *testing.B, lead bool, sessions, batch int) {
	wire := gatewaytest.Wire()
	if lead {
		wire = gatewaytest.LeadWire()
	}
	wire.AppendEvent = func(dst []byte, e *millrace.Event) []byte { return append(dst, e.Data...) }
	feed := &feed{updates: make(chan []millrace.Update, 1)}
	g, err := gateway.New(gateway.Config{Log: slog.New(slog.DiscardHandler)}, feed, wire)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	var left, writes atomic.Int64
	done := make(chan struct{}, 1)
	var peers []*counter
	for range sessions {
		c := &counter{writes: &writes, left: &left, done: done}
		peers = append(peers, c)
		if _, err := g.Open(b.Context(), open("a"), wire, c); err != nil {
			b.Fatal(err)
		}
	}
	data := make([]byte, 200)
	own := int64(len(data))
	var at millrace.Position
	publish := func() {
		events := make([]*millrace.Event, batch)
		for i := range events {
			next := millrace.Position{Offset: at.Offset + 1, Mark: at.Mark + 1}
			events[i] = &millrace.Event{Topic: "a", Data: data, Prev: at.Mark, Position: next}
			at = next
		}
		left.Store(int64(sessions))
		feed.updates <- []millrace.Update{{Kind: millrace.UpdateEvents, Topic: "a", Events: events}}
		<-done
	}
	for writes.Load() < 2*int64(sessions) { // connected, subscribed
		runtime.Gosched()
	}
	for _, c := range peers {
		c.await(own * int64(batch))
	}
	publish()
	writes.Store(0)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for n < b.N {
		publish()
		n += sessions * batch
	}
	b.StopTimer()
	b.ReportMetric(float64(n)/float64(writes.Load()), "events/write")
}

// feed is an upstream that tells what it is given.
type feed struct {
	gateway.Upstream // for what is not asked of it

	updates chan []millrace.Update
}

func (f *feed) Subscribe(s millrace.Subscription) error {
	f.updates <- []millrace.Update{{Kind: millrace.UpdateAttached, Topic: s.Topic}}
	return nil
}

func (f *feed) Unsubscribe(string) {}

func (f *feed) Next(ctx context.Context) ([]millrace.Update, error) {
	select {
	case u := <-f.updates:
		return u, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *feed) Enroll(_ context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	return make([]millrace.MemberAck, len(changes)), nil
}

func (f *feed) Publish(context.Context, []millrace.Publish) ([]millrace.Ack, error) {
	return nil, millrace.Errorf(millrace.ReasonUnsupported, "a feed stores nothing")
}

func (f *feed) History(context.Context, string, millrace.Range) (millrace.Page, error) {
	return millrace.Page{}, millrace.Errorf(millrace.ReasonUnsupported, "a feed stores nothing")
}

// viewer is a transport that takes everything, and times a round of writes from the first to the last.
type viewer struct{ round *viewing }

type viewing struct {
	left    atomic.Int64
	viewers int64
	began   atomic.Int64  // nanoseconds since the benchmark began
	over    chan struct{} // told when all have been written to
	start   time.Time
	took    time.Duration
}

func (v viewer) TryWrite(b []byte) (int, error) {
	r := v.round
	switch r.left.Add(-1) {
	case r.viewers - 1:
		r.began.Store(int64(time.Since(r.start)))
	case 0:
		r.took += time.Since(r.start) - time.Duration(r.began.Load())
		r.over <- struct{}{}
	}
	return len(b), nil
}

func (viewer) Write([]byte) error { return nil }

func (viewer) Close() {}

// BenchmarkMembers tells one edition of a topic's members to sessions. An operation is an edition, most of whose time is
// that between two; what an onlooker takes is measured from the first write to the last.
func BenchmarkMembers(b *testing.B) {
	for _, onlookers := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("onlookers=%d", onlookers), func(b *testing.B) { tellMembers(b, onlookers) })
	}
}

func tellMembers(b *testing.B, onlookers int) {
	broker := gatewaytest.NewBroker()
	defer broker.Close()
	wire := gatewaytest.Wire()
	wire.PingInterval = 24 * time.Hour
	g, err := gateway.New(gateway.Config{Log: slog.New(slog.DiscardHandler), AdmitRate: 1_000_000}, broker, wire)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	round := &viewing{viewers: int64(onlookers), over: make(chan struct{}, 1), start: time.Now()}
	round.left.Store(3 * int64(onlookers)) // connected, subscribed and the first members
	for range onlookers {
		if _, err := g.Open(b.Context(), watching("a"), wire, viewer{round}); err != nil {
			b.Fatal(err)
		}
	}
	<-round.over
	round.took = 0
	other := broker.Beside()
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		round.left.Store(int64(onlookers))
		c := millrace.MemberChange{Kind: millrace.MemberJoin, Topic: "a", Generation: 1, Member: millrace.Member{Session: fmt.Sprint(n % 100), Data: fmt.Append(nil, n)}}
		if _, err := other.Enroll(b.Context(), []millrace.MemberChange{c}); err != nil {
			b.Fatal(err)
		}
		<-round.over
	}
	b.StopTimer()
	b.ReportMetric(float64(round.took.Nanoseconds())/1000/float64(b.N)/float64(onlookers), "µs/onlooker")
}

package roster_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/roster"
	"github.com/millrace-dev/millrace/gateway/internal/source"
)

// stream is an upstream with a lifecycle log that comes all at once.
type stream struct{ news chan millrace.Update }

func (s stream) Subscribe(want millrace.Subscription) error {
	s.news <- millrace.Update{Kind: millrace.UpdateAttached, Topic: want.Topic}
	return nil
}

func (stream) Unsubscribe(string) {}

func (s stream) Next(ctx context.Context) ([]millrace.Update, error) {
	select {
	case u := <-s.news:
		return []millrace.Update{u}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (stream) Members(context.Context, string, millrace.MemberRange) (millrace.MemberPage, error) {
	return millrace.MemberPage{}, nil
}

// lifecycle returns so many events: of some who come, and then change.
func lifecycle(b *testing.B, n, members int) []*millrace.Event {
	events := make([]*millrace.Event, n)
	for i := range events {
		kind := millrace.MemberJoined
		if i >= members {
			kind = millrace.MemberUpdated
		}
		m := millrace.MemberEvent{
			Kind: kind, Member: millrace.Member{
				Session: session(i % members), Subject: subject(i % members), Data: fmt.Appendf(nil, `{"name":"somebody","n":%d}`, i), Joined: time.UnixMilli(int64(i % members)),
			},
			Count: min(i+1, members), Subjects: min(i+2, members+1) / 2,
		}
		if i == n-1 {
			m.Count++ // so that it is told
		}
		e, err := m.Event(topic)
		if err != nil {
			b.Fatal(err)
		}
		e.Position, e.Prev = millrace.Position{Offset: uint64(i + 1), Mark: uint64(i + 1)}, uint64(i)
		events[i] = e
	}
	return events
}

// BenchmarkHundredThousandEvents is what the events of a lifecycle log cost a list: of 500 members, and of so many that only
// the counts are kept.
func BenchmarkHundredThousandEvents(b *testing.B) {
	const n = 100_000
	for _, most := range []int{1000, 100} {
		b.Run(fmt.Sprintf("listed up to %d", most), func(b *testing.B) {
			events := lifecycle(b, n, 500)
			b.ReportAllocs()
			for b.Loop() {
				apply(events, most)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
		})
	}
}

// apply runs a list over events, and returns when it has told the last.
func apply(events []*millrace.Event, most int) {
	up := stream{make(chan millrace.Update, 1)}
	sources := source.New(source.Config{TailEvents: 2 * len(events), TailBytes: 1 << 30, MaxTopics: 10, MaxIdle: 10}, up)
	lists := roster.New(roster.Config{
		Most: most, Interval: interval, Parallel: 1, Now: func() int64 { return 0 }, Chance: func() float64 { return 0 }, Failed: func(string, error) {},
	}, sources, up)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = sources.Feed(ctx) }) // ends with ctx
	running.Go(func() { lists.Run(ctx) })
	w := watcher{make(chan struct{}, 1)}
	l := lists.Open(topic, w)
	<-w.turn
	up.news <- millrace.Update{Kind: millrace.UpdateEvents, Topic: millrace.PresenceTopic(topic), Events: events}
	var asOf atomic.Uint64
	for number := uint64(0); asOf.Load() < uint64(len(events)); {
		<-w.turn
		var text *roster.Text
		if text, number = l.Since(number); text != nil {
			text.Bytes(0, func(c *roster.Changes) []byte {
				asOf.Store(c.AsOf.Offset)
				return []byte{0}
			})
		}
	}
}

type watcher struct{ turn chan struct{} }

func (w watcher) Schedule() {
	select {
	case w.turn <- struct{}{}:
	default:
	}
}

// BenchmarkCrossingTheLimit is what it costs that a list grows too long, and is read and told anew; the broker's part included,
// which takes most of it.
func BenchmarkCrossingTheLimit(b *testing.B) {
	h, stop := build(b, 1000, 512)
	defer stop()
	w := watcher{make(chan struct{}, 1)}
	l := h.lists.Open(topic, w)
	number := uint64(0)
	until := func(countOnly bool) {
		for told := !countOnly; told != countOnly; {
			<-w.turn
			var text *roster.Text
			if text, number = l.Since(number); text != nil {
				text.Bytes(0, func(c *roster.Changes) []byte {
					told = c.CountOnly
					return []byte{0}
				})
			}
		}
	}
	until(false)
	h.join(0, 899)
	for b.Loop() {
		h.join(899, 1001)
		until(true)
		h.leave(899, 1001)
		until(false)
	}
}

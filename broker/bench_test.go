package broker_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

var jsonPayload = []byte(`{"text":"` + fmt.Sprintf("%0190d", 7) + `"}`)

// BenchmarkPublish is a publish through the whole broker, one event of 200 bytes of JSON per call, that nobody follows.
func BenchmarkPublish(b *testing.B) {
	br := newBroker(b, broker.Config{}, newLog(b))
	batch := make([]millrace.Publish, 1)
	b.ReportAllocs()
	for b.Loop() {
		batch[0] = millrace.Publish{Event: &millrace.Event{Topic: "a", Data: jsonPayload}}
		if acks, err := br.Publish(b.Context(), batch); err != nil || acks[0].Err != nil {
			b.Fatal(err, acks)
		}
	}
}

// BenchmarkPublishFollowed is the same with feeds that follow the topic and take what comes.
func BenchmarkPublishFollowed(b *testing.B) {
	for _, feeds := range []int{1, 8, 100} {
		b.Run(fmt.Sprintf("feeds=%d", feeds), func(b *testing.B) {
			br := newBroker(b, broker.Config{}, newLog(b))
			var takers sync.WaitGroup
			for range feeds {
				l := newLedger(b, br)
				l.attach("a", millrace.Start{})
				takers.Go(func() {
					for {
						if _, err := l.feed.Next(b.Context()); err != nil {
							return
						}
					}
				})
			}
			batch := make([]millrace.Publish, 1)
			b.ReportAllocs()
			for b.Loop() {
				batch[0] = millrace.Publish{Event: &millrace.Event{Topic: "a", Data: jsonPayload}}
				if acks, err := br.Publish(b.Context(), batch); err != nil || acks[0].Err != nil {
					b.Fatal(err, acks)
				}
			}
			br.Stop()
			takers.Wait()
		})
	}
}

// BenchmarkDelivery is what one event costs one feed that takes it, published in batches of some size: the append and
// the publish of the batch included.
func BenchmarkDelivery(b *testing.B) {
	for _, size := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			br := newBroker(b, broker.Config{}, newLog(b))
			l := newLedger(b, br)
			l.attach("a", millrace.Start{})
			batch := make([]millrace.Publish, size)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				n := i % size
				batch[n] = millrace.Publish{Event: &millrace.Event{Topic: "a", Data: jsonPayload}}
				if n < size-1 {
					continue
				}
				if _, err := br.Publish(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				for taken := 0; taken < size; {
					updates, err := l.feed.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					for _, u := range updates {
						taken += len(u.Events)
					}
				}
			}
		})
	}
}

// BenchmarkReplay is what one event costs that a feed takes from the log.
func BenchmarkReplay(b *testing.B) {
	br := newBroker(b, broker.Config{}, newLog(b))
	fill(b, br, "a", 1_000)
	b.ReportAllocs()
	taken := 0
	for b.Loop() {
		if taken%1_000 != 0 {
			taken++
			continue
		}
		taken++
		l := newLedger(b, br)
		l.subscribe("a", millrace.Start{Kind: millrace.StartEarliest})
		for n := 0; n < 1_000; {
			updates, err := l.feed.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for _, u := range updates {
				n += len(u.Events)
			}
		}
		l.feed.Close()
	}
}

// BenchmarkAttach is a subscription from its start to its end on a topic that is not followed otherwise.
func BenchmarkAttach(b *testing.B) {
	br := newBroker(b, broker.Config{}, newLog(b))
	all := fill(b, br, "a", 100)
	f := br.NewFeed()
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Subscribe(millrace.Subscription{Topic: "a", Start: millrace.After(all[89].Position)}); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < 10; {
			updates, err := f.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for _, u := range updates {
				n += len(u.Events)
			}
		}
		f.Unsubscribe("a")
	}
}

package sdk_test

import (
	"bytes"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// BenchmarkReceive is what an event costs between its bytes and the application, by events a batch.
func BenchmarkReceive(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			offsets := make([]uint64, n)
			for i := range offsets {
				offsets[i] = uint64(i + 1)
			}
			update := events(1, 1, offsets...)
			for _, e := range update.GetEvents().GetEvents() {
				e.Id, e.Name, e.TimeMs = "0123456789abcdef", "price", 1_790_000_000_000
				e.Data = bytes.Repeat([]byte("x"), 200)
			}
			text, err := proto.Marshal(&millracev1.JoinResponse{Updates: []*millracev1.Update{update}})
			if err != nil {
				b.Fatal(err)
			}
			track := sdk.NewTrack("a", pos(1, 0))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				r := &millracev1.JoinResponse{}
				if err := proto.Unmarshal(text, r); err != nil {
					b.Fatal(err)
				}
				if _, err := track.Receive(r.GetUpdates()[0]); err != nil {
					b.Fatal(err)
				}
				track.Rewind(pos(1, 0))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

// BenchmarkLink is a replay over a real link on loopback, broker included.
func BenchmarkLink(b *testing.B) {
	const n = 10_000
	server := startBroker(b, "127.0.0.1:0", newLog(b, broker.Rule{Pattern: "**", MaxEvents: n, MaxBytes: 64 << 20}), rpc.Config{})
	c := dial(b, server.target)
	data := bytes.Repeat([]byte("1"), 200)
	for range n / 1000 {
		list := make([]*millrace.Event, 1000)
		for i := range list {
			list[i] = &millrace.Event{Topic: "a", Data: data}
		}
		if _, err := c.Publish(b.Context(), list...); err != nil {
			b.Fatal(err)
		}
	}
	l := open(b, c)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := l.Subscribe(millrace.Subscription{Topic: "a", Start: millrace.Start{Kind: millrace.StartEarliest}}); err != nil {
			b.Fatal(err)
		}
		for seen := 0; seen < n; {
			updates, err := l.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for _, u := range updates {
				seen += len(u.Events)
			}
		}
		l.Unsubscribe("a")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
}

// BenchmarkPublisher is publishing over a stream on loopback, broker and acks included.
func BenchmarkPublisher(b *testing.B) {
	server := startBroker(b, "127.0.0.1:0", newLog(b), rpc.Config{})
	p, err := dial(b, server.target).Publisher()
	if err != nil {
		b.Fatal(err)
	}
	data := bytes.Repeat([]byte("1"), 200)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := p.Publish(b.Context(), millrace.Publish{Event: &millrace.Event{Topic: "a", Data: data}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPublish is one event a call on loopback, broker included.
func BenchmarkPublish(b *testing.B) {
	server := startBroker(b, "127.0.0.1:0", newLog(b), rpc.Config{})
	c := dial(b, server.target)
	data := bytes.Repeat([]byte("1"), 200)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := c.Publish(b.Context(), &millrace.Event{Topic: "a", Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

package memlog_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
)

var payload = make([]byte, 200)

func openBench(b *testing.B, rules ...broker.Rule) *memlog.Log {
	b.Helper()
	l, err := memlog.New(memlog.Config{Rules: rules})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

func topicNames(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("chat:%d", i))
	}
	return names
}

func mustAppend(b *testing.B, l *memlog.Log, batch []millrace.Publish) {
	for _, ack := range l.Append(b.Context(), batch) {
		if ack.Err != nil {
			b.Fatal(ack.Err)
		}
	}
}

// BenchmarkAppend stores one event per call. The event itself is one of the allocations.
func BenchmarkAppend(b *testing.B) {
	for _, topics := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			l, names := openBench(b, broker.Rule{MaxEvents: 20}), topicNames(topics)
			batch := make([]millrace.Publish, 1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				batch[0] = millrace.Publish{Event: &millrace.Event{Topic: names[i%topics], Data: payload}}
				mustAppend(b, l, batch)
			}
		})
	}
}

// BenchmarkAppendWithID adds dedup.
func BenchmarkAppendWithID(b *testing.B) {
	l := openBench(b)
	ids := topicNames(20_000)
	batch := make([]millrace.Publish, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		batch[0] = millrace.Publish{Event: &millrace.Event{Topic: "a", ID: ids[i%len(ids)], Data: payload}, Principal: "p"}
		mustAppend(b, l, batch)
	}
}

// BenchmarkAppendBatch stores 64 events per call; the time is per event.
func BenchmarkAppendBatch(b *testing.B) {
	l := openBench(b)
	batch := make([]millrace.Publish, 64)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := i % len(batch)
		batch[n] = millrace.Publish{Event: &millrace.Event{Topic: "a", Data: payload}}
		if n == len(batch)-1 {
			mustAppend(b, l, batch)
		}
	}
}

// BenchmarkAppendParallel stores from all processors to topics of their own.
func BenchmarkAppendParallel(b *testing.B) {
	l, names := openBench(b), topicNames(64)
	var worker atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		name := names[int(worker.Add(1))%len(names)]
		batch := make([]millrace.Publish, 1)
		for pb.Next() {
			batch[0] = millrace.Publish{Event: &millrace.Event{Topic: name, Data: payload}}
			mustAppend(b, l, batch)
		}
	})
}

package memlog_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
)

const crowd = 100_000

// names returns texts of their own, as long as ids of sessions are.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%022d", i)
	}
	return all
}

func begin(b *testing.B, r broker.Roster, holder string, term time.Duration) broker.Lease {
	b.Helper()
	l, err := r.Begin(b.Context(), holder, term)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// fill makes sessions members of a topic, each of a subject of its own.
func fill(b *testing.B, r broker.Roster, l broker.Lease, topic string, sessions []string) {
	b.Helper()
	for _, session := range sessions {
		change(b, r, l, millrace.MemberJoin, topic, session, session)
	}
}

// BenchmarkJoinAndLeave is a join and a leave, with their events, in a room of some members.
func BenchmarkJoinAndLeave(b *testing.B) {
	for _, members := range []int{1, crowd} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			r := openRoster(b, openBench(b))
			l := begin(b, r, "h", time.Hour)
			fill(b, r, l, "a", names(members))
			b.ReportAllocs()
			for b.Loop() {
				change(b, r, l, millrace.MemberJoin, "a", "s", "alice")
				change(b, r, l, millrace.MemberLeave, "a", "s", "alice")
			}
		})
	}
}

// BenchmarkTellAnew is a member that is told under a newer lease: there is no event.
func BenchmarkTellAnew(b *testing.B) {
	r, all := openRoster(b, openBench(b)), names(crowd)
	fill(b, r, begin(b, r, "h", time.Hour), "a", all)
	l := begin(b, r, "h", time.Hour)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		session := all[i%len(all)]
		change(b, r, l, millrace.MemberJoin, "a", session, session)
	}
}

// BenchmarkMembers is a page of 100 members, or their counts, from rooms of different sizes.
func BenchmarkMembers(b *testing.B) {
	for _, members := range []int{200, crowd} {
		r, all := openRoster(b, openBench(b)), names(members)
		l := begin(b, r, "h", time.Hour)
		fill(b, r, l, "a", all)
		first, err := r.Members(b.Context(), "a", millrace.MemberRange{Limit: members / 2})
		if err != nil {
			b.Fatal(err)
		}
		for what, want := range map[string]millrace.MemberRange{"counts": {Limit: -1}, "first": {Limit: 100}, "middle": {Limit: 100, Page: first.Next}} {
			b.Run(fmt.Sprintf("members=%d/%s", members, what), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if page, err := r.Members(b.Context(), "a", want); err != nil || page.Count != members {
						b.Fatal(page.Count, err)
					}
				}
			})
		}
	}
}

// forgetful is a log that keeps nothing, so that only what the roster holds is measured.
type forgetful struct{ broker.Log }

func (forgetful) Append(_ context.Context, batch []millrace.Publish) []millrace.Ack {
	return make([]millrace.Ack, len(batch))
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemberMemory reports what a member occupies, its session, subject and data included: one in a large room, and a
// session with a room of its own, which is two.
func BenchmarkMemberMemory(b *testing.B) {
	for what, topics := range map[string]func(i int) []string{
		"one room": func(int) []string { return []string{"chat:all"} },
		"session and room": func(i int) []string {
			return []string{millrace.SessionsTopic, fmt.Sprintf("chat:%d", i)}
		},
	} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				r := memlog.NewRoster(forgetful{})
				l := begin(b, r, "h", time.Hour)
				for i := range crowd {
					for _, topic := range topics(i) {
						r.Change(b.Context(), l, []millrace.MemberChange{{Kind: millrace.MemberJoin, Topic: topic, Member: millrace.Member{
							Session: fmt.Sprintf("%022d", i), Subject: fmt.Sprintf("u%08d", i), Data: []byte(`{"gateway":"gw-1","transport":"websocket"}`),
						}}})
					}
				}
				b.ReportMetric(float64(heap()-before)/crowd, "B/session")
				runtime.KeepAlive(r)
			}
		})
	}
}

// BenchmarkSweep is a lease of many members that has run out, while others publish to the log and read members. It reports the
// slowest of those, and how long all but one in a hundred took at most.
func BenchmarkSweep(b *testing.B) {
	all := names(crowd)
	for b.Loop() {
		b.StopTimer()
		l := openBench(b)
		r := memlog.NewRoster(l)
		lease := begin(b, r, "h", 0)
		fill(b, r, lease, "a", all)
		stop := make(chan struct{})
		var others sync.WaitGroup
		watch := func(what string, do func() error) {
			others.Go(func() {
				ticker := time.NewTicker(500 * time.Microsecond)
				defer ticker.Stop()
				var took []time.Duration
				for {
					select {
					case <-stop:
						slices.Sort(took)
						b.ReportMetric(float64(took[len(took)-1].Microseconds()), what+"-max-µs")
						b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), what+"-p99-µs")
						return
					case <-ticker.C:
					}
					begun := time.Now()
					if err := do(); err != nil {
						b.Error(err)
					}
					took = append(took, time.Since(begun))
				}
			})
		}
		watch("publish", func() error {
			if err := l.Append(b.Context(), []millrace.Publish{{Event: &millrace.Event{Topic: "elsewhere", Data: payload}}})[0].Err; err != nil {
				return err
			}
			return nil
		})
		watch("counts", func() error {
			_, err := r.Members(b.Context(), "a", millrace.MemberRange{Limit: -1})
			return err
		})
		b.StartTimer()
		if _, err := r.Sweep(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		close(stop)
		others.Wait()
		b.StartTimer()
	}
}

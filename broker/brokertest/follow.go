package brokertest

import (
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// recorder is a follower that keeps what it is told.
type recorder struct {
	mu     sync.Mutex
	events []*millrace.Event
	more   chan struct{} // has an item if there are news; may be nil
}

func (r *recorder) Appended(events []*millrace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
	if r.more != nil {
		select {
		case r.more <- struct{}{}:
		default:
		}
	}
}

func (r *recorder) told() []*millrace.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*millrace.Event(nil), r.events...)
}

// wait returns what the recorder was told once that is n events.
func (r *recorder) wait(b bench, n int) []*millrace.Event {
	b.Helper()
	for {
		if events := r.told(); len(events) >= n {
			return events
		}
		select {
		case <-r.more:
		case <-b.Context().Done():
			b.Fatalf("told of %d events, want %d", len(r.told()), n)
		}
	}
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{}, 1)} }

func (b bench) follow() {
	l := b.open(b.T)
	unborn := newRecorder()
	head, stop, err := l.Follow(b.Context(), "a", unborn)
	if err != nil || !head.IsZero() {
		b.Fatalf("an unborn topic is followed from %s, %v", head, err)
	}
	defer stop()
	before := b.put(l, "a", 3)
	r := newRecorder()
	head, stop, err = l.Follow(b.Context(), "a", r)
	if err != nil || head != before[2].Position {
		b.Fatalf("followed from %s, %v; want %s", head, err, before[2].Position)
	}
	defer stop()
	b.put(l, "other", 3)
	events := append(b.put(l, "a", 4), b.put(l, "a", 1)...)
	b.same(r.wait(b, 5), events)
	b.same(unborn.wait(b, 8), append(before, events...))
}

func (b bench) attach() {
	l := b.open(b.T)
	const total, attaches = 2_000, 50
	start := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		<-start
		for i := range total {
			l.Append(b.Context(), []millrace.Publish{{Event: Event("a", i)}})
		}
	})
	close(start)
	type attached struct {
		head millrace.Position
		page millrace.Page
		live *recorder
	}
	var all []attached
	for range attaches {
		r := newRecorder()
		head, stop, err := l.Follow(b.Context(), "a", r)
		if err != nil {
			b.Fatal(err)
		}
		defer stop() //nolint:gocritic // a follower is to stay until all are compared
		page := b.read(l, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
		all = append(all, attached{head, page, r})
	}
	wg.Wait()
	for _, a := range all {
		events := a.live.wait(b, int(total-a.head.Offset))
		if len(events) != int(total-a.head.Offset) {
			b.Fatalf("told of %d events after %s of %d", len(events), a.head, total)
		}
		b.whole(a.head, events)
		if a.page.Head.Offset < a.head.Offset {
			b.Fatalf("followed from %s, read up to %s later", a.head, a.page.Head)
		}
	}
}

func (b bench) stopped() {
	l := b.open(b.T)
	gone, stays := newRecorder(), newRecorder()
	_, stop, err := l.Follow(b.Context(), "a", gone)
	if err != nil {
		b.Fatal(err)
	}
	_, stopOther, err := l.Follow(b.Context(), "a", stays)
	if err != nil {
		b.Fatal(err)
	}
	defer stopOther()
	b.put(l, "a", 2)
	gone.wait(b, 2)
	stop()
	stop()
	b.put(l, "a", 2)
	stays.wait(b, 4)
	if n := len(gone.told()); n != 2 {
		b.Fatalf("told of %d events, want 2", n)
	}
	_, _, err = l.Follow(canceled(b.Context()), "a", gone)
	b.refused(err, millrace.ReasonCanceled)
}

func (b bench) topics() {
	l := b.open(b.T, few(4))
	const n = 25
	for i := range n {
		b.put(l, topicName(i), i+1)
	}
	after, seen := "", 0
	for {
		states, err := l.Topics(b.Context(), after, 10)
		if err != nil {
			b.Fatal(err)
		}
		if len(states) == 0 {
			break
		}
		if len(states) > 10 {
			b.Fatalf("a page of %d topics, want at most 10", len(states))
		}
		for _, s := range states {
			page := b.read(l, s.Topic, millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
			if s.Topic != topicName(seen) || s.Head != page.Head || s.Events != len(page.Events) || s.Oldest != page.Events[0].Before() {
				b.Fatalf("topic %d is %+v", seen, s)
			}
			after = s.Topic
			seen++
		}
	}
	if seen != n {
		b.Fatalf("%d topics are listed, want %d", seen, n)
	}
}

func (b bench) closed() {
	l := b.open(b.T)
	b.put(l, "a", 1)
	for range 2 {
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.refused(b.append(l, millrace.Publish{Event: Event("a", 2)}).Err, millrace.ReasonUnavailable)
	_, err := l.Read(b.Context(), "a", millrace.Range{})
	b.refused(err, millrace.ReasonUnavailable)
	_, _, err = l.Follow(b.Context(), "a", new(recorder))
	b.refused(err, millrace.ReasonUnavailable)
	_, err = l.Watch(b.Context(), "**", new(lookout))
	b.refused(err, millrace.ReasonUnavailable)
	_, err = l.Topics(b.Context(), "", 1)
	b.refused(err, millrace.ReasonUnavailable)
}

func (b bench) ephemeral() {
	l := b.open(b.T, broker.Rule{Class: millrace.ClassEphemeral})
	r := newRecorder()
	head, stop, err := l.Follow(b.Context(), "a", r)
	if err != nil || !head.IsZero() {
		b.Fatalf("followed from %s, %v", head, err)
	}
	defer stop()
	zero := millrace.Position{}
	acks := l.Append(b.Context(), []millrace.Publish{
		{Event: named("a", "x", 1)},
		{Event: named("a", "x", 2)}, // there is nothing to know it by
		{Event: Event("a", 3), Expect: &zero},
		{Event: Event("a", 4)},
	})
	b.refused(acks[2].Err, millrace.ReasonUnsupported)
	for _, i := range []int{0, 1, 3} {
		if ack := acks[i]; ack.Err != nil || ack.Repeated || !ack.Position.IsZero() || ack.Time.IsZero() {
			b.Fatalf("publish %d was answered %+v", i, ack)
		}
	}
	for i, e := range r.wait(b, 3) {
		if want := []string{"1", "2", "4"}[i]; string(e.Data) != want || !e.Position.IsZero() || e.Prev != 0 || !e.Time.Equal(acks[0].Time) {
			b.Fatalf("event %d is %q at %s of %s, want %s", i, e.Data, e.Position, e.Time, want)
		}
	}
	_, err = l.Read(b.Context(), "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	b.refused(err, millrace.ReasonUnsupported)
	if states, err := l.Topics(b.Context(), "", 1); err != nil || len(states) > 0 {
		b.Fatalf("topics: %v, %v", states, err)
	}
}

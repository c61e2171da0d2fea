package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

var everything = &millrace.Grant{Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}}

// realBroker is a broker of this project on a loopback port.
type realBroker struct {
	target string
	kill   func() // as a crash would, but for the goroutines; it may be called more than once
	drain  func() // tells its peers first
}

func newLog(tb testing.TB, rules ...broker.Rule) broker.Log {
	tb.Helper()
	l, err := memlog.New(memlog.Config{Rules: rules})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

func startBroker(tb testing.TB, target string, l broker.Log, config rpc.Config) *realBroker {
	tb.Helper()
	return startBrokerWith(tb, target, l, config, broker.Config{})
}

func startBrokerWith(tb testing.TB, target string, l broker.Log, config rpc.Config, behind broker.Config) *realBroker {
	tb.Helper()
	b, err := broker.New(behind, l, memlog.NewRoster(l))
	if err != nil {
		tb.Fatal(err)
	}
	if config.Authenticator == nil {
		config.Anonymous = everything
	}
	server, err := rpc.New(config, b)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", target)
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var once sync.Once
	stop := func(ctx context.Context) {
		once.Do(func() {
			if err := server.Shutdown(ctx); err != nil && ctx.Err() == nil {
				tb.Error(err)
			}
			b.Stop()
			if err := <-served; err != nil {
				tb.Error(err)
			}
		})
	}
	r := &realBroker{
		target: listener.Addr().String(),
		kill: func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			stop(ctx)
		},
		drain: func() { stop(context.Background()) },
	}
	tb.Cleanup(r.kill)
	return r
}

func mustPublish(tb testing.TB, c *sdk.Client, topic string, n int) []millrace.Ack {
	tb.Helper()
	list := make([]*millrace.Event, n)
	for i := range list {
		list[i] = &millrace.Event{Topic: topic, Data: fmt.Append(nil, i)}
	}
	acks, err := c.Publish(tb.Context(), list...)
	if err != nil {
		tb.Fatal(err)
	}
	return acks
}

func TestWhatIsPublishedArrivesWhole(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	c := dial(t, b.target)
	s := subscribe(t, c, sdk.TopicsFrom(millrace.Start{Kind: millrace.StartEarliest}, "a"))
	sent := &millrace.Event{
		Topic: "a", ID: "id", Name: "name", ContentType: "application/octet-stream",
		Headers: []millrace.Header{{Name: "x", Value: "1"}, {Name: "x", Value: "2"}}, Data: []byte{0, 255},
	}
	acks, err := c.Publish(t.Context(), sent)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Position != acks[0].Position || !e.Time.Equal(acks[0].Time) || e.Topic != "a" || e.ID != "id" || e.Name != "name" ||
			e.ContentType != sent.ContentType || !slices.Equal(e.Headers, sent.Headers) || !slices.Equal(e.Data, sent.Data) {
			t.Errorf("published %+v, got %v of %s: %q %q %q %v %v", sent.Headers, e.Position, e.Topic, e.ID, e.Name, e.ContentType, e.Headers, e.Data)
		}
		break
	}
	if got := s.Cursor(); got != acks[0].Position.String()+"-a" {
		t.Errorf("the cursor is %q", got)
	}
	if again, err := c.Publish(t.Context(), &millrace.Event{Topic: "a", ID: "id", Data: []byte(`2`)}); err != nil || !again[0].Repeated || again[0].Position != acks[0].Position {
		t.Errorf("published again: %v, %v", again, err)
	}
	stale := millrace.Position{Offset: 7, Mark: 7}
	refused, err := c.PublishBatch(t.Context(), []millrace.Publish{{Event: &millrace.Event{Topic: "a", Data: []byte(`1`)}, Expect: &stale}})
	if e, ok := errors.AsType[*millrace.Error](err); !ok || e.Reason != millrace.ReasonConflict || refused[0].Err == nil {
		t.Errorf("published under a condition that does not hold: %v, %v", refused, err)
	}
}

func TestACursorResumesWithExactlyWhatIsMissing(t *testing.T) {
	rule := broker.Rule{Pattern: "**", MaxEvents: 100}
	b := startBroker(t, "127.0.0.1:0", newLog(t, rule), rpc.Config{})
	c := dial(t, b.target)
	mustPublish(t, c, "a", 3)
	s := subscribe(t, c, sdk.TopicsFrom(millrace.Start{Kind: millrace.StartEarliest}, "a"))
	told(t, s, 2)
	cursor := s.Cursor()
	s.Close()
	mustPublish(t, c, "a", 4)
	got := told(t, subscribe(t, c, sdk.Topics("a"), sdk.Resume(cursor)), 5)
	if !slices.Equal(got, []string{"3", "4", "5", "6", "7"}) {
		t.Errorf("the cursor resumed with %q", got)
	}
	mustPublish(t, c, "a", 200)
	got = told(t, subscribe(t, c, sdk.Resume(cursor)), 2)
	if !slices.Equal(got, []string{"gap 2-107 trimmed", "108"}) {
		t.Errorf("the cursor resumed with %q", got)
	}
}

func TestABrokerThatLostItsMemoryIsToldAsAResetAndThenGoesOn(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	c := dial(t, b.target)
	mustPublish(t, c, "a", 3)
	earliest := millrace.Start{Kind: millrace.StartEarliest}
	s := subscribe(t, c, sdk.TopicsFrom(earliest, "a"))
	l := open(t, c)
	h := &heard{link: l}
	mustSubscribe(t, l, "a", earliest)
	if got := told(t, s, 3); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Fatalf("the subscription got %q", got)
	}
	h.want(t, "a at 0", "a 1", "a 2", "a 3")

	b.kill()
	h.want(t, "a detached")
	startBroker(t, b.target, newLog(t), rpc.Config{})
	h.want(t, "a at 3", "a gap 3-0 reset")
	mustPublish(t, c, "a", 2)
	h.want(t, "a 1", "a 2")
	got := told(t, s, 3)
	// The subscription may come back before or after the new events; either way it is told of the reset first.
	if got[0] != "gap 3-0 reset" || got[1] != "1" || got[2] != "2" {
		t.Errorf("the subscription got %q", got)
	}
}

// ledger checks that the events of one topic come in order, once, without a hole.
type ledger struct {
	at millrace.Position
}

func (l *ledger) check(t *testing.T, who string, e *millrace.Event) {
	t.Helper()
	if !l.at.IsZero() && !l.at.Precedes(e) {
		t.Errorf("%s: %s follows on %s", who, e.Position, l.at)
	}
	l.at = e.Position
}

func TestNothingIsLostOrRepeatedWhileTheBrokerIsStartedAgainAndAgain(t *testing.T) {
	const rounds, perRound = 5, 400
	shared := newLog(t, broker.Rule{Pattern: "**", MaxEvents: 10 * rounds * perRound})
	config := rpc.Config{DrainGrace: 20 * time.Millisecond}
	b := startBroker(t, "127.0.0.1:0", shared, config)
	c := dial(t, b.target)
	p := publisher(t, c)
	var done sync.WaitGroup
	for _, who := range []string{"first", "second"} {
		s := subscribe(t, c, sdk.TopicsFrom(millrace.Start{Kind: millrace.StartEarliest}, "a"))
		done.Go(func() {
			var l ledger
			for e, err := range s.All(t.Context()) {
				if err != nil {
					t.Errorf("%s: %v", who, err)
					return
				}
				l.check(t, who, e)
				if want := strconv.FormatUint(e.Position.Offset-1, 10); string(e.Data) != want {
					t.Errorf("%s: event %d is %s", who, e.Position.Offset, e.Data)
				}
				if e.Position.Offset == rounds*perRound {
					return
				}
			}
		})
	}
	for round := range rounds {
		var last *sdk.Pending
		for i := range perRound {
			one, err := p.Publish(t.Context(), millrace.Publish{Event: &millrace.Event{Topic: "a", Data: fmt.Append(nil, round*perRound+i)}})
			if err != nil {
				t.Fatal(err)
			}
			last = one
		}
		if round%2 == 0 {
			b.kill()
		} else {
			b.drain()
		}
		b = startBroker(t, b.target, shared, config)
		if ack, err := last.Ack(t.Context()); err != nil || ack.Position.Offset != uint64((round+1)*perRound) {
			t.Fatalf("round %d: acked %+v, %v", round, ack, err)
		}
	}
	done.Wait()
}

// Promise: docs/delivery.md 7.4.
func TestALinkWhoseStreamsAgeMovesFromOneToTheNextUnnoticed(t *testing.T) {
	const moves = 4
	roomy := broker.Rule{Pattern: "**", MaxEvents: 1_000_000, MaxBytes: 1 << 30} // however far the publisher is ahead
	b := startBroker(t, "127.0.0.1:0", newLog(t, roomy), rpc.Config{StreamAge: 10 * time.Millisecond, StreamGrace: time.Second / 2})
	c := dial(t, b.target)
	l := open(t, c)
	mustSubscribe(t, l, "a", millrace.Start{Kind: millrace.StartEarliest})
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for ctx.Err() == nil {
			mustPublish(t, c, "a", 10)
		}
	})
	attached := 0
	var check ledger
	for attached <= moves {
		updates, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range updates {
			switch u.Kind {
			case millrace.UpdateAttached:
				attached++
			case millrace.UpdateEvents:
				for _, e := range u.Events {
					check.check(t, "the link", e)
				}
			default:
				t.Errorf("the link told %v", phrase(u))
			}
		}
	}
	stop()
	publishing.Wait()
}

func TestAttachingWhilePublishingAtFullSpeedMissesAndRepeatsNothing(t *testing.T) {
	const attaches = 100
	b := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	c := dial(t, b.target)
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		p := publisher(t, c)
		for ctx.Err() == nil {
			if _, err := p.Publish(ctx, millrace.Publish{Event: &millrace.Event{Topic: "a", Data: []byte(`1`)}}); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	l := open(t, c)
	starts := []millrace.Start{{}, {Kind: millrace.StartEarliest}, {Kind: millrace.StartLast, Count: 20}}
	for i := range attaches {
		mustSubscribe(t, l, "a", starts[i%len(starts)])
		var check ledger
		for seen := 0; seen < 50; {
			updates, err := l.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range updates {
				switch u.Kind {
				case millrace.UpdateAttached:
					check.at = u.Position
				case millrace.UpdateGap: // the log is short, and trimmed while it is read
					check.at = u.Gap.Until
				default:
					for _, e := range u.Events {
						check.check(t, fmt.Sprint("attach ", i), e)
						seen++
					}
				}
			}
		}
		l.Unsubscribe("a")
	}
	stop()
	publishing.Wait()
}

func TestAReplayFarLargerThanTheQueueArrivesWhole(t *testing.T) {
	const n, size = 320, 64 << 10 // 20 MiB
	b := startBroker(t, "127.0.0.1:0", newLog(t, broker.Rule{Pattern: "**", MaxEvents: n, MaxBytes: 64 << 20}), rpc.Config{})
	c := dial(t, b.target, sdk.WithQueueBytes(128<<10))
	data := []byte(`"` + strings.Repeat("x", size-2) + `"`)
	for range n {
		if _, err := c.Publish(t.Context(), &millrace.Event{Topic: "a", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	got := told(t, subscribe(t, c, sdk.TopicsFrom(millrace.Start{Kind: millrace.StartEarliest}, "a")), n)
	for i, w := range got {
		if w != strconv.Itoa(i+1) {
			t.Fatalf("event %d is %q", i+1, w)
		}
	}
}

func TestHistoryIsReadPageByPageInBothDirections(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	c := dial(t, b.target)
	acks := mustPublish(t, c, "a", 7)
	for _, backward := range []bool{false, true} {
		r := millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}, Limit: 3, Backward: backward}
		if backward {
			r.Start = millrace.Start{}
		}
		var got []millrace.Position
		for {
			page, err := c.History(t.Context(), "a", r)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				got = append(got, e.Position)
			}
			if !page.More {
				break
			}
			r.Start = page.Resume()
		}
		if backward {
			slices.Reverse(got)
		}
		for i, a := range acks {
			if len(got) != len(acks) || got[i] != a.Position {
				t.Fatalf("backward %v: read %v, want %v", backward, got, acks)
			}
		}
	}
	if _, err := c.History(t.Context(), "a::b", millrace.Range{}); millrace.AsError(err).Reason != millrace.ReasonTopicInvalid {
		t.Errorf("history of what is no topic: %v", err)
	}
}

// TestACursorOfManyTopicsResumes holds more topics than a cursor of a gateway can carry.
func TestACursorOfManyTopicsResumes(t *testing.T) {
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("a-topic-with-a-longer-name:%d", i))
	}
	b := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	c := dial(t, b.target)
	s, err := c.Subscribe(t.Context(), sdk.Topics(names...))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range names {
		if u, err := s.Next(t.Context()); err != nil || u.Kind != millrace.UpdateAttached {
			t.Fatalf("%v, %v", u, err)
		}
	}
	cursor := s.Cursor()
	mustPublish(t, c, names[299], 1)
	again, err := c.Subscribe(t.Context(), sdk.Resume(cursor))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for e, err := range again.All(t.Context()) {
		if err != nil || e.Topic != names[299] {
			t.Fatalf("%v, %v", e, err)
		}
		break
	}
	if _, err := c.Subscribe(t.Context(), sdk.Resume(cursor+",")); err == nil || millrace.AsError(err).Reason != millrace.ReasonCursorInvalid {
		t.Errorf("a cursor with an empty piece: %v", err)
	}
}

func TestAnEventThatIsTooLargeIsRefusedAloneByItsPublisher(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{MaxEventBytes: 20_000, MaxMessageBytes: 40_000})
	p := publisher(t, dial(t, b.target))
	text := func(n int) string { return strings.Repeat("1", n) }
	sent := []*millrace.Event{
		{Topic: "a", Data: []byte(text(20_000))},
		{Topic: "a", Data: []byte(text(20_000))}, // the two don't fit into one message
		{Topic: "a", Data: []byte(text(20_001))},
		{Topic: "a", Data: []byte(text(100_000))},
		{Topic: "a", Data: []byte("1"), Headers: []millrace.Header{{Name: "h", Value: text(100_000)}}},
		{Topic: "a", Data: []byte("1")},
	}
	var pending []*sdk.Pending
	for _, e := range sent {
		one, err := p.Publish(t.Context(), millrace.Publish{Event: e})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, one)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, one := range pending {
		_, err := one.Ack(t.Context())
		switch refused := i >= 2 && i <= 4; {
		case !refused && err != nil:
			t.Errorf("event %d: %v", i, err)
		case refused && (err == nil || millrace.AsError(err).Reason != millrace.ReasonTooLarge):
			t.Errorf("event %d, which is too large: %v", i, err)
		}
	}
}

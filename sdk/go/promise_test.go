package sdk_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

var (
	earliest = millrace.Start{Kind: millrace.StartEarliest}
	inState  = broker.Rule{Pattern: "price:*", Class: millrace.ClassLatest, MaxEvents: 100}
	inAir    = broker.Rule{Pattern: "pointer:*", Class: millrace.ClassEphemeral}
)

func priced(topic, key string, n int) *millrace.Event {
	return &millrace.Event{Topic: topic, Key: key, Data: fmt.Append(nil, n)}
}

// account follows one topic of a subscription and sees that what is told accounts for every offset.
type account struct {
	at        millrace.Position
	events    int
	conflated uint64
	state     map[string]string
}

func (a *account) take(t *testing.T, u millrace.Update) {
	t.Helper()
	switch u.Kind {
	case millrace.UpdateAttached:
		if a.state == nil {
			a.state = map[string]string{}
			a.at = u.Position
		} else if u.Position != a.at {
			t.Errorf("attached at %s instead of %s", u.Position, a.at)
		}
	case millrace.UpdateAdvanced:
		if u.Position.Offset < a.at.Offset || u.Conflated > u.Position.Offset-a.at.Offset {
			t.Errorf("from %s to %s %d are conflated", a.at, u.Position, u.Conflated)
		}
		a.at = u.Position
		a.conflated += u.Conflated
	case millrace.UpdateGap:
		a.at = u.Gap.Until
		clear(a.state)
	case millrace.UpdateEvents:
		for _, e := range u.Events {
			if !a.at.Precedes(e) {
				t.Errorf("%s follows on %s", e.Position, a.at)
			}
			a.at = e.Position
			a.events++
			if a.state[e.Key] = string(e.Data); e.Tombstone {
				delete(a.state, e.Key)
			}
		}
	case millrace.UpdateDetached:
	case millrace.UpdateRefused, millrace.UpdateMatched:
		t.Errorf("told %v", phrase(u))
	}
}

// until follows the topic up to an offset.
func (a *account) until(t *testing.T, s *sdk.Subscription, offset uint64) {
	t.Helper()
	for a.at.Offset < offset {
		u, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.take(t, u)
	}
}

// begun waits until a subscription holds, so that what is published from then on is all for it.
func begun(t *testing.T, s *sdk.Subscription) *account {
	t.Helper()
	u, err := s.Next(t.Context())
	if err != nil || u.Kind != millrace.UpdateAttached {
		t.Fatalf("the first update is %+v, %v", u, err)
	}
	a := &account{}
	a.take(t, u)
	return a
}

// Promise: docs/delivery.md 2.1, 2.4.
func TestAStateIsReadAndThenItsChanges(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", newLog(t, inState), rpc.Config{})
	c := dial(t, b.target)
	for i := range 10 {
		mustStore(t, c, priced("price:a", fmt.Sprint("key-", i%2), i))
	}
	s := subscribe(t, c, sdk.Topics("price:a"))
	a := &account{}
	a.until(t, s, 10)
	if a.events != 2 || a.state["key-0"] != "8" || a.state["key-1"] != "9" {
		t.Errorf("the state is %v, of %d events", a.state, a.events)
	}
	mustStore(t, c, priced("price:a", "key-2", 10), &millrace.Event{Topic: "price:a", Key: "key-0", Tombstone: true})
	a.until(t, s, 12)
	if len(a.state) != 2 || a.state["key-1"] != "9" || a.state["key-2"] != "10" {
		t.Errorf("after changes the state is %v", a.state)
	}
	page, err := c.History(t.Context(), "price:a", millrace.Range{Start: earliest, State: true})
	if err != nil || page.Class != millrace.ClassLatest || len(page.Events) != 2 || page.Events[0].Key != "key-1" {
		t.Errorf("the state in history is %+v, %v", page, err)
	}

	// Resumed, it goes on behind what it has.
	cursor := s.Cursor()
	for i := range 5 {
		mustStore(t, c, priced("price:a", "key-1", 20+i))
	}
	again := &account{state: a.state, at: a.at}
	again.until(t, subscribe(t, c, sdk.Resume(cursor)), 17)
	if again.events != 1 || again.state["key-1"] != "24" || again.state["key-2"] != "10" {
		t.Errorf("resumed, the state is %v, by %d events", again.state, again.events)
	}
}

func mustStore(t *testing.T, c *sdk.Client, events ...*millrace.Event) []millrace.Ack {
	t.Helper()
	acks, err := c.Publish(t.Context(), events...)
	if err != nil {
		t.Fatal(err)
	}
	return acks
}

// Promise: docs/delivery.md 2.2, 2.3.
func TestASlowSubscriberOfAStateIsSparedOlderEventsAndToldHowMany(t *testing.T) {
	const n, keys = 20_000, 10
	b := startBroker(t, "127.0.0.1:0", newLog(t, inState), rpc.Config{})
	c := dial(t, b.target, sdk.WithQueueBytes(1<<10))
	s := subscribe(t, c, sdk.Topics("price:a"))
	a := &account{}
	u, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.take(t, u)
	p := publisher(t, dial(t, b.target))
	for i := range n {
		if _, err := p.Publish(t.Context(), millrace.Publish{Event: priced("price:a", fmt.Sprint(i%keys), i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.until(t, s, n)
	if a.conflated == 0 || uint64(a.events)+a.conflated != n || s.Conflated("price:a") != a.conflated {
		t.Errorf("%d events and %d conflated (%d by the subscription) are not %d", a.events, a.conflated, s.Conflated("price:a"), n)
	}
	for k := range keys {
		if want := fmt.Sprint(n - keys + k); a.state[fmt.Sprint(k)] != want {
			t.Errorf("key %d is %s, want %s", k, a.state[fmt.Sprint(k)], want)
		}
	}
}

// Promise: docs/delivery.md 3.1, 3.3.
func TestEphemeralEventsGoToThoseWhoAreThereAndAnOutageIsTold(t *testing.T) {
	log := newLog(t, inAir)
	b := startBroker(t, "127.0.0.1:0", log, rpc.Config{})
	c := dial(t, b.target)
	acks := mustStore(t, c, &millrace.Event{Topic: "pointer:1", Data: []byte(`0`)})
	if !acks[0].Position.IsZero() {
		t.Errorf("acked %+v", acks)
	}
	s := subscribe(t, c, sdk.Topics("pointer:1"))
	next := func() string {
		u, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if u.Kind == millrace.UpdateEvents {
			return string(u.Events[0].Data)
		}
		return phrase(u)[0]
	}
	var got []string
	for _, want := range []string{"pointer:1 at 0", "1", "pointer:1 detached", "pointer:1 at 0", "pointer:1 gap 0-0 reset", "2"} {
		switch want {
		case "1", "2":
			mustStore(t, c, &millrace.Event{Topic: "pointer:1", Data: []byte(want)})
		case "pointer:1 detached":
			b.kill()
			b = startBroker(t, b.target, log, rpc.Config{})
		}
		if got = append(got, next()); got[len(got)-1] != want {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
}

// Promise: docs/delivery.md 4.1, 4.2.
func TestAFilterChoosesAtTheBrokerAndTheCursorMovesOnOverTheRest(t *testing.T) {
	const n = 2_000
	log := newLog(t, broker.Rule{Pattern: "**", MaxEvents: 2 * n})
	b := startBroker(t, "127.0.0.1:0", log, rpc.Config{})
	c := dial(t, b.target)
	s := subscribe(t, c, sdk.Topics("orders:1"), sdk.WithFilter(`name == "paid"`))
	a := begun(t, s)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		p := publisher(t, c)
		for i := range n {
			name := "seen"
			if i%100 == 0 {
				name = "paid"
			}
			if _, err := p.Publish(t.Context(), millrace.Publish{Event: &millrace.Event{Topic: "orders:1", Name: name, Data: fmt.Append(nil, i)}}); err != nil {
				t.Error(err)
				return
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for restarted := false; a.at.Offset < n; {
		u, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.take(t, u)
		for _, e := range u.Events {
			if e.Name != "paid" {
				t.Errorf("event %s is %s", e.Position, e.Name)
			}
		}
		if !restarted && a.events >= 5 {
			restarted = true
			b.kill()
			b = startBroker(t, b.target, log, rpc.Config{})
		}
	}
	publishing.Wait()
	if a.events != n/100 {
		t.Errorf("%d events were paid, want %d", a.events, n/100)
	}
	cursor := s.Cursor()
	mustStore(t, c, &millrace.Event{Topic: "orders:1", Name: "seen", Data: []byte(`1`)}, &millrace.Event{Topic: "orders:1", Name: "paid", Data: []byte(`1`)})
	if got := told(t, subscribe(t, c, sdk.Resume(cursor)), 1); !slices.Equal(got, []string{fmt.Sprint(n + 2)}) {
		t.Errorf("resumed, the application got %q", got)
	}
}

// Promise: docs/delivery.md 4.3.
func TestARateLeavesOutOlderEventsAndIsRefusedWhereEachIsOwed(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", newLog(t, inState), rpc.Config{})
	c := dial(t, b.target)
	s := subscribe(t, c, sdk.Topics("price:a", "orders:1"), sdk.MaxRate(20))
	if got := told(t, s, 1); !slices.Equal(got, []string{"refused orders:1"}) {
		t.Errorf("the application got %q", got)
	}
	const n = 500
	began := time.Now()
	a := &account{state: map[string]string{}}
	mustStore(t, c, priced("price:a", "k", 0))
	a.until(t, s, 1) // so that it is attached, and before all others
	for i := 1; i < n; i++ {
		mustStore(t, c, priced("price:a", "k", i))
	}
	a.until(t, s, n)
	if most := 2 + int(time.Since(began)/(time.Second/20)); a.events > most || a.state["k"] != fmt.Sprint(n-1) || uint64(a.events)+a.conflated != n {
		t.Errorf("%d events (%d at most) and %d conflated lead to %v", a.events, most, a.conflated, a.state)
	}
}

// Promise: docs/delivery.md 5.1, 5.2.
func TestAPatternIsWholeForTopicsThatThereAreThatAreBornAndThatAreBornInAnOutage(t *testing.T) {
	log := newLog(t)
	b := startBroker(t, "127.0.0.1:0", log, rpc.Config{})
	c := dial(t, b.target)
	mustPublish(t, c, "orders:1", 3)
	mustPublish(t, c, "other:1", 3)
	s := subscribe(t, c, sdk.TopicsFrom(earliest, "orders:*"))
	l := open(t, c)
	h := &heard{link: l}
	mustSubscribe(t, l, "orders:*", millrace.Start{})
	h.want(t, "orders:* brings orders:1 at 3", "orders:* at 0")
	books := map[string]*ledger{}
	follow := func(n int) {
		t.Helper()
		for e, err := range s.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if books[e.Topic] == nil {
				books[e.Topic] = &ledger{}
				if e.Position.Offset != 1 {
					t.Errorf("%s begins with %d", e.Topic, e.Position.Offset)
				}
			}
			books[e.Topic].check(t, e.Topic, e)
			if n--; n == 0 {
				return
			}
		}
	}
	follow(3)
	mustPublish(t, c, "orders:2", 5)
	follow(5)
	h.want(t, "orders:* brings orders:2 at 0")

	b.kill()
	h.want(t, "orders:* detached")
	// Born while neither the subscription nor the link is there to see it.
	front, err := broker.New(broker.Config{}, log, memlog.NewRoster(log))
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"orders:1", "orders:3", "orders:3", "orders:3"} {
		if _, err := front.Publish(t.Context(), []millrace.Publish{{Event: &millrace.Event{Topic: topic, Data: []byte(`1`)}}}); err != nil {
			t.Fatal(err)
		}
	}
	front.Stop()
	startBroker(t, b.target, log, rpc.Config{})
	follow(4)
	h.want(t, "orders:* brings orders:3 at 0", "orders:* at 0")

	cursor := s.Cursor()
	s.Close()
	mustPublish(t, c, "orders:2", 2)
	mustPublish(t, c, "orders:4", 3)
	s = subscribe(t, c, sdk.Resume(cursor))
	follow(5)
	for topic, offset := range map[string]uint64{"orders:1": 4, "orders:2": 7, "orders:3": 3, "orders:4": 3} {
		if book := books[topic]; book == nil || book.at.Offset != offset {
			t.Errorf("of %s came %+v, want up to %d", topic, book, offset)
		}
	}
	if books["other:1"] != nil {
		t.Error("a topic came that the pattern does not cover")
	}
}

// Promise: docs/delivery.md 5.1, 7.4.
func TestTopicsThatAreBornWhileStreamsEndAreFollowedFromTheirBirthOnce(t *testing.T) {
	const topics, each = 150, 4
	log := newLog(t)
	config := rpc.Config{StreamAge: 15 * time.Millisecond, StreamGrace: time.Second / 2}
	b := startBroker(t, "127.0.0.1:0", log, config)
	c := dial(t, b.target)
	s := subscribe(t, c, sdk.Topics("orders:*"))
	u, err := s.Next(t.Context())
	if err != nil || u.Kind != millrace.UpdateAttached || u.Topic != "orders:*" {
		t.Fatalf("told %v, %v", u, err)
	}
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := range topics {
			mustPublish(t, c, fmt.Sprint("orders:", i), each)
		}
	})
	books := map[string]*ledger{}
	events, restarts := 0, 0
	for e, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if books[e.Topic] == nil {
			books[e.Topic] = &ledger{at: e.Before()}
			if e.Position.Offset != 1 {
				t.Errorf("%s begins with %d", e.Topic, e.Position.Offset)
			}
		}
		books[e.Topic].check(t, e.Topic, e)
		if events++; events == topics*each {
			break
		}
		if events%(topics*each/4) == 0 {
			restarts++
			b.kill()
			b = startBroker(t, b.target, log, config)
		}
	}
	publishing.Wait()
	if len(books) != topics || restarts != 3 {
		t.Errorf("%d topics came, over %d restarts", len(books), restarts)
	}
}

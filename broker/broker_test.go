package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newLog returns an empty log that is closed when t ends.
func newLog(t testing.TB, rules ...broker.Rule) *memlog.Log {
	t.Helper()
	l, err := memlog.New(memlog.Config{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// newBroker returns a broker over l that is stopped when t ends.
func newBroker(t testing.TB, cfg broker.Config, l broker.Log) *broker.Broker {
	t.Helper()
	b, err := broker.New(cfg, l, memlog.NewRoster(l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

func event(topic string, n int) *millrace.Event { return brokertest.Event(topic, n) }

// publish stores one event and returns it.
func publish(t testing.TB, b *broker.Broker, e *millrace.Event) *millrace.Event {
	t.Helper()
	acks, err := b.Publish(t.Context(), []millrace.Publish{{Event: e}})
	if err != nil {
		t.Fatal(err)
	}
	if acks[0].Err != nil {
		t.Fatal(acks[0].Err)
	}
	return e
}

// fill publishes n events to a topic, one batch, and returns them.
func fill(t testing.TB, b *broker.Broker, topic string, n int) []*millrace.Event {
	t.Helper()
	var batch []millrace.Publish
	var events []*millrace.Event
	for i := range n {
		events = append(events, event(topic, i))
		batch = append(batch, millrace.Publish{Event: events[i]})
	}
	acks, err := b.Publish(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for _, ack := range acks {
		if ack.Err != nil {
			t.Fatal(ack.Err)
		}
	}
	return events
}

func reason(err error) millrace.Reason {
	if err == nil {
		return ""
	}
	return millrace.AsError(err).Reason
}

func TestAnEventThatBreaksARuleIsRefusedByName(t *testing.T) {
	b := newBroker(t, broker.Config{MaxEventBytes: 1000}, newLog(t))
	headers := func(n int, name, value string) []millrace.Header {
		var hs []millrace.Header
		for range n {
			hs = append(hs, millrace.Header{Name: name, Value: value})
		}
		return hs
	}
	long := strings.Repeat("x", broker.MaxNameBytes)
	ok := []byte(`{"a":1}`)
	for _, c := range []struct {
		what  string
		event *millrace.Event
		want  millrace.Reason
	}{
		{"plain JSON", &millrace.Event{Topic: "a", Data: ok}, ""},
		{"JSON by name", &millrace.Event{Topic: "a", ContentType: "application/json; charset=utf-8", Data: ok}, ""},
		{"text", &millrace.Event{Topic: "a", ContentType: "text/plain", Data: []byte("Grüße")}, ""},
		{"bytes", &millrace.Event{Topic: "a", ContentType: "application/octet-stream", Data: []byte{0xff, 0}}, ""},
		{"no bytes", &millrace.Event{Topic: "a", ContentType: "application/octet-stream"}, ""},
		{"names up to the bound", &millrace.Event{Topic: "a", ID: long, Name: long, Key: long, Data: ok}, ""},
		{"headers up to the bound", &millrace.Event{Topic: "a", Headers: headers(broker.MaxHeaders, long[:128], long), Data: ok}, ""},

		{"no topic", &millrace.Event{Data: ok}, millrace.ReasonTopicInvalid},
		{"a topic with a hole", &millrace.Event{Topic: "a::b", Data: ok}, millrace.ReasonTopicInvalid},
		{"a reserved topic", &millrace.Event{Topic: "$sessions", Data: ok}, millrace.ReasonForbidden},
		{"data too large", &millrace.Event{Topic: "a", Data: []byte(`"` + strings.Repeat("x", 1000) + `"`)}, millrace.ReasonTooLarge},
		{"no JSON", &millrace.Event{Topic: "a"}, millrace.ReasonEventInvalid},
		{"half JSON", &millrace.Event{Topic: "a", Data: []byte(`{"a":`)}, millrace.ReasonEventInvalid},
		{"two JSON texts", &millrace.Event{Topic: "a", Data: []byte(`1 2`)}, millrace.ReasonEventInvalid},
		{"JSON with a string that is not UTF-8", &millrace.Event{Topic: "a", Data: []byte("\"\xff\"")}, millrace.ReasonEventInvalid},
		{"+json that is not", &millrace.Event{Topic: "a", ContentType: "application/ld+json", Data: []byte("x")}, millrace.ReasonEventInvalid},
		{"text that is not UTF-8", &millrace.Event{Topic: "a", ContentType: "text/plain", Data: []byte("\xff")}, millrace.ReasonEventInvalid},
		{"id too long", &millrace.Event{Topic: "a", ID: long + "x", Data: ok}, millrace.ReasonEventInvalid},
		{"name with a line break", &millrace.Event{Topic: "a", Name: "a\nid: 5", Data: ok}, millrace.ReasonEventInvalid},
		{"key that is not UTF-8", &millrace.Event{Topic: "a", Key: "\xff", Data: ok}, millrace.ReasonEventInvalid},
		{"content type too long", &millrace.Event{Topic: "a", ContentType: long + "x", Data: ok}, millrace.ReasonEventInvalid},
		{"too many headers", &millrace.Event{Topic: "a", Headers: headers(broker.MaxHeaders+1, "a", "b"), Data: ok}, millrace.ReasonEventInvalid},
		{"a header without a name", &millrace.Event{Topic: "a", Headers: headers(1, "", "b"), Data: ok}, millrace.ReasonEventInvalid},
		{"a header's name too long", &millrace.Event{Topic: "a", Headers: headers(1, long, "b"), Data: ok}, millrace.ReasonEventInvalid},
		{"a header's value with a line break", &millrace.Event{Topic: "a", Headers: headers(1, "a", "b\r\n"), Data: ok}, millrace.ReasonEventInvalid},
	} {
		acks, err := b.Publish(t.Context(), []millrace.Publish{{Event: c.event}})
		if err != nil {
			t.Fatal(err)
		}
		got := millrace.Reason("")
		if acks[0].Err != nil {
			got = acks[0].Err.Reason
		}
		if got != c.want {
			t.Errorf("%s: reason %q (%v), want %q", c.what, got, acks[0].Err, c.want)
		}
	}
}

func TestEachPublishOfABatchIsAnsweredInItsPlace(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	bad := func() *millrace.Event { return &millrace.Event{Topic: "a", Data: []byte("x")} }
	acks, err := b.Publish(t.Context(), []millrace.Publish{
		{Event: bad()}, {Event: event("a", 1)}, {Event: bad()}, {Event: bad()}, {Event: event("b", 1)}, {Event: event("a", 2)}, {Event: bad()},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{0, 1, 0, 0, 1, 2, 0} {
		if acks[i].Position.Offset != want || (acks[i].Err == nil) != (want > 0) {
			t.Errorf("publish %d was answered %+v, want offset %d", i, acks[i], want)
		}
	}
	if acks[0].Topic != "a" || acks[4].Topic != "b" {
		t.Errorf("the acks name topics %q and %q", acks[0].Topic, acks[4].Topic)
	}
	acks, err = b.Publish(t.Context(), []millrace.Publish{{Event: bad()}})
	if err != nil || len(acks) != 1 || acks[0].Err == nil {
		t.Errorf("a batch of nothing good was answered %+v, %v", acks, err)
	}
}

func TestOnlyTheBrokerPublishesToReservedTopics(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	acks, err := b.Announce(t.Context(), []millrace.Publish{{Event: event("$sessions", 1)}})
	if err != nil || acks[0].Err != nil {
		t.Fatalf("%+v, %v", acks, err)
	}
	page, err := b.History(t.Context(), "$sessions", millrace.Range{Backward: true})
	if err != nil || len(page.Events) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
}

func TestHistoryRefusesWhatItCantAnswer(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	fill(t, b, "a", 3)
	for _, c := range []struct {
		topic string
		r     millrace.Range
		want  millrace.Reason
	}{
		{"a", millrace.Range{}, ""},
		{"a", millrace.Range{Backward: true, Limit: 2}, ""},
		{"a b", millrace.Range{}, millrace.ReasonTopicInvalid},
		{"a", millrace.Range{Limit: -1}, millrace.ReasonBadRequest},
		{"a", millrace.Range{MaxBytes: -1}, millrace.ReasonBadRequest},
		{"a", millrace.Range{Start: millrace.Start{Kind: millrace.StartLast, Count: -1}}, millrace.ReasonBadRequest},
		{"a", millrace.Range{Backward: true, Start: millrace.Start{Kind: millrace.StartEarliest}}, millrace.ReasonBadRequest},
		{"a", millrace.Range{Backward: true, Start: millrace.After(millrace.Position{Offset: 2, Mark: 1})}, millrace.ReasonCursorInvalid},
	} {
		if _, err := b.History(t.Context(), c.topic, c.r); reason(err) != c.want {
			t.Errorf("history of %q in %+v: %v, want %q", c.topic, c.r, err, c.want)
		}
	}
}

func TestABrokerThatStoppedSaysThatItIsDraining(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	f := b.NewFeed()
	defer f.Close()
	if err := f.Subscribe(millrace.Subscription{Topic: "a"}); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		for {
			if _, err := f.Next(context.WithoutCancel(t.Context())); err != nil {
				waiting <- err
				return
			}
		}
	}()
	b.Stop()
	b.Stop()
	if err := <-waiting; reason(err) != millrace.ReasonDraining {
		t.Errorf("the feed's consumer is told %v", err)
	}
	if err := f.Subscribe(millrace.Subscription{Topic: "b"}); reason(err) != millrace.ReasonDraining {
		t.Errorf("subscribing fails with %v", err)
	}
	if _, err := b.Publish(t.Context(), []millrace.Publish{{Event: event("a", 1)}}); reason(err) != millrace.ReasonDraining {
		t.Errorf("publishing fails with %v", err)
	}
	late := b.NewFeed()
	defer late.Close()
	if err := late.Subscribe(millrace.Subscription{Topic: "a"}); reason(err) != millrace.ReasonDraining {
		t.Errorf("a late feed fails with %v", err)
	}
}

func TestABadBrokerConfigIsRefusedWithAllItsFaults(t *testing.T) {
	_, err := broker.New(broker.Config{
		MaxEventBytes: -1, TailEvents: -1, TailBytes: -1, TailAge: -1, TailsBytes: -1,
		BatchEvents: -1, BatchBytes: -1, FeedReads: -1, MaxMatched: -1, RetryAfter: -1, MaxRetryAfter: -1,
	}, nil, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"MaxEventBytes", "TailEvents", "TailBytes", "TailAge", "TailsBytes", "BatchEvents", "BatchBytes", "FeedReads", "MaxMatched", "RetryAfter", "MaxRetryAfter"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s", want)
		}
	}
}

func TestAPublisherThatHasGoneStoresNothing(t *testing.T) {
	b := newBroker(t, broker.Config{}, newLog(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Publish(ctx, []millrace.Publish{{Event: event("a", 1)}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the error is %v", err)
	}
	if states, err := b.Topics(t.Context(), "", 10); err != nil || len(states) > 0 {
		t.Fatalf("%v, %v", states, err)
	}
}

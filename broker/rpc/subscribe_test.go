package rpc_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

func TestASubscriberWithACursorGetsTheGapThenTheRestThenLive(t *testing.T) {
	f := serve(t, rpc.Config{}, bounds{log: memlog.Config{Rules: []broker.Rule{{MaxEvents: 10}}}})
	old := f.publish("price:a", 30)
	f.publish("price:b", 1)
	f.publish("price:b", 4)
	cursor := millrace.Cursor{Seal: "s.ignored", Pieces: []millrace.Piece{
		{Topic: "price:a", Position: old[4], Attached: true},
		{Topic: "price:c"},
	}}
	s := f.subscribe(f.client(), &millracev1.SubscribeRequest{
		Cursor: cursor.String(),
		Subscriptions: []*millracev1.Subscription{
			{Topic: "price:b", Start: wire.Start(millrace.Start{Kind: millrace.StartLast, Count: 2})},
		},
	})
	got := map[uint32][]*millracev1.Update{}
	for range 7 { // attached, gap and events of a; attached and events of b; attached of c; live event of c
		u := s.next()
		got[u.GetAlias()] = append(got[u.GetAlias()], u)
		if u.GetAlias() == 2 && u.GetAttached() != nil {
			f.publish("price:c", 1)
		}
	}
	a := got[1]
	if len(a) != 3 || a[0].GetAttached().GetTopic() != "price:a" || wire.ParsePosition(a[0].GetAttached().GetPosition()) != old[4] {
		t.Fatalf("of price:a came %v", a)
	}
	want := millrace.Gap{Topic: "price:a", After: old[4], Until: old[19], Cause: millrace.CauseTrimmed}
	if gap := wire.ParseGap(a[1].GetGap()); *gap != want {
		t.Errorf("the gap is %v, want %v", gap, &want)
	}
	rest := wire.ParseEvents("price:a", a[2].GetEvents().GetEvents())
	if len(rest) != 10 || !old[19].Precedes(rest[0]) {
		t.Errorf("after the gap came %d events", len(rest))
	}
	numbered(t, rest, 21)
	if c := got[2]; len(c) != 2 || string(c[1].GetEvents().GetEvents()[0].GetData()) != "1" {
		t.Errorf("of price:c came %v", c)
	}
	b := got[3]
	if len(b) != 2 || b[0].GetAttached().GetPosition().GetOffset() != 3 || len(b[1].GetEvents().GetEvents()) != 2 {
		t.Errorf("of price:b came %v", b)
	}
}

func TestASubscriptionOverridesWhereItsCursorSays(t *testing.T) {
	f := serve(t, rpc.Config{})
	p := f.publish("a", 5)
	cursor := millrace.Cursor{Pieces: []millrace.Piece{{Topic: "a", Position: p[0], Attached: true}}}.String()
	s := f.subscribe(f.client(), &millracev1.SubscribeRequest{Cursor: cursor, Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	if at := s.attached(1, "a"); at != p[0] {
		t.Errorf("a subscription without a start moves the cursor to %v", at)
	}
	s = f.subscribe(f.client(), &millracev1.SubscribeRequest{Cursor: cursor, Subscriptions: []*millracev1.Subscription{
		{Topic: "a", Start: wire.Start(millrace.After(p[3]))},
	}})
	if at := s.attached(1, "a"); at != p[3] {
		t.Errorf("a subscription with a start is attached at %v, want %v", at, p[3])
	}
}

func TestWhatIsWrongWithOneSubscriptionLeavesTheOthers(t *testing.T) {
	f := serve(t, rpc.Config{MaxTopics: 2, Trusted: []string{"gateway"}})
	s := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{
		{Topic: "chat:**:x"},
		{Topic: "a b"},
		{Topic: "a", Filter: `name = "x"`},
		{Topic: "b", MaxRate: -1},
		{Topic: "c", Filter: "name =="},
		{Topic: "$sys"},
		{Topic: "d"},
		{Topic: "e"},
		{Topic: "f"},
	}})
	s.refusedWith(1, millrace.ReasonTopicInvalid)
	s.refusedWith(2, millrace.ReasonTopicInvalid)
	s.refusedWith(3, millrace.ReasonFilterInvalid)
	s.refusedWith(4, millrace.ReasonBadRequest)
	s.refusedWith(5, millrace.ReasonFilterInvalid)
	s.refusedWith(6, millrace.ReasonForbidden)
	s.refusedWith(9, millrace.ReasonTooManyTopics)
	for range 2 {
		if u := s.next(); u.GetAttached() == nil {
			t.Errorf("got %v, want attached", u)
		}
	}
	f.publish("e", 1)
	s.events(8, millrace.Position{}, 1)
}

func TestAStreamWhoseSubscriptionsAreAllRefusedEnds(t *testing.T) {
	f := serve(t, rpc.Config{})
	s := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a b"}}})
	s.refusedWith(1, millrace.ReasonTopicInvalid)
	if err := s.end(); err.Error() != "EOF" {
		t.Errorf("it ends with %v", err)
	}
}

func TestABadSubscribeRequestIsNamed(t *testing.T) {
	f := serve(t, rpc.Config{})
	for want, r := range map[millrace.Reason]*millracev1.SubscribeRequest{
		millrace.ReasonBadRequest:    {},
		millrace.ReasonCursorInvalid: {Cursor: "nonsense"},
	} {
		refused(t, f.subscribe(f.client(), r).end(), want)
	}
	twice := &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}, {Topic: "a"}}}
	refused(t, f.subscribe(f.client(), twice).end(), millrace.ReasonBadRequest)
}

func TestWhatQueuesTravelsInFewMessages(t *testing.T) {
	f := serve(t, rpc.Config{})
	const events = 1_000
	f.publish("a", events)
	s := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{
		{Topic: "a", Start: wire.Start(millrace.Start{Kind: millrace.StartEarliest})},
	}})
	numbered(t, s.events(1, s.attached(1, "a"), events), 1)
	if s.messages > 4 {
		t.Errorf("%d events came in %d messages", events, s.messages)
	}
}

// The link is without credit while the events queue, so that they are all there when it may go on.
func TestOneMessageCarriesEventsOfManyTopics(t *testing.T) {
	f := serve(t, rpc.Config{})
	const topics, each = 100, 3
	l := f.greet(f.client(), &millracev1.Hello{CreditBytes: 1})
	positions := map[uint32]millrace.Position{}
	for i := range topics {
		alias, topic := uint32(i+1), fmt.Sprint("t:", i)
		l.send(subscribe(alias, topic, millrace.Start{}))
		positions[alias] = l.attached(alias, topic)
	}
	f.publish("t:0", 1)
	positions[1] = l.events(1, positions[1], 1)[0].Position // which overdraws the credit
	for i := range topics {
		f.publish(fmt.Sprint("t:", i), each)
	}
	before := l.messages
	l.send(&millracev1.Command{Kind: &millracev1.Command_Credit{Credit: &millracev1.Credit{Bytes: 1 << 20}}})
	for got := 0; got < each*topics; {
		u := l.next()
		for _, e := range wire.ParseEvents("", u.GetEvents().GetEvents()) {
			if !positions[u.GetAlias()].Precedes(e) {
				t.Fatalf("%v does not follow on %v", e.Position, positions[u.GetAlias()])
			}
			positions[u.GetAlias()] = e.Position
			got++
		}
	}
	if n := l.messages - before; n > 4 {
		t.Errorf("%d events of %d topics came in %d messages", each*topics, topics, n)
	}
}

func TestAMessageIsBounded(t *testing.T) {
	f := serve(t, rpc.Config{BatchBytes: 10_000, BatchEvents: 7})
	data := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 3_000)...), '"')
	f.publishData("a", 20, func(int) []byte { return data })
	f.publish("b", 30)
	earliest := wire.Start(millrace.Start{Kind: millrace.StartEarliest})
	for topic, limit := range map[string]int{"a": 4, "b": 7} {
		stream, err := f.client().Subscribe(f.ctx, &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: topic, Start: earliest}}})
		if err != nil {
			t.Fatal(err)
		}
		for got, want := 0, map[string]int{"a": 20, "b": 30}[topic]; got < want; {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, u := range m.GetUpdates() {
				n += len(u.GetEvents().GetEvents())
			}
			if n > limit {
				t.Errorf("%d events of %s in one message", n, topic)
			}
			got += n
		}
	}
}

// TestAnEventIsEncodedOnceForAllStreams gives events the envelopes of others before anyone has asked for them: what then
// comes out at every door can only be that form.
func TestAnEventIsEncodedOnceForAllStreams(t *testing.T) {
	f := serve(t, rpc.Config{})
	// Small ones are copied into the message, large ones are spliced.
	f.publishData("a", 3, func(i int) []byte { return bytes.Repeat([]byte{'1'}, 1<<(10*(i-1))) })
	page, err := f.broker.History(f.ctx, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Events {
		e.Envelope(func(e *millrace.Event) []byte {
			return wire.EventEnvelope(&millrace.Event{
				Topic: e.Topic, Position: e.Position, Prev: e.Prev, Name: "made before", Data: e.Data,
			})
		})
	}
	earliest := millrace.Start{Kind: millrace.StartEarliest}
	check := func(door string, events []*millrace.Event) {
		t.Helper()
		if len(events) != 3 {
			t.Fatalf("%d events came by %s", len(events), door)
		}
		for i, e := range events {
			if e.Name != "made before" || len(e.Data) != 1<<(10*i) {
				t.Errorf("event %d was encoded again for %s", i, door)
			}
		}
	}
	for range 2 {
		l := f.join(f.client())
		l.send(subscribe(1, "a", earliest))
		check("Join", l.events(1, l.attached(1, "a"), 3))
		s := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a", Start: wire.Start(earliest)}}})
		check("Subscribe", s.events(1, s.attached(1, "a"), 3))
		m, err := f.client().History(f.ctx, &millracev1.HistoryRequest{Topic: "a"})
		if err != nil {
			t.Fatal(err)
		}
		check("History", wire.ParsePage("a", m).Events)
	}
}

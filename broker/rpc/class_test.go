package rpc_test

import (
	"fmt"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// classes are bounds with topics of all classes: "latest:…", "typing:…" which are ephemeral, and others.
func classes() bounds {
	return bounds{log: memlog.Config{Rules: []broker.Rule{
		{Pattern: "latest:*", Class: millrace.ClassLatest},
		{Pattern: "typing:*", Class: millrace.ClassEphemeral},
	}}}
}

// put publishes an event through the front.
func (f *front) put(e *millracev1.NewEvent) millrace.Position {
	f.Helper()
	if e.Data == nil && !e.GetTombstone() {
		e.Data = []byte("1")
	}
	m, err := f.client().Publish(f.ctx, &millracev1.PublishRequest{Events: []*millracev1.NewEvent{e}})
	if err != nil {
		f.Fatal(err)
	}
	if a := m.GetAcks()[0]; a.GetError() != nil {
		f.Fatal(a.GetError())
	}
	return wire.ParsePosition(m.GetAcks()[0].GetPosition())
}

func TestALinkIsToldOfAStateAndWhatWasLeftOutOfIt(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	var last millrace.Position
	for i := range 9 {
		last = f.put(&millracev1.NewEvent{Topic: "latest:a", Key: fmt.Sprint(i % 2)})
	}
	l := f.join(f.client())
	b := newBook(&l.tap)
	l.send(subscribe(1, "latest:a", millrace.Start{}), subscribe(2, "latest:a", millrace.Start{}))
	b.until(func() bool { return b.entries[1] != nil && b.entries[1].pos == last })
	if e := b.entries[1]; e.class != millrace.ClassLatest || len(e.events) != 2 || e.passed > 0 {
		t.Fatalf("of the state came %+v", e)
	}
	// The link is without credit while keys change and one is deleted.
	held := f.greet(f.client(), &millracev1.Hello{CreditBytes: 1})
	hb := newBook(&held.tap)
	held.send(subscribe(1, "latest:a", millrace.After(last)))
	hb.until(func() bool { return len(hb.entries) == 1 })
	f.put(&millracev1.NewEvent{Topic: "latest:a", Key: "0"})
	hb.until(func() bool { return len(hb.entries[1].events) == 1 })
	f.put(&millracev1.NewEvent{Topic: "latest:a", Key: "1"})
	for i := range 20 { // the first of which may be on its way already
		last = f.put(&millracev1.NewEvent{Topic: "latest:a", Key: fmt.Sprint(i % 2), Tombstone: i == 19})
	}
	held.send(&millracev1.Command{Kind: &millracev1.Command_Credit{Credit: &millracev1.Credit{Bytes: 1 << 20}}})
	e := hb.entries[1]
	hb.until(func() bool { return e.pos == last })
	if final := e.events[len(e.events)-1]; !final.Tombstone || final.Key != "1" || len(final.Data) > 0 {
		t.Fatalf("the last event is %+v", final)
	}
	if e.older == 0 || int(e.older)+len(e.events) != 22 {
		t.Fatalf("%d events and %d older ones of 22", len(e.events), e.older)
	}
	m, err := f.client().History(f.ctx, &millracev1.HistoryRequest{Topic: "latest:a", State: true})
	if err != nil || len(m.GetEvents()) != 1 || m.GetEvents()[0].GetKey() != "0" || m.GetClass() != millracev1.DeliveryClass_DELIVERY_CLASS_LATEST {
		t.Fatalf("the state is %v, %v", m, err)
	}
}

func TestEphemeralEventsHaveNoPositionsOnTheWire(t *testing.T) {
	limits := classes()
	limits.broker.TailEvents = 5
	f := serve(t, rpc.Config{}, limits)
	l := f.greet(f.client(), &millracev1.Hello{CreditBytes: 1})
	b := newBook(&l.tap)
	l.send(subscribe(1, "typing:a", millrace.Start{Kind: millrace.StartEarliest}))
	b.until(func() bool { return b.entries[1] != nil })
	e := b.entries[1]
	if e.class != millrace.ClassEphemeral || e.position {
		t.Fatalf("attached is %+v", e)
	}
	f.publish("typing:a", 1)
	b.until(func() bool { return len(e.events) == 1 }) // which overdraws the credit
	f.publish("typing:a", 1)                           // which is fetched, and held
	f.publish("typing:a", 40)
	l.send(&millracev1.Command{Kind: &millracev1.Command_Credit{Credit: &millracev1.Credit{Bytes: 1 << 20}}})
	counted := func() int {
		n := len(e.events)
		for _, g := range e.gaps {
			if g.Cause != millrace.CauseSlow || !g.Until.IsZero() {
				t.Fatalf("the gap is %v", g)
			}
			n += int(g.Count)
		}
		return n
	}
	b.until(func() bool { return counted() == 42 })
	if len(e.gaps) == 0 || !e.events[0].Position.IsZero() {
		t.Fatalf("%d events, the first at %s, gaps %v", len(e.events), e.events[0].Position, e.gaps)
	}
}

func TestAnEphemeralEventIsWithheldFromTheLinkThatSentIt(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	l := f.join(f.client())
	b := newBook(&l.tap)
	l.send(subscribe(1, "typing:a", millrace.Start{}))
	b.until(func() bool { return b.entries[1] != nil })
	l.send(publish(0, &millracev1.NewEvent{Topic: "typing:a", Data: []byte("1"), NoEcho: true}),
		publish(0, &millracev1.NewEvent{Topic: "typing:a", Data: []byte("2")}))
	e := b.entries[1]
	b.until(func() bool { return len(e.events) > 0 })
	if string(e.events[0].Data) != "2" || e.passed > 0 {
		t.Fatalf("first came %s, passed over %d", e.events[0].Data, e.passed)
	}
}

func TestAFilterAndARateHoldOnAStream(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	var last millrace.Position
	for i := range 20 {
		last = f.put(&millracev1.NewEvent{Topic: "chat:a", Name: []string{"x", "y"}[i%2]})
	}
	state := f.put(&millracev1.NewEvent{Topic: "latest:a", Key: "k"})
	earliest := wire.Start(millrace.Start{Kind: millrace.StartEarliest})
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{
		{Topic: "chat:a", Start: earliest, Filter: `name == "x"`},
		{Topic: "latest:a", MaxRate: 1000, Filter: `key == "k"`},
		{Topic: "chat:b", MaxRate: 1},
	}}))
	b.until(func() bool {
		return len(b.entries) == 3 && b.entries[1].pos == last && b.entries[2].pos == state && b.entries[3].refused != ""
	})
	if e := b.entries[1]; len(e.events) != 10 || e.passed != 10 || e.older > 0 {
		t.Errorf("of the filtered topic came %+v", e)
	}
	if e := b.entries[3]; e.refused != millrace.ReasonUnsupported {
		t.Errorf("a rate of a topic that owes every event is refused as %s", e.refused)
	}
}

func TestOperatorsSeeTheClassOfATopic(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	f.publish("chat:a", 1)
	f.put(&millracev1.NewEvent{Topic: "latest:a", Key: "k"})
	f.publish("typing:a", 1)
	m, err := millracev1.NewAdminServiceClient(f.dial()).ListTopics(f.ctx, &millracev1.ListTopicsRequest{})
	if err != nil || len(m.GetTopics()) != 2 {
		t.Fatalf("listed are %v, %v", m, err)
	}
	for i, want := range []millrace.Class{millrace.ClassLog, millrace.ClassLatest} {
		if got := wire.ParseClass(m.GetTopics()[i].GetClass()); got != want {
			t.Errorf("%s is of class %s, want %s", m.GetTopics()[i].GetTopic(), got, want)
		}
	}
}

package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

func TestATopicAndDataAreAllThatAPublishNeeds(t *testing.T) {
	f := serve(t, rpc.Config{})
	r, err := f.client().Publish(f.ctx, &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: "chat:1", Data: []byte(`"hi"`)}}})
	if err != nil {
		t.Fatal(err)
	}
	a := wire.ParseAck(r.GetAcks()[0])
	if a.Err != nil || a.Topic != "chat:1" || a.Position.Offset != 1 || a.Position.Mark == 0 || a.Time.IsZero() || a.Repeated {
		t.Errorf("the ack is %+v", a)
	}
	page, err := f.broker.History(f.ctx, "chat:1", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	if err != nil || len(page.Events) != 1 || string(page.Events[0].Data) != `"hi"` || page.Events[0].Position != a.Position {
		t.Errorf("stored is %+v, %v", page, err)
	}
}

// Promise: docs/delivery.md 8.5.
func TestEachEventOfABatchIsAckedAlone(t *testing.T) {
	f := serve(t, rpc.Config{MaxEventBytes: 100}, bounds{log: memlog.Config{MaxTopics: 2}})
	elsewhere := &millracev1.Position{Offset: 9, Mark: 9}
	r, err := f.client().Publish(f.ctx, &millracev1.PublishRequest{Events: []*millracev1.NewEvent{
		{Topic: "a", Data: []byte("1"), Id: "x"},
		{Topic: "a b", Data: []byte("1")},
		{Topic: "a", Data: []byte("{")},
		{Topic: "$sys", Data: []byte("1")},
		{Topic: "a", Data: []byte("1"), Expect: elsewhere},
		{Topic: "b", Data: []byte("2")},
		{Topic: "a", Data: []byte("1"), Id: "x"},
		{Topic: "c", Data: []byte("3")},
		{Topic: "a", Tombstone: true},
		{Topic: "a", Data: []byte("2"), ContentType: "text/plain"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []millrace.Reason{
		"", millrace.ReasonTopicInvalid, millrace.ReasonEventInvalid, millrace.ReasonForbidden, millrace.ReasonConflict, "", "",
		millrace.ReasonFull, millrace.ReasonUnsupported, "",
	}
	if len(r.GetAcks()) != len(want) {
		t.Fatalf("%d acks, want %d", len(r.GetAcks()), len(want))
	}
	for i, m := range r.GetAcks() {
		if got := millrace.Reason(m.GetError().GetReason()); got != want[i] {
			t.Errorf("event %d is answered %q, want %q", i, got, want[i])
		}
	}
	if a := r.GetAcks()[6]; !a.GetRepeated() || a.GetPosition().GetOffset() != 1 {
		t.Errorf("the repeat is answered %v", a)
	}
	if a := r.GetAcks()[9]; a.GetPosition().GetOffset() != 2 {
		t.Errorf("the last is answered %v", a)
	}
}

func TestARequestWithoutEventsOrWithTooManyIsRefused(t *testing.T) {
	f := serve(t, rpc.Config{})
	c := f.client()
	_, err := c.Publish(f.ctx, &millracev1.PublishRequest{})
	refused(t, err, millrace.ReasonBadRequest)
	_, err = c.Publish(f.ctx, &millracev1.PublishRequest{Events: make([]*millracev1.NewEvent, 5_000)})
	refused(t, err, millrace.ReasonTooLarge)
}

func TestAnEventIsInTheNameOfItsPublisher(t *testing.T) {
	grants := grants{
		"alice":   everything("alice"),
		"gateway": everything("gateway"),
		"reader":  {Subject: "reader", Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionSubscribe}}},
	}
	f := serve(t, rpc.Config{Authenticator: grants, Trusted: []string{"gateway"}})
	c := f.client()
	named := &millracev1.Sender{Session: "s", Subject: "bob"}
	for _, test := range []struct {
		name   string
		token  string
		event  *millracev1.NewEvent
		refuse millrace.Reason
		sender millrace.Sender
	}{
		{"a backend is the subject of its token", "alice", &millracev1.NewEvent{}, "", millrace.Sender{Subject: "alice"}},
		{"a backend may not name another sender", "alice", &millracev1.NewEvent{Sender: named}, millrace.ReasonForbidden, millrace.Sender{}},
		{"a backend may not name a principal", "alice", &millracev1.NewEvent{Principal: "subject:bob"}, millrace.ReasonForbidden, millrace.Sender{}},
		{"a gateway may name the sender", "gateway", &millracev1.NewEvent{Sender: named}, "", millrace.Sender{Session: "s", Subject: "bob"}},
		{"a gateway may publish for someone without a name", "gateway", &millracev1.NewEvent{Principal: "session:s"}, "", millrace.Sender{}},
		{"a gateway may publish as itself", "gateway", &millracev1.NewEvent{}, "", millrace.Sender{Subject: "gateway"}},
		{"who may only subscribe may not publish", "reader", &millracev1.NewEvent{}, millrace.ReasonForbidden, millrace.Sender{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.event.Topic, test.event.Data = "a", []byte("1")
			r, err := c.Publish(bearer(f.ctx, test.token), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{test.event}})
			if err != nil {
				t.Fatal(err)
			}
			if got := millrace.Reason(r.GetAcks()[0].GetError().GetReason()); got != test.refuse {
				t.Fatalf("it is answered %q, want %q", got, test.refuse)
			}
			if test.refuse != "" {
				return
			}
			page, err := f.broker.History(f.ctx, "a", millrace.Range{Backward: true, Limit: 1})
			if err != nil || page.Events[0].Sender != test.sender {
				t.Errorf("the sender is %+v, want %+v (%v)", page.Events[0].Sender, test.sender, err)
			}
		})
	}
}

func TestAnIDIsScopedByWhoPublishes(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": everything("alice"), "bob": everything("bob"), "gateway": everything("gateway")}, Trusted: []string{"gateway"}})
	c := f.client()
	offset := func(token, principal string) uint64 {
		t.Helper()
		r, err := c.Publish(bearer(f.ctx, token), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{
			{Topic: "a", Id: "1", Data: []byte("1"), Principal: principal},
		}})
		if err != nil || r.GetAcks()[0].GetError() != nil {
			t.Fatal(r, err)
		}
		return r.GetAcks()[0].GetPosition().GetOffset()
	}
	if a, b := offset("alice", ""), offset("bob", ""); a != 1 || b != 2 {
		t.Errorf("two subjects' events are at %d and %d", a, b)
	}
	if again := offset("alice", ""); again != 1 {
		t.Errorf("the same subject's event is stored again at %d", again)
	}
	if door := offset("gateway", "subject:alice"); door != 1 {
		t.Errorf("by way of a gateway the same subject's event is stored again at %d", door)
	}
}

func TestAPublishStreamAcksInOrderWithoutWaiting(t *testing.T) {
	f := serve(t, rpc.Config{WindowEvents: 7})
	stream, err := f.client().PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetWindow() != 7 || len(r.GetAcks()) != 0 {
		t.Fatalf("first came %v, %v", r, err)
	}
	// All is sent before an ack is read: more than the window, so the broker holds the peer back and loses nothing.
	const events = 1_000
	for i := 1; i <= events; i++ {
		m := &millracev1.PublishStreamRequest{Sequence: uint64(i), Events: []*millracev1.NewEvent{{Topic: "a", Data: fmt.Append(nil, i)}}}
		if i%100 == 0 {
			m.Events[0].Data = []byte("{")
		}
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var got, stored, messages uint64
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		messages++
		if r.GetSequence() != got+1 {
			t.Fatalf("acks begin with %d after %d", r.GetSequence(), got)
		}
		for _, a := range r.GetAcks() {
			got++
			if got%100 == 0 {
				if a.GetError().GetReason() != "event_invalid" {
					t.Fatalf("event %d is answered %v", got, a)
				}
				continue
			}
			stored++
			if a.GetError() != nil || a.GetPosition().GetOffset() != stored {
				t.Fatalf("event %d is answered %v, want offset %d", got, a, stored)
			}
		}
	}
	if got != events {
		t.Errorf("%d acks, want %d", got, events)
	}
	t.Logf("%d acks in %d messages", got, messages)
}

func TestAMessageLargerThanTheWindowIsTakenAlone(t *testing.T) {
	f := serve(t, rpc.Config{WindowEvents: 3, WindowBytes: 10})
	stream, err := f.client().PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	const events = 3_000
	m := &millracev1.PublishStreamRequest{}
	for i := range events {
		m.Events = append(m.Events, &millracev1.NewEvent{Topic: "a", Data: fmt.Append(nil, i)})
	}
	for range 2 {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	got := 0
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(r.GetAcks()) > 0 && r.GetSequence() != uint64(got+1) {
			t.Errorf("acks begin with %d after %d", r.GetSequence(), got)
		}
		got += len(r.GetAcks())
	}
	if got != 2*events {
		t.Errorf("%d acks, want %d", got, 2*events)
	}
}

func TestAHoleInTheSequenceEndsAPublishStream(t *testing.T) {
	f := serve(t, rpc.Config{})
	stream, err := f.client().PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	event := []*millracev1.NewEvent{{Topic: "a", Data: []byte("1")}}
	for _, sequence := range []uint64{1, 0, 4} {
		if err := stream.Send(&millracev1.PublishStreamRequest{Sequence: sequence, Events: event}); err != nil {
			t.Fatal(err)
		}
	}
	for {
		_, err := stream.Recv()
		if err == nil {
			continue
		}
		refused(t, err, millrace.ReasonBadRequest)
		if !strings.Contains(err.Error(), "event 4; 3 is next") {
			t.Errorf("it says %v", err)
		}
		return
	}
}

func TestACancelledPublishStreamLeavesNothingBehind(t *testing.T) {
	f := serve(t, rpc.Config{WindowEvents: 2})
	ctx, cancel := context.WithCancel(f.ctx)
	stream, err := f.client().PublishStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// No ack is read, so that reader and writer of the stream are both held up somewhere when it is cut.
	for range 100 {
		if err := stream.Send(&millracev1.PublishStreamRequest{Events: []*millracev1.NewEvent{{Topic: "a", Data: []byte("1")}}}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := f.server.Shutdown(f.ctx); err != nil {
		t.Error(err)
	}
}

func TestTheWindowCountsAllThatAnEventHolds(t *testing.T) {
	text := strings.Repeat("x", 64<<10)
	for name, m := range map[string]*millracev1.NewEvent{
		"data":           {Data: []byte(text)},
		"topic":          {Topic: text},
		"id":             {Id: text},
		"name":           {Name: text},
		"key":            {Key: text},
		"content type":   {ContentType: text},
		"header's name":  {Headers: []*millracev1.Header{{Name: text}}},
		"header's value": {Headers: []*millracev1.Header{{Value: text}}},
		"headers":        {Headers: make([]*millracev1.Header, 16<<10)},
		"sender":         {Sender: &millracev1.Sender{Session: text[1:], Subject: "x"}},
		"principal":      {Principal: text},
	} {
		if n := rpc.Window(rpc.Config{WindowEvents: 1000, WindowBytes: 1 << 20}, m); n > 16 {
			t.Errorf("a window of 1 MiB takes %d events with 64 KiB of %s", n, name)
		}
	}
}

// TestAMessageOfNothingButElementsIsRefused sends what has four megabytes on the wire and would have 500 when read.
func TestAMessageOfNothingButElementsIsRefused(t *testing.T) {
	f := serve(t, rpc.Config{})
	m := &millracev1.PublishRequest{Events: make([]*millracev1.NewEvent, 2<<20-16)}
	empty := &millracev1.NewEvent{}
	for i := range m.Events {
		m.Events[i] = empty
	}
	_, err := f.client().Publish(f.ctx, m)
	refused(t, err, millrace.ReasonTooLarge)
	if e := wire.ParseStatus(err); !strings.Contains(e.Message, "elements") {
		t.Errorf("refused after it was read: %v", e)
	}
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	l.attached(1, "a")
}

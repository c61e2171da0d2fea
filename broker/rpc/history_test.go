package rpc_test

import (
	"strconv"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

func TestHistoryOfAWrongKindIsRefused(t *testing.T) {
	f := serve(t, rpc.Config{})
	c := f.client()
	for want, r := range map[millrace.Reason]*millracev1.HistoryRequest{
		millrace.ReasonTopicInvalid: {Topic: "a b"},
		millrace.ReasonUnsupported:  {Topic: "a", State: true},
		millrace.ReasonBadRequest:   {Topic: "a", Backward: true, Start: wire.Start(millrace.Start{Kind: millrace.StartEarliest})},
	} {
		_, err := c.History(f.ctx, r)
		refused(t, err, want)
	}
	f.publish("a", 1)
	_, err := c.History(f.ctx, &millracev1.HistoryRequest{
		Topic: "a", Backward: true, Start: wire.Start(millrace.After(millrace.Position{Offset: 9, Mark: 9})),
	})
	refused(t, err, millrace.ReasonCursorInvalid)
}

func TestHistoryReadsBothWaysInPagesThatAnyPeerTakes(t *testing.T) {
	f := serve(t, rpc.Config{PageEvents: 10})
	positions := f.publish("a", 25)
	c := f.client()
	var forward, backward []*millrace.Event
	for request, next := (&millracev1.HistoryRequest{Topic: "a"}), true; next; {
		m, err := c.History(f.ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		page := wire.ParsePage("a", m)
		if page.Head != positions[24] || len(page.Events) > 10 {
			t.Fatalf("%d events, head %v", len(page.Events), page.Head)
		}
		forward = append(forward, page.Events...)
		request.Start, next = wire.Start(millrace.After(page.Next)), page.More
	}
	numbered(t, forward, 1)
	for request, next := (&millracev1.HistoryRequest{Topic: "a", Backward: true, Limit: 4}), true; next; {
		m, err := c.History(f.ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		page := wire.ParsePage("a", m)
		backward = append(backward, page.Events...)
		request.Start, next = wire.Start(millrace.After(page.Next)), page.More
	}
	if len(forward) != 25 || len(backward) != 25 {
		t.Fatalf("%d events forward and %d backward", len(forward), len(backward))
	}
	for i, e := range backward {
		if want := strconv.Itoa(25 - i); string(e.Data) != want {
			t.Fatalf("backward event %d is %s, want %s", i, e.Data, want)
		}
	}
}

package rpc_test

import (
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Promise: docs/delivery.md 8.4.
func TestEventsThatArePublishedAsOneAreAllStoredOrNone(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": everything("alice"), "": everything("")}, Trusted: []string{""}})
	one := func(id string) *millracev1.NewEvent {
		return &millracev1.NewEvent{Topic: "a", Id: id, Data: []byte("1")}
	}
	stored := func() uint64 {
		page, err := f.broker.History(f.ctx, "a", millrace.Range{Backward: true, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		return page.Head.Offset
	}
	for _, c := range []struct {
		what   string
		token  string
		events []*millracev1.NewEvent
		want   millrace.Reason
		stored uint64
	}{
		{"all good", "", []*millracev1.NewEvent{one("1"), one("2"), one("3")}, "", 3},
		{"all again", "", []*millracev1.NewEvent{one("1"), one("2"), one("3")}, "", 3},
		{"some again", "", []*millracev1.NewEvent{one("3"), one("4")}, millrace.ReasonConflict, 3},
		{"one that is none", "", []*millracev1.NewEvent{one(""), {Topic: "a", Data: []byte("{")}, one("")}, millrace.ReasonEventInvalid, 3},
		{"one in another's name", "alice", []*millracev1.NewEvent{one(""), one(""), {Topic: "a", Data: []byte("1"), Principal: "x"}}, millrace.ReasonForbidden, 3},
		{"one alone", "", []*millracev1.NewEvent{one("")}, "", 4},
	} {
		ctx := f.ctx
		if c.token != "" {
			ctx = bearer(ctx, c.token)
		}
		m, err := f.client().Publish(ctx, &millracev1.PublishRequest{Events: c.events, Atomic: true})
		if err != nil || len(m.GetAcks()) != len(c.events) {
			t.Fatalf("%s: %v, %v", c.what, m, err)
		}
		for i, a := range m.GetAcks() {
			if got := millrace.Reason(a.GetError().GetReason()); got != c.want {
				t.Errorf("%s: event %d is answered %q, want %q", c.what, i, got, c.want)
			}
		}
		if n := stored(); n != c.stored {
			t.Fatalf("%s: %d are stored, want %d", c.what, n, c.stored)
		}
	}
	_, err := f.client().Publish(f.ctx, &millracev1.PublishRequest{Events: []*millracev1.NewEvent{one(""), {Topic: "b", Data: []byte("1")}}, Atomic: true})
	refused(t, err, millrace.ReasonBadRequest)
}

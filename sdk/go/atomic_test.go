package sdk_test

import (
	"context"
	"testing"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// taken is a broker that stores all that it is asked to, after so many failures.
func taken(failures int) (*fake, chan *millracev1.PublishRequest) {
	requests := make(chan *millracev1.PublishRequest, 64)
	hold := func(_ int, s joinStream) error { return wait(s) }
	holdStream := func(_ int, s publishStream) error { return wait(s) }
	return &fake{join: hold, publishStream: holdStream, publish: func(try int, _ context.Context, in *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
		requests <- in
		if try <= failures {
			return nil, status(millrace.ReasonUnavailable)
		}
		acks := make([]*millracev1.Ack, len(in.GetEvents()))
		for i := range acks {
			acks[i] = ackOf(uint64(i + 1))
		}
		return &millracev1.PublishResponse{Acks: acks}, nil
	}}, requests
}

func TestEventsAreStoredTogetherByOneRequestThatIsTriedAgainAsItIs(t *testing.T) {
	f, requests := taken(1)
	acks, err := f.start(t).PublishAtomic(t.Context(), event(""), event("mine"))
	if err != nil || len(acks) != 2 || acks[1].Position != pos(1, 2) {
		t.Fatalf("acked %v, %v", acks, err)
	}
	first, second := <-requests, <-requests
	if !first.GetAtomic() || !second.GetAtomic() {
		t.Error("the request is not atomic")
	}
	for i, e := range first.GetEvents() {
		if e.GetId() == "" || e.GetId() != second.GetEvents()[i].GetId() {
			t.Errorf("event %d has the id %q and then %q", i, e.GetId(), second.GetEvents()[i].GetId())
		}
	}
}

func TestTiedEventsMayHaveAConditionAndAreNeverSentWithoutTheirTie(t *testing.T) {
	f, requests := taken(0)
	c := f.start(t)
	tied := func() []millrace.Publish {
		return []millrace.Publish{{Event: event("x"), Expect: &millrace.Position{}}, {Event: event("y"), Tied: true}, {Event: event("z"), Tied: true}}
	}
	if _, err := c.PublishBatch(t.Context(), tied()); err != nil {
		t.Fatal(err)
	}
	if in := <-requests; !in.GetAtomic() || in.GetEvents()[0].GetExpect() == nil || in.GetEvents()[1].GetExpect() != nil {
		t.Errorf("asked for %v", in)
	}
	partly := tied()
	partly[2].Tied = false
	if _, err := c.PublishBatch(t.Context(), partly); millrace.AsError(err).Reason != millrace.ReasonBadRequest {
		t.Errorf("a batch that is tied in part: %v", err)
	}
	toNothing := tied()[1:]
	if _, err := open(t, c).Publish(t.Context(), toNothing); millrace.AsError(err).Reason != millrace.ReasonBadRequest {
		t.Errorf("a batch that is tied to nothing: %v", err)
	}
	p := publisher(t, c)
	if _, err := p.Publish(t.Context(), tied()[1]); millrace.AsError(err).Reason != millrace.ReasonBadRequest {
		t.Errorf("a tie on a stream: %v", err)
	}
	if len(requests) > 0 {
		t.Errorf("asked for %v", <-requests)
	}
}

func TestATiedEventThatCanNotBeSentIsRefusedWithTheOthers(t *testing.T) {
	f, requests := taken(0)
	acks, err := f.start(t).PublishAtomic(t.Context(), event("x"), &millrace.Event{Topic: "a", Name: "\xff"}, event("z"))
	if millrace.AsError(err).Reason != millrace.ReasonEventInvalid || len(acks) != 3 || len(requests) > 0 {
		t.Fatalf("acked %v, %v", acks, err)
	}
	for i, a := range acks {
		if a.Err == nil || a.Err.Reason != millrace.ReasonEventInvalid {
			t.Errorf("event %d is acked %v", i, a)
		}
	}
}

func TestATombstoneTravels(t *testing.T) {
	f, requests := taken(0)
	if _, err := f.start(t).Publish(t.Context(), &millrace.Event{Topic: "a", Key: "k", Tombstone: true}); err != nil {
		t.Fatal(err)
	}
	if e := (<-requests).GetEvents()[0]; !e.GetTombstone() || e.GetKey() != "k" || len(e.GetData()) > 0 {
		t.Errorf("published %v", e)
	}
	sub := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		gone := events(1, 1, 1)
		gone.GetEvents().GetEvents()[0].Tombstone = true
		say(stream, latest(1, "a", pos(1, 0)), gone)
		return wait(stream)
	}}
	for e, err := range subscribe(t, sub.start(t), sdk.Topics("a")).All(t.Context()) {
		if err != nil || !e.Tombstone {
			t.Errorf("got %+v, %v", e, err)
		}
		break
	}
}

package sdk_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

type publishStream = grpc.BidiStreamingServer[millracev1.PublishStreamRequest, millracev1.PublishStreamResponse]

func event(id string) *millrace.Event {
	return &millrace.Event{Topic: "a", ID: id, Data: []byte(`1`)}
}

func ackOf(offset uint64) *millracev1.Ack {
	return &millracev1.Ack{Topic: "a", Position: wire.Position(pos(1, offset))}
}

func TestAPublishIsTriedAgainWithTheIDsOfTheFirstTry(t *testing.T) {
	var mu sync.Mutex
	var ids [][]string
	f := &fake{publish: func(try int, _ context.Context, in *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, []string{in.GetEvents()[0].GetId(), in.GetEvents()[1].GetId()})
		switch try {
		case 1:
			return nil, status(millrace.ReasonUnavailable)
		case 2:
			failure := &millracev1.Error{Reason: "unavailable"}
			return &millracev1.PublishResponse{Acks: []*millracev1.Ack{{Error: failure}, {Error: failure}}}, nil
		}
		return &millracev1.PublishResponse{Acks: []*millracev1.Ack{ackOf(1), ackOf(2)}}, nil
	}}
	acks, err := f.start(t).Publish(t.Context(), event(""), event("mine"))
	if err != nil || len(acks) != 2 || acks[1].Position != pos(1, 2) {
		t.Fatalf("acked %v, %v", acks, err)
	}
	if len(ids) != 3 || ids[0][0] == "" || ids[0][1] != "mine" || !slices.Equal(ids[0], ids[1]) || !slices.Equal(ids[0], ids[2]) {
		t.Errorf("the tries had the ids %q", ids)
	}
}

func TestWhatTheBrokerRefusesIsNotTriedAgain(t *testing.T) {
	f := &fake{publish: func(try int, _ context.Context, _ *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
		if try > 1 {
			return nil, status(millrace.ReasonForbidden)
		}
		return &millracev1.PublishResponse{Acks: []*millracev1.Ack{ackOf(1), {Topic: "a", Error: &millracev1.Error{Reason: "conflict"}}}}, nil
	}}
	c := f.start(t)
	acks, err := c.Publish(t.Context(), event("x"), event("y"))
	if len(acks) != 2 || acks[0].Err != nil || acks[1].Err.Reason != millrace.ReasonConflict {
		t.Errorf("acked %v", acks)
	}
	if e, ok := errors.AsType[*millrace.Error](err); !ok || e.Reason != millrace.ReasonConflict {
		t.Errorf("the error is %v", err)
	}
	if acks, err = c.Publish(t.Context(), event("z")); acks != nil || millrace.AsError(err).Reason != millrace.ReasonForbidden {
		t.Errorf("acked %v, %v", acks, err)
	}
	if _, err = c.Publish(t.Context()); millrace.AsError(err).Reason != millrace.ReasonBadRequest {
		t.Errorf("publishing nothing: %v", err)
	}
}

func TestAPublishIsTriedNoLongerThanItsContextLasts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{publish: func(try int, _ context.Context, _ *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
		if try == 3 {
			cancel()
		}
		return nil, status(millrace.ReasonUnavailable)
	}}
	c := f.start(t)
	if _, err := c.Publish(ctx, event("x")); millrace.AsError(err).Reason != millrace.ReasonCanceled {
		t.Errorf("the error is %v", err)
	}
	c.Close()
	if _, err := c.Publish(t.Context(), event("x")); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("on a closed client: %v", err)
	}
}

// received collects the ids of what comes on publish streams.
type received struct {
	mu      sync.Mutex
	streams [][]string
}

func (r *received) add(try int, in *millracev1.PublishStreamRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.streams) < try {
		r.streams = append(r.streams, nil)
	}
	for _, e := range in.GetEvents() {
		r.streams[try-1] = append(r.streams[try-1], e.GetId())
	}
}

func publisher(t *testing.T, c *sdk.Client) *sdk.Publisher {
	t.Helper()
	p, err := c.Publisher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestAPublisherSendsAgainInOrderWhatWasNotAcked(t *testing.T) {
	r := &received{}
	f := &fake{publishStream: func(try int, stream publishStream) error {
		_ = stream.Send(&millracev1.PublishStreamResponse{Window: 8})
		acked := uint64(0)
		for {
			in, err := stream.Recv()
			if err != nil {
				return err
			}
			r.add(try, in)
			if in.GetSequence() != acked+1 && try > 1 {
				t.Errorf("the sequence %d follows on %d", in.GetSequence(), acked)
			}
			for range in.GetEvents() {
				if try == 1 && acked == 3 {
					return status(millrace.ReasonUnavailable) // of what else is here nothing is acked
				}
				acked++
				_ = stream.Send(&millracev1.PublishStreamResponse{Sequence: acked, Acks: []*millracev1.Ack{ackOf(acked)}})
			}
		}
	}}
	p := publisher(t, f.start(t))
	var pending []*sdk.Pending
	for i := range 100 {
		one, err := p.Publish(t.Context(), millrace.Publish{Event: event(strconv.Itoa(i))})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, one)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, one := range pending {
		if ack, err := one.Ack(t.Context()); err != nil || ack.Topic != "a" {
			t.Errorf("event %d: %v, %v", i, ack, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.streams) != 2 || len(r.streams[1]) != 97 {
		t.Fatalf("the streams had %q", r.streams)
	}
	for i, id := range r.streams[1] {
		if id != strconv.Itoa(i+3) {
			t.Fatalf("the second stream had %q", r.streams[1])
		}
	}
	if n := len(r.streams[0]); n > 3+8 {
		t.Errorf("%d events were sent in spite of the window", n)
	}
}

func TestAPublisherThatIsAskedToGoWaitsForItsAcksFirst(t *testing.T) {
	r := &received{}
	f := &fake{publishStream: func(try int, stream publishStream) error {
		_ = stream.Send(&millracev1.PublishStreamResponse{Window: 1})
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		r.add(try, in)
		if try == 1 {
			_ = stream.Send(&millracev1.PublishStreamResponse{Goaway: &millracev1.Goaway{Reason: "draining", WindowMs: 2}})
		}
		_ = stream.Send(&millracev1.PublishStreamResponse{Sequence: 1, Acks: []*millracev1.Ack{ackOf(uint64(try))}})
		return wait(stream)
	}}
	p := publisher(t, f.start(t))
	for i := range 2 {
		if _, err := p.Publish(t.Context(), millrace.Publish{Event: event(strconv.Itoa(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.streams) != 2 || !slices.Equal(r.streams[0], []string{"0"}) || !slices.Equal(r.streams[1], []string{"1"}) {
		t.Errorf("the streams had %q", r.streams)
	}
}

func TestAPublisherHoldsAFewEventsAndThenMakesItsCallerWait(t *testing.T) {
	f := &fake{publishStream: func(_ int, stream publishStream) error { return wait(stream) }}
	p := publisher(t, f.start(t))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	n := 0
	var pending *sdk.Pending
	for {
		one, err := p.Publish(ctx, millrace.Publish{Event: event("")})
		if err != nil {
			if millrace.AsError(err).Reason != millrace.ReasonDeadline {
				t.Errorf("the caller was turned away: %v", err)
			}
			break
		}
		pending = one
		n++
	}
	if n != 1024 {
		t.Errorf("%d events were taken", n)
	}
	p.Close()
	if _, err := pending.Ack(t.Context()); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("an event on its way when the publisher was closed: %v", err)
	}
	if _, err := p.Publish(t.Context(), millrace.Publish{Event: event("")}); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("after that: %v", err)
	}
}

func TestAnEventThatCanNotBeSentIsRefusedAndTheOthersGoOn(t *testing.T) {
	f := &fake{publishStream: func(_ int, stream publishStream) error {
		_ = stream.Send(&millracev1.PublishStreamResponse{Window: 8})
		for acked := uint64(1); ; acked++ {
			if _, err := stream.Recv(); err != nil {
				return err
			}
			_ = stream.Send(&millracev1.PublishStreamResponse{Sequence: acked, Acks: []*millracev1.Ack{ackOf(acked)}})
		}
	}}
	p := publisher(t, f.start(t))
	for name, e := range map[string]*millrace.Event{
		"topic":          {Topic: "a\xff"},
		"id":             {Topic: "a", ID: "\xff"},
		"name":           {Topic: "a", Name: "\xff"},
		"key":            {Topic: "a", Key: "\xff"},
		"content type":   {Topic: "a", ContentType: "\xff"},
		"header's name":  {Topic: "a", Headers: []millrace.Header{{Name: "\xff"}}},
		"header's value": {Topic: "a", Headers: []millrace.Header{{Name: "h", Value: "\xff"}}},
		"sender":         {Topic: "a", Sender: millrace.Sender{Subject: "\xff"}},
	} {
		if _, err := p.Publish(t.Context(), millrace.Publish{Event: e}); err == nil || millrace.AsError(err).Reason != millrace.ReasonEventInvalid {
			t.Errorf("an event whose %s is not UTF-8: %v", name, err)
		}
	}
	pending, err := p.Publish(t.Context(), millrace.Publish{Event: event("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pending.Ack(t.Context()); err != nil {
		t.Errorf("the event after them: %v", err)
	}
}

func TestAnEventThatCanNotBeSentIsRefusedAloneOfItsBatch(t *testing.T) {
	f := &fake{publish: func(_ int, _ context.Context, in *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
		acks := make([]*millracev1.Ack, len(in.GetEvents()))
		for i := range acks {
			acks[i] = ackOf(uint64(i + 1))
		}
		return &millracev1.PublishResponse{Acks: acks}, nil
	}}
	c := f.start(t)
	acks, err := c.Publish(t.Context(), event("x"), &millrace.Event{Topic: "a", Name: "\xff"}, event("z"))
	if len(acks) != 3 || acks[0].Position != pos(1, 1) || acks[2].Position != pos(1, 2) {
		t.Fatalf("acked %v, %v", acks, err)
	}
	if e := acks[1].Err; e == nil || e.Reason != millrace.ReasonEventInvalid || !errors.Is(err, e) {
		t.Errorf("acked %v, %v", acks[1], err)
	}
}

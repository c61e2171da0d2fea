package peer

import (
	"context"
	"fmt"
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// name is the event's id, by which it is stored once.
func (e *publication) name() string { return fmt.Sprintf("%d-%d", e.Publisher, e.Serial) }

// settle enters an answer. An unknown outcome is none.
func (w *World) settle(e *publication, ack millrace.Ack, err *millrace.Error) {
	switch {
	case err == nil && ClassOf(e.Topic) == ledger.Ephemeral:
		w.Book.Pass(e.Topic, e.Ident)
	case err == nil:
		w.Book.Ack(e.Topic, e.Ident, ack.Position)
	case !err.Reason.Outcome().Retryable:
		w.Complain("%s was refused: %v", e.name(), err)
	}
}

// streamSender publishes over the SDK's stream.
type streamSender struct {
	world     *World
	client    *sdk.Client
	publisher *sdk.Publisher
	flying    chan flight
	done      sync.WaitGroup
}

type flight struct {
	publication
	pending *sdk.Pending
}

// flights is how many events are on their way at most.
const flights = 2_000

func newStreamSender(ctx context.Context, w *World, token string) (*streamSender, error) {
	client, err := w.dial(token)
	if err != nil {
		return nil, err
	}
	publisher, err := client.Publisher()
	if err != nil {
		client.Close()
		return nil, err
	}
	s := &streamSender{world: w, client: client, publisher: publisher, flying: make(chan flight, flights)}
	s.done.Go(func() {
		for f := range s.flying {
			ack, err := f.pending.Ack(ctx)
			s.world.settle(&f.publication, ack, millrace.AsError(err))
		}
	})
	return s, nil
}

func (s *streamSender) send(ctx context.Context, batch []publication) {
	for _, e := range batch {
		pending, err := s.publisher.Publish(ctx, millrace.Publish{Event: e.event()})
		if err != nil {
			if ctx.Err() == nil {
				s.world.Complain("%s can't be published: %v", e.name(), err)
			}
			return
		}
		s.flying <- flight{e, pending}
	}
}

func (s *streamSender) close() {
	close(s.flying)
	s.done.Wait()
	s.publisher.Close()
	s.client.Close()
}

// callSender publishes by the SDK's call.
type callSender struct {
	world  *World
	client *sdk.Client
}

func newCallSender(w *World, token string) (*callSender, error) {
	client, err := w.dial(token)
	return &callSender{world: w, client: client}, err
}

func (s *callSender) send(ctx context.Context, batch []publication) {
	events := make([]*millrace.Event, len(batch))
	for i := range batch {
		events[i] = batch[i].event()
	}
	acks, err := s.client.Publish(ctx, events...)
	if acks == nil {
		s.world.settle(&batch[0], millrace.Ack{}, millrace.AsError(err))
		return
	}
	for i := range acks {
		s.world.settle(&batch[i], acks[i], acks[i].Err)
	}
}

func (s *callSender) close() { s.client.Close() }

package sdk

import (
	"context"
	"crypto/rand"
	"errors"
	"unicode/utf8"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// Publish stores events and returns their acks in the same order; those of one topic are stored in that order. It takes
// ownership of the events, and gives an id to those that have none: while the broker can't be reached it tries again
// until ctx ends, and by its id each is stored once.
//
// A nil error means that all are stored. Else, with acks, those with an Err are not stored and the error has them all in
// its chain; without acks nothing is known of any event, and publishing the same events again is safe.
func (c *Client) Publish(ctx context.Context, events ...*millrace.Event) ([]millrace.Ack, error) {
	batch := make([]millrace.Publish, len(events))
	for i, e := range events {
		batch[i].Event = e
	}
	return c.PublishBatch(ctx, batch)
}

// PublishAtomic stores events of one topic one right after the other, or none of them. It is otherwise as Publish: tried
// again, they are stored once. If they are refused each ack has the reason, and it is the error.
func (c *Client) PublishAtomic(ctx context.Context, events ...*millrace.Event) ([]millrace.Ack, error) {
	batch := make([]millrace.Publish, len(events))
	for i, e := range events {
		batch[i] = millrace.Publish{Event: e, Tied: i > 0}
	}
	return c.PublishBatch(ctx, batch)
}

// PublishBatch is Publish with what else can be said of each event, as a condition. Its events may be tied, all of them
// or none.
func (c *Client) PublishBatch(ctx context.Context, batch []millrace.Publish) ([]millrace.Ack, error) {
	mintIDs(batch)
	acks, err := c.publish(ctx, batch, c.retry)
	switch {
	case err != nil:
		return nil, err
	case atomic(batch) && acks[0].Err != nil:
		return acks, acks[0].Err
	}
	var refusals []error
	for _, a := range acks {
		if a.Err != nil {
			refusals = append(refusals, a.Err)
		}
	}
	return acks, errors.Join(refusals...)
}

func mintIDs(batch []millrace.Publish) {
	for i := range batch {
		if batch[i].Event.ID == "" {
			batch[i].Event.ID = rand.Text()
		}
	}
}

// atomic reports whether the events of a batch are tied together.
func atomic(batch []millrace.Publish) bool { return len(batch) > 1 && batch[1].Tied }

// caller makes a call, once or until it succeeds.
type caller func(ctx context.Context, call func(context.Context, stubs) error) error

// sendable reports what keeps an event from being put into a message at all. Whatever it would be sent with would fail
// with it, and on a stream again and again.
func sendable(p millrace.Publish) *millrace.Error {
	e := p.Event
	texts := []string{e.Topic, e.ID, e.Name, e.Key, e.ContentType, e.Sender.Session, e.Sender.Subject, p.Principal}
	for _, h := range e.Headers {
		texts = append(texts, h.Name, h.Value)
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return millrace.Errorf(millrace.ReasonEventInvalid, "the event has a text that is not UTF-8: %.64q", text)
		}
	}
	return nil
}

// publish publishes a batch. Events that can't be sent are refused alone, or with those that they are tied to.
func (c *Client) publish(ctx context.Context, batch []millrace.Publish, by caller) ([]millrace.Ack, error) {
	if len(batch) == 0 {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "there are no events to publish")
	}
	acks := make([]millrace.Ack, len(batch))
	good := make([]millrace.Publish, 0, len(batch))
	var bad *millrace.Error
	for i, p := range batch {
		if p.Tied != (i > 0 && atomic(batch)) {
			return nil, millrace.Errorf(millrace.ReasonBadRequest, "event %d of %d: all events of a batch are tied to the one before, or none", i+1, len(batch))
		}
		if acks[i] = (millrace.Ack{Topic: p.Event.Topic, Err: sendable(p)}); acks[i].Err == nil {
			good = append(good, p)
		} else if bad == nil {
			bad = acks[i].Err
		}
	}
	switch {
	case bad != nil && atomic(batch):
		for i := range acks {
			acks[i].Err = bad
		}
		return acks, nil
	case len(good) == 0:
		return acks, nil
	}
	answers, err := c.send(ctx, good, by)
	if err != nil {
		return nil, err
	}
	for i := range acks {
		if acks[i].Err == nil {
			acks[i], answers = answers[0], answers[1:]
		}
	}
	return acks, nil
}

// send sends a batch. That each of its events failed as unavailable is a failure of the call, to be tried again as such.
func (c *Client) send(ctx context.Context, batch []millrace.Publish, by caller) ([]millrace.Ack, error) {
	request := &millracev1.PublishRequest{Events: wire.NewEvents(batch), Atomic: atomic(batch)}
	var acks []millrace.Ack
	err := by(ctx, func(ctx context.Context, broker stubs) error {
		response, err := broker.Publish(ctx, request)
		if err != nil {
			return err
		}
		if n := len(response.GetAcks()); n != len(batch) {
			return fault("the broker answered %d events with %d acks", len(batch), n)
		}
		acks = wire.ParseAcks(response.GetAcks())
		for i := range acks {
			if acks[i].Err == nil || !worthRetrying(acks[i].Err) {
				return nil
			}
		}
		return acks[0].Err
	})
	if err != nil {
		return nil, err
	}
	return acks, nil
}

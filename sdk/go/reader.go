package sdk

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// errMoved ends a stream at the moment that its server chose.
var errMoved = unavailable("the broker asked to come back on another stream", nil)

// session is one Subscribe stream, from its opening to its end.
func (s *Subscription) session(ctx context.Context) error {
	err := s.read(ctx)
	if why := streamError(err); ctx.Err() == nil && !errors.Is(err, errMoved) && !final(why) {
		var items []item
		for _, t := range s.tracks {
			items = t.detach(items, why)
		}
		s.queue.put(items)
	}
	return err
}

func (s *Subscription) read(ctx context.Context) error {
	ctx, broker, done, err := s.client.try(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := reader{subscription: s, aliases: map[uint32]*track{}, cancel: cancel}
	defer r.stop()
	request := &millracev1.SubscribeRequest{}
	for i, t := range s.tracks {
		r.aliases[uint32(i+1)] = t
		request.Subscriptions = append(request.Subscriptions, &millracev1.Subscription{Topic: t.topic, Start: wire.Start(t.resume())})
	}
	stream, err := broker.Subscribe(ctx, request)
	if err != nil {
		return err
	}
	for s.queue.room(ctx) {
		response, err := stream.Recv()
		if err != nil {
			return causeOr(ctx, err)
		}
		if err := r.receive(response.GetUpdates()); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// reader takes what comes on one Subscribe stream.
type reader struct {
	subscription *Subscription
	aliases      map[uint32]*track // the broker numbers the topics in the order of the request
	cancel       context.CancelCauseFunc
	live         bool
	move         *time.Timer
}

func (r *reader) stop() {
	if r.move != nil {
		r.move.Stop()
	}
}

// receive takes a response. What came before a fault counts.
func (r *reader) receive(updates []*millracev1.Update) error {
	s := r.subscription
	if !r.live {
		r.live = true
		s.driver.step(input{kind: inputConnected})
	}
	var items []item
	var err error
	for _, u := range updates {
		if g := u.GetGoaway(); g != nil {
			act := s.driver.step(goaway(g))
			r.stop()
			r.move = time.AfterFunc(time.Until(act.at), func() { r.cancel(errMoved) })
			continue
		}
		if t := r.track(u); t != nil {
			if items, err = r.take(items, t, u); err != nil {
				break
			}
		}
	}
	s.queue.put(items)
	return err
}

// track returns the topic that an update is about; nil if it is none of ours.
func (r *reader) track(u *millracev1.Update) *track {
	if a := u.GetAttached(); a != nil {
		i := slices.IndexFunc(r.subscription.tracks, func(t *track) bool { return t.topic == a.GetTopic() })
		if i < 0 {
			return nil
		}
		r.aliases[u.GetAlias()] = r.subscription.tracks[i]
	}
	return r.aliases[u.GetAlias()]
}

func (r *reader) take(items []item, t *track, u *millracev1.Update) ([]item, error) {
	s := r.subscription
	refusal := wire.ParseError(u.GetRefused())
	switch {
	case refusal == nil:
		items, err := t.receive(items, u)
		if err != nil {
			return items, err
		}
		return items, nil
	case refusal.Reason.Outcome().Retryable:
		return items, refusal
	}
	s.tracks = slices.DeleteFunc(s.tracks, func(other *track) bool { return other == t })
	delete(r.aliases, u.GetAlias())
	items = t.tell(items, millrace.Update{Kind: millrace.UpdateRefused, Err: refusal})
	if len(s.tracks) == 0 {
		return items, refusal
	}
	return items, nil
}

// goaway is what a server's wish to see its peer elsewhere tells a machine.
func goaway(g *millracev1.Goaway) input {
	return input{
		kind:   inputGoaway,
		err:    wire.ParseError(&millracev1.Error{Reason: g.GetReason(), Message: g.GetMessage()}),
		after:  time.Duration(g.GetRetryAfterMs()) * time.Millisecond,
		window: time.Duration(g.GetWindowMs()) * time.Millisecond,
	}
}

package sdk

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
)

// errMoved ends a stream at the moment that its server chose.
var errMoved = unavailable("the broker asked to come back on another stream", nil)

// session is one Subscribe stream, from its opening to its end.
func (s *Subscription) session(ctx context.Context) error {
	err := s.read(ctx)
	if why := streamError(err); ctx.Err() == nil && !errors.Is(err, errMoved) && !drive.Final(why) {
		var items []item
		for _, t := range s.tracks {
			items = t.detach(items, why)
		}
		s.queue.Put(items)
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
		t.alias = uint32(i + 1)
		r.aliases[t.alias] = t
		request.Subscriptions = append(request.Subscriptions, t.request(t.alias))
	}
	stream, err := broker.Subscribe(ctx, request)
	if err != nil {
		return err
	}
	for s.queue.Room(ctx) {
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
	aliases      map[uint32]*track // what was asked for, in the order of the request, and then what patterns brought
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
		s.driver.Step(drive.Input{Kind: drive.Connected})
	}
	var items []item
	var err error
	for _, u := range updates {
		if g := u.GetGoaway(); g != nil {
			act := s.driver.Step(goaway(g))
			r.stop()
			r.move = time.AfterFunc(time.Until(act.At), func() { r.cancel(errMoved) })
			continue
		}
		if items, err = r.take(items, u); err != nil {
			break
		}
	}
	s.queue.Put(items)
	return err
}

// track returns the topic that an update is about; nil if it is none of ours.
func (r *reader) track(u *millracev1.Update) (*track, *millrace.Error) {
	a := u.GetAttached()
	t := r.aliases[u.GetAlias()]
	switch {
	case a == nil:
		return t, nil
	case t != nil && a.GetTopic() == t.want.Topic:
		return t, nil
	case t == nil && a.GetPatternAlias() != 0:
		return r.match(u.GetAlias(), a)
	}
	return nil, nil
}

// match takes up a topic that a pattern brought. One that was asked for, or that another pattern brought before, comes
// under that alias; whatever comes of it under this one is passed over.
func (r *reader) match(alias uint32, a *millracev1.Attached) (*track, *millrace.Error) {
	s := r.subscription
	pattern := r.aliases[a.GetPatternAlias()]
	topic := a.GetTopic()
	switch {
	case pattern == nil || s.topics[topic] != nil:
		return nil, nil
	case !pattern.pattern || !pattern.covers(topic):
		return nil, fault("the broker attached %.64q by %s", topic, pattern.want.Topic)
	}
	t := newTrack(millrace.Subscription{Topic: topic, Filter: pattern.want.Filter, MaxRate: pattern.want.MaxRate})
	t.alias, t.matched = alias, true
	s.tracks = append(s.tracks, t)
	s.topics[topic] = t
	r.aliases[alias] = t
	return t, nil
}

func (r *reader) take(items []item, u *millracev1.Update) ([]item, error) {
	s := r.subscription
	t, err := r.track(u)
	switch {
	case err != nil:
		return items, err
	case t == nil:
		return items, nil
	}
	refusal := wire.ParseError(u.GetRefused())
	switch {
	case refusal == nil:
		return r.tell(t, items, u)
	case refusal.Reason.Outcome().Retryable:
		return items, refusal
	}
	s.tracks = slices.DeleteFunc(s.tracks, func(other *track) bool { return other == t })
	delete(s.topics, t.want.Topic)
	delete(r.aliases, t.alias)
	items = t.tell(items, millrace.Update{Kind: millrace.UpdateRefused, Err: refusal})
	if len(s.tracks) == 0 {
		return items, refusal
	}
	return items, nil
}

// tell takes what is news of a topic. One of class ephemeral that is attached again may have missed events in between.
func (r *reader) tell(t *track, items []item, u *millracev1.Update) ([]item, error) {
	missed := t.passed && u.GetAttached() != nil
	items, err := t.receive(items, u)
	if err != nil {
		return items, err
	}
	if missed && t.passed {
		gap := &millrace.Gap{Topic: t.want.Topic, Cause: millrace.CauseReset}
		items = t.tell(items, millrace.Update{Kind: millrace.UpdateGap, Gap: gap})
	}
	return items, nil
}

// goaway is what a server's wish to see its peer elsewhere tells a machine.
func goaway(g *millracev1.Goaway) drive.Input {
	return drive.Input{
		Kind:   drive.Goaway,
		Err:    wire.ParseError(&millracev1.Error{Reason: g.GetReason(), Message: g.GetMessage()}),
		After:  time.Duration(g.GetRetryAfterMs()) * time.Millisecond,
		Window: time.Duration(g.GetWindowMs()) * time.Millisecond,
	}
}

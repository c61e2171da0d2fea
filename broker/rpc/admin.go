package rpc

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// admin answers operators. What it does not implement is refused as unsupported by the guard.
type admin struct {
	millracev1.UnimplementedAdminServiceServer
	*Server
}

// operator reports why the caller may not ask, or nil.
func operator(ctx context.Context) error {
	if !callerOf(ctx).trusted {
		return millrace.Errorf(millrace.ReasonForbidden, "the token is not that of an operator")
	}
	return nil
}

// GetStatus implements millracev1.AdminServiceServer.
func (s *admin) GetStatus(ctx context.Context, _ *millracev1.GetStatusRequest) (*millracev1.GetStatusResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	topics, err := s.broker.Topics(ctx, "", math.MaxInt32)
	if err != nil {
		return nil, err
	}
	response := &millracev1.GetStatusResponse{
		Broker:    s.config.Broker,
		Version:   s.config.Version,
		Engine:    s.config.Engine,
		StartedMs: s.started.UnixMilli(),
		Topics:    uint64(len(topics)),
	}
	for _, t := range topics {
		response.Bytes += uint64(t.Bytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	response.Draining = s.draining
	response.Subscribers = uint64(s.subscribers)
	for l := range s.links {
		response.Links = append(response.Links, l.describe())
	}
	return response, nil
}

// describe tells operators of a link.
func (l *link) describe() *millracev1.Link {
	who := l.call.who()
	m := &millracev1.Link{
		Subject:       who.grant.Subject,
		Address:       who.address,
		OpenedMs:      l.call.opened.UnixMilli(),
		Subscriptions: uint64(l.writer.subscriptions.Load()),
		QueuedBytes:   uint64(l.call.queued.Load()),
	}
	if hello := l.greeting(); hello != nil {
		m.Peer, m.Agent, m.Version = hello.GetPeer(), hello.GetAgent(), linkVersion
	}
	return m
}

// Drain implements millracev1.AdminServiceServer.
func (s *admin) Drain(ctx context.Context, r *millracev1.DrainRequest) (*millracev1.DrainResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	if r.GetPeer() == "" {
		window, ends := time.Duration(r.GetWindowMs())*time.Millisecond, time.Duration(r.GetEndsInMs())*time.Millisecond
		ends = cmp.Or(ends, max(s.config.StreamGrace, 2*window))
		window = min(cmp.Or(window, ends/2), ends)
		return &millracev1.DrainResponse{Count: uint64(s.dismiss(window, ends))}, nil
	}
	l, err := s.gateway(r.GetPeer())
	if err != nil {
		return nil, err
	}
	result, err := l.Command(ctx, &millracev1.SessionCommand{
		Authority: &millracev1.SessionCommand_Operator{Operator: callerOf(ctx).grant.Subject},
		Kind: &millracev1.SessionCommand_Drain{Drain: &millracev1.Goaway{
			Reason: string(millrace.ReasonDraining), WindowMs: r.GetWindowMs(), EndsInMs: r.GetEndsInMs(),
		}},
	})
	if err != nil {
		return nil, err
	}
	return &millracev1.DrainResponse{Count: uint64(result.GetCount())}, nil
}

const (
	listedTopics    = 100   // default of ListTopics
	maxListedTopics = 1_000 // on one page
)

// ListTopics implements millracev1.AdminServiceServer.
func (s *admin) ListTopics(ctx context.Context, r *millracev1.ListTopicsRequest) (*millracev1.ListTopicsResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	pattern := millrace.Pattern(r.GetPattern())
	if pattern == "" {
		pattern = "**"
	}
	if err := pattern.Validate(); err != nil {
		return nil, err
	}
	limit := listedTopics
	if n := r.GetLimit(); n > 0 {
		limit = int(min(n, maxListedTopics))
	}
	response := &millracev1.ListTopicsResponse{}
	after := r.GetPage()
	for {
		states, err := s.broker.Topics(ctx, after, maxListedTopics)
		if err != nil {
			return nil, err
		}
		for _, state := range states {
			after = state.Topic
			if !pattern.Matches(state.Topic) {
				continue
			}
			if len(response.Topics) == limit {
				response.NextPage = response.Topics[limit-1].GetTopic()
				return response, nil
			}
			t, err := s.describe(ctx, state)
			if err != nil {
				return nil, err
			}
			response.Topics = append(response.Topics, t)
		}
		if len(states) < maxListedTopics {
			return response, nil
		}
	}
}

// describe tells operators of a topic.
func (s *admin) describe(ctx context.Context, state broker.TopicState) (*millracev1.Topic, error) {
	t := &millracev1.Topic{
		Topic:  state.Topic,
		Class:  wire.Class(s.broker.Rule(state.Topic).Class),
		Head:   wire.Position(state.Head),
		Events: uint64(state.Events),
		Bytes:  uint64(state.Bytes),
	}
	if !millrace.Reserved(state.Topic) || state.Topic == millrace.SessionsTopic {
		members, err := s.broker.Members(ctx, state.Topic, millrace.MemberRange{Limit: -1})
		if err != nil {
			return nil, err
		}
		t.Members = uint64(members.Count)
	}
	if state.Events == 0 {
		return t, nil
	}
	t.Oldest = state.Oldest.Offset + 1
	newest, err := s.broker.History(ctx, state.Topic, millrace.Range{Backward: true, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(newest.Events) > 0 {
		t.TimeMs = newest.Events[0].Time.UnixMilli()
	}
	return t, nil
}

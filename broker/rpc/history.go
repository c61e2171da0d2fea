package rpc

import (
	"context"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc/internal/message"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// History implements millracev1.BrokerServiceServer.
func (s *service) History(ctx context.Context, m *millracev1.HistoryRequest) (*millracev1.HistoryResponse, error) {
	if err := callerOf(ctx).allow(millrace.ActionHistory, "read the history of", m.GetTopic()); err != nil {
		return nil, err
	}
	r := wire.ParseHistoryRequest(m)
	r.Limit = bound(r.Limit, s.config.PageEvents)
	r.MaxBytes = bound(r.MaxBytes, s.config.PageBytes)
	page, err := s.broker.History(ctx, m.GetTopic(), r)
	if err != nil {
		return nil, err
	}
	response := wire.PageHead(page)
	size := 0
	for _, e := range page.Events {
		size += message.Size(e)
	}
	// The events are there as bytes, and bytes that a message does not know are marshalled as they are.
	elements := make([]byte, 0, size)
	for _, e := range page.Events {
		elements = append(elements, message.Envelope(e)...)
		elements = append(elements, e.Data...)
	}
	response.ProtoReflect().SetUnknown(elements)
	return response, nil
}

// bound returns what is asked for, or the most there is if that is less or nothing is asked for.
func bound(asked, most int) int {
	if asked <= 0 {
		return most
	}
	return min(asked, most)
}

// Presence implements millracev1.BrokerServiceServer.
func (s *service) Presence(ctx context.Context, m *millracev1.PresenceRequest) (*millracev1.PresenceResponse, error) {
	who := callerOf(ctx)
	if !who.trusted || m.GetTopic() != millrace.SessionsTopic {
		if err := who.allow(millrace.ActionPresence, "see the members of", m.GetTopic()); err != nil {
			return nil, err
		}
	}
	page, err := s.broker.Members(ctx, m.GetTopic(), wire.ParsePresenceRequest(m))
	if err != nil {
		return nil, err
	}
	return wire.MemberPage(page), nil
}

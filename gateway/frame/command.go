package frame

import (
	"math"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// command returns what a frame asks for.
func command(m *millracev1.ClientFrame) (gateway.Command, *millrace.Error) {
	switch k := m.GetKind().(type) {
	case *millracev1.ClientFrame_Subscribe:
		return subscribe(k.Subscribe)
	case *millracev1.ClientFrame_Unsubscribe:
		return gateway.Unsubscribe{Topic: k.Unsubscribe.GetTopic()}, nil
	case *millracev1.ClientFrame_Publish:
		return gateway.PublishEvent{Publish: publish(k.Publish)}, nil
	case *millracev1.ClientFrame_History:
		return history(k.History)
	case *millracev1.ClientFrame_Ping:
		return gateway.Ping{}, nil
	case *millracev1.ClientFrame_Broadcast:
		return gateway.Broadcast{Publish: publish(k.Broadcast)}, nil
	case *millracev1.ClientFrame_Join:
		return join(k.Join)
	case *millracev1.ClientFrame_Update:
		return gateway.Update{Topic: k.Update.GetTopic(), Data: k.Update.GetData()}, nil
	case *millracev1.ClientFrame_Leave:
		return gateway.Leave{Topic: k.Leave.GetTopic()}, nil
	case *millracev1.ClientFrame_Presence:
		return readMembers(k.Presence), nil
	case *millracev1.ClientFrame_Ack:
		return nil, unsupported("ack")
	case *millracev1.ClientFrame_Refresh:
		return nil, unsupported("refresh")
	}
	return nil, noCommand()
}

func unsupported(what string) *millrace.Error {
	return millrace.Errorf(millrace.ReasonUnsupported, "this gateway does not do %s", what)
}

func subscribe(m *millracev1.SubscribeFrame) (gateway.Command, *millrace.Error) {
	filter, err := millrace.ParseFilter(m.GetFilter())
	if err != nil {
		return nil, millrace.AsError(err)
	}
	if err := millrace.ValidateMaxRate(m.GetMaxRate()); err != nil {
		return nil, millrace.AsError(err)
	}
	switch {
	case m.GetCursor() == "":
		return gateway.Subscribe{
			Topic: m.GetTopic(), Start: wire.ParseStart(m.GetStart()), Filter: filter, MaxRate: m.GetMaxRate(), Members: m.GetMembers(),
		}, nil
	case m.GetTopic() != "" || m.GetStart() != nil:
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "a cursor stands in place of topic and start, not beside them")
	}
	cursor, err := millrace.ParseCursor(m.GetCursor())
	if err != nil {
		return nil, millrace.AsError(err)
	}
	if len(cursor.Pieces) == 0 {
		return nil, millrace.Errorf(millrace.ReasonCursorInvalid, "the cursor has no topic")
	}
	topics := gateway.Resume(cursor, millrace.Option{Filter: filter, MaxRate: m.GetMaxRate()})
	for i := range topics {
		if m.GetMembers() && millrace.Pattern(topics[i].Topic).IsTopic() {
			topics[i].Members = true
		}
	}
	return topics, nil
}

func publish(m *millracev1.PublishFrame) millrace.Publish {
	e := &millrace.Event{
		Topic:       m.GetTopic(),
		ID:          m.GetId(),
		Name:        m.GetName(),
		Key:         m.GetKey(),
		ContentType: m.GetContentType(),
		NoEcho:      m.Echo != nil && !m.GetEcho(),
		Tombstone:   m.GetTombstone(),
	}
	for _, h := range m.GetHeaders() {
		e.Headers = append(e.Headers, millrace.Header{Name: h.GetName(), Value: h.GetValue()})
	}
	understood := ""
	switch p := m.GetPayload().(type) {
	case *millracev1.PublishFrame_Data:
		e.Data = p.Data
	case *millracev1.PublishFrame_Text:
		e.Data, understood = []byte(p.Text), "text/plain"
	case *millracev1.PublishFrame_Binary:
		e.Data, understood = p.Binary, "application/octet-stream"
	}
	if e.ContentType == "" {
		e.ContentType = understood
	}
	p := millrace.Publish{Event: e}
	if m.GetExpect() != nil {
		expect := wire.ParsePosition(m.GetExpect())
		p.Expect = &expect
	}
	return p
}

func join(m *millracev1.JoinFrame) (gateway.Command, *millrace.Error) {
	filter, err := millrace.ParseFilter(m.GetFilter())
	if err != nil {
		return nil, millrace.AsError(err)
	}
	return gateway.Join{
		Subscribe: gateway.Subscribe{
			Topic: m.GetTopic(), Start: wire.ParseStart(m.GetStart()), Filter: filter, Members: m.Members == nil || m.GetMembers(),
		},
		Data: m.GetData(),
	}, nil
}

func readMembers(m *millracev1.PresenceFrame) gateway.ReadMembers {
	r := millrace.MemberRange{Page: m.GetPage(), Limit: int(min(m.GetLimit(), math.MaxInt32))}
	if m.GetCountOnly() {
		r.Limit = -1
	}
	return gateway.ReadMembers{Topic: m.GetTopic(), Range: r}
}

func history(m *millracev1.HistoryFrame) (gateway.Command, *millrace.Error) {
	r := millrace.Range{
		Start:    wire.ParseStart(m.GetStart()),
		Backward: m.GetBackward(),
		State:    m.GetState(),
		Limit:    int(min(m.GetLimit(), math.MaxInt32)),
	}
	if !r.Backward && m.GetStart().GetPlace() == nil {
		r.Start.Kind = millrace.StartEarliest
	}
	return gateway.ReadHistory{Topic: m.GetTopic(), Range: r}, nil
}

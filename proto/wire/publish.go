package wire

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// NewEvent makes the message that asks to publish. It shares the event's data.
func NewEvent(p millrace.Publish) *millracev1.NewEvent {
	e := p.Event
	m := &millracev1.NewEvent{
		Topic:       e.Topic,
		Id:          e.ID,
		Name:        e.Name,
		Key:         e.Key,
		ContentType: e.ContentType,
		Headers:     headers(e.Headers),
		Data:        e.Data,
		Sender:      sender(e.Sender),
		NoEcho:      e.NoEcho,
		Tombstone:   e.Tombstone,
		Principal:   p.Principal,
	}
	if p.Expect != nil {
		m.Expect = Position(*p.Expect)
	}
	return m
}

// NewEvents makes the messages of a batch, as NewEvent does.
func NewEvents(batch []millrace.Publish) []*millracev1.NewEvent {
	list := make([]*millracev1.NewEvent, len(batch))
	for i, p := range batch {
		list[i] = NewEvent(p)
	}
	return list
}

// ParseNewEvent reads what is asked to be published. The event shares the message's data, so the message must not be
// changed.
func ParseNewEvent(m *millracev1.NewEvent) millrace.Publish {
	p := millrace.Publish{
		Event: &millrace.Event{
			Topic:       m.GetTopic(),
			ID:          m.GetId(),
			Name:        m.GetName(),
			Key:         m.GetKey(),
			ContentType: m.GetContentType(),
			Headers:     parseHeaders(m.GetHeaders()),
			Sender:      parseSender(m.GetSender()),
			NoEcho:      m.GetNoEcho(),
			Tombstone:   m.GetTombstone(),
			Data:        m.GetData(),
		},
		Principal: m.GetPrincipal(),
	}
	if m.GetExpect() != nil {
		expect := ParsePosition(m.GetExpect())
		p.Expect = &expect
	}
	return p
}

// Ack makes the message of an ack.
func Ack(a millrace.Ack) *millracev1.Ack {
	if a.Err != nil {
		return &millracev1.Ack{Topic: a.Topic, Error: Error(a.Err)}
	}
	m := &millracev1.Ack{Topic: a.Topic, TimeMs: unixMillis(a.Time), Repeated: a.Repeated}
	if !a.Position.IsZero() {
		m.Position = Position(a.Position)
	}
	return m
}

// Acks makes the messages of acks.
func Acks(acks []millrace.Ack) []*millracev1.Ack {
	list := make([]*millracev1.Ack, len(acks))
	for i, a := range acks {
		list[i] = Ack(a)
	}
	return list
}

// ParseAck reads an ack.
func ParseAck(m *millracev1.Ack) millrace.Ack {
	return millrace.Ack{
		Topic:    m.GetTopic(),
		Position: ParsePosition(m.GetPosition()),
		Time:     moment(m.GetTimeMs()),
		Repeated: m.GetRepeated(),
		Err:      ParseError(m.GetError()),
	}
}

// ParseAcks reads acks.
func ParseAcks(list []*millracev1.Ack) []millrace.Ack {
	acks := make([]millrace.Ack, len(list))
	for i, m := range list {
		acks[i] = ParseAck(m)
	}
	return acks
}

package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Fields of millrace.v1.Event and the messages in it, and of the lists that hold events.
const (
	fieldEvents = 1 // of EventBatch and of HistoryResponse

	fieldPosition    = 1
	fieldPrev        = 2
	fieldID          = 3
	fieldName        = 4
	fieldKey         = 5
	fieldContentType = 6
	fieldHeaders     = 7
	fieldSender      = 8
	fieldNoEcho      = 9
	fieldTimeMS      = 10
	fieldData        = 11
	fieldTombstone   = 12

	fieldOffset = 1 // of Position
	fieldMark   = 2

	fieldHeaderName  = 1
	fieldHeaderValue = 2

	fieldSession = 1 // of Sender
	fieldSubject = 2
)

// EventEnvelope returns the bytes of the event as one element of the field events of an EventBatch or HistoryResponse,
// tag and length included, up to its data: envelope and data together are the element. Elements may be joined to any such
// list. It is written out because every event passes here and the generated code would need a message first; a test holds
// the two equal.
func EventEnvelope(e *millrace.Event) []byte {
	size := eventSize(e)
	b := make([]byte, 0, protowire.SizeTag(fieldEvents)+protowire.SizeBytes(size)-len(e.Data))
	b = protowire.AppendTag(b, fieldEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	return appendFields(b, e)
}

// appendFields appends all of the event but the bytes of its data, which it puts last.
func appendFields(b []byte, e *millrace.Event) []byte {
	if !e.Position.IsZero() {
		b = protowire.AppendTag(b, fieldPosition, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(positionSize(e.Position)))
		b = appendPosition(b, e.Position)
	}
	if e.Prev != 0 {
		b = protowire.AppendTag(b, fieldPrev, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, e.Prev)
	}
	b = appendText(b, fieldID, e.ID)
	b = appendText(b, fieldName, e.Name)
	b = appendText(b, fieldKey, e.Key)
	b = appendText(b, fieldContentType, e.ContentType)
	for _, h := range e.Headers {
		b = protowire.AppendTag(b, fieldHeaders, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(textSize(fieldHeaderName, h.Name)+textSize(fieldHeaderValue, h.Value)))
		b = appendText(b, fieldHeaderName, h.Name)
		b = appendText(b, fieldHeaderValue, h.Value)
	}
	if s := e.Sender; s != (millrace.Sender{}) {
		b = protowire.AppendTag(b, fieldSender, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(textSize(fieldSession, s.Session)+textSize(fieldSubject, s.Subject)))
		b = appendText(b, fieldSession, s.Session)
		b = appendText(b, fieldSubject, s.Subject)
	}
	if e.NoEcho {
		b = protowire.AppendTag(b, fieldNoEcho, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	if ms := unixMillis(e.Time); ms != 0 {
		b = protowire.AppendTag(b, fieldTimeMS, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(ms))
	}
	if e.Tombstone {
		b = protowire.AppendTag(b, fieldTombstone, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	if len(e.Data) > 0 {
		b = protowire.AppendTag(b, fieldData, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(len(e.Data)))
	}
	return b
}

func eventSize(e *millrace.Event) int {
	n := textSize(fieldID, e.ID) + textSize(fieldName, e.Name) + textSize(fieldKey, e.Key) + textSize(fieldContentType, e.ContentType)
	if !e.Position.IsZero() {
		n += protowire.SizeTag(fieldPosition) + protowire.SizeBytes(positionSize(e.Position))
	}
	if e.Prev != 0 {
		n += protowire.SizeTag(fieldPrev) + protowire.SizeFixed64()
	}
	for _, h := range e.Headers {
		n += protowire.SizeTag(fieldHeaders) + protowire.SizeBytes(textSize(fieldHeaderName, h.Name)+textSize(fieldHeaderValue, h.Value))
	}
	if s := e.Sender; s != (millrace.Sender{}) {
		n += protowire.SizeTag(fieldSender) + protowire.SizeBytes(textSize(fieldSession, s.Session)+textSize(fieldSubject, s.Subject))
	}
	if e.NoEcho {
		n += protowire.SizeTag(fieldNoEcho) + protowire.SizeVarint(1)
	}
	if ms := unixMillis(e.Time); ms != 0 {
		n += protowire.SizeTag(fieldTimeMS) + protowire.SizeVarint(uint64(ms))
	}
	if e.Tombstone {
		n += protowire.SizeTag(fieldTombstone) + protowire.SizeVarint(1)
	}
	if len(e.Data) > 0 {
		n += protowire.SizeTag(fieldData) + protowire.SizeBytes(len(e.Data))
	}
	return n
}

func appendPosition(b []byte, p millrace.Position) []byte {
	if p.Offset != 0 {
		b = protowire.AppendTag(b, fieldOffset, protowire.VarintType)
		b = protowire.AppendVarint(b, p.Offset)
	}
	if p.Mark != 0 {
		b = protowire.AppendTag(b, fieldMark, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, p.Mark)
	}
	return b
}

func positionSize(p millrace.Position) int {
	n := 0
	if p.Offset != 0 {
		n += protowire.SizeTag(fieldOffset) + protowire.SizeVarint(p.Offset)
	}
	if p.Mark != 0 {
		n += protowire.SizeTag(fieldMark) + protowire.SizeFixed64()
	}
	return n
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func textSize(field protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeBytes(len(s))
}

// ParseEvent reads an event of a topic. The event shares the message's data, so the message must not be changed.
func ParseEvent(topic string, m *millracev1.Event) *millrace.Event {
	return &millrace.Event{
		Topic:       topic,
		Position:    ParsePosition(m.GetPosition()),
		Prev:        m.GetPrev(),
		ID:          m.GetId(),
		Name:        m.GetName(),
		Key:         m.GetKey(),
		ContentType: m.GetContentType(),
		Headers:     parseHeaders(m.GetHeaders()),
		Sender:      parseSender(m.GetSender()),
		NoEcho:      m.GetNoEcho(),
		Tombstone:   m.GetTombstone(),
		Time:        moment(m.GetTimeMs()),
		Data:        m.GetData(),
	}
}

// ParseEvents reads events of one topic, as ParseEvent does.
func ParseEvents(topic string, list []*millracev1.Event) []*millrace.Event {
	events := make([]*millrace.Event, len(list))
	for i, m := range list {
		events[i] = ParseEvent(topic, m)
	}
	return events
}

func headers(list []millrace.Header) []*millracev1.Header {
	if len(list) == 0 {
		return nil
	}
	out := make([]*millracev1.Header, len(list))
	for i, h := range list {
		out[i] = &millracev1.Header{Name: h.Name, Value: h.Value}
	}
	return out
}

func parseHeaders(list []*millracev1.Header) []millrace.Header {
	if len(list) == 0 {
		return nil
	}
	out := make([]millrace.Header, len(list))
	for i, m := range list {
		out[i] = millrace.Header{Name: m.GetName(), Value: m.GetValue()}
	}
	return out
}

func sender(s millrace.Sender) *millracev1.Sender {
	if s == (millrace.Sender{}) {
		return nil
	}
	return &millracev1.Sender{Session: s.Session, Subject: s.Subject}
}

func parseSender(m *millracev1.Sender) millrace.Sender {
	return millrace.Sender{Session: m.GetSession(), Subject: m.GetSubject()}
}

package frame

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// AppendProtobuf appends a frame in protobuf. re is the id of the command that it answers, 0 if none. A frame that this
// form lacks, [gateway.WirePong], is left out.
func AppendProtobuf(dst []byte, re uint32, f gateway.Frame) []byte {
	m := &millracev1.ServerFrame{Re: re}
	switch f := f.(type) {
	case gateway.Connected:
		m.Kind = &millracev1.ServerFrame_Connected{Connected: connected(f)}
	case gateway.Subscribed:
		body := &millracev1.SubscribedFrame{
			Topic: valid(f.Topic), Pending: f.Pending, Class: class(f.Class), Cursor: f.Prefix, Pattern: valid(f.Pattern),
		}
		if f.HasPosition() {
			body.Position = wire.Position(f.Position)
		}
		m.Kind = &millracev1.ServerFrame_Subscribed{Subscribed: body}
	case gateway.Unsubscribed:
		m.Kind = &millracev1.ServerFrame_Unsubscribed{Unsubscribed: &millracev1.UnsubscribedFrame{
			Topic: valid(f.Topic), Error: wire.Error(f.Err), Cursor: f.Prefix,
		}}
	case gateway.Advanced:
		m.Kind = &millracev1.ServerFrame_Advanced{Advanced: &millracev1.AdvancedFrame{
			Topic: valid(f.Topic), Position: wire.Position(f.Position), Conflated: f.Conflated,
		}}
	case gateway.Published:
		m.Kind = &millracev1.ServerFrame_Published{Published: &millracev1.PublishedFrame{
			Topic: valid(f.Ack.Topic), Position: place(f.Ack.Position), TimeMs: unixMilli(f.Ack.Time), Repeated: f.Ack.Repeated,
		}}
	case gateway.History:
		m.Kind = &millracev1.ServerFrame_History{History: page(f)}
	case gateway.Joined:
		m.Kind = &millracev1.ServerFrame_Joined{Joined: joined(f)}
	case gateway.Left:
		m.Kind = &millracev1.ServerFrame_Left{Left: &millracev1.LeftFrame{Topic: valid(f.Topic), Error: wire.Error(f.Err), Cursor: f.Prefix}}
	case gateway.Presence:
		m.Kind = &millracev1.ServerFrame_Presence{Presence: presence(f)}
	case gateway.Done:
		m.Kind = &millracev1.ServerFrame_Done{Done: &millracev1.DoneFrame{}}
	case gateway.Failed:
		m.Kind = &millracev1.ServerFrame_Error{Error: wire.Error(f.Err)}
	case gateway.Goaway:
		m.Kind = &millracev1.ServerFrame_Goaway{Goaway: &millracev1.Goaway{
			Reason: string(f.Err.Reason), Message: valid(f.Err.Message), RetryAfterMs: uint32(millis(f.Err.RetryAfter)),
		}}
	case gateway.Pong:
		m.Kind = &millracev1.ServerFrame_Pong{Pong: &millracev1.PongFrame{}}
	case gateway.Heartbeat:
		m.Kind = &millracev1.ServerFrame_Heartbeat{Heartbeat: &millracev1.HeartbeatFrame{}}
	default:
		return dst
	}
	return appendMessage(dst, m)
}

// AppendProtobufEvent appends an event's frame in protobuf.
func AppendProtobufEvent(dst []byte, e *millrace.Event) []byte {
	return appendMessage(dst, &millracev1.ServerFrame{Kind: &millracev1.ServerFrame_Event{Event: event(e)}})
}

// AppendProtobufGap appends a gap's frame in protobuf.
func AppendProtobufGap(dst []byte, g *millrace.Gap) []byte {
	return appendMessage(dst, &millracev1.ServerFrame{Kind: &millracev1.ServerFrame_Gap{Gap: gap(g)}})
}

func appendMessage(dst []byte, m *millracev1.ServerFrame) []byte {
	b, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		panic("encode server frame: " + err.Error()) // only a string that is not UTF-8 can fail, and all went through valid
	}
	return b
}

func connected(f gateway.Connected) *millracev1.ConnectedFrame {
	return &millracev1.ConnectedFrame{
		Session:        f.Session,
		Subject:        valid(f.Subject),
		Cursor:         f.Prefix,
		PingIntervalMs: uint32(millis(f.PingInterval)),
		TimeoutMs:      uint32(millis(timeout(f))),
		MaxFrameBytes:  uint32(max(f.MaxFrameBytes, 0)),
		MaxTopics:      uint32(max(f.MaxTopics, 0)),
		ExpiresMs:      unixMilli(f.Expires),
		Resumed:        f.Resumed,
	}
}

func event(e *millrace.Event) *millracev1.EventFrame {
	m := &millracev1.EventFrame{
		Topic:       valid(e.Topic),
		Position:    place(e.Position),
		Id:          valid(e.ID),
		Name:        valid(e.Name),
		Key:         valid(e.Key),
		ContentType: valid(contentType(e)),
		TimeMs:      unixMilli(e.Time),
	}
	for _, h := range e.Headers {
		m.Headers = append(m.Headers, &millracev1.Header{Name: valid(h.Name), Value: valid(h.Value)})
	}
	if e.Sender != (millrace.Sender{}) {
		m.Sender = &millracev1.Sender{Session: valid(e.Sender.Session), Subject: valid(e.Sender.Subject)}
	}
	if e.Tombstone {
		m.Tombstone = true
		return m
	}
	switch payload(e) {
	case millrace.PayloadJSON:
		if len(e.Data) > 0 {
			m.Payload = &millracev1.EventFrame_Data{Data: e.Data}
		}
	case millrace.PayloadText:
		m.Payload = &millracev1.EventFrame_Text{Text: string(e.Data)}
	case millrace.PayloadBinary:
		m.Payload = &millracev1.EventFrame_Binary{Binary: e.Data}
	}
	return m
}

func page(f gateway.History) *millracev1.HistoryPageFrame {
	m := &millracev1.HistoryPageFrame{
		Topic: valid(f.Topic),
		Next:  wire.Position(f.Page.Next),
		Head:  wire.Position(f.Page.Head),
		More:  f.Page.More,
	}
	for _, e := range f.Page.Events {
		m.Events = append(m.Events, event(e))
	}
	if f.Page.Gap != nil {
		m.Gap = gap(f.Page.Gap)
	}
	return m
}

// gap makes the message of a gap, without positions in class ephemeral.
func gap(g *millrace.Gap) *millracev1.Gap {
	m := wire.Gap(g)
	if !hasPositions(g) {
		m.After, m.Until = nil, nil
	}
	return m
}

// place makes the message of where an event stands, none in class ephemeral.
func place(p millrace.Position) *millracev1.Position {
	if p.IsZero() {
		return nil
	}
	return wire.Position(p)
}

// valid returns a string as protobuf takes it, which fails on one that is not UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

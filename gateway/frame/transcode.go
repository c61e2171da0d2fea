package frame

import (
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// ToProtobuf turns a peer's frame in JSON, which DecodeJSON can read, into protobuf.
func ToProtobuf(b []byte) ([]byte, *millrace.Error) {
	_, m, err := readJSON(b)
	if err != nil {
		return nil, err
	}
	return marshal(m)
}

func marshal(m *millracev1.ClientFrame) ([]byte, *millrace.Error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the frame can't be written in protobuf: %s", syntax(err))
	}
	return b, nil
}

// DecodeAnswer reads a gateway's frame in protobuf that answers a command which another gateway passed on: one of those
// that are answered there. A refusal is the error.
func DecodeAnswer(b []byte) (gateway.Frame, *millrace.Error) {
	var m millracev1.ServerFrame
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, millrace.Errorf(millrace.ReasonInternal, "the answer of another gateway can't be read").WithCause(err)
	}
	switch k := m.GetKind().(type) {
	case *millracev1.ServerFrame_Published:
		p := k.Published
		return gateway.Published{Ack: wire.ParseAck(&millracev1.Ack{
			Topic: p.GetTopic(), Position: p.GetPosition(), TimeMs: p.GetTimeMs(), Repeated: p.GetRepeated(),
		})}, nil
	case *millracev1.ServerFrame_Presence:
		p := k.Presence
		return gateway.Presence{Topic: p.GetTopic(), Page: wire.ParseMemberPage(&millracev1.PresenceResponse{
			Members: p.GetMembers(), Count: p.GetCount(), Subjects: p.GetSubjects(), NextPage: p.GetNextPage(), AsOf: p.GetAsOf(),
		})}, nil
	case *millracev1.ServerFrame_Error:
		return nil, wire.ParseError(k.Error)
	}
	return nil, millrace.Errorf(millrace.ReasonInternal, "another gateway answered with something that is no answer")
}

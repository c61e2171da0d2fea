package rpc_test

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// raw is a codec whose messages are bytes.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// exchange sends one message of raw bytes in a call and returns how the call ends.
func (f *front) exchange(conn *grpc.ClientConn, method string, message []byte) error {
	f.Helper()
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(f.ctx, desc, "/millrace.v1.BrokerService/"+method, grpc.ForceCodecV2(raw{}))
	if err != nil {
		f.Fatal(err)
	}
	if err := stream.SendMsg(message); err != nil {
		f.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		f.Fatal(err)
	}
	for {
		var answer []byte
		if err := stream.RecvMsg(&answer); err != nil {
			return err
		}
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	f := serve(t, rpc.Config{MaxMessageBytes: 2 << 20})
	conn := f.dial()
	for _, method := range []string{"Publish", "PublishStream", "Subscribe", "Join", "History", "Presence"} {
		t.Run(method, func(t *testing.T) {
			refused(t, f.exchange(conn, method, []byte("garbage")), millrace.ReasonBadRequest)
			refused(t, f.exchange(conn, method, make([]byte, 3<<20)), millrace.ReasonTooLarge)

			// Beyond what is read at all gRPC refuses in its own words, with the same code.
			err := f.exchange(conn, method, make([]byte, 5<<20))
			if status.Code(err) != codes.ResourceExhausted || wire.ParseStatus(err).Reason != millrace.ReasonTooLarge {
				t.Errorf("a huge message is answered %v", err)
			}
		})
	}
}

func TestGarbageHarmsOnlyItsSender(t *testing.T) {
	f := serve(t, rpc.Config{})
	conn := f.dial()
	l := f.join(millracev1.NewBrokerServiceClient(conn))
	l.send(subscribe(1, "a", millrace.Start{}))
	pos := l.attached(1, "a")
	refused(t, f.exchange(conn, "Join", []byte("garbage")), millrace.ReasonBadRequest)
	f.publish("a", 1)
	l.events(1, pos, 1)
}

func TestWhatIsNotServedIsUnsupported(t *testing.T) {
	f := serve(t, rpc.Config{})
	admin := millracev1.NewAdminServiceClient(f.dial())
	for name, call := range map[string]func() error{
		"ListSessions": func() error { _, err := admin.ListSessions(f.ctx, &millracev1.ListSessionsRequest{}); return err },
		"Revoke":       func() error { _, err := admin.Revoke(f.ctx, &millracev1.RevokeRequest{}); return err },
	} {
		t.Run(name, func(t *testing.T) { refused(t, call(), millrace.ReasonUnsupported) })
	}
}

func TestAFaultOfOursIsNotTold(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: fault{}})
	_, err := f.client().Publish(f.ctx, &millracev1.PublishRequest{})
	refused(t, err, millrace.ReasonInternal)
	if got := status.Convert(err).Message(); got != "something went wrong on the server" {
		t.Errorf("the caller is told %q", got)
	}
}

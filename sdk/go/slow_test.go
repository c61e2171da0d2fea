package sdk_test

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

func TestAnApplicationThatTakesNothingHoldsUpItsBrokerInsteadOfFillingMemory(t *testing.T) {
	const (
		messages = 400
		size     = 64 << 10 // of each; 25 MiB in all
		queue    = 256 << 10
		slack    = 2 << 20 // gRPC's windows and buffers
	)
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		server := grpc.NewServer()
		millracev1.RegisterBrokerServiceServer(server, &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
			say(stream, attached(1, "a", millrace.Position{}))
			for i := range uint64(messages) {
				u := events(1, 1, i+1)
				u.GetEvents().GetEvents()[0].Data = bytes.Repeat([]byte("x"), size)
				if err := stream.Send(&millracev1.SubscribeResponse{Updates: []*millracev1.Update{u}}); err != nil {
					return err
				}
				sent.Add(size)
			}
			return wait(stream)
		}})
		listener := bufconn.Listen(64 << 10)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		pipe := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
		c := dial(t, "passthrough:///pipe", sdk.WithQueueBytes(queue), sdk.WithDialOptions(grpc.WithContextDialer(pipe)))
		s := subscribe(t, c, sdk.Topics("a"))
		synctest.Wait()
		if n := sent.Load(); n > queue+slack {
			t.Errorf("the broker sent %d bytes that nobody took", n)
		}
		var check ledger
		for e, err := range s.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			check.check(t, "the application", e)
			if e.Position.Offset == messages {
				break
			}
		}
		c.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestALinkWhoseApplicationTakesNothingStillTakesSubscriptions(t *testing.T) {
	f, ends := links(t, always)
	c := f.start(t, sdk.WithQueueBytes(1))
	l := open(t, c)
	end := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	a := end.subscription(t).GetAlias()
	end.say(attached(a, "a", pos(1, 0)))
	for i := range uint64(10) {
		end.say(events(a, 1, i+1))
	}
	mustSubscribe(t, l, "b", millrace.Start{Kind: millrace.StartEarliest})
	if s := end.subscription(t); wire.ParseStart(s.GetStart()).Kind != millrace.StartEarliest {
		t.Errorf("the link asks for %v", s)
	}
	h := &heard{link: l}
	h.want(t, "a at 0", "a 1", "a 2", "a 3", "a 4", "a 5", "a 6", "a 7", "a 8", "a 9", "a 10")
}

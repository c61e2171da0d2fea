package sdk_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// fake is a broker that follows a script: the functions that are set answer, call by call.
type fake struct {
	millracev1.UnimplementedBrokerServiceServer

	publish       func(try int, ctx context.Context, in *millracev1.PublishRequest) (*millracev1.PublishResponse, error)
	publishStream func(try int, stream grpc.BidiStreamingServer[millracev1.PublishStreamRequest, millracev1.PublishStreamResponse]) error
	subscribe     func(try int, in *millracev1.SubscribeRequest, stream grpc.ServerStreamingServer[millracev1.SubscribeResponse]) error
	join          func(try int, stream grpc.BidiStreamingServer[millracev1.JoinRequest, millracev1.JoinResponse]) error

	mu    sync.Mutex
	tries int
}

func (f *fake) try() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries++
	return f.tries
}

func (f *fake) Publish(ctx context.Context, in *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
	return f.publish(f.try(), ctx, in)
}

func (f *fake) PublishStream(stream grpc.BidiStreamingServer[millracev1.PublishStreamRequest, millracev1.PublishStreamResponse]) error {
	return f.publishStream(f.try(), stream)
}

func (f *fake) Subscribe(in *millracev1.SubscribeRequest, stream grpc.ServerStreamingServer[millracev1.SubscribeResponse]) error {
	return f.subscribe(f.try(), in, stream)
}

func (f *fake) Join(stream grpc.BidiStreamingServer[millracev1.JoinRequest, millracev1.JoinResponse]) error {
	return f.join(f.try(), stream)
}

// start serves the script until the test ends, and returns a client of it.
func (f *fake) start(t *testing.T, opts ...sdk.Option) *sdk.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	millracev1.RegisterBrokerServiceServer(server, f)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return dial(t, listener.Addr().String(), opts...)
}

// quick is a backoff for tests that wait for nothing.
var quick = sdk.Backoff{Base: time.Millisecond, Cap: 20 * time.Millisecond}

func dial(tb testing.TB, target string, opts ...sdk.Option) *sdk.Client {
	tb.Helper()
	opts = append([]sdk.Option{sdk.WithInsecurePlaintext(), sdk.WithBackoff(quick), sdk.WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	client, err := sdk.Dial(target, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	return client
}

// pos is a position whose mark says its lineage and offset.
func pos(lineage, offset uint64) millrace.Position {
	return millrace.Position{Offset: offset, Mark: lineage*1000 + offset + 1}
}

func attached(alias uint32, topic string, p millrace.Position) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Attached{Attached: &millracev1.Attached{Topic: topic, Position: wire.Position(p)}}}
}

// events is a batch of one lineage's events.
func events(alias uint32, lineage uint64, offsets ...uint64) *millracev1.Update {
	batch := &millracev1.EventBatch{}
	for _, o := range offsets {
		batch.Events = append(batch.Events, &millracev1.Event{Position: wire.Position(pos(lineage, o)), Prev: pos(lineage, o-1).Mark, Data: []byte("1")})
	}
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Events{Events: batch}}
}

func gap(alias uint32, after, until millrace.Position, cause string) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Gap{Gap: &millracev1.Gap{After: wire.Position(after), Until: wire.Position(until), Cause: cause}}}
}

func advanced(alias uint32, to millrace.Position, conflated uint64) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Advanced{Advanced: &millracev1.Advanced{Position: wire.Position(to), Conflated: conflated}}}
}

// ephemeral is a topic of that class, attached.
func ephemeral(alias uint32, topic string) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Attached{Attached: &millracev1.Attached{Topic: topic, Class: wire.Class(millrace.ClassEphemeral)}}}
}

// passing is an event of class ephemeral.
func passing(alias uint32) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Events{Events: &millracev1.EventBatch{Events: []*millracev1.Event{{Data: []byte("1")}}}}}
}

func counted(alias uint32, count uint64) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Gap{Gap: &millracev1.Gap{Cause: "slow", Count: count}}}
}

// watching is a pattern, attached.
func watching(alias uint32, pattern string) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Attached{Attached: &millracev1.Attached{Topic: pattern, Pattern: true}}}
}

// brought is a topic that a pattern of a Subscribe stream brings, attached.
func brought(alias, pattern uint32, topic string, p millrace.Position) *millracev1.Update {
	u := attached(alias, topic, p)
	u.GetAttached().PatternAlias = pattern
	return u
}

// matched is a topic that a pattern of a link covers.
func matched(alias uint32, topic string, head millrace.Position) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Matched{Matched: &millracev1.Matched{Topic: topic, Position: wire.Position(head)}}}
}

func refused(alias uint32, reason string) *millracev1.Update {
	return &millracev1.Update{Alias: alias, Kind: &millracev1.Update_Refused{Refused: &millracev1.Error{Reason: reason}}}
}

func goaway(after, window time.Duration) *millracev1.Update {
	return &millracev1.Update{Kind: &millracev1.Update_Goaway{Goaway: &millracev1.Goaway{
		Reason: "draining", RetryAfterMs: uint32(after.Milliseconds()), WindowMs: uint32(window.Milliseconds()),
	}}}
}

func status(r millrace.Reason) error { return wire.Status(millrace.Errorf(r, "as scripted")).Err() }

// say sends updates in one response.
func say(stream grpc.ServerStreamingServer[millracev1.SubscribeResponse], updates ...*millracev1.Update) {
	_ = stream.Send(&millracev1.SubscribeResponse{Updates: updates}) // the client may be gone; that is part of the tests
}

func authorization(ctx context.Context) []string {
	return metadata.ValueFromIncomingContext(ctx, "authorization")
}

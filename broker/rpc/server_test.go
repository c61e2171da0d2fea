package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(sinkAddr); addr != "" {
		if err := sink(addr, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of these tests. It is not a claim about speed.
const patience = 30 * time.Second

// everything is what a caller may do who may do all.
func everything(subject string) *millrace.Grant {
	return &millrace.Grant{Subject: subject, Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}}
}

// front is a broker behind its gRPC front, on loopback.
type front struct {
	testing.TB

	ctx    context.Context
	log    *memlog.Log
	broker *broker.Broker
	server *rpc.Server
	addr   string
	served chan error
}

// bounds are those of the log and broker, where a test wants other than the defaults.
type bounds struct {
	log    memlog.Config
	broker broker.Config
}

func serve(t testing.TB, config rpc.Config, limits ...bounds) *front {
	t.Helper()
	f := &front{TB: t, served: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	f.ctx = ctx
	var b bounds
	if len(limits) > 0 {
		b = limits[0]
	}
	var err error
	if f.log, err = memlog.New(b.log); err != nil {
		t.Fatal(err)
	}
	if f.broker, err = broker.New(b.broker, f.log); err != nil {
		t.Fatal(err)
	}
	if config.Authenticator == nil && config.Anonymous == nil {
		config.Anonymous = everything("")
	}
	if config.DrainGrace == 0 {
		config.DrainGrace = time.Millisecond
	}
	if f.server, err = rpc.New(config, f.broker); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	go func() { f.served <- f.server.Serve(l) }()
	t.Cleanup(f.stop)
	return f
}

func (f *front) stop() {
	if err := f.server.Shutdown(context.Background()); err != nil {
		f.Error(err)
	}
	if err := <-f.served; err != nil {
		f.Error(err)
	}
	f.served <- nil
	f.broker.Stop()
	if err := f.log.Close(); err != nil {
		f.Error(err)
	}
}

// dial returns a connection of its own.
func (f *front) dial(options ...grpc.DialOption) *grpc.ClientConn {
	f.Helper()
	conn, err := grpc.NewClient(f.addr, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	return conn
}

func (f *front) client() millracev1.BrokerServiceClient {
	return millracev1.NewBrokerServiceClient(f.dial())
}

// publish stores n events past the front, whose data are the numbers from 1 on, and returns their positions.
func (f *front) publish(topic string, n int) []millrace.Position {
	f.Helper()
	return f.publishData(topic, n, func(i int) []byte { return strconv.AppendInt(nil, int64(i), 10) })
}

func (f *front) publishData(topic string, n int, data func(i int) []byte) []millrace.Position {
	f.Helper()
	batch := make([]millrace.Publish, n)
	for i := range batch {
		batch[i].Event = &millrace.Event{Topic: topic, Data: data(i + 1)}
	}
	acks, err := f.broker.Publish(f.ctx, batch)
	if err != nil {
		f.Fatal(err)
	}
	positions := make([]millrace.Position, n)
	for i, a := range acks {
		if a.Err != nil {
			f.Fatal(a.Err)
		}
		positions[i] = a.Position
	}
	return positions
}

// refused checks that a call failed with a reason.
func refused(t testing.TB, err error, want millrace.Reason) {
	t.Helper()
	got := wire.ParseStatus(err)
	if got == nil || got.Reason != want {
		t.Errorf("the call ended with %v, want %s", err, want)
	} else if got.Cause != nil {
		t.Errorf("the status of %s has no ErrorInfo: %v", want, err)
	}
}

func TestHealthFollowsTheServer(t *testing.T) {
	f := serve(t, rpc.Config{})
	health := grpc_health_v1.NewHealthClient(f.dial())
	for _, name := range []string{"", "millrace.v1.BrokerService", "millrace.v1.AdminService"} {
		r, err := health.Check(f.ctx, &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q is %v, %v", name, r.GetStatus(), err)
		}
	}
	watch, err := health.Watch(f.ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("the watch says %v, %v", r.GetStatus(), err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := f.server.Shutdown(f.ctx); err != nil {
			t.Error(err)
		}
	}()
	if r, err := watch.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("when the server stops, the watch says %v, %v", r.GetStatus(), err)
	}
	<-stopped
}

func TestReflectionListsTheServices(t *testing.T) {
	f := serve(t, rpc.Config{})
	stream, err := reflectionv1.NewServerReflectionClient(f.dial()).ServerReflectionInfo(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	list := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	var names []string
	for _, s := range list.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	for _, want := range []string{"millrace.v1.BrokerService", "millrace.v1.AdminService", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
		file := ask(&reflectionv1.ServerReflectionRequest{
			MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: want},
		})
		if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("there is no description of %s: %v", want, file.GetErrorResponse())
		}
	}
}

func TestABadConfigIsRefusedWithAllItsFaults(t *testing.T) {
	_, err := rpc.New(rpc.Config{MaxStreams: -1, StreamAge: -1, BatchBytes: -1}, nil)
	if err == nil {
		t.Fatal("it was taken")
	}
	var faults interface{ Unwrap() []error }
	if !errors.As(err, &faults) || len(faults.Unwrap()) != 4 {
		t.Errorf("want four faults, got: %v", err)
	}
	if _, err := rpc.New(rpc.Config{Anonymous: everything(""), MaxMessageBytes: 10}, nil); err == nil {
		t.Error("messages too small for events were taken")
	}
}

func TestShutdownSendsStreamsAwayFirst(t *testing.T) {
	f := serve(t, rpc.Config{DrainGrace: 50 * time.Millisecond})
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	l.attached(1, "a")
	sub := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	sub.attached(1, "a")
	publishing, err := f.client().PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publishing.Recv(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- f.server.Shutdown(f.ctx) }()
	for _, s := range []*tap{&l.tap, sub} {
		g := s.next().GetGoaway()
		if g.GetReason() != "draining" || g.GetEndsInMs() != 50 || g.GetWindowMs() == 0 {
			t.Errorf("the goaway is %v", g)
		}
		refused(t, s.end(), millrace.ReasonDraining)
	}
	if r, err := publishing.Recv(); err != nil || r.GetGoaway().GetReason() != "draining" {
		t.Errorf("the publish stream is told %v, %v", r, err)
	}
	_, err = publishing.Recv()
	refused(t, err, millrace.ReasonDraining)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBoundedWhateverPeersDo(t *testing.T) {
	f := serve(t, rpc.Config{DrainGrace: time.Hour})
	l := f.join(f.client())
	ctx, cancel := context.WithCancel(f.ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- f.server.Shutdown(ctx) }()
	if l.next().GetGoaway() == nil {
		t.Error("no goaway came")
	}
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("a shutdown that was cut short says %v", err)
	}
	if err := l.end(); err == nil {
		t.Error("the link ended well")
	}
}

func TestWhoLeavesAtAGoawayEndsTheShutdown(t *testing.T) {
	f := serve(t, rpc.Config{DrainGrace: time.Hour})
	l := f.join(f.client())
	stopped := make(chan error, 1)
	go func() { stopped <- f.server.Shutdown(f.ctx) }()
	if l.next().GetGoaway() == nil {
		t.Error("no goaway came")
	}
	l.cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStreamsEndByAgeAfterAGoaway(t *testing.T) {
	f := serve(t, rpc.Config{StreamAge: time.Millisecond, StreamGrace: 40 * time.Millisecond})
	l := f.join(f.client())
	sub := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	for _, s := range []*tap{&l.tap, sub} {
		u := s.next()
		for u.GetAttached() != nil {
			u = s.next()
		}
		if g := u.GetGoaway(); g.GetReason() != "draining" || g.GetEndsInMs() != 40 {
			t.Errorf("the goaway is %v", u)
		}
		refused(t, s.end(), millrace.ReasonDraining)
	}
}

// tap takes updates one by one from a stream of messages.
type tap struct {
	testing.TB

	recv     func() ([]*millracev1.Update, error)
	cancel   context.CancelFunc
	updates  []*millracev1.Update
	messages int
}

func (s *tap) next() *millracev1.Update {
	s.Helper()
	for len(s.updates) == 0 {
		updates, err := s.recv()
		if err != nil {
			s.Fatalf("the stream ended: %v", err)
		}
		s.messages++
		s.updates = updates
	}
	u := s.updates[0]
	s.updates = s.updates[1:]
	return u
}

// end returns how the stream ends.
func (s *tap) end() error {
	s.Helper()
	for {
		updates, err := s.recv()
		if err != nil {
			return err
		}
		if len(updates) > 0 {
			s.Errorf("before the end came %v", updates)
		}
	}
}

func (s *tap) attached(alias uint32, topic string) millrace.Position {
	s.Helper()
	u := s.next()
	if u.GetAlias() != alias || u.GetAttached() == nil || u.GetAttached().GetTopic() != topic {
		s.Fatalf("got %v, want attached to %s", u, topic)
	}
	return wire.ParsePosition(u.GetAttached().GetPosition())
}

// refusedWith checks that a subscription is refused.
func (s *tap) refusedWith(alias uint32, reason millrace.Reason) {
	s.Helper()
	u := s.next()
	if u.GetAlias() != alias || u.GetRefused().GetReason() != string(reason) {
		s.Errorf("got %v, want %d refused as %s", u, alias, reason)
	}
}

// events takes n events of one subscription, checks that each follows on the one before, from pos on, and returns them.
func (s *tap) events(alias uint32, pos millrace.Position, n int) []*millrace.Event {
	s.Helper()
	var got []*millrace.Event
	for len(got) < n {
		u := s.next()
		if u.GetAlias() != alias || u.GetEvents() == nil {
			s.Fatalf("after %d events came %v", len(got), u)
		}
		for _, e := range wire.ParseEvents("", u.GetEvents().GetEvents()) {
			if !pos.Precedes(e) {
				s.Fatalf("%v does not follow on %v", e.Position, pos)
			}
			pos = e.Position
			got = append(got, e)
		}
	}
	if len(got) > n {
		s.Fatalf("%d events came, want %d", len(got), n)
	}
	return got
}

// numbered checks that the data of events are the numbers from first on.
func numbered(t testing.TB, events []*millrace.Event, first int) {
	t.Helper()
	for i, e := range events {
		if want := fmt.Sprint(first + i); string(e.Data) != want {
			t.Fatalf("event %d has data %s, want %s", i, e.Data, want)
		}
	}
}

// subscribe opens a subscriber's stream.
func (f *front) subscribe(c millracev1.BrokerServiceClient, r *millracev1.SubscribeRequest) *tap {
	f.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	f.Cleanup(cancel)
	stream, err := c.Subscribe(ctx, r)
	if err != nil {
		f.Fatal(err)
	}
	return &tap{TB: f, cancel: cancel, recv: func() ([]*millracev1.Update, error) {
		m, err := stream.Recv()
		return m.GetUpdates(), err
	}}
}

// peer is the other end of a link.
type peer struct {
	tap

	stream  grpc.BidiStreamingClient[millracev1.JoinRequest, millracev1.JoinResponse]
	session string
}

// open opens a link and says nothing yet.
func (f *front) open(c millracev1.BrokerServiceClient) *peer {
	f.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	f.Cleanup(cancel)
	stream, err := c.Join(ctx)
	if err != nil {
		f.Fatal(err)
	}
	return &peer{stream: stream, tap: tap{TB: f, cancel: cancel, recv: func() ([]*millracev1.Update, error) {
		m, err := stream.Recv()
		return m.GetUpdates(), err
	}}}
}

// join opens a link and says hello.
func (f *front) join(c millracev1.BrokerServiceClient) *peer {
	f.Helper()
	return f.greet(c, &millracev1.Hello{MinVersion: 1, MaxVersion: 1})
}

func (f *front) greet(c millracev1.BrokerServiceClient, hello *millracev1.Hello) *peer {
	f.Helper()
	l := f.open(c)
	l.send(&millracev1.Command{Kind: &millracev1.Command_Hello{Hello: hello}})
	w := l.next().GetWelcome()
	if w == nil {
		f.Fatal("the first update is no welcome")
	}
	l.session = w.GetSession()
	return l
}

func (p *peer) send(commands ...*millracev1.Command) {
	p.Helper()
	if err := p.stream.Send(&millracev1.JoinRequest{Commands: commands}); err != nil {
		p.Fatal(err)
	}
}

func (p *peer) reply(id uint32) *millracev1.Reply {
	p.Helper()
	u := p.next()
	if u.GetReply() == nil || u.GetReply().GetId() != id {
		p.Fatalf("got %v, want the reply to %d", u, id)
	}
	return u.GetReply()
}

func subscribe(alias uint32, topic string, start millrace.Start) *millracev1.Command {
	return &millracev1.Command{Kind: &millracev1.Command_Subscribe{Subscribe: &millracev1.Subscription{
		Alias: alias, Topic: topic, Start: wire.Start(start),
	}}}
}

func unsubscribe(alias uint32) *millracev1.Command {
	return &millracev1.Command{Kind: &millracev1.Command_Unsubscribe{Unsubscribe: &millracev1.Unsubscribe{Alias: alias}}}
}

func publish(id uint32, e *millracev1.NewEvent) *millracev1.Command {
	return &millracev1.Command{Id: id, Kind: &millracev1.Command_Publish{Publish: e}}
}

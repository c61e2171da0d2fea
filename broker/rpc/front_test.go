package rpc_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

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

func serve(tb testing.TB, config rpc.Config, limits ...bounds) *front {
	tb.Helper()
	f := &front{TB: tb, served: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	f.ctx = ctx
	var b bounds
	if len(limits) > 0 {
		b = limits[0]
	}
	var err error
	if f.log, err = memlog.New(b.log); err != nil {
		tb.Fatal(err)
	}
	if f.broker, err = broker.New(b.broker, f.log, memlog.NewRoster(f.log)); err != nil {
		tb.Fatal(err)
	}
	if config.Authenticator == nil && config.Anonymous == nil {
		config.Anonymous = everything("")
	}
	if config.DrainGrace == 0 {
		config.DrainGrace = time.Millisecond
	}
	if f.server, err = rpc.New(config, f.broker); err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	f.addr = l.Addr().String()
	go func() { f.served <- f.server.Serve(l) }()
	tb.Cleanup(f.stop)
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
func refused(tb testing.TB, err error, want millrace.Reason) {
	tb.Helper()
	got := wire.ParseStatus(err)
	if got == nil || got.Reason != want {
		tb.Errorf("the call ended with %v, want %s", err, want)
	} else if got.Cause != nil {
		tb.Errorf("the status of %s has no ErrorInfo: %v", want, err)
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
func numbered(tb testing.TB, events []*millrace.Event, first int) {
	tb.Helper()
	for i, e := range events {
		if want := strconv.Itoa(first + i); string(e.Data) != want {
			tb.Fatalf("event %d has data %s, want %s", i, e.Data, want)
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

package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// severable is a listener whose connections can be cut.
type severable struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn
}

func (l *severable) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *severable) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close() // its server may have closed it
	}
	l.conns = nil
}

// between is what stands between a client and a broker: it hands on each publish, waits until the broker has answered it
// and, for as long as it has cuts left, cuts the connection in place of handing the answer back.
type between struct {
	millracev1.UnimplementedBrokerServiceServer
	broker   millracev1.BrokerServiceClient
	listener *severable
	addr     string

	mu     sync.Mutex
	cuts   int
	stored []*millracev1.Ack // all answers of the broker, those that were lost included
}

func stand(t *testing.T, target string, cuts int) *between {
	t.Helper()
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &between{
		broker: millracev1.NewBrokerServiceClient(channel), listener: &severable{Listener: listener}, addr: listener.Addr().String(), cuts: cuts,
	}
	server := grpc.NewServer()
	millracev1.RegisterBrokerServiceServer(server, b)
	served := make(chan error, 1)
	go func() { served <- server.Serve(b.listener) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
		if err := channel.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// lost keeps the broker's answers, and cuts the connection in their place if it is to.
func (b *between) lost(acks []*millracev1.Ack) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stored = append(b.stored, acks...)
	if b.cuts == 0 || len(acks) == 0 {
		return false
	}
	b.cuts--
	b.listener.sever()
	return true
}

func (b *between) answers() []*millracev1.Ack {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.stored)
}

var errCut = errors.New("the connection is cut")

func (b *between) Publish(ctx context.Context, in *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
	// The broker gets it whatever becomes of the client.
	out, err := b.broker.Publish(context.WithoutCancel(ctx), in)
	if err == nil && b.lost(out.GetAcks()) {
		return nil, errCut
	}
	return out, err
}

func (b *between) PublishStream(near publishStream) error {
	ctx, cancel := context.WithCancel(near.Context())
	defer cancel()
	far, err := b.broker.PublishStream(ctx)
	if err != nil {
		return err
	}
	var forward sync.WaitGroup
	forward.Go(func() {
		for {
			in, err := near.Recv()
			if err != nil || far.Send(in) != nil {
				cancel()
				return
			}
		}
	})
	defer forward.Wait() // it ends with the client's stream, which ends with the connection or this call
	for {
		out, err := far.Recv()
		if err != nil {
			return err
		}
		if b.lost(out.GetAcks()) {
			return errCut
		}
		if err := near.Send(out); err != nil {
			return err
		}
	}
}

// contents is the data of all events of a topic, in order.
func contents(t *testing.T, c *sdk.Client, topic string) []string {
	t.Helper()
	page, err := c.History(t.Context(), topic, millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	if err != nil || page.Gap != nil || page.More {
		t.Fatalf("history: %+v, %v", page, err)
	}
	var list []string
	for _, e := range page.Events {
		list = append(list, string(e.Data))
	}
	return list
}

// Promise: docs/delivery.md 8.2.
func TestAPublishWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	behind := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	b := stand(t, behind.target, 3)
	acks, err := dial(t, b.addr).Publish(t.Context(), &millrace.Event{Topic: "a", Data: []byte(`1`)}, &millrace.Event{Topic: "a", Data: []byte(`2`)})
	if err != nil || !acks[0].Repeated || !acks[1].Repeated || acks[0].Position.Offset != 1 || acks[1].Position.Offset != 2 {
		t.Errorf("acked %+v, %v", acks, err)
	}
	if n := len(b.answers()); n != 2*4 {
		t.Errorf("the broker answered %d events", n)
	}
	if got := contents(t, dial(t, behind.target), "a"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("stored are %v", got)
	}
}

// Promise: docs/delivery.md 8.2, 8.3.
func TestAConditionalPublishWhoseAnswerIsLostIsARepeatAndNoConflict(t *testing.T) {
	behind := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	direct := dial(t, behind.target)
	head := mustPublish(t, direct, "a", 1)[0].Position
	b := stand(t, behind.target, 1)
	acks, err := dial(t, b.addr).PublishBatch(t.Context(), []millrace.Publish{{Event: &millrace.Event{Topic: "a", Data: []byte(`1`)}, Expect: &head}})
	if err != nil || !acks[0].Repeated || acks[0].Position.Offset != 2 {
		t.Errorf("acked %+v, %v", acks, err)
	}
	if got := contents(t, direct, "a"); len(got) != 2 {
		t.Errorf("stored are %v", got)
	}
	stale, err := direct.PublishBatch(t.Context(), []millrace.Publish{{Event: &millrace.Event{Topic: "a", Data: []byte(`1`)}, Expect: &head}})
	if e, ok := errors.AsType[*millrace.Error](err); !ok || e.Reason != millrace.ReasonConflict || stale[0].Err == nil {
		t.Errorf("another event under the same condition: %+v, %v", stale, err)
	}
}

// Promise: docs/delivery.md 8.2.
func TestAPublisherWhoseAcksAreLostStoresEachEventOnceAndInOrder(t *testing.T) {
	const n, cuts = 500, 4
	behind := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	b := stand(t, behind.target, cuts)
	p := publisher(t, dial(t, b.addr))
	var pending []*sdk.Pending
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
		one, err := p.Publish(t.Context(), millrace.Publish{Event: &millrace.Event{Topic: "a", Data: fmt.Append(nil, i)}})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, one)
	}
	for i, one := range pending {
		if ack, err := one.Ack(t.Context()); err != nil || ack.Position.Offset != uint64(i+1) {
			t.Fatalf("event %d is acked %+v, %v", i, ack, err)
		}
	}
	repeated := 0
	for _, a := range b.answers() {
		if a.GetRepeated() {
			repeated++
		}
	}
	if repeated == 0 {
		t.Error("no answer was lost, so this shows nothing")
	}
	if got := contents(t, dial(t, behind.target), "a"); !slices.Equal(got, want) {
		t.Errorf("stored are %d events: %v", len(got), got)
	}
}

// Promise: docs/delivery.md 8.2, 8.4.
func TestABatchThatIsPublishedAsOneIsStoredInOnePieceAndOnce(t *testing.T) {
	const batches, size = 40, 3
	behind := startBroker(t, "127.0.0.1:0", newLog(t, broker.Rule{Pattern: "**", MaxEvents: 1_000_000, MaxBytes: 1 << 30}), rpc.Config{})
	between := stand(t, behind.target, 10)
	c := dial(t, between.addr)
	direct := dial(t, behind.target)
	ctx, stop := context.WithCancel(t.Context())
	var noise sync.WaitGroup
	noise.Go(func() {
		for ctx.Err() == nil {
			mustPublish(t, direct, "a", 1)
		}
	})
	for i := range batches {
		var events []*millrace.Event
		for range size {
			events = append(events, &millrace.Event{Topic: "a", Name: "part", Data: fmt.Append(nil, i)})
		}
		acks, err := c.PublishAtomic(t.Context(), events...)
		if err != nil || len(acks) != size {
			t.Fatalf("acked %v, %v", acks, err)
		}
		for k, a := range acks {
			if a.Position.Offset != acks[0].Position.Offset+uint64(k) {
				t.Errorf("batch %d is stored at %v", i, acks)
			}
		}
	}
	stop()
	noise.Wait()
	stale := millrace.Position{Offset: 1, Mark: 1}
	refused := []millrace.Publish{
		{Event: &millrace.Event{Topic: "a", Name: "part", Data: []byte(`1`)}, Expect: &stale},
		{Event: &millrace.Event{Topic: "a", Name: "part", Data: []byte(`1`)}, Tied: true},
	}
	if acks, err := direct.PublishBatch(t.Context(), refused); millrace.AsError(err).Reason != millrace.ReasonConflict || acks[1].Err == nil {
		t.Errorf("a batch whose condition does not hold: %v, %v", acks, err)
	}
	parts := 0
	page, err := direct.History(t.Context(), "a", millrace.Range{})
	for ; err == nil; page, err = direct.History(t.Context(), "a", millrace.Range{Start: page.Resume()}) {
		for _, e := range page.Events {
			if e.Name == "part" {
				parts++
			}
		}
		if !page.More {
			break
		}
	}
	if err != nil || parts != batches*size {
		t.Errorf("%d parts are stored, want %d: %v", parts, batches*size, err)
	}
}

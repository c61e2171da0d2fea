package rpc_test

import (
	"context"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// outcome is how a call to drain ended.
type outcome struct {
	count uint64
	err   error
}

// drain asks for a drain in a goroutine of its own.
func (f *front) drain(ctx context.Context, r *millracev1.DrainRequest) <-chan outcome {
	f.Helper()
	admin := millracev1.NewAdminServiceClient(f.dial())
	ended := make(chan outcome, 1)
	go func() {
		m, err := admin.Drain(ctx, r)
		ended <- outcome{m.GetCount(), err}
	}()
	return ended
}

// asGateway opens a link as a gateway does.
func (f *front) asGateway(id string) *peer {
	f.Helper()
	return f.greet(f.client(), &millracev1.Hello{Peer: id, Gateway: true})
}

// command takes the next update, which must be a command.
func (p *peer) command() *millracev1.SessionCommand {
	p.Helper()
	u := p.next()
	if u.GetSessionCommand() == nil {
		p.Fatalf("got %v, want a command", u)
	}
	return u.GetSessionCommand()
}

func result(r *millracev1.SessionResult) *millracev1.Command {
	return &millracev1.Command{Kind: &millracev1.Command_SessionResult{SessionResult: r}}
}

func TestAnOperatorsDrainGoesToTheGatewayAndItsAnswerBack(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"root": everything("root"), "gw": everything("gw")}, Trusted: []string{"root", "gw"}})
	f.asGatewayOf("gw", "gw-0")
	l := f.asGatewayOf("gw", "gw-1")
	ended := f.drain(bearer(f.ctx, "root"), &millracev1.DrainRequest{Peer: "gw-1", WindowMs: 5000, EndsInMs: 7000})
	m := l.command()
	if d := m.GetDrain(); d.GetWindowMs() != 5000 || d.GetEndsInMs() != 7000 || d.GetReason() != "draining" {
		t.Errorf("the gateway is told %v", d)
	}
	if m.GetId() == 0 || m.GetOperator() != "root" || m.GetTarget() != nil {
		t.Errorf("the command is %v", m)
	}
	l.send(result(&millracev1.SessionResult{Id: m.GetId(), Count: 42}))
	if o := <-ended; o.err != nil || o.count != 42 {
		t.Errorf("the operator is told %+v", o)
	}
}

// asGatewayOf is asGateway with a token.
func (f *front) asGatewayOf(token, id string) *peer {
	f.Helper()
	stream, err := f.client().Join(bearer(f.ctx, token))
	if err != nil {
		f.Fatal(err)
	}
	l := &peer{stream: stream, tap: tap{TB: f, cancel: func() {}, recv: func() ([]*millracev1.Update, error) {
		m, err := stream.Recv()
		return m.GetUpdates(), err
	}}}
	l.send(&millracev1.Command{Kind: &millracev1.Command_Hello{Hello: &millracev1.Hello{Peer: id, Gateway: true}}})
	if l.next().GetWelcome() == nil {
		f.Fatal("the first update is no welcome")
	}
	return l
}

func TestOnlyAnOperatorDrains(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": everything("alice")}, Trusted: []string{"root"}})
	for _, id := range []string{"", "gw-1"} {
		refused(t, (<-f.drain(bearer(f.ctx, "alice"), &millracev1.DrainRequest{Peer: id})).err, millrace.ReasonForbidden)
	}
}

func TestADrainOfNoGatewayIsNotFound(t *testing.T) {
	f := serve(t, rpc.Config{})
	f.greet(f.client(), &millracev1.Hello{Peer: "bot"}) // holds no sessions
	f.open(f.client())                                  // said nothing yet
	f.asGateway("other")
	for _, id := range []string{"bot", "nobody"} {
		refused(t, (<-f.drain(f.ctx, &millracev1.DrainRequest{Peer: id})).err, millrace.ReasonNotFound)
	}
}

func TestWhatAGatewayDoesNotDoIsToldToTheOperator(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.asGateway("gw-1")
	ended := f.drain(f.ctx, &millracev1.DrainRequest{Peer: "gw-1"})
	l.send(result(&millracev1.SessionResult{Id: l.command().GetId(), Error: &millracev1.Error{Reason: "unsupported", Message: "no"}}))
	refused(t, (<-ended).err, millrace.ReasonUnsupported)
}

func TestTheNewestLinkOfAGatewayIsAsked(t *testing.T) {
	f := serve(t, rpc.Config{})
	f.asGateway("gw-1")
	newer := f.asGateway("gw-1")
	ended := f.drain(f.ctx, &millracev1.DrainRequest{Peer: "gw-1"})
	newer.send(result(&millracev1.SessionResult{Id: newer.command().GetId(), Count: 1}))
	if o := <-ended; o.err != nil || o.count != 1 {
		t.Errorf("the operator is told %+v", o)
	}
}

func TestAnswersOfOthersAndLateOnesCountForNothing(t *testing.T) {
	f := serve(t, rpc.Config{})
	l, other := f.asGateway("gw-1"), f.asGateway("gw-2")
	impatient, cancel := context.WithCancel(f.ctx)
	ended := f.drain(impatient, &millracev1.DrainRequest{Peer: "gw-1"})
	late := l.command().GetId()
	cancel()
	if o := <-ended; o.err == nil {
		t.Errorf("the operator that gave up is told %+v", o)
	}
	ended = f.drain(f.ctx, &millracev1.DrainRequest{Peer: "gw-1"})
	id := l.command().GetId()
	if id == late {
		t.Error("two commands have one id")
	}
	other.send(result(&millracev1.SessionResult{Id: id, Count: 13}), publish(1, &millracev1.NewEvent{Topic: "a", Data: []byte("1")}))
	other.reply(1) // so its result was read
	l.send(result(&millracev1.SessionResult{Id: late, Count: 13}), result(&millracev1.SessionResult{Id: 77, Count: 13}), result(nil),
		result(&millracev1.SessionResult{Id: id, Count: 1}), result(&millracev1.SessionResult{Id: id, Count: 13}))
	if o := <-ended; o.err != nil || o.count != 1 {
		t.Errorf("the operator is told %+v", o)
	}
}

func TestAGatewayThatDoesNotAnswerHoldsUpNobodyForLong(t *testing.T) {
	f := serve(t, rpc.Config{CommandTimeout: 5 * time.Millisecond})
	l := f.asGateway("gw-1")
	for range 70 { // none of them keeps its place
		refused(t, (<-f.drain(f.ctx, &millracev1.DrainRequest{Peer: "gw-1"})).err, millrace.ReasonDeadline)
		l.send(publish(1, &millracev1.NewEvent{Topic: "a", Data: []byte("1")}))
		if l.next().GetReply() == nil { // the command, unless its time was up before its turn
			l.reply(1)
		}
	}
}

func TestALinkThatEndsAnswersItsCommandsAsUnavailable(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.asGateway("gw-1")
	ended := f.drain(f.ctx, &millracev1.DrainRequest{Peer: "gw-1"})
	l.command()
	l.cancel()
	refused(t, (<-ended).err, millrace.ReasonUnavailable)
}

func TestTheCommandsThatAGatewayOwesAreBounded(t *testing.T) {
	f := serve(t, rpc.Config{CommandTimeout: time.Minute})
	l := f.asGateway("gw-1")
	conn := f.dial()
	admin := millracev1.NewAdminServiceClient(conn)
	ended := make(chan outcome, 64)
	for range 64 {
		go func() {
			m, err := admin.Drain(f.ctx, &millracev1.DrainRequest{Peer: "gw-1"})
			ended <- outcome{m.GetCount(), err}
		}()
	}
	var ids []uint64
	for range 64 {
		ids = append(ids, l.command().GetId())
	}
	_, err := admin.Drain(f.ctx, &millracev1.DrainRequest{Peer: "gw-1"})
	refused(t, err, millrace.ReasonFull)
	for _, id := range ids {
		l.send(result(&millracev1.SessionResult{Id: id, Count: 1}))
	}
	for range ids {
		if o := <-ended; o.err != nil || o.count != 1 {
			t.Errorf("an operator is told %+v", o)
		}
	}
}

func TestABrokerThatIsDrainedSendsItsStreamsAwayAndAnswersCalls(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.join(f.client())
	s := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	s.attached(1, "a")
	if o := <-f.drain(f.ctx, &millracev1.DrainRequest{WindowMs: 20, EndsInMs: 50}); o.err != nil || o.count != 2 {
		t.Errorf("the operator is told %+v", o)
	}
	for _, stream := range []*tap{&l.tap, s} {
		if g := stream.next().GetGoaway(); g.GetReason() != "draining" || g.GetWindowMs() != 20 || g.GetEndsInMs() != 50 {
			t.Errorf("a stream is told %v", g)
		}
		refused(t, stream.end(), millrace.ReasonDraining)
	}
	refused(t, f.open(f.client()).end(), millrace.ReasonDraining)
	if _, err := f.client().Publish(f.ctx, &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: "a", Data: []byte("1")}}}); err != nil {
		t.Error(err)
	}
	got, err := millracev1.NewAdminServiceClient(f.dial()).GetStatus(f.ctx, &millracev1.GetStatusRequest{})
	if err != nil || !got.GetDraining() {
		t.Errorf("the status is %v, %v", got, err)
	}
}

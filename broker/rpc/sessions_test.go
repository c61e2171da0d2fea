package rpc_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

var alice = millrace.Target{Subject: "alice"}

// told is how a call of an operator ended.
type told struct {
	outcome *millracev1.SessionOutcome
	err     error
}

// operators are the calls that command sessions, by the kind of command.
var operators = map[string]func(context.Context, millracev1.AdminServiceClient, *millracev1.SessionTarget) (*millracev1.SessionOutcome, error){
	"subscribe": func(ctx context.Context, c millracev1.AdminServiceClient, to *millracev1.SessionTarget) (*millracev1.SessionOutcome, error) {
		m, err := c.SubscribeSession(ctx, &millracev1.SubscribeSessionRequest{Target: to, Subscription: &millracev1.Subscription{
			Topic: "chat:*", Start: wire.Start(millrace.Start{Kind: millrace.StartLast, Count: 7}), Filter: `name == "x"`, MaxRate: 2,
		}})
		return m.GetOutcome(), err
	},
	"unsubscribe": func(ctx context.Context, c millracev1.AdminServiceClient, to *millracev1.SessionTarget) (*millracev1.SessionOutcome, error) {
		m, err := c.UnsubscribeSession(ctx, &millracev1.UnsubscribeSessionRequest{Target: to, Topic: "chat:*"})
		return m.GetOutcome(), err
	},
	"join": func(ctx context.Context, c millracev1.AdminServiceClient, to *millracev1.SessionTarget) (*millracev1.SessionOutcome, error) {
		m, err := c.JoinSession(ctx, &millracev1.JoinSessionRequest{Target: to, Topic: "chat:1", Data: []byte(`{"a":1}`)})
		return m.GetOutcome(), err
	},
	"leave": func(ctx context.Context, c millracev1.AdminServiceClient, to *millracev1.SessionTarget) (*millracev1.SessionOutcome, error) {
		m, err := c.LeaveSession(ctx, &millracev1.LeaveSessionRequest{Target: to, Topic: "chat:1"})
		return m.GetOutcome(), err
	},
	"disconnect": func(ctx context.Context, c millracev1.AdminServiceClient, to *millracev1.SessionTarget) (*millracev1.SessionOutcome, error) {
		m, err := c.Disconnect(ctx, &millracev1.DisconnectRequest{Target: to, Reason: "draining", Message: "elsewhere"})
		return m.GetOutcome(), err
	},
}

// says is what the command of each call asks of a gateway.
func says(t *testing.T) map[string]*millracev1.SessionCommand {
	t.Helper()
	filter, err := millrace.ParseFilter(`name == "x"`)
	if err != nil {
		t.Fatal(err)
	}
	frame := func(f *millracev1.ClientFrame) *millracev1.SessionCommand {
		return &millracev1.SessionCommand{Kind: &millracev1.SessionCommand_Frame{Frame: f}}
	}
	return map[string]*millracev1.SessionCommand{
		"subscribe": frame(wire.SubscribeFrame(millrace.Subscription{
			Topic: "chat:*", Start: millrace.Start{Kind: millrace.StartLast, Count: 7}, Filter: filter, MaxRate: 2,
		})),
		"unsubscribe": frame(wire.UnsubscribeFrame("chat:*")),
		"join":        frame(wire.JoinFrame("chat:1", []byte(`{"a":1}`))),
		"leave":       frame(wire.LeaveFrame("chat:1")),
		"disconnect": {Kind: &millracev1.SessionCommand_Disconnect{Disconnect: wire.Error(
			millrace.Errorf(millrace.ReasonDraining, "elsewhere"))}},
	}
}

// operate makes a call in a goroutine of its own.
func (f *front) operate(ctx context.Context, call string, to millrace.Target) <-chan told {
	f.Helper()
	admin := millracev1.NewAdminServiceClient(f.dial())
	ended := make(chan told, 1)
	go func() {
		outcome, err := operators[call](ctx, admin, wire.Target(to))
		ended <- told{outcome, err}
	}()
	return ended
}

// answer takes a command and answers it with a count or, if there is none, a reason.
func (p *peer) answer(count uint32, reason millrace.Reason) *millracev1.SessionCommand {
	p.Helper()
	m := p.command()
	r := &millracev1.SessionResult{Id: m.GetId(), Count: count}
	if reason != "" {
		r.Error = &millracev1.Error{Reason: string(reason)}
	}
	p.send(result(r))
	return m
}

// Promise: docs/delivery.md 9.10.
func TestACommandToSessionsGoesToAllGatewaysAndTheCountsAddUp(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"root": everything("root"), "gw": everything("gw")}, Trusted: []string{"root", "gw"}})
	old := f.asGatewayOf("gw", "gw-1")
	one, two, three := f.asGatewayOf("gw", "gw-1"), f.asGatewayOf("gw", "gw-2"), f.asGatewayOf("gw", "")
	for call, want := range says(t) {
		for _, target := range []millrace.Target{alice, {Session: "s-1"}} {
			ended := f.operate(bearer(f.ctx, "root"), call, target)
			got := one.answer(2, "")
			two.answer(3, "")
			three.answer(0, millrace.ReasonNotFound)
			if o := <-ended; o.err != nil || o.outcome.GetCount() != 5 || len(o.outcome.GetMissingPeers()) != 0 {
				t.Errorf("%s: the operator is told %v", call, o)
			}
			if wire.ParseTarget(got) != target || got.GetOperator() != "root" {
				t.Errorf("%s: the gateway is told %v", call, got)
			}
			got.Id, got.Target, got.Authority = 0, nil, nil
			if !proto.Equal(got, want) {
				t.Errorf("%s: the gateway is told %v, want %v", call, got, want)
			}
		}
	}
	refused(t, old.end(), millrace.ReasonUnavailable) // and before that nothing: a newer link is there
}

func TestWhoIsNowhereIsNotFoundAndOtherRefusalsCountIfNobodyDidIt(t *testing.T) {
	f := serve(t, rpc.Config{})
	refused(t, (<-f.operate(f.ctx, "join", alice)).err, millrace.ReasonNotFound)
	one, two := f.asGateway("gw-1"), f.asGateway("gw-2")
	for _, c := range []struct {
		one, two millrace.Reason
		want     millrace.Reason
	}{
		{millrace.ReasonNotFound, millrace.ReasonNotFound, millrace.ReasonNotFound},
		{millrace.ReasonTooManyTopics, millrace.ReasonNotFound, millrace.ReasonTooManyTopics},
		{millrace.ReasonTooManyTopics, "", ""},
		{millrace.ReasonUnavailable, millrace.ReasonTooManyTopics, millrace.ReasonTooManyTopics},
	} {
		ended := f.operate(f.ctx, "join", alice)
		one.answer(0, c.one)
		two.answer(1, c.two)
		o := <-ended
		if c.want != "" {
			refused(t, o.err, c.want)
		} else if o.err != nil || o.outcome.GetCount() != 1 || len(o.outcome.GetMissingPeers()) != 0 {
			t.Errorf("the operator is told %v", o)
		}
	}
}

func TestGatewaysThatDoNotAnswerAreNamed(t *testing.T) {
	f := serve(t, rpc.Config{CommandTimeout: 50 * time.Millisecond})
	one, two, three := f.asGateway("gw-1"), f.asGateway("gw-2"), f.asGateway("gw-3")
	ended := f.operate(f.ctx, "disconnect", alice)
	two.command()
	three.command()
	three.cancel()
	one.answer(2, "")
	if o := <-ended; o.err != nil || o.outcome.GetCount() != 2 || !slices.Equal(o.outcome.GetMissingPeers(), []string{"gw-2", "gw-3"}) {
		t.Errorf("the operator is told %v", o)
	}
	ended = f.operate(f.ctx, "disconnect", alice)
	two.command()
	one.answer(0, millrace.ReasonNotFound)
	if o := <-ended; o.err != nil || o.outcome.GetCount() != 0 || !slices.Equal(o.outcome.GetMissingPeers(), []string{"gw-2"}) {
		t.Errorf("the operator is told %v", o)
	}
}

// The caller's own deadline is not the end of what is known.
func TestWhatWasDoneIsToldBeforeTheCallersTimeIsUp(t *testing.T) {
	f := serve(t, rpc.Config{})
	one := f.asGateway("gw-1")
	f.asGateway("gw-2")
	ctx, cancel := context.WithTimeout(f.ctx, 2*time.Second)
	defer cancel()
	ended := f.operate(ctx, "disconnect", alice)
	one.answer(1, "")
	if o := <-ended; o.err != nil || o.outcome.GetCount() != 1 || !slices.Equal(o.outcome.GetMissingPeers(), []string{"gw-2"}) {
		t.Errorf("the operator is told %v", o)
	}
}

func TestCommandsToSessionsAreCheckedBeforeAnybodyIsAsked(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"root": everything("root"), "alice": everything("alice")}, Trusted: []string{"root"}})
	f.asGatewayOf("root", "gw-1")
	c := millracev1.NewAdminServiceClient(f.dial())
	ctx := bearer(f.ctx, "root")
	for call, operate := range operators {
		_, err := operate(bearer(f.ctx, "alice"), c, wire.Target(alice))
		refused(t, err, millrace.ReasonForbidden)
		for _, target := range []*millracev1.SessionTarget{
			nil,
			{},
			{Target: &millracev1.SessionTarget_Session{}},
			{Target: &millracev1.SessionTarget_Subject{}},
			{Target: &millracev1.SessionTarget_Session{Session: string(make([]byte, 5000))}},
		} {
			if _, err := operate(ctx, c, target); wire.ParseStatus(err).Reason != millrace.ReasonBadRequest {
				t.Errorf("%s of %v: %v", call, target, err)
			}
		}
	}
	to := wire.Target(alice)
	subscribe := func(s *millracev1.Subscription) error {
		_, err := c.SubscribeSession(ctx, &millracev1.SubscribeSessionRequest{Target: to, Subscription: s})
		return err
	}
	refused(t, subscribe(nil), millrace.ReasonTopicInvalid)
	refused(t, subscribe(&millracev1.Subscription{Topic: "a::b"}), millrace.ReasonTopicInvalid)
	refused(t, subscribe(&millracev1.Subscription{Topic: "a", Filter: "name ="}), millrace.ReasonFilterInvalid)
	refused(t, subscribe(&millracev1.Subscription{Topic: "a", MaxRate: -1}), millrace.ReasonBadRequest)
	_, err := c.UnsubscribeSession(ctx, &millracev1.UnsubscribeSessionRequest{Target: to})
	refused(t, err, millrace.ReasonTopicInvalid)
	_, err = c.JoinSession(ctx, &millracev1.JoinSessionRequest{Target: to, Topic: "a:*"})
	refused(t, err, millrace.ReasonTopicInvalid)
	_, err = c.JoinSession(ctx, &millracev1.JoinSessionRequest{Target: to, Topic: "a", Data: []byte("{")})
	refused(t, err, millrace.ReasonBadRequest)
	_, err = c.LeaveSession(ctx, &millracev1.LeaveSessionRequest{Target: to, Topic: "a:*"})
	refused(t, err, millrace.ReasonTopicInvalid)
	_, err = c.Disconnect(ctx, &millracev1.DisconnectRequest{Target: to, Reason: "bored"})
	refused(t, err, millrace.ReasonBadRequest)
	_, err = c.Disconnect(ctx, &millracev1.DisconnectRequest{Target: to, Message: string(make([]byte, 2000))})
	refused(t, err, millrace.ReasonBadRequest)
}

func TestADisconnectWithoutAReasonKeepsThePeersAway(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.asGateway("gw-1")
	c := millracev1.NewAdminServiceClient(f.dial())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Disconnect(f.ctx, &millracev1.DisconnectRequest{Target: wire.Target(alice)})
		ended <- err
	}()
	if d := l.answer(1, "").GetDisconnect(); d.GetReason() != "forbidden" || d.GetMessage() == "" {
		t.Errorf("the peers are told %v", d)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// local is a gateway in the broker's own process.
type local struct {
	asked chan *millracev1.SessionCommand
}

func (l local) Command(_ context.Context, m *millracev1.SessionCommand) (*millracev1.SessionResult, error) {
	l.asked <- m
	return &millracev1.SessionResult{Count: 10}, nil
}

func TestAGatewayInTheBrokersOwnProcessIsAskedToo(t *testing.T) {
	here := local{asked: make(chan *millracev1.SessionCommand, 1)}
	f := serve(t, rpc.Config{Local: map[string]rpc.Sessions{"dev": here}})
	l := f.asGateway("gw-1")
	ended := f.operate(f.ctx, "leave", alice)
	l.answer(1, "")
	if o := <-ended; o.err != nil || o.outcome.GetCount() != 11 {
		t.Errorf("the operator is told %v", o)
	}
	<-here.asked
	if o := <-f.drain(f.ctx, &millracev1.DrainRequest{Peer: "dev"}); o.err != nil || o.count != 10 {
		t.Errorf("the operator who drains is told %v", o)
	}
}

// routed is a command of a gateway for a session of another one.
func routed(id uint32) *millracev1.Command {
	return &millracev1.Command{Id: id, Kind: &millracev1.Command_SessionCommand{SessionCommand: &millracev1.SessionCommand{
		Id: 77, Target: &millracev1.SessionCommand_Session{Session: "s-1"}, Authority: &millracev1.SessionCommand_Seal{Seal: "s.x"},
		Kind: &millracev1.SessionCommand_Frame{Frame: wire.LeaveFrame("a")},
	}}}
}

func TestAGatewaysCommandGoesToTheGatewayThatHasTheSession(t *testing.T) {
	f := serve(t, rpc.Config{})
	sender, owner, other := f.asGateway("gw-1"), f.asGateway("gw-2"), f.asGateway("gw-3")
	sender.send(routed(5))
	other.answer(0, millrace.ReasonNotFound)
	m := owner.command()
	if m.GetSeal() != "s.x" || m.GetSession() != "s-1" || m.GetFrame().GetLeave().GetTopic() != "a" {
		t.Errorf("the owner is told %v", m)
	}
	left := &millracev1.ServerFrame{Kind: &millracev1.ServerFrame_Left{Left: &millracev1.LeftFrame{Topic: "a"}}}
	owner.send(result(&millracev1.SessionResult{Id: m.GetId(), Frame: left, Count: 1}))
	r := sender.reply(5).GetSession()
	if r.GetId() != 77 || r.GetCount() != 1 || !proto.Equal(r.GetFrame(), left) {
		t.Errorf("the sender is told %v", r)
	}
	for _, reason := range []millrace.Reason{millrace.ReasonConflict, millrace.ReasonNotFound, millrace.ReasonUnavailable} {
		sender.send(routed(6))
		owner.answer(0, reason)
		other.answer(0, millrace.ReasonNotFound)
		if got := sender.reply(6).GetError().GetReason(); got != string(reason) {
			t.Errorf("the sender is told %q, want %q", got, reason)
		}
	}
}

// The one that has the session need not be waited for by way of one that does not answer.
func TestAGatewayThatIsSilentDoesNotHoldUpTheAnswerOfTheOwner(t *testing.T) {
	f := serve(t, rpc.Config{CommandTimeout: time.Hour})
	sender, owner, silent := f.asGateway("gw-1"), f.asGateway("gw-2"), f.asGateway("gw-3")
	for range 100 { // none of them keeps a place
		sender.send(routed(5))
		silent.command()
		owner.answer(1, "")
		if got := sender.reply(5).GetSession(); got.GetCount() != 1 {
			t.Fatalf("the sender is told %v", got)
		}
	}
}

func TestAGatewayMayOnlyAskForASessionWithAuthorityOverIt(t *testing.T) {
	f := serve(t, rpc.Config{})
	bot, sender, other := f.join(f.client()), f.asGateway("gw-1"), f.asGateway("gw-2")
	for want, change := range map[millrace.Reason]func(m *millracev1.SessionCommand){
		millrace.ReasonForbidden: func(m *millracev1.SessionCommand) {
			m.Authority = &millracev1.SessionCommand_Operator{Operator: "root"}
		},
		millrace.ReasonUnauthorized: func(m *millracev1.SessionCommand) { m.Authority = nil },
		millrace.ReasonBadRequest:   func(m *millracev1.SessionCommand) { m.Target = &millracev1.SessionCommand_Subject{Subject: "alice"} },
	} {
		c := routed(1)
		change(c.GetSessionCommand())
		sender.send(c)
		if got := sender.reply(1).GetError().GetReason(); got != string(want) {
			t.Errorf("the sender is told %q, want %q", got, want)
		}
	}
	c := routed(1)
	c.GetSessionCommand().Kind = &millracev1.SessionCommand_Disconnect{Disconnect: &millracev1.Error{}}
	sender.send(c)
	if got := sender.reply(1).GetError().GetReason(); got != "bad_request" {
		t.Errorf("the sender is told %q", got)
	}
	bot.send(routed(1))
	if got := bot.reply(1).GetError().GetReason(); got != "forbidden" {
		t.Errorf("who is no gateway is told %q", got)
	}
	sender.send(routed(2))
	if m := other.answer(1, ""); m.GetFrame() == nil { // the first that it was asked
		t.Errorf("the other was asked %v", m)
	}
	sender.reply(2)
}

// A gateway without a subscription has a link all the same, whatever comes of its commands and how soon.
func TestCommandsThatAreRefusedAtOnceDoNotEndTheLink(t *testing.T) {
	f := serve(t, rpc.Config{})
	sender := f.asGateway("gw-1")
	for range 300 {
		var commands []*millracev1.Command
		for id := uint32(1); id <= 16; id++ {
			c := routed(id)
			c.GetSessionCommand().Authority = nil
			commands = append(commands, c)
		}
		sender.send(commands...)
		for range commands {
			if r := sender.next().GetReply(); r.GetError().GetReason() != string(millrace.ReasonUnauthorized) {
				t.Fatalf("the sender is told %v", r)
			}
		}
	}
}

func TestTheCommandsOfAGatewayToOthersAreBounded(t *testing.T) {
	f := serve(t, rpc.Config{CommandTimeout: time.Minute})
	sender, owner := f.asGateway("gw-1"), f.asGateway("gw-2")
	for id := uint32(1); id <= 64; id++ {
		sender.send(routed(id))
	}
	var ids []uint64
	for range 64 {
		ids = append(ids, owner.command().GetId())
	}
	sender.send(routed(65))
	if got := sender.reply(65).GetError().GetReason(); got != "full" {
		t.Errorf("one more is told %q", got)
	}
	for _, id := range ids {
		owner.send(result(&millracev1.SessionResult{Id: id, Count: 1}))
	}
	for range ids {
		if u := sender.next(); u.GetReply().GetSession().GetCount() != 1 {
			t.Errorf("the sender is told %v", u)
		}
	}
	sender.send(routed(66))
	owner.answer(1, "")
	sender.reply(66)
}

package sdk_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// openWith opens a link with options and returns its first far end.
func openWith(t *testing.T, opts ...sdk.LinkOption) (*sdk.Link, chan *far) {
	t.Helper()
	f, ends := links(t, always)
	l, err := f.start(t).Link(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, ends
}

// ask sends a command to the link.
func (f *far) ask(m *millracev1.SessionCommand) {
	f.say(&millracev1.Update{Kind: &millracev1.Update_SessionCommand{SessionCommand: m}})
}

// drain is a command of an operator.
func drain(id uint64, window, ends uint32) *millracev1.SessionCommand {
	return &millracev1.SessionCommand{
		Id: id, Authority: &millracev1.SessionCommand_Operator{Operator: "root"},
		Kind: &millracev1.SessionCommand_Drain{Drain: &millracev1.Goaway{WindowMs: window, EndsInMs: ends}},
	}
}

// operated is a command of an operator to a session, sealed one of its peer.
func operated(session string) *millracev1.SessionCommand {
	return &millracev1.SessionCommand{
		Id: 1, Authority: &millracev1.SessionCommand_Operator{Operator: "root"}, Target: &millracev1.SessionCommand_Session{Session: session},
	}
}

func sealed(session string) *millracev1.SessionCommand {
	m := operated(session)
	m.Authority = &millracev1.SessionCommand_Seal{Seal: "s.x"}
	return m
}

func byFrame(m *millracev1.SessionCommand, f *millracev1.ClientFrame) *millracev1.SessionCommand {
	m.Kind = &millracev1.SessionCommand_Frame{Frame: f}
	return m
}

func disconnect(m *millracev1.SessionCommand) *millracev1.SessionCommand {
	m.Kind = &millracev1.SessionCommand_Disconnect{Disconnect: &millracev1.Error{Reason: "draining", Message: "elsewhere"}}
	return m
}

// result takes the answer to a command.
func (f *far) result(t *testing.T, id uint64) *millracev1.SessionResult {
	t.Helper()
	m := (<-f.commands).GetSessionResult()
	if m == nil || m.GetId() != id {
		t.Fatalf("the link said %v; want the result of %d", m, id)
	}
	return m
}

func TestACommandGoesToTheHandlerAndItsResultBack(t *testing.T) {
	_, ends := openWith(t, sdk.AsGateway(), sdk.WithPeer("gw-1"), sdk.HandleCommands(func(_ context.Context, c sdk.Command) (sdk.Outcome, error) {
		if c.Operator != "root" {
			t.Errorf("the command is of %q", c.Operator)
		}
		switch d, _ := c.Ask.(sdk.Drain); d.Window {
		case 5 * time.Second:
			return sdk.Outcome{Sessions: int(d.Within / time.Second)}, nil
		case time.Second:
			return sdk.Outcome{}, millrace.Errorf(millrace.ReasonConflict, "as it happens")
		}
		return sdk.Outcome{}, errors.New("secret")
	}))
	f := <-ends
	if f.hello.GetPeer() != "gw-1" || !f.hello.GetGateway() {
		t.Errorf("the link began with %v", f.hello)
	}
	f.ask(drain(7, 5000, 42_000))
	if r := f.result(t, 7); r.GetCount() != 42 || r.GetError() != nil {
		t.Errorf("the result is %v", r)
	}
	f.ask(drain(8, 1000, 0))
	if r := f.result(t, 8); r.GetError().GetReason() != "conflict" || r.GetError().GetMessage() != "as it happens" {
		t.Errorf("the result is %v", r)
	}
	f.ask(drain(9, 0, 0))
	if r := f.result(t, 9); r.GetError().GetReason() != "internal" || r.GetError().GetMessage() == "secret" {
		t.Errorf("the result is %v", r)
	}
}

func TestACommandThatTheLinkDoesNotKnowIsAnswered(t *testing.T) {
	unasked := sdk.HandleCommands(func(context.Context, sdk.Command) (sdk.Outcome, error) {
		t.Error("the handler was asked")
		return sdk.Outcome{}, nil
	})
	targeted := drain(1, 0, 0)
	targeted.Target = &millracev1.SessionCommand_Session{Session: "x"}
	forged := drain(1, 0, 0)
	forged.Authority = &millracev1.SessionCommand_VerifiedSubject{VerifiedSubject: "alice"}
	badFilter := wire.SubscribeFrame(millrace.Subscription{Topic: "a"})
	badFilter.GetSubscribe().Filter = "name ="
	for name, c := range map[string]struct {
		options []sdk.LinkOption
		command *millracev1.SessionCommand
		want    millrace.Reason
	}{
		"without a handler":                     {nil, drain(1, 0, 0), millrace.ReasonUnsupported},
		"of a kind to come":                     {[]sdk.LinkOption{unasked}, &millracev1.SessionCommand{Id: 1}, millrace.ReasonUnsupported},
		"of a known kind that is not built yet": {[]sdk.LinkOption{unasked}, &millracev1.SessionCommand{Id: 1, Kind: &millracev1.SessionCommand_List{}}, millrace.ReasonUnsupported},
		"of one who may not":                    {[]sdk.LinkOption{unasked}, forged, millrace.ReasonUnauthorized},
		"to one session":                        {[]sdk.LinkOption{unasked}, targeted, millrace.ReasonBadRequest},
		"to nobody":                             {[]sdk.LinkOption{unasked}, byFrame(operated(""), wire.LeaveFrame("a")), millrace.ReasonBadRequest},
		"of a frame that is no operator's":      {[]sdk.LinkOption{unasked}, byFrame(operated("s"), &millracev1.ClientFrame{}), millrace.ReasonUnsupported},
		"of a filter that is none":              {[]sdk.LinkOption{unasked}, byFrame(operated("s"), badFilter), millrace.ReasonFilterInvalid},
		"to disconnect without an operator":     {[]sdk.LinkOption{unasked}, disconnect(sealed("s")), millrace.ReasonUnauthorized},
		"without authority":                     {[]sdk.LinkOption{unasked}, byFrame(&millracev1.SessionCommand{Id: 1}, wire.LeaveFrame("a")), millrace.ReasonUnauthorized},
		"with a seal for a subject":             {[]sdk.LinkOption{unasked}, byFrame(sealed(""), wire.LeaveFrame("a")), millrace.ReasonBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			_, ends := openWith(t, c.options...)
			f := <-ends
			f.ask(c.command)
			if r := f.result(t, 1); r.GetError().GetReason() != string(c.want) {
				t.Errorf("the result is %v, want %s", r, c.want)
			}
		})
	}
}

// TestAHandlerThatWaitsHoldsUpNothingElse has a topic's events go on and other commands done, and commands beyond the bound
// refused.
func TestAHandlerThatWaitsHoldsUpNothingElse(t *testing.T) {
	const atOnce, waiting = 16, 48
	began, release := make(chan struct{}, 100), make(chan struct{})
	l, ends := openWith(t, sdk.HandleCommands(func(ctx context.Context, c sdk.Command) (sdk.Outcome, error) {
		if d, _ := c.Ask.(sdk.Drain); d.Window > 0 {
			return sdk.Outcome{Sessions: 9}, nil
		}
		began <- struct{}{}
		select {
		case <-release:
			return sdk.Outcome{Sessions: 1}, nil
		case <-ctx.Done():
			return sdk.Outcome{}, context.Cause(ctx)
		}
	}))
	f := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	alias := f.subscription(t).GetAlias()
	for id := uint64(1); id < atOnce; id++ {
		f.ask(drain(id, 0, 0))
		<-began
	}
	f.ask(drain(99, 1, 0))
	if r := f.result(t, 99); r.GetCount() != 9 {
		t.Errorf("the result is %v", r)
	}
	f.ask(drain(atOnce, 0, 0))
	<-began
	for id := uint64(atOnce + 1); id <= atOnce+waiting+2; id++ {
		f.ask(drain(id, 0, 0))
	}
	f.say(attached(alias, "a", pos(1, 3)), events(alias, 1, 4))
	(&heard{link: l}).want(t, "a at 3", "a 4")
	for _, id := range []uint64{atOnce + waiting + 1, atOnce + waiting + 2} {
		if r := f.result(t, id); r.GetError().GetReason() != "full" {
			t.Errorf("the result is %v", r)
		}
	}
	close(release)
	for range atOnce + waiting {
		if m := (<-f.commands).GetSessionResult(); m.GetCount() != 1 {
			t.Errorf("the result is %v", m)
		}
	}
}

func TestEachKindOfCommandIsToldInWords(t *testing.T) {
	filter, err := millrace.ParseFilter(`name == "x"`)
	if err != nil {
		t.Fatal(err)
	}
	want := millrace.Subscription{Topic: "a:*", Start: millrace.Start{Kind: millrace.StartLast, Count: 3}, Filter: filter, MaxRate: 2}
	session := millrace.Target{Session: "s"}
	left := &millracev1.ServerFrame{Re: 7, Kind: &millracev1.ServerFrame_Left{Left: &millracev1.LeftFrame{Topic: "a"}}}
	answer, err := proto.Marshal(left)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := proto.Marshal(wire.LeaveFrame("a"))
	if err != nil {
		t.Fatal(err)
	}
	subject := operated("")
	subject.Target = &millracev1.SessionCommand_Subject{Subject: "alice"}
	verified := sealed("s")
	verified.Authority = &millracev1.SessionCommand_VerifiedSubject{VerifiedSubject: "alice"}
	got := make(chan sdk.Command, 1)
	_, ends := openWith(t, sdk.AsGateway(), sdk.WithPeer("gw-1"), sdk.HandleCommands(func(_ context.Context, c sdk.Command) (sdk.Outcome, error) {
		got <- c
		if _, ok := c.Ask.(sdk.PassFrame); ok {
			return sdk.Outcome{Sessions: 1, Frame: answer}, nil
		}
		return sdk.Outcome{Sessions: 3}, nil
	}))
	f := <-ends
	for _, c := range []struct {
		command *millracev1.SessionCommand
		want    sdk.Ask
	}{
		{byFrame(operated("s"), wire.SubscribeFrame(want)), sdk.SubscribeSessions{Target: session, Want: want}},
		{byFrame(operated("s"), wire.UnsubscribeFrame("a:*")), sdk.UnsubscribeSessions{Target: session, Topic: "a:*"}},
		{byFrame(operated("s"), wire.JoinFrame("a", []byte("1"))), sdk.JoinSessions{Target: session, Topic: "a", Data: []byte("1")}},
		{byFrame(subject, wire.LeaveFrame("a")), sdk.LeaveSessions{Target: millrace.Target{Subject: "alice"}, Topic: "a"}},
		{disconnect(operated("s")), sdk.DisconnectSessions{Target: session, Err: millrace.Errorf(millrace.ReasonDraining, "elsewhere")}},
		{byFrame(sealed("s"), wire.LeaveFrame("a")), sdk.PassFrame{Session: "s", Seal: "s.x", Frame: frame}},
		{byFrame(verified, wire.LeaveFrame("a")), sdk.PassFrame{Session: "s", Subject: "alice", Frame: frame}},
	} {
		f.ask(c.command)
		r := f.result(t, 1)
		told := <-got
		if !reflect.DeepEqual(told.Ask, c.want) {
			t.Errorf("the handler is asked %+v, want %+v", told.Ask, c.want)
		}
		if _, passed := c.want.(sdk.PassFrame); passed {
			if told.Operator != "" || r.GetCount() != 1 || !proto.Equal(r.GetFrame(), left) {
				t.Errorf("the result of %+v is %v", told, r)
			}
		} else if told.Operator != "root" || r.GetCount() != 3 || r.GetFrame() != nil {
			t.Errorf("the result of %+v is %v", told, r)
		}
	}
}

func TestCommandsEndWithTheirStreamAndGoOnWithTheNext(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	l, ends := openWith(t, sdk.HandleCommands(func(ctx context.Context, c sdk.Command) (sdk.Outcome, error) {
		if d, _ := c.Ask.(sdk.Drain); d.Window == 0 {
			return sdk.Outcome{Sessions: 5}, nil
		}
		close(began)
		<-ctx.Done()
		close(ended)
		return sdk.Outcome{}, context.Cause(ctx)
	}))
	first := <-ends
	first.ask(drain(1, 1, 0))
	<-began
	first.end <- status(millrace.ReasonUnavailable)
	<-ended
	second := <-ends
	second.ask(drain(1, 0, 0))
	if r := second.result(t, 1); r.GetCount() != 5 {
		t.Errorf("the result is %v", r)
	}
	l.Close()
}

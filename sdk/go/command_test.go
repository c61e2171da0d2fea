package sdk_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
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

// TestAHandlerThatWaitsHoldsUpNothingElse has a topic's events go on, and commands beyond the bound refused.
func TestAHandlerThatWaitsHoldsUpNothingElse(t *testing.T) {
	began, release := make(chan struct{}, 100), make(chan struct{})
	l, ends := openWith(t, sdk.HandleCommands(func(ctx context.Context, _ sdk.Command) (sdk.Outcome, error) {
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
	f.ask(drain(1, 0, 0))
	<-began
	for id := uint64(2); id < 20; id++ {
		f.ask(drain(id, 0, 0)) // 16 wait
	}
	f.say(attached(alias, "a", pos(1, 3)), events(alias, 1, 4))
	(&heard{link: l}).want(t, "a at 3", "a 4")
	for _, id := range []uint64{18, 19} {
		if r := f.result(t, id); r.GetError().GetReason() != "full" {
			t.Errorf("the result is %v", r)
		}
	}
	close(release)
	for id := uint64(1); id < 18; id++ {
		if r := f.result(t, id); r.GetCount() != 1 {
			t.Errorf("the result is %v", r)
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

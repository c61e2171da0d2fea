package sdk_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// leaving is a frame to pass on for a session.
func leaving(t *testing.T, session string) sdk.PassFrame {
	t.Helper()
	b, err := proto.Marshal(wire.LeaveFrame("a"))
	if err != nil {
		t.Fatal(err)
	}
	return sdk.PassFrame{Session: session, Seal: "s.x", Frame: b}
}

// failed checks why a call failed.
func failed(t *testing.T, err error, want millrace.Reason) {
	t.Helper()
	if e := millrace.AsError(err); e == nil || e.Reason != want {
		t.Errorf("failed with %v, want %s", err, want)
	}
}

func TestAFrameIsPassedOnToTheGatewayThatHasTheSession(t *testing.T) {
	answer, err := proto.Marshal(&millracev1.ServerFrame{Kind: &millracev1.ServerFrame_Left{Left: &millracev1.LeftFrame{Topic: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	has := func(session string) sdk.CommandHandler {
		return func(_ context.Context, c sdk.Command) (sdk.Outcome, error) {
			p, ok := c.Ask.(sdk.PassFrame)
			switch {
			case !ok || c.Operator != "":
				t.Errorf("a gateway is asked %+v", c)
			case p.Session != session:
				return sdk.Outcome{}, millrace.Errorf(millrace.ReasonNotFound, "not here")
			case p.Seal != "s.x":
				return sdk.Outcome{}, millrace.Errorf(millrace.ReasonConflict, "as scripted")
			}
			return sdk.Outcome{Sessions: 1, Frame: answer}, nil
		}
	}
	c := gateways(t, rpc.Config{}, map[string]sdk.CommandHandler{"gw-1": has("s-1"), "gw-2": has("s-2")})
	l, err := c.Link(sdk.AsGateway(), sdk.WithPeer("gw-3"))
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range []string{"s-1", "s-2"} {
		o, err := l.Pass(t.Context(), leaving(t, session))
		if err != nil || o.Sessions != 1 || !bytes.Equal(o.Frame, answer) {
			t.Errorf("%s: %+v, %v", session, o, err)
		}
	}
	_, err = l.Pass(t.Context(), leaving(t, "s-3"))
	failed(t, err, millrace.ReasonNotFound)
	other := leaving(t, "s-1")
	other.Seal, other.Subject = "", "alice"
	_, err = l.Pass(t.Context(), other)
	failed(t, err, millrace.ReasonConflict)
	other.Subject = ""
	_, err = l.Pass(t.Context(), other)
	failed(t, err, millrace.ReasonUnauthorized)
	other.Session = ""
	_, err = l.Pass(t.Context(), other)
	failed(t, err, millrace.ReasonBadRequest)
	other.Session, other.Frame = "s-1", []byte("garbage")
	_, err = l.Pass(t.Context(), other)
	failed(t, err, millrace.ReasonBadRequest)
	l.Close()
	_, err = l.Pass(t.Context(), leaving(t, "s-1"))
	failed(t, err, millrace.ReasonCanceled)
}

// pass passes a frame on in a goroutine of its own.
func pass(ctx context.Context, l *sdk.Link, f sdk.PassFrame) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := l.Pass(ctx, f)
		ended <- err
	}()
	return ended
}

func TestAFrameWhoseStreamEndsIsNotSentAgain(t *testing.T) {
	l, ends := openWith(t, sdk.AsGateway(), sdk.WithPeer("gw-1"))
	first := <-ends
	ended := pass(t.Context(), l, leaving(t, "s-1"))
	if m := (<-first.commands).GetSessionCommand(); m.GetSession() != "s-1" || m.GetSeal() != "s.x" {
		t.Errorf("the broker is told %v", m)
	}
	first.end <- status(millrace.ReasonUnavailable)
	failed(t, <-ended, millrace.ReasonUnavailable)
	second := <-ends
	ended = pass(t.Context(), l, leaving(t, "s-2"))
	m := <-second.commands
	if m.GetSessionCommand().GetSession() != "s-2" {
		t.Errorf("the broker is told %v", m)
	}
	reply := func(id uint32) *millracev1.Update {
		return &millracev1.Update{Kind: &millracev1.Update_Reply{Reply: &millracev1.Reply{Id: id, Outcome: &millracev1.Reply_Session{Session: &millracev1.SessionResult{}}}}}
	}
	second.say(reply(m.GetId()+1), reply(7), reply(m.GetId()), reply(m.GetId()))
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFramesThatArePassedOnAreBounded(t *testing.T) {
	l, ends := openWith(t, sdk.AsGateway(), sdk.WithPeer("gw-1"))
	f := <-ends
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	var waiting []<-chan error
	for range 64 {
		waiting = append(waiting, pass(ctx, l, leaving(t, "s-1")))
		<-f.commands
	}
	_, err := l.Pass(t.Context(), leaving(t, "s-1"))
	failed(t, err, millrace.ReasonFull)
	cancel()
	for _, ended := range waiting {
		failed(t, <-ended, millrace.ReasonCanceled)
	}
	ctx, cancel = context.WithCancel(t.Context())
	ended := pass(ctx, l, leaving(t, "s-1"))
	<-f.commands // there is room again
	cancel()
	failed(t, <-ended, millrace.ReasonCanceled)
	huge := leaving(t, "s-1")
	if huge.Frame, err = proto.Marshal(wire.JoinFrame("a", make([]byte, 2<<20))); err != nil {
		t.Fatal(err)
	}
	_, err = l.Pass(t.Context(), huge)
	failed(t, err, millrace.ReasonTooLarge)
}

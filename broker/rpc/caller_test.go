package rpc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// grants is an Authenticator whose tokens are names.
type grants map[string]*millrace.Grant

func (g grants) Authenticate(_ context.Context, token string) (*millrace.Grant, error) {
	if grant := g[token]; grant != nil {
		return grant, nil
	}
	if token == "old" {
		return nil, millrace.Errorf(millrace.ReasonTokenExpired, "the token has expired")
	}
	return nil, millrace.Errorf(millrace.ReasonUnauthorized, "the token is not known")
}

func bearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func TestACallerIsKnownByItsTokenBeforeAnythingElse(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": everything("alice")}})
	c := f.client()
	with := func(values ...string) context.Context {
		return metadata.NewOutgoingContext(f.ctx, metadata.MD{"authorization": values})
	}
	for _, test := range []struct {
		name string
		ctx  context.Context
		want millrace.Reason
	}{
		{"no token", with(), millrace.ReasonUnauthorized},
		{"an unknown token", with("Bearer bob"), millrace.ReasonUnauthorized},
		{"an old token", with("Bearer old"), millrace.ReasonTokenExpired},
		{"another scheme", with("Basic alice"), millrace.ReasonUnauthorized},
		{"two tokens", with("Bearer alice", "Bearer alice"), millrace.ReasonUnauthorized},
		{"no scheme", with("alice"), millrace.ReasonUnauthorized},
		{"an empty token", with("Bearer "), millrace.ReasonUnauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.Publish(test.ctx, &millracev1.PublishRequest{})
			refused(t, err, test.want)
			stream, err := c.Join(test.ctx)
			if err != nil {
				t.Fatal(err)
			}
			_, err = stream.Recv()
			refused(t, err, test.want)
		})
	}
	_, err := c.Publish(with("bearer alice"), &millracev1.PublishRequest{})
	refused(t, err, millrace.ReasonBadRequest)
}

func TestATokenIsRefusedWhereNoneAreTaken(t *testing.T) {
	f := serve(t, rpc.Config{})
	_, err := f.client().Publish(bearer(f.ctx, "alice"), &millracev1.PublishRequest{})
	refused(t, err, millrace.ReasonUnauthorized)
}

func TestEachActionNeedsItsGrantOnTheTopic(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": {Subject: "alice", Rules: []millrace.Rule{
		{Pattern: "chat:*", Actions: millrace.ActionSubscribe},
		{Pattern: "log:*", Actions: millrace.ActionHistory},
	}}}})
	c := f.client()
	ctx := bearer(f.ctx, "alice")
	_, err := c.History(ctx, &millracev1.HistoryRequest{Topic: "chat:1"})
	refused(t, err, millrace.ReasonForbidden)
	if _, err := c.History(ctx, &millracev1.HistoryRequest{Topic: "log:1"}); err != nil {
		t.Error(err)
	}
	_, err = c.Presence(ctx, &millracev1.PresenceRequest{Topic: "chat:1"})
	refused(t, err, millrace.ReasonForbidden)
	f.ctx = ctx
	s := f.subscribe(c, &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "log:1"}, {Topic: "chat:1"}}})
	s.refusedWith(1, millrace.ReasonForbidden)
	s.attached(2, "chat:1")
}

func TestAStreamEndsWhenItsTokenExpires(t *testing.T) {
	grant := everything("alice")
	grant.Expires = time.Now().Add(100 * time.Millisecond)
	f := serve(t, rpc.Config{Authenticator: grants{"alice": grant}})
	c := f.client()
	f.ctx = bearer(f.ctx, "alice")
	refused(t, f.open(c).end(), millrace.ReasonTokenExpired)
	s := f.subscribe(c, &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	_ = s // whether it was attached before is a matter of speed
	for {
		if _, err := s.recv(); err != nil {
			refused(t, err, millrace.ReasonTokenExpired)
			return
		}
	}
}

func TestAFreshTokenKeepsALinkAndItsGrantCounts(t *testing.T) {
	soon := everything("alice")
	soon.Expires = time.Now().Add(150 * time.Millisecond)
	fresh := &millrace.Grant{Subject: "alice", Rules: []millrace.Rule{{Pattern: "chat:*", Actions: millrace.ActionSubscribe}}}
	f := serve(t, rpc.Config{Authenticator: grants{"soon": soon, "fresh": fresh, "bob": everything("bob")}})
	c := f.client()
	f.ctx = bearer(f.ctx, "soon")
	l := f.join(c)
	l.send(subscribe(1, "chat:1", millrace.Start{}), subscribe(2, "price:1", millrace.Start{}))
	for range 2 {
		if l.next().GetAttached() == nil {
			t.Fatal("it was not attached")
		}
	}
	refresh := func(id uint32, token string) *millracev1.Command {
		return &millracev1.Command{Id: id, Kind: &millracev1.Command_Refresh{Refresh: &millracev1.Refresh{Token: token}}}
	}
	l.send(refresh(7, "bob"))
	if got := l.reply(7).GetError().GetReason(); got != "forbidden" {
		t.Errorf("the token of another is answered %q", got)
	}
	l.send(refresh(8, "nobody"))
	if got := l.reply(8).GetError().GetReason(); got != "unauthorized" {
		t.Errorf("a token that does not hold is answered %q", got)
	}
	l.send(refresh(9, "fresh"))
	l.refusedWith(2, millrace.ReasonForbidden)
	if r := l.reply(9); r.GetOutcome() != nil {
		t.Errorf("a good token is answered %v", r)
	}
	// The old one's time passes, and the link is still there.
	timer := time.NewTimer(time.Until(soon.Expires.Add(50 * time.Millisecond)))
	<-timer.C
	f.publish("price:1", 1)
	f.publish("chat:1", 1)
	l.events(1, millrace.Position{}, 1)
	l.send(publish(10, &millracev1.NewEvent{Topic: "chat:1", Data: []byte("1")}))
	if got := l.reply(10).GetAck().GetError().GetReason(); got != "forbidden" {
		t.Errorf("a publish that the new grant does not cover is answered %q", got)
	}
}

func TestOnlyAGatewaysTokenOpensAGatewaysLink(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": everything("alice"), "gateway": everything("gateway")}, Trusted: []string{"gateway"}})
	c := f.client()
	ctx := f.ctx
	hello := &millracev1.Hello{Gateway: true, Peer: "gw-1"}
	f.ctx = bearer(ctx, "gateway")
	f.greet(c, hello)
	f.ctx = bearer(ctx, "alice")
	l := f.open(c)
	l.send(&millracev1.Command{Kind: &millracev1.Command_Hello{Hello: hello}})
	refused(t, l.end(), millrace.ReasonForbidden)
}

// fault is an Authenticator that does not work.
type fault struct{}

func (fault) Authenticate(context.Context, string) (*millrace.Grant, error) {
	return nil, errors.New("connect to 10.0.0.7: password hunter2 refused")
}

func TestLifecycleLogsAreReadByThoseWhoMaySeeTheMembersAndPublishedToByNobody(t *testing.T) {
	blind := &millrace.Grant{Subject: "bob", Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionSubscribe | millrace.ActionHistory}}}
	f := serve(t, rpc.Config{
		Authenticator: grants{"alice": everything("alice"), "bob": blind, "gateway": everything("gateway")}, Trusted: []string{"gateway"},
	})
	c := f.client()
	for _, test := range []struct {
		token, topic string
		want         millrace.Reason
	}{
		{"gateway", "$presence:chat:1", ""},
		{"gateway", "$presence:**", ""},
		{"gateway", "$sessions", ""},
		{"alice", "$presence:chat:1", ""},
		{"alice", "$presence:**", ""},
		{"alice", "$sessions", millrace.ReasonForbidden},
		{"bob", "$presence:chat:1", millrace.ReasonForbidden},
		{"bob", "$presence:**", millrace.ReasonForbidden},
		{"bob", "$sessions", millrace.ReasonForbidden},
	} {
		ctx := bearer(f.ctx, test.token)
		stream, err := c.Subscribe(ctx, &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: test.topic}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := r.GetUpdates()[0].GetRefused().GetReason(); got != string(test.want) {
			t.Errorf("%s subscribes to %s and is told %v", test.token, test.topic, r)
		}
		p, err := c.Publish(ctx, &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: "$presence:chat:1", Data: []byte("1")}}})
		if err != nil || p.GetAcks()[0].GetError().GetReason() != string(millrace.ReasonForbidden) {
			t.Errorf("%s publishes and is answered %v, %v", test.token, p, err)
		}
	}
}

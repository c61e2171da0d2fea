package sdk_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// gateways opens a link of a gateway for each handler, and returns a client of their broker.
func gateways(t *testing.T, config rpc.Config, handlers map[string]sdk.CommandHandler) *sdk.Client {
	t.Helper()
	c := dial(t, startBroker(t, "127.0.0.1:0", newLog(t), config).target)
	for peer, h := range handlers {
		l, err := c.Link(sdk.AsGateway(), sdk.WithPeer(peer), sdk.HandleCommands(h))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		ready(t, l)
	}
	return c
}

// ready waits until the broker has the link.
func ready(t *testing.T, l *sdk.Link) {
	t.Helper()
	mustSubscribe(t, l, "ready", millrace.Start{})
	if _, err := l.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// asks is a backend's call of each kind, and what it asks of a gateway.
func asks(c *sdk.Client, target millrace.Target) map[string]func(ctx context.Context) (sdk.Reached, sdk.Ask, error) {
	want := millrace.Subscription{Topic: "a", Start: millrace.Start{Kind: millrace.StartLast, Count: 5}}
	return map[string]func(ctx context.Context) (sdk.Reached, sdk.Ask, error){
		"subscribe": func(ctx context.Context) (sdk.Reached, sdk.Ask, error) {
			r, err := c.SubscribeSessions(ctx, target, want)
			return r, sdk.SubscribeSessions{Target: target, Want: want}, err
		},
		"unsubscribe": func(ctx context.Context) (sdk.Reached, sdk.Ask, error) {
			r, err := c.UnsubscribeSessions(ctx, target, "a")
			return r, sdk.UnsubscribeSessions{Target: target, Topic: "a"}, err
		},
		"join": func(ctx context.Context) (sdk.Reached, sdk.Ask, error) {
			r, err := c.JoinSessions(ctx, target, "a", []byte(`{"b":1}`))
			return r, sdk.JoinSessions{Target: target, Topic: "a", Data: []byte(`{"b":1}`)}, err
		},
		"leave": func(ctx context.Context) (sdk.Reached, sdk.Ask, error) {
			r, err := c.LeaveSessions(ctx, target, "a")
			return r, sdk.LeaveSessions{Target: target, Topic: "a"}, err
		},
		"disconnect": func(ctx context.Context) (sdk.Reached, sdk.Ask, error) {
			r, err := c.Disconnect(ctx, target, millrace.ReasonDraining, "elsewhere")
			return r, sdk.DisconnectSessions{Target: target, Err: millrace.Errorf(millrace.ReasonDraining, "elsewhere")}, err
		},
	}
}

func TestABackendReachesTheSessionsOfAllGateways(t *testing.T) {
	asked := make(chan sdk.Ask, 2)
	answer := func(n int) sdk.CommandHandler {
		return func(_ context.Context, c sdk.Command) (sdk.Outcome, error) {
			asked <- c.Ask
			return sdk.Outcome{Sessions: n}, nil
		}
	}
	c := gateways(t, rpc.Config{}, map[string]sdk.CommandHandler{"gw-1": answer(2), "gw-2": answer(3)})
	for _, target := range []millrace.Target{{Subject: "alice"}, {Session: "s-1"}} {
		for call, ask := range asks(c, target) {
			r, want, err := ask(t.Context())
			if err != nil || r.Sessions != 5 || len(r.Missing) != 0 {
				t.Errorf("%s of %s: %+v, %v", call, target, r, err)
			}
			for range 2 {
				if got := <-asked; !reflect.DeepEqual(got, want) {
					t.Errorf("%s of %s: a gateway is asked %+v, want %+v", call, target, got, want)
				}
			}
		}
	}
}

func TestABackendIsToldWhyItReachedNobody(t *testing.T) {
	why := millrace.ReasonNotFound
	c := gateways(t, rpc.Config{}, map[string]sdk.CommandHandler{"gw-1": func(context.Context, sdk.Command) (sdk.Outcome, error) {
		return sdk.Outcome{}, millrace.Errorf(why, "as scripted")
	}})
	for _, why = range []millrace.Reason{millrace.ReasonNotFound, millrace.ReasonTooManyTopics} {
		for call, ask := range asks(c, millrace.Target{Subject: "alice"}) {
			if _, _, err := ask(t.Context()); millrace.AsError(err) == nil || millrace.AsError(err).Reason != why {
				t.Errorf("%s: %v, want %s", call, err, why)
			}
		}
	}
	for call, ask := range asks(c, millrace.Target{}) {
		if _, _, err := ask(t.Context()); millrace.AsError(err) == nil || millrace.AsError(err).Reason != millrace.ReasonBadRequest {
			t.Errorf("%s of nobody: %v", call, err)
		}
	}
}

func TestABackendIsToldWhichGatewaysDidNotAnswer(t *testing.T) {
	c := gateways(t, rpc.Config{CommandTimeout: 100 * time.Millisecond}, map[string]sdk.CommandHandler{
		"gw-1": func(context.Context, sdk.Command) (sdk.Outcome, error) { return sdk.Outcome{Sessions: 1}, nil },
		"gw-2": func(ctx context.Context, _ sdk.Command) (sdk.Outcome, error) {
			<-ctx.Done()
			return sdk.Outcome{}, context.Cause(ctx)
		},
	})
	r, err := c.Disconnect(t.Context(), millrace.Target{Subject: "alice"}, millrace.ReasonForbidden, "")
	if err != nil || r.Sessions != 1 || !slices.Equal(r.Missing, []string{"gw-2"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

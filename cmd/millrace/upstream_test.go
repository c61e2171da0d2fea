package main_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// A gateway has no private door to the broker: the broker in the same process and the SDK's link to one in another are
// held to the same promises.

const keeps = 200

// term is how long a lease lasts: as long as a busy machine may take to renew it.
const term = 2 * time.Second

// backing is a broker whose log can be lost.
type backing struct {
	*broker.Broker
	log *brokertest.Forgetful
}

func newBacking(t *testing.T) backing {
	t.Helper()
	open := func() broker.Log {
		l, err := memlog.New(memlog.Config{Rules: []broker.Rule{
			{Pattern: "latest:**", MaxEvents: keeps, Class: millrace.ClassLatest},
			{Pattern: "ephemeral:**", Class: millrace.ClassEphemeral},
			{Pattern: "**", MaxEvents: keeps},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	log := brokertest.NewForgetful(open)
	b, err := broker.New(broker.Config{LeaseTerm: term}, log, memlog.NewRoster(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Stop()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return backing{Broker: b, log: log}
}

func (b backing) harness(t *testing.T) gatewaytest.UpstreamHarness {
	return gatewaytest.UpstreamHarness{
		Keeps: keeps,
		Behind: func(events ...*millrace.Event) {
			var batch []millrace.Publish
			for _, e := range events {
				batch = append(batch, millrace.Publish{Event: e})
			}
			acks, err := b.Publish(context.Background(), batch)
			if err != nil {
				t.Error(err)
			}
			for _, a := range acks {
				if a.Err != nil {
					t.Error(a.Err)
				}
			}
		},
		Reset: func(string) {
			if err := b.log.Forget(); err != nil {
				t.Error(err)
			}
		},
	}
}

// upstream is the broker as a gateway in its process has it.
func (b backing) upstream(t *testing.T, name string) (_ gateway.Upstream, end func()) {
	t.Helper()
	feed := b.NewFeed()
	t.Cleanup(feed.Close)
	members, err := b.Hold(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(members.Close)
	u := struct {
		*broker.Broker
		*broker.Feed
		*broker.Holder
	}{b.Broker, feed, members}
	return u, func() {
		feed.Close()
		members.Close()
	}
}

func TestTheBrokerItselfIsAnUpstream(t *testing.T) {
	gatewaytest.TestUpstream(t, func(t *testing.T) gatewaytest.UpstreamHarness {
		b := newBacking(t)
		h := b.harness(t)
		h.Upstream, h.Close = b.upstream(t, "first")
		h.Second = func() (gateway.Upstream, func()) { return b.upstream(t, "second") }
		return h
	})
}

func TestTheLinkOfTheSDKIsAnUpstream(t *testing.T) {
	gatewaytest.TestUpstream(t, func(t *testing.T) gatewaytest.UpstreamHarness {
		b := newBacking(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		down := serve(t, b, l)
		t.Cleanup(func() { down() })
		h := b.harness(t)
		h.Upstream, h.Close = link(t, addr)
		h.Second = func() (gateway.Upstream, func()) { return link(t, addr) }
		h.Sever = func() (heal func()) {
			down()
			return func() {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				down = serve(t, b, l)
			}
		}
		return h
	})
}

// link is the SDK's link to a broker.
func link(t *testing.T, addr string) (_ gateway.Upstream, end func()) {
	t.Helper()
	client, err := sdk.Dial(addr, sdk.WithInsecurePlaintext(), sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	link, err := client.Link(sdk.AsGateway())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	return link, link.Close
}

// serve serves a broker over gRPC until down is called.
func serve(t *testing.T, b backing, l net.Listener) (down func()) {
	t.Helper()
	everything := &millrace.Grant{Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}}
	server, err := rpc.New(rpc.Config{Anonymous: everything, Log: slog.New(slog.DiscardHandler)}, b.Broker)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Error(err)
		}
	})
	return sync.OnceFunc(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		if err := server.Shutdown(now); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		served.Wait()
	})
}

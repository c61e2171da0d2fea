package rpc_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

func TestHealthFollowsTheServer(t *testing.T) {
	f := serve(t, rpc.Config{})
	health := grpc_health_v1.NewHealthClient(f.dial())
	for _, name := range []string{"", "millrace.v1.BrokerService", "millrace.v1.AdminService"} {
		r, err := health.Check(f.ctx, &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q is %v, %v", name, r.GetStatus(), err)
		}
	}
	watch, err := health.Watch(f.ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("the watch says %v, %v", r.GetStatus(), err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := f.server.Shutdown(f.ctx); err != nil {
			t.Error(err)
		}
	}()
	if r, err := watch.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("when the server stops, the watch says %v, %v", r.GetStatus(), err)
	}
	<-stopped
}

func TestReflectionListsTheServices(t *testing.T) {
	f := serve(t, rpc.Config{})
	stream, err := reflectionv1.NewServerReflectionClient(f.dial()).ServerReflectionInfo(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	list := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	var names []string
	for _, s := range list.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	for _, want := range []string{"millrace.v1.BrokerService", "millrace.v1.AdminService", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
		file := ask(&reflectionv1.ServerReflectionRequest{
			MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: want},
		})
		if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("there is no description of %s: %v", want, file.GetErrorResponse())
		}
	}
}

func TestABadConfigIsRefusedWithAllItsFaults(t *testing.T) {
	_, err := rpc.New(rpc.Config{MaxStreams: -1, StreamAge: -1, BatchBytes: -1}, nil)
	if err == nil {
		t.Fatal("it was taken")
	}
	var faults interface{ Unwrap() []error }
	if !errors.As(err, &faults) || len(faults.Unwrap()) != 4 {
		t.Errorf("want four faults, got: %v", err)
	}
	if _, err := rpc.New(rpc.Config{Anonymous: everything(""), MaxMessageBytes: 10}, nil); err == nil {
		t.Error("messages too small for events were taken")
	}
	if err := (rpc.Config{Anonymous: everything(""), MaxEventBytes: 16 << 20}).Validate(); err != nil {
		t.Errorf("large events alone are refused: %v", err)
	}
}

func TestShutdownSendsStreamsAwayFirst(t *testing.T) {
	f := serve(t, rpc.Config{DrainGrace: 50 * time.Millisecond})
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	l.attached(1, "a")
	sub := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	sub.attached(1, "a")
	publishing, err := f.client().PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publishing.Recv(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- f.server.Shutdown(f.ctx) }()
	for _, s := range []*tap{&l.tap, sub} {
		g := s.next().GetGoaway()
		if g.GetReason() != "draining" || g.GetEndsInMs() != 50 || g.GetWindowMs() == 0 {
			t.Errorf("the goaway is %v", g)
		}
		refused(t, s.end(), millrace.ReasonDraining)
	}
	if r, err := publishing.Recv(); err != nil || r.GetGoaway().GetReason() != "draining" {
		t.Errorf("the publish stream is told %v, %v", r, err)
	}
	_, err = publishing.Recv()
	refused(t, err, millrace.ReasonDraining)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBoundedWhateverPeersDo(t *testing.T) {
	f := serve(t, rpc.Config{DrainGrace: time.Hour})
	l := f.join(f.client())
	ctx, cancel := context.WithCancel(f.ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- f.server.Shutdown(ctx) }()
	if l.next().GetGoaway() == nil {
		t.Error("no goaway came")
	}
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("a shutdown that was cut short says %v", err)
	}
	if err := l.end(); err == nil {
		t.Error("the link ended well")
	}
}

func TestWhoLeavesAtAGoawayEndsTheShutdown(t *testing.T) {
	f := serve(t, rpc.Config{DrainGrace: time.Hour})
	l := f.join(f.client())
	stopped := make(chan error, 1)
	go func() { stopped <- f.server.Shutdown(f.ctx) }()
	if l.next().GetGoaway() == nil {
		t.Error("no goaway came")
	}
	l.cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Promise: docs/delivery.md 7.4.
func TestStreamsEndByAgeAfterAGoaway(t *testing.T) {
	f := serve(t, rpc.Config{StreamAge: time.Millisecond, StreamGrace: 40 * time.Millisecond})
	l := f.join(f.client())
	sub := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	for _, s := range []*tap{&l.tap, sub} {
		u := s.next()
		for u.GetAttached() != nil {
			u = s.next()
		}
		if g := u.GetGoaway(); g.GetReason() != "draining" || g.GetEndsInMs() != 40 {
			t.Errorf("the goaway is %v", u)
		}
		refused(t, s.end(), millrace.ReasonDraining)
	}
}

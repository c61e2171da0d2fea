// Package rpc is the gRPC front of a broker: it serves BrokerService and the part of AdminService that there is something
// to say for, with health and reflection.
//
// What it adds to the broker is the wire. Publishers get an ack for each event. A subscriber or link is fed from the
// topics' tails by one goroutine, which sends in one message whatever came up while the last one was on its way, so that
// batches grow with the load and nothing ever waits for a timer. An event is encoded once for all streams. A peer that
// does not take what it asked for holds up nobody else: what it has not fetched stays in the tails and logs.
package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc/internal/message"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

const (
	maxHeaderBytes    = 32 << 10         // of a call's metadata, the token included
	connectionTimeout = 10 * time.Second // for the handshake of a connection

	// readAhead is how much larger than allowed a message may be for its refusal to have a name. What is larger still is
	// refused by gRPC before it is read.
	readAhead = 2
)

// Server serves a broker over gRPC. All methods may be called concurrently.
type Server struct {
	// Static.
	config  Config
	broker  *broker.Broker
	grpc    *grpc.Server
	health  *health.Server
	started time.Time
	buffers message.Buffers

	work sync.WaitGroup // the goroutines of open streams

	mu          sync.Mutex
	calls       map[*call]struct{} // protected by mu
	links       map[*link]struct{} // protected by mu
	subscribers int                // protected by mu; open Subscribe streams
	draining    bool               // protected by mu
}

// service answers backends and gateways.
type service struct {
	millracev1.UnimplementedBrokerServiceServer
	*Server
}

// New returns a server of a broker. The broker stays the caller's, to be stopped after Shutdown.
func New(config Config, b *broker.Broker) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		config:  config.withDefaults(),
		broker:  b,
		health:  health.NewServer(),
		started: time.Now(),
		calls:   map[*call]struct{}{},
		links:   map[*link]struct{}{},
	}
	if s.config.Broker == "" {
		s.config.Broker = rand.Text()
	}
	c := &s.config
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(message.NewCodec()),
		grpc.MaxRecvMsgSize(readAhead*c.MaxMessageBytes),
		grpc.MaxConcurrentStreams(uint32(c.MaxStreams)),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(connectionTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: c.PingInterval, Timeout: c.PingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	s.grpc.RegisterService(s.guard(millracev1.BrokerService_ServiceDesc), &service{Server: s})
	s.grpc.RegisterService(s.guard(millracev1.AdminService_ServiceDesc), &admin{Server: s})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	for _, name := range []string{"", millracev1.BrokerService_ServiceDesc.ServiceName, millracev1.AdminService_ServiceDesc.ServiceName} {
		s.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	reflection.Register(s.grpc)
	return s, nil
}

// Serve answers on a listener, which it closes, until Shutdown; then it returns nil. It may be called for several.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

// Shutdown takes no new connections and streams, tells the peers of open ones to go on elsewhere, and waits until they
// did or DrainGrace is over; calls that are still there then are cut off. If ctx ends before, that happens at once, and
// is the error. All goroutines of the server have ended when it returns. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.dismiss(s.config.DrainGrace/2, s.config.DrainGrace)

	// Streams of others, such as of health and reflection, know no goaway.
	bound, cancel := context.WithTimeout(ctx, s.config.DrainGrace+drainSlack)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.grpc.GracefulStop()
	}()
	var err error
	select {
	case <-gone:
	case <-bound.Done():
		if ctx.Err() != nil {
			err = fmt.Errorf("shut down gRPC: %w", context.Cause(ctx))
		}
		s.grpc.Stop()
		<-gone
	}
	s.work.Wait()
	return err
}

// dismiss takes no new streams and tells the peers of open ones to go on elsewhere, each at a moment of its own within the
// window. Those that are still open after a grace are ended. It returns how many there are.
func (s *Server) dismiss(window, grace time.Duration) int {
	s.health.Shutdown()
	s.mu.Lock()
	s.draining = true
	open := make([]*call, 0, len(s.calls))
	for c := range s.calls {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		c.leave("the broker is going away", window, grace)
	}
	return len(open)
}

// drainSlack is how long the last statuses may take to get to their peers.
const drainSlack = time.Second

package rpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc/internal/message"
	"github.com/millrace-dev/millrace/proto/wire"
)

// guard returns the service with each method behind what all have in common: the caller is known before anything of the
// request is read, and whatever goes wrong leaves as a status that names its reason. These are not interceptors, as those
// of unary calls come too late for both.
func (s *Server) guard(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	desc.Methods = slices.Clone(desc.Methods)
	for i := range desc.Methods {
		m := &desc.Methods[i]
		name, handle := m.MethodName, m.Handler
		m.Handler = func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			c, refusal := s.identify(ctx)
			if refusal != nil {
				return nil, s.status(name, nil, refusal)
			}
			ctx = context.WithValue(ctx, callerKey{}, c)
			response, err := handle(srv, ctx, func(m any) error { return s.receive(m, decode) }, nil)
			return response, s.status(name, c, err)
		}
	}
	desc.Streams = slices.Clone(desc.Streams)
	for i := range desc.Streams {
		d := &desc.Streams[i]
		name, handle := d.StreamName, d.Handler
		d.Handler = func(srv any, stream grpc.ServerStream) error {
			c, refusal := s.identify(stream.Context())
			if refusal != nil {
				return s.status(name, nil, refusal)
			}
			ctx := context.WithValue(stream.Context(), callerKey{}, c)
			return s.status(name, c, handle(srv, &guarded{ServerStream: stream, server: s, ctx: ctx}))
		}
	}
	return &desc
}

// guarded is a stream behind its guard.
type guarded struct {
	grpc.ServerStream

	server *Server
	ctx    context.Context //nolint:containedctx // it is what a grpc.ServerStream has to return
}

func (g *guarded) Context() context.Context { return g.ctx }

func (g *guarded) RecvMsg(m any) error { return g.server.receive(m, g.ServerStream.RecvMsg) }

// receive reads a message. An error is io.EOF or a *millrace.Error.
func (s *Server) receive(m any, read func(any) error) error {
	in := message.Incoming{Message: m, Limit: s.config.MaxMessageBytes}
	switch err := read(&in); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return wire.ParseStatus(err)
	case in.Refusal != nil:
		return in.Refusal
	}
	return nil
}

// status returns the status that an error leaves as, nil for nil. It is the place where errors of calls are logged.
func (s *Server) status(method string, c *caller, err error) error {
	if err == nil {
		return nil
	}
	e := wire.ParseStatus(err)
	s.report(method, c, e)
	return wire.Status(e).Err()
}

// report logs what peers are not told.
func (s *Server) report(method string, c *caller, e *millrace.Error) {
	level := slog.LevelDebug
	if e.Reason == millrace.ReasonInternal {
		level = slog.LevelError
	}
	attrs := []any{"method", method, "reason", string(e.Reason), "message", e.Message}
	if e.Cause != nil {
		attrs = append(attrs, "cause", e.Cause)
	}
	if c != nil {
		attrs = append(attrs, "subject", c.grant.Subject, "address", c.address)
	}
	s.config.Log.Log(context.Background(), level, "call failed", attrs...)
}

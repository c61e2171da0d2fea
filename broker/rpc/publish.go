package rpc

import (
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// admit reads an event that a caller asks to be stored, and says who publishes it. A caller that is not trusted
// publishes as itself; one that is may name the sender or the principal, and is then left out itself.
func (c *caller) admit(session string, m *millracev1.NewEvent) (millrace.Publish, *millrace.Error) {
	p := wire.ParseNewEvent(m)
	if err := c.allow(millrace.ActionPublish, "publish to", m.GetTopic()); err != nil {
		return p, err
	}
	if m.GetSender() == nil && m.GetPrincipal() == "" {
		p.Event.Sender = millrace.Sender{Session: session, Subject: c.grant.Subject}
		p.Principal = c.principal()
		return p, nil
	}
	if !c.trusted {
		return p, millrace.Errorf(millrace.ReasonForbidden, "only a gateway may name the sender or the principal of an event")
	}
	if p.Principal == "" {
		p.Principal = c.principal()
	}
	return p, nil
}

// admitTied appends to a batch the events that are to be stored as one, or none of them if one can't be.
func (c *caller) admitTied(batch []millrace.Publish, session string, tied []posting) ([]millrace.Publish, *millrace.Error) {
	before := len(batch)
	for i := range tied {
		p, err := c.admit(session, tied[i].event)
		if err != nil {
			return batch[:before], err
		}
		p.Tied = i > 0
		batch = append(batch, p)
	}
	return batch, nil
}

// maxRequestEvents bounds the events of one Publish, so that the acks fit into a message that any peer takes.
const maxRequestEvents = 4096

// ackEvents is how many acks one message of a stream has at most, for the same reason.
const ackEvents = 1024

// Publish implements millracev1.BrokerServiceServer.
func (s *service) Publish(ctx context.Context, r *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
	switch n := len(r.GetEvents()); {
	case n == 0:
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the request has no events")
	case n > maxRequestEvents:
		return nil, millrace.Errorf(millrace.ReasonTooLarge, "the request has %d events; at most %d are allowed", n, maxRequestEvents)
	}
	who := callerOf(ctx)
	batch := make([]posting, len(r.GetEvents()))
	for i, m := range r.GetEvents() {
		if first := r.GetEvents()[0].GetTopic(); r.GetAtomic() && m.GetTopic() != first {
			return nil, millrace.Errorf(millrace.ReasonBadRequest, "events of topics %q and %q can't be stored as one", first, m.GetTopic())
		}
		batch[i] = posting{event: m, tied: r.GetAtomic() && i > 0}
	}
	acks := s.store(ctx, who, "", batch)
	s.reportAcks("Publish", who, acks)
	return &millracev1.PublishResponse{Acks: wire.Acks(acks)}, nil
}

// reportAcks logs the causes of what failed, since acks leave them out.
func (s *Server) reportAcks(method string, who *caller, acks []millrace.Ack) {
	for i := range acks {
		if err := acks[i].Err; err != nil && err.Cause != nil {
			s.report(method, who, err)
		}
	}
}

// PublishStream implements millracev1.BrokerServiceServer. One goroutine reads into the intake, another stores what is
// there, all at once, and acks it.
func (s *service) PublishStream(stream grpc.BidiStreamingServer[millracev1.PublishStreamRequest, millracev1.PublishStreamResponse]) error {
	c, err := s.open(stream)
	if err != nil {
		return err
	}
	p := &publishing{call: c, intake: newIntake(&s.config)}
	s.work.Go(p.read)
	s.work.Go(p.write)
	<-c.ctx.Done()
	return c.close()
}

// publishing is one PublishStream.
type publishing struct {
	call   *call
	intake *intake
}

func (p *publishing) read() {
	c := p.call
	var count uint64 // events read
	for {
		r := new(millracev1.PublishStreamRequest)
		if err := c.stream.RecvMsg(r); errors.Is(err, io.EOF) {
			p.intake.close()
			return
		} else if err != nil {
			c.end(err)
			return
		}
		if n := r.GetSequence(); n != 0 && n != count+1 {
			c.end(millrace.Errorf(millrace.ReasonBadRequest, "the message begins with event %d; %d is next", n, count+1))
			return
		}
		count += uint64(len(r.GetEvents()))
		batch := make([]posting, len(r.GetEvents()))
		for i, m := range r.GetEvents() {
			batch[i].event = m
		}
		if len(batch) > 0 && p.intake.put(c.ctx, batch) != nil {
			return
		}
	}
}

func (p *publishing) write() {
	c := p.call
	if !c.send(&millracev1.PublishStreamResponse{
		Window:          uint32(p.intake.maxEvents),
		MaxEventBytes:   uint32(c.server.config.MaxEventBytes),
		MaxMessageBytes: uint32(c.server.config.MaxMessageBytes),
	}) {
		return
	}
	var count uint64 // events acked
	left := c.left
	for {
		select {
		case <-p.intake.news:
		case <-left:
			left = nil
			if !c.send(&millracev1.PublishStreamResponse{Goaway: c.farewell()}) {
				return
			}
		case <-c.ctx.Done():
			return
		}
		batch, more := p.intake.take()
		if len(batch) > 0 {
			who := c.who()
			acks := c.server.store(c.ctx, who, "", batch)
			c.server.reportAcks("PublishStream", who, acks)
			for some := range slices.Chunk(wire.Acks(acks), ackEvents) {
				if !c.send(&millracev1.PublishStreamResponse{Sequence: count + 1, Acks: some}) {
					return
				}
				count += uint64(len(some))
			}
			p.intake.done(batch)
		}
		if !more {
			c.end(errDone)
			return
		}
	}
}

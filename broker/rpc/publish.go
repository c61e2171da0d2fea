package rpc

import (
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc/internal/intake"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// posting is one event that a peer asks to be stored, under the number that its answer will have.
type posting struct {
	number    uint32
	event     *millracev1.NewEvent
	tied      bool            // to the one before it
	broadcast bool            // on the strength of membership
	refusal   *millrace.Error // of a broadcast; nil if there is no reason for it
}

// postingOf returns what a command asks to be stored, if it does.
func postingOf(m *millracev1.Command) (posting, bool) {
	switch kind := m.GetKind().(type) {
	case *millracev1.Command_Publish:
		return posting{number: m.GetId(), event: kind.Publish}, true
	case *millracev1.Command_Broadcast:
		return posting{number: m.GetId(), event: kind.Broadcast, broadcast: true}, true
	}
	return posting{}, false
}

func newPostings(c *Config) *intake.Intake[posting] {
	return intake.New(c.WindowEvents, c.WindowBytes, func(p *posting) int { return bytesIn(p.event) })
}

// headerBytes approximates what a header occupies beside its texts.
const headerBytes = 64

// bytesIn returns what an event that nobody has checked yet brings along, in bytes: all of it, since none of it is
// bounded but by the message.
func bytesIn(m *millracev1.NewEvent) int {
	n := len(m.GetData()) + len(m.GetTopic()) + len(m.GetId()) + len(m.GetName()) + len(m.GetKey()) + len(m.GetContentType()) +
		len(m.GetSender().GetSession()) + len(m.GetSender().GetSubject()) + len(m.GetPrincipal())
	for _, h := range m.GetHeaders() {
		n += headerBytes + len(h.GetName()) + len(h.GetValue())
	}
	return n
}

// admit reads an event that a caller asks to be stored, and says who publishes it. A caller that is not trusted
// publishes as itself; one that is may name the sender or the principal, and is then left out itself.
func (c *caller) admit(session string, asked *posting) (millrace.Publish, *millrace.Error) {
	m := asked.event
	p := wire.ParseNewEvent(m)
	if asked.refusal != nil {
		return p, asked.refusal
	}
	if !asked.broadcast {
		if err := c.allow(millrace.ActionPublish, "publish to", m.GetTopic()); err != nil {
			return p, err
		}
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
		p, err := c.admit(session, &tied[i])
		if err != nil {
			return batch[:before], err
		}
		p.Tied = i > 0
		batch = append(batch, p)
	}
	return batch, nil
}

// store stores what a caller has sent and answers each event alone, in order. session is the caller's own, if it has one.
func (s *Server) store(ctx context.Context, who *caller, session string, batch []posting) []millrace.Ack {
	acks := make([]millrace.Ack, len(batch))
	admitted := make([]millrace.Publish, 0, len(batch))
	places := make([]int, 0, len(batch))
	for i := 0; i < len(batch); {
		end := i + 1
		for end < len(batch) && batch[end].tied {
			end++
		}
		var err *millrace.Error
		admitted, err = who.admitTied(admitted, session, batch[i:end])
		for ; i < end; i++ {
			if err != nil {
				acks[i] = millrace.Ack{Topic: batch[i].event.GetTopic(), Err: err}
				continue
			}
			places = append(places, i)
		}
	}
	if len(admitted) == 0 {
		return acks
	}
	stored, err := s.broker.Publish(ctx, admitted)
	for n, i := range places {
		if err != nil {
			acks[i] = millrace.Ack{Topic: batch[i].event.GetTopic(), Err: millrace.AsError(err)}
			continue
		}
		acks[i] = stored[n]
	}
	return acks
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
	p := &publishing{call: c, intake: newPostings(&s.config)}
	s.work.Go(p.read)
	s.work.Go(p.write)
	<-c.ctx.Done()
	return c.close()
}

// publishing is one PublishStream.
type publishing struct {
	call   *call
	intake *intake.Intake[posting]
}

func (p *publishing) read() {
	c := p.call
	var count uint64 // events read
	for {
		r := new(millracev1.PublishStreamRequest)
		if err := c.stream.RecvMsg(r); errors.Is(err, io.EOF) {
			p.intake.Close()
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
		if len(batch) > 0 && p.intake.Put(c.ctx, batch) != nil {
			return
		}
	}
}

func (p *publishing) write() {
	c := p.call
	if !c.send(&millracev1.PublishStreamResponse{
		Window:          uint32(p.intake.Window()),
		MaxEventBytes:   uint32(c.server.config.MaxEventBytes),
		MaxMessageBytes: uint32(c.server.config.MaxMessageBytes),
	}) {
		return
	}
	var count uint64 // events acked
	left := c.left
	for {
		select {
		case <-p.intake.News():
		case <-left:
			left = nil
			if !c.send(&millracev1.PublishStreamResponse{Goaway: c.farewell()}) {
				return
			}
		case <-c.ctx.Done():
			return
		}
		batch, more := p.intake.Take()
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
			p.intake.Done(batch)
		}
		if !more {
			c.end(errDone)
			return
		}
	}
}

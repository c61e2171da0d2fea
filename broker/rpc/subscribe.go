package rpc

import (
	"math"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// Subscribe implements millracev1.BrokerServiceServer.
func (s *service) Subscribe(r *millracev1.SubscribeRequest, stream grpc.ServerStreamingServer[millracev1.SubscribeResponse]) error {
	wanted, starts, err := subscriptionsOf(r)
	if err != nil {
		return err
	}
	c, err := s.open(stream)
	if err != nil {
		return err
	}
	w := newWriter(c, "")
	for i, m := range wanted {
		w.orders.ask(func() { w.subscribe(uint32(i+1), m, starts[i]) })
	}
	w.orders.ask(func() { w.silent = true })
	s.count(1)
	defer s.count(-1)
	s.work.Go(w.write)
	select {
	case <-c.left:
		w.orders.ask(w.goaway)
		<-c.ctx.Done()
	case <-c.ctx.Done():
	}
	return c.close()
}

// count keeps the number of open Subscribe streams.
func (s *Server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers += n
}

// subscriptionsOf returns what a request subscribes to and where each begins: the topics of its cursor, each with the
// options of the subscription that names it too, and then the others.
func subscriptionsOf(r *millracev1.SubscribeRequest) (wanted []*millracev1.Subscription, starts []millrace.Start, err error) {
	index := map[string]int{}
	if r.GetCursor() != "" {
		cursor, err := millrace.ParseCursor(r.GetCursor())
		if err != nil {
			return nil, nil, err
		}
		for _, piece := range cursor.Pieces {
			start := millrace.Start{}
			if piece.Attached {
				start = millrace.After(piece.Position)
			}
			index[piece.Topic] = len(wanted)
			wanted = append(wanted, &millracev1.Subscription{Topic: piece.Topic})
			starts = append(starts, start)
		}
	}
	named := map[string]bool{}
	for _, m := range r.GetSubscriptions() {
		topic := m.GetTopic()
		if named[topic] {
			return nil, nil, millrace.Errorf(millrace.ReasonBadRequest, "the request subscribes to %q twice", topic)
		}
		named[topic] = true
		i, resumed := index[topic]
		switch {
		case !resumed:
			wanted = append(wanted, m)
			starts = append(starts, wire.ParseStart(m.GetStart()))
		case m.GetStart().GetPlace() != nil:
			wanted[i], starts[i] = m, wire.ParseStart(m.GetStart())
		default:
			wanted[i] = m
		}
	}
	if len(wanted) == 0 || len(wanted) > math.MaxInt32 {
		return nil, nil, millrace.Errorf(millrace.ReasonBadRequest, "the request has no topics")
	}
	return wanted, starts, nil
}

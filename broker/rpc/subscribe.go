package rpc

import (
	"math"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Subscribe implements millracev1.BrokerServiceServer.
func (s *service) Subscribe(r *millracev1.SubscribeRequest, stream grpc.ServerStreamingServer[millracev1.SubscribeResponse]) error {
	wanted, err := subscriptionsOf(r)
	if err != nil {
		return err
	}
	c, err := s.open(stream)
	if err != nil {
		return err
	}
	w := newWriter(c)
	w.expands = true
	w.answering = 1 // until all are asked for
	for i, want := range wanted {
		w.orders.ask(func() { w.subscribe(uint32(i+1), want) })
	}
	w.orders.ask(w.answered)
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

// subscriptionsOf returns what a request subscribes to: the topics and patterns of its cursor, and then the others. A
// subscription to one of the cursor's adds what it says to what the cursor says. A topic of the cursor that has no options
// in either takes those of a pattern of the cursor that covers it: by that it came to be there.
func subscriptionsOf(r *millracev1.SubscribeRequest) ([]wanted, error) {
	list, bare, err := resumed(r.GetCursor())
	if err != nil {
		return nil, err
	}
	pieces := len(list)
	index := map[string]int{}
	for i := range list {
		index[list[i].Topic] = i
	}
	named := map[string]bool{}
	for _, m := range r.GetSubscriptions() {
		want := parseWanted(m)
		if named[want.Topic] {
			return nil, millrace.Errorf(millrace.ReasonBadRequest, "the request subscribes to %q twice", want.Topic)
		}
		named[want.Topic] = true
		i, ok := index[want.Topic]
		if !ok {
			list = append(list, want)
			continue
		}
		if m.GetStart().GetPlace() == nil {
			want.Start = list[i].Start
		}
		if _, some := want.Option(); !some {
			want.Filter, want.MaxRate = list[i].Filter, list[i].MaxRate
		}
		list[i] = want
	}
	if len(list) == 0 || len(list) > math.MaxInt32 {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the request has no topics")
	}
	for _, i := range bare {
		if !named[list[i].Topic] {
			inherit(&list[i].Subscription, list[:pieces])
		}
	}
	return list, nil
}

// resumed returns what a cursor subscribes to, in its order, and which of these are topics without options.
func resumed(text string) (list []wanted, bare []int, err error) {
	if text == "" {
		return nil, nil, nil
	}
	cursor, err := millrace.ParseCursor(text)
	if err != nil {
		return nil, nil, err
	}
	options := map[string]millrace.Option{}
	for _, o := range cursor.Options {
		options[o.Topic] = o
	}
	list = make([]wanted, len(cursor.Pieces))
	for i, piece := range cursor.Pieces {
		option, ok := options[piece.Topic]
		if !ok && !isPattern(piece.Topic) {
			bare = append(bare, i)
		}
		s := &list[i].Subscription
		s.Topic, s.Filter, s.MaxRate = piece.Topic, option.Filter, option.MaxRate
		if piece.Attached {
			s.Start = millrace.After(piece.Position)
		}
	}
	return list, bare, nil
}

// inherit gives a topic the options of the first pattern that covers it, if there is one.
func inherit(s *millrace.Subscription, from []wanted) {
	for i := range from {
		if p := &from[i]; isPattern(p.Topic) && p.fault == nil && millrace.Pattern(p.Topic).Matches(s.Topic) {
			s.Filter, s.MaxRate = p.Filter, p.MaxRate
			return
		}
	}
}

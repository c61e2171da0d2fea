package peer

import (
	"context"
	"strconv"
	"strings"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// subscription is a backend's subscription. It comes back by itself, so it only ends with ctx or if it is refused.
func (s *Subscriber) subscription(ctx context.Context) error {
	client, err := s.world.dial(s.world.Token)
	if err != nil {
		return err
	}
	defer client.Close()
	how := sdk.Resume(s.cursor)
	if s.cursor == "" {
		how = sdk.TopicsFrom(s.begin(), s.topics...)
	}
	sub, err := client.Subscribe(ctx, how)
	if err != nil {
		s.world.Complain("%s can't subscribe: %v", s.name, err)
		return err
	}
	defer sub.Close()
	for s.gate.pass(ctx) {
		u, err := sub.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.world.Complain("%s: the subscription ended: %v", s.name, err)
			return err
		}
		s.update(&u)
		s.cursor = sub.Cursor()
	}
	return nil
}

func (s *Subscriber) update(u *millrace.Update) {
	switch u.Kind {
	case millrace.UpdateAttached:
		if u.Topic == s.topics[0] {
			s.world.Counts.Connects[GRPC].Add(1)
		}
		s.on(u.Topic, func(c *ledger.Chain) { c.Attach(u.Position) })
	case millrace.UpdateEvents:
		for _, e := range u.Events {
			s.event(u.Topic, e.Position, e.Prev, e.Data)
		}
	case millrace.UpdateGap:
		s.on(u.Topic, func(c *ledger.Chain) { c.Gap(*u.Gap) })
	case millrace.UpdateRefused:
		s.world.Complain("%s was refused %s: %v", s.name, u.Topic, u.Err)
	case millrace.UpdateDetached:
	}
}

// begin is the start of the query for backends.
func (s *Subscriber) begin() millrace.Start {
	if s.start == "earliest" {
		return millrace.Start{Kind: millrace.StartEarliest}
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(s.start, "last=")); err == nil {
		return millrace.Start{Kind: millrace.StartLast, Count: n}
	}
	return millrace.Start{}
}

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
	options := []sdk.SubscribeOption{how}
	if s.cursor == "" && s.choice.Filter != "" {
		options = append(options, sdk.WithFilter(s.choice.Filter))
	}
	if s.cursor == "" && s.maxRate > 0 {
		options = append(options, sdk.MaxRate(s.maxRate))
	}
	sub, err := client.Subscribe(ctx, options...)
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
		s.attached(u.Topic, s.brought(u.Topic), u.Position)
	case millrace.UpdateEvents:
		for _, e := range u.Events {
			s.event(e)
		}
	case millrace.UpdateGap:
		s.on(u.Topic, func(c *ledger.Chain) { c.Gap(*u.Gap) })
	case millrace.UpdateRefused:
		s.world.Complain("%s was refused %s: %v", s.name, u.Topic, u.Err)
	case millrace.UpdateAdvanced:
		s.on(u.Topic, func(c *ledger.Chain) { c.Advance(u.Position, u.Conflated) })
	case millrace.UpdateDetached, millrace.UpdateMatched:
	}
}

// brought returns the pattern that brings a topic, "" for one that was asked for by name.
func (s *Subscriber) brought(topic string) string {
	for _, name := range s.topics {
		if strings.Contains(name, "*") && millrace.Pattern(name).Matches(topic) {
			return name
		}
	}
	return ""
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

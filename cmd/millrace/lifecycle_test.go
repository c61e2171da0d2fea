package main_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// lifecycle is a backend that follows the lifecycle logs of all topics, and holds each event against those before it.
type lifecycle struct {
	mu     sync.Mutex
	lists  map[string]map[string]string // by lifecycle log and session: the member's data
	left   map[string][]millrace.MemberEvent
	faults []string
}

// followLifecycles begins with the birth of each log. It comes back to a broker that was started anew.
func followLifecycles(t *testing.T, broker millracev1.BrokerServiceClient) *lifecycle {
	t.Helper()
	l := &lifecycle{lists: map[string]map[string]string{}, left: map[string][]millrace.MemberEvent{}}
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	t.Cleanup(following.Wait)
	t.Cleanup(cancel)
	following.Go(func() {
		for ctx.Err() == nil {
			l.follow(ctx, broker)
		}
	})
	return l
}

// follow reads one stream to its end. A broker that ends has lost its logs with its memory.
func (l *lifecycle) follow(ctx context.Context, broker millracev1.BrokerServiceClient) {
	fromBirth := wire.Start(millrace.After(millrace.Position{}))
	stream, err := broker.Subscribe(ctx, &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{
		{Topic: "$presence:**", Start: fromBirth}, {Topic: millrace.SessionsTopic, Start: fromBirth},
	}})
	if err != nil {
		return
	}
	topics := map[uint32]string{}
	for {
		r, err := stream.Recv()
		if err != nil {
			l.forget()
			return
		}
		for _, u := range r.GetUpdates() {
			if a := u.GetAttached(); a != nil {
				topics[u.GetAlias()] = a.GetTopic()
			}
			if u.GetGap() != nil {
				l.faultf("%s has a gap: %v", topics[u.GetAlias()], u.GetGap())
			}
			for _, e := range wire.ParseEvents(topics[u.GetAlias()], u.GetEvents().GetEvents()) {
				l.take(e)
			}
		}
	}
}

func (l *lifecycle) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.lists)
}

func (l *lifecycle) faultf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *lifecycle) take(e *millrace.Event) {
	m, err := millrace.ParseMemberEvent(e)
	if err != nil {
		l.faultf("%s %s: %v", e.Topic, e.Position, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.lists[e.Topic]
	if list == nil {
		list = map[string]string{}
		l.lists[e.Topic] = list
	}
	_, there := list[m.Member.Session]
	wrong := false
	switch m.Kind {
	case millrace.MemberJoined:
		wrong = there
		list[m.Member.Session] = string(m.Member.Data)
	case millrace.MemberUpdated:
		wrong = !there
		list[m.Member.Session] = string(m.Member.Data)
	case millrace.MemberLeft:
		wrong = !there
		delete(list, m.Member.Session)
		l.left[e.Topic] = append(l.left[e.Topic], m)
	case millrace.TopicOccupied:
		wrong = len(list) != 1
	case millrace.TopicVacated:
		wrong = len(list) != 0
	}
	if wrong || m.Count != len(list) {
		l.faults = append(l.faults, fmt.Sprintf("%s %s: %s %s does not follow on what was before; %d members by the events, %d by the count",
			e.Topic, e.Position, m.Kind, m.Member.Session, len(list), m.Count))
	}
}

// list returns who is in a topic by its lifecycle log.
func (l *lifecycle) list(topic string) map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.lists[millrace.PresenceTopic(topic)])
}

// leaves returns the leaves of a topic so far.
func (l *lifecycle) leaves(topic string) []millrace.MemberEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left[millrace.PresenceTopic(topic)]
}

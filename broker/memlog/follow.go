package memlog

import (
	"context"
	"slices"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

type follower struct{ to broker.Follower }

// Follow implements broker.Log. It never waits, so ctx only counts if it has ended before. A follower is told under the
// lock of the topic's shard, so none of the events is lost, repeated or out of order.
func (l *Log) Follow(ctx context.Context, name string, to broker.Follower) (millrace.Position, func(), error) {
	if err := ctx.Err(); err != nil {
		return millrace.Position{}, nil, millrace.AsError(err)
	}
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return millrace.Position{}, nil, errClosed()
	}
	t := s.topics[name]
	if t == nil {
		t = newTopic(name, l.rules.For(name))
		s.topics[name] = t
	}
	f := &follower{to: to}
	t.followers = append(t.followers, f)
	return t.head, func() { s.leave(t, f) }, nil
}

// leave ends a follower. A topic that was never published to goes with its last one.
func (s *shard) leave(t *topic, f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.followers = slices.DeleteFunc(t.followers, func(g *follower) bool { return g == f })
	if len(t.followers) == 0 && !t.born() && s.topics[t.name] == t {
		delete(s.topics, t.name)
	}
}

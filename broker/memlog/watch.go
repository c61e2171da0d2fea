package memlog

import (
	"context"
	"slices"
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// watchers are those who want to hear of topics. Each birth, and each event of class
// ephemeral, asks all of them.
type watchers struct {
	mu   sync.RWMutex
	list []*watcher // protected by mu
}

type watcher struct {
	pattern millrace.Pattern
	to      broker.Watcher
}

// tell tells those whose pattern covers a topic. It is called under the lock of the topic's shard.
func (w *watchers) tell(topic string, head millrace.Position) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, one := range w.list {
		if one.pattern.Matches(topic) {
			one.to.Matched(topic, head)
		}
	}
}

func (w *watchers) add(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, one)
}

// remove ends a watcher. It is not told any more when remove returns.
func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(other *watcher) bool { return other == one })
}

// Watch implements broker.Log. It never waits, so ctx only counts if it has ended before. A topic that is born meanwhile
// is told once by its birth and perhaps again as one that there is.
func (l *Log) Watch(ctx context.Context, pattern millrace.Pattern, to broker.Watcher) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, millrace.AsError(err)
	}
	one := &watcher{pattern: pattern, to: to}
	l.watchers.add(one)
	for i := range l.shards {
		if !l.shards[i].survey(one) {
			l.watchers.remove(one)
			return nil, errClosed()
		}
	}
	return func() { l.watchers.remove(one) }, nil
}

// survey tells a watcher of the topics that there are. It fails if the log is closed.
func (s *shard) survey(one *watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range s.topics {
		if t.born() && one.pattern.Matches(name) {
			one.to.Matched(name, t.head)
		}
	}
	return !s.closed
}

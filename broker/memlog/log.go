// Package memlog keeps the logs of all topics in the memory of one process.
//
// It is the engine of a broker that stands alone: nothing survives the process, and a broker that starts again mints
// new marks, so that every subscriber of the old one is told of the reset. Topics are spread over shards, and one lock
// per shard orders all that happens to its topics: an append, the news of it to the followers, and a read.
package memlog

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

const shardCount = 256

// Log is a broker.Log in memory. Topic and Bytes bounds are charged as events are stored and let go of as they leave.
type Log struct {
	// Static.
	cfg   Config
	rules *broker.Rules
	seed  maphash.Seed

	topics atomic.Int64 // topics that have a head
	bytes  atomic.Int64 // what they are charged for

	shards   [shardCount]shard
	watchers watchers

	stop  chan struct{}
	once  sync.Once
	swept sync.WaitGroup
}

type shard struct {
	mu     sync.Mutex
	topics map[string]*topic // those that have a head, and those that are followed
	closed bool
	told   []*millrace.Event // what followers are being told; kept for its memory
}

var _ broker.Log = (*Log)(nil)

// New returns an empty log and starts its sweeper, which runs until Close.
func New(cfg Config) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Log{
		cfg:   cfg.withDefaults(),
		rules: broker.NewRules(cfg.Rules),
		seed:  maphash.MakeSeed(),
		stop:  make(chan struct{}),
	}
	for i := range l.shards {
		l.shards[i].topics = map[string]*topic{}
	}
	l.swept.Go(l.sweep)
	return l, nil
}

func (l *Log) shard(topic string) *shard {
	return &l.shards[maphash.String(l.seed, topic)%shardCount]
}

func errClosed() *millrace.Error {
	return millrace.Errorf(millrace.ReasonUnavailable, "the log is closed")
}

// settle takes back what topics no longer hold.
func (l *Log) settle(freed int64) {
	if freed != 0 {
		l.bytes.Add(-freed)
	}
}

// now is the time in Unix milliseconds, by the clock on the wall.
func (l *Log) now() int64 { return l.cfg.Now().UnixMilli() }

func (l *Log) mark() uint64 {
	for {
		if m := l.cfg.Mark(); m != 0 {
			return m
		}
	}
}

// Read implements broker.Log.
func (l *Log) Read(ctx context.Context, name string, r millrace.Range) (millrace.Page, error) {
	if err := ctx.Err(); err != nil {
		return millrace.Page{}, millrace.AsError(err)
	}
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return millrace.Page{}, errClosed()
	}
	t := s.topics[name]
	if t == nil {
		t = newTopic(name, l.rules.For(name))
	} else {
		l.settle(t.expire(l.now()))
	}
	return t.read(r)
}

// Rule implements broker.Log.
func (l *Log) Rule(topic string) *broker.Rule { return l.rules.For(topic) }

// Topics implements broker.Log.
func (l *Log) Topics(ctx context.Context, after string, limit int) ([]broker.TopicState, error) {
	if err := ctx.Err(); err != nil {
		return nil, millrace.AsError(err)
	}
	if limit <= 0 {
		return nil, nil
	}
	var found []broker.TopicState
	// The first ones by name are picked as they come, so that a page of a million topics does not need a list of them all.
	pick := func(n int) {
		slices.SortFunc(found, func(a, b broker.TopicState) int { return strings.Compare(a.Topic, b.Topic) })
		found = found[:min(n, len(found))]
	}
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, errClosed()
		}
		now := l.now()
		for name, t := range s.topics {
			if name > after && t.born() {
				l.settle(t.expire(now))
				found = append(found, t.state())
			}
		}
		s.mu.Unlock()
		if len(found) > 4*limit {
			pick(limit)
		}
	}
	pick(limit)
	return found, nil
}

// Close implements broker.Log. What was stored is gone with it.
func (l *Log) Close() error {
	l.once.Do(func() {
		close(l.stop)
		for i := range l.shards {
			s := &l.shards[i]
			s.mu.Lock()
			s.closed = true
			s.topics = nil
			s.mu.Unlock()
		}
	})
	l.swept.Wait()
	return nil
}

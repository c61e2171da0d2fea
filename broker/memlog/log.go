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
	"time"

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

// Append implements broker.Log. It never waits, so ctx only counts if it has ended before.
func (l *Log) Append(ctx context.Context, batch []millrace.Publish) []millrace.Ack {
	acks := make([]millrace.Ack, len(batch))
	if err := ctx.Err(); err != nil {
		for i := range acks {
			acks[i] = millrace.Ack{Topic: batch[i].Event.Topic, Err: millrace.AsError(err)}
		}
		return acks
	}
	for i := 0; i < len(batch); {
		name := batch[i].Event.Topic
		j := i + 1
		for j < len(batch) && batch[j].Event.Topic == name {
			j++
		}
		l.appendRun(name, batch[i:j], acks[i:j])
		i = j
	}
	return acks
}

// appendRun stores events of one topic and tells its followers of all of them at once.
func (l *Log) appendRun(name string, run []millrace.Publish, acks []millrace.Ack) {
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		for i := range acks {
			acks[i] = millrace.Ack{Topic: name, Err: errClosed()}
		}
		return
	}
	t := s.topics[name]
	if t == nil {
		t = newTopic(name, l.rules.For(name))
	}
	now := time.Now().UnixMilli()
	l.settle(t.expire(now))
	for i := range run {
		acks[i] = l.appendOne(s, t, &run[i], now)
		if acks[i].Err == nil && !acks[i].Repeated && len(t.followers) > 0 {
			s.told = append(s.told, run[i].Event)
		}
	}
	if len(s.told) == 0 {
		return
	}
	for _, f := range t.followers {
		f.to.Appended(s.told)
	}
	clear(s.told)
	s.told = s.told[:0]
}

func (l *Log) appendOne(s *shard, t *topic, p *millrace.Publish, now int64) millrace.Ack {
	refuse := func(err *millrace.Error) millrace.Ack { return millrace.Ack{Topic: t.name, Err: err} }
	e := p.Event
	if first, ok := t.seen(p); ok {
		return millrace.Ack{Topic: t.name, Position: first.position, Time: time.UnixMilli(first.at).UTC(), Repeated: true}
	}
	if p.Expect != nil && *p.Expect != t.head {
		return refuse(millrace.Errorf(millrace.ReasonConflict, "the topic's head is %s, not %s", t.head, *p.Expect))
	}
	size := int64(e.Size())
	if size > t.rule.MaxBytes {
		return refuse(millrace.Errorf(millrace.ReasonTooLarge, "the event counts %d bytes; the topic keeps at most %d", size, t.rule.MaxBytes))
	}
	leaving, freed := t.displaced(size)
	charge := size + markBytes + t.idCharge(p) - freed
	if !t.born() {
		charge += topicBytes + int64(len(t.name))
		if l.topics.Add(1) > int64(l.cfg.MaxTopics) {
			l.topics.Add(-1)
			return refuse(millrace.Errorf(millrace.ReasonFull, "the broker keeps as many topics as it may"))
		}
	}
	if l.bytes.Add(charge) > l.cfg.MaxBytes && charge > 0 {
		l.bytes.Add(-charge)
		if !t.born() {
			l.topics.Add(-1)
		}
		return refuse(millrace.Errorf(millrace.ReasonFull, "the broker keeps as many bytes of events as it may"))
	}
	if !t.born() {
		l.watchers.tell(t.name, millrace.Position{})
		t.birth(l.mark())
		s.topics[t.name] = t
	}
	t.drop(leaving)
	l.settle(t.store(p, size, l.mark(), now))
	return millrace.Ack{Topic: t.name, Position: e.Position, Time: e.Time}
}

// settle takes back what topics no longer hold.
func (l *Log) settle(freed int64) {
	if freed != 0 {
		l.bytes.Add(-freed)
	}
}

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
		t = &topic{name: name}
	} else {
		l.settle(t.expire(time.Now().UnixMilli()))
	}
	if r.Backward {
		return t.readBackward(r)
	}
	return t.readForward(r), nil
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
		now := time.Now().UnixMilli()
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

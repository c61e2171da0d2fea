package brokertest

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// Slow returns a log whose reads take a time longer.
func Slow(l broker.Log, delay time.Duration) broker.Log { return slow{l, delay} }

type slow struct {
	broker.Log
	delay time.Duration
}

func (s slow) Read(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error) {
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return millrace.Page{}, millrace.AsError(ctx.Err())
	}
	return s.Log.Read(ctx, topic, r)
}

// Lossy returns a log whose followers are told of only some appends, as over a bus that loses messages. tells is asked
// for each of them how often it arrives: 0 loses it, 2 repeats it. It is called concurrently for different topics.
func Lossy(l broker.Log, tells func(events []*millrace.Event) int) broker.Log { return lossy{l, tells} }

type lossy struct {
	broker.Log
	tells func(events []*millrace.Event) int
}

func (l lossy) Follow(ctx context.Context, topic string, f broker.Follower) (millrace.Position, func(), error) {
	return l.Log.Follow(ctx, topic, lossyFollower{f, l.tells})
}

type lossyFollower struct {
	broker.Follower
	tells func(events []*millrace.Event) int
}

func (f lossyFollower) Appended(events []*millrace.Event) {
	for range f.tells(events) {
		f.Follower.Appended(events)
	}
}

// Torn is a log that can't be reached while it is torn.
type Torn struct {
	broker.Log

	mu  sync.Mutex
	err error
}

// Tear makes reads and follows fail with err until Mend.
func (t *Torn) Tear(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// Mend makes the log reachable again.
func (t *Torn) Mend() { t.Tear(nil) }

func (t *Torn) fault() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Read implements broker.Log.
func (t *Torn) Read(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error) {
	if err := t.fault(); err != nil {
		return millrace.Page{}, err
	}
	return t.Log.Read(ctx, topic, r)
}

// Follow implements broker.Log.
func (t *Torn) Follow(ctx context.Context, topic string, f broker.Follower) (millrace.Position, func(), error) {
	if err := t.fault(); err != nil {
		return millrace.Position{}, nil, err
	}
	return t.Log.Follow(ctx, topic, f)
}

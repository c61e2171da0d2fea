package brokertest

import (
	"context"
	"slices"
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

// Torn is a log that can't be reached while it is torn: reads and follows fail.
type Torn struct {
	broker.Log
	tear
}

// tear is why something can't be reached.
type tear struct {
	mu  sync.Mutex
	err error
}

// Tear makes calls fail with err until Mend.
func (t *tear) Tear(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// Mend makes what was torn reachable again.
func (t *tear) Mend() { t.Tear(nil) }

func (t *tear) fault() error {
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

// Watch implements broker.Log.
func (t *Torn) Watch(ctx context.Context, pattern millrace.Pattern, w broker.Watcher) (func(), error) {
	if err := t.fault(); err != nil {
		return nil, err
	}
	return t.Log.Watch(ctx, pattern, w)
}

// Refusing is a log that takes no events while it refuses them.
type Refusing struct {
	broker.Log

	mu    sync.Mutex
	err   *millrace.Error
	names []string
}

// Refuse makes events be refused with err, those with names if there are any, until it is called with nil.
func (r *Refusing) Refuse(err *millrace.Error, names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.names = err, names
}

// fault returns why events that are tied are refused, or nil.
func (r *Refusing) fault(tied []millrace.Publish) *millrace.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range tied {
		if len(r.names) == 0 || slices.Contains(r.names, tied[i].Event.Name) {
			return r.err
		}
	}
	return nil
}

// Append implements broker.Log.
func (r *Refusing) Append(ctx context.Context, batch []millrace.Publish) []millrace.Ack {
	acks := make([]millrace.Ack, 0, len(batch))
	for i := 0; i < len(batch); {
		j := i + 1
		for j < len(batch) && batch[j].Tied {
			j++
		}
		if err := r.fault(batch[i:j]); err == nil {
			acks = append(acks, r.Log.Append(ctx, batch[i:j])...)
		} else {
			for range batch[i:j] {
				acks = append(acks, millrace.Ack{Topic: batch[i].Event.Topic, Err: err})
			}
		}
		i = j
	}
	return acks
}

// Forgetful is a log that can lose everything at once, as an engine does that fails over to an empty copy. Its followers
// stay, and are not told of the loss.
type Forgetful struct {
	open func() broker.Log

	mu        sync.Mutex
	log       broker.Log
	followers map[*forgetfulFollower]func() // with what stops them at log
	watchers  map[*forgetfulWatcher]func()
}

type forgetfulFollower struct {
	topic string
	broker.Follower
}

type forgetfulWatcher struct {
	pattern millrace.Pattern
	broker.Watcher
}

// NewForgetful returns a log over those that open returns, one after the other.
func NewForgetful(open func() broker.Log) *Forgetful {
	return &Forgetful{open: open, log: open(), followers: map[*forgetfulFollower]func(){}, watchers: map[*forgetfulWatcher]func(){}}
}

// Forget goes on with an empty log.
func (f *Forgetful) Forget() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, stop := range f.followers {
		stop()
	}
	for _, stop := range f.watchers {
		stop()
	}
	if err := f.log.Close(); err != nil {
		return err
	}
	f.log = f.open()
	for follower := range f.followers {
		_, stop, err := f.log.Follow(context.Background(), follower.topic, follower)
		if err != nil {
			return err
		}
		f.followers[follower] = stop
	}
	for watcher := range f.watchers {
		stop, err := f.log.Watch(context.Background(), watcher.pattern, watcher)
		if err != nil {
			return err
		}
		f.watchers[watcher] = stop
	}
	return nil
}

func (f *Forgetful) current() broker.Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log
}

// Append implements broker.Log.
func (f *Forgetful) Append(ctx context.Context, batch []millrace.Publish) []millrace.Ack {
	return f.current().Append(ctx, batch)
}

// Read implements broker.Log.
func (f *Forgetful) Read(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error) {
	return f.current().Read(ctx, topic, r)
}

// Follow implements broker.Log.
func (f *Forgetful) Follow(ctx context.Context, topic string, to broker.Follower) (millrace.Position, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	follower := &forgetfulFollower{topic, to}
	head, stop, err := f.log.Follow(ctx, topic, follower)
	if err != nil {
		return head, nil, err
	}
	f.followers[follower] = stop
	return head, func() { f.leave(follower) }, nil
}

func (f *Forgetful) leave(follower *forgetfulFollower) {
	f.mu.Lock()
	stop := f.followers[follower]
	delete(f.followers, follower)
	f.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Watch implements broker.Log.
func (f *Forgetful) Watch(ctx context.Context, pattern millrace.Pattern, to broker.Watcher) (func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	watcher := &forgetfulWatcher{pattern, to}
	stop, err := f.log.Watch(ctx, pattern, watcher)
	if err != nil {
		return nil, err
	}
	f.watchers[watcher] = stop
	return func() {
		f.mu.Lock()
		stop := f.watchers[watcher]
		delete(f.watchers, watcher)
		f.mu.Unlock()
		if stop != nil {
			stop()
		}
	}, nil
}

// Rule implements broker.Log.
func (f *Forgetful) Rule(topic string) *broker.Rule { return f.current().Rule(topic) }

// Topics implements broker.Log.
func (f *Forgetful) Topics(ctx context.Context, after string, limit int) ([]broker.TopicState, error) {
	return f.current().Topics(ctx, after, limit)
}

// Close implements broker.Log.
func (f *Forgetful) Close() error { return f.current().Close() }

// TornRoster is a roster that can't be reached while it is torn.
type TornRoster struct {
	broker.Roster
	tear
}

// Begin implements broker.Roster.
func (t *TornRoster) Begin(ctx context.Context, holder string, term time.Duration) (broker.Lease, error) {
	if err := t.fault(); err != nil {
		return broker.Lease{}, err
	}
	return t.Roster.Begin(ctx, holder, term)
}

// Renew implements broker.Roster.
func (t *TornRoster) Renew(ctx context.Context, l broker.Lease, term time.Duration) error {
	if err := t.fault(); err != nil {
		return err
	}
	return t.Roster.Renew(ctx, l, term)
}

// Change implements broker.Roster.
func (t *TornRoster) Change(ctx context.Context, l broker.Lease, changes []millrace.MemberChange) []millrace.MemberAck {
	err := t.fault()
	if err == nil {
		return t.Roster.Change(ctx, l, changes)
	}
	acks := make([]millrace.MemberAck, len(changes))
	for i := range acks {
		acks[i].Err = millrace.AsError(err)
	}
	return acks
}

// Sweep implements broker.Roster.
func (t *TornRoster) Sweep(ctx context.Context) (time.Time, error) {
	if err := t.fault(); err != nil {
		return time.Time{}, err
	}
	return t.Roster.Sweep(ctx)
}

// Package gatewaytest has the tests that any gateway.Upstream and gateway.Transport must pass, and working stand-ins for
// both ends of a gateway: a broker in memory with faults at hand, and peers that keep the books of what they are told.
package gatewaytest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// Broker is an Upstream in memory with faults at hand: it can be cut off, lose events on their way, lose or trim a log,
// refuse topics, and be slow or fail when it is read. It works otherwise. All methods may be called concurrently.
//
// It is one gateway's end of the broker; Beside returns further ones. Topics and members are the same at all of them, faults
// on the way and subscriptions each end's own.
type Broker struct {
	*store

	wake chan struct{}
	gone chan struct{} // closed by Close

	// Protected by store.mu.
	follows  map[string]*follow
	news     []millrace.Update
	denied   map[string]*millrace.Error
	detached bool
	careless bool
	closed   bool
	failure  error         // of History and Publish
	held     chan struct{} // closed to let History go on; nil: it does not wait
	reads    int
	holder   holder
}

var _ gateway.Upstream = (*Broker)(nil)

// store is what all ends of a broker share.
type store struct {
	mu      sync.Mutex
	logs    map[string]*log                   // protected by mu, likewise what follows
	first   map[dedup]millrace.Ack            // acks of events with an id
	ends    []*Broker                         // that are not closed
	members map[string]map[string]*membership // by topic and session
	awaited map[seatIn]chan struct{}          // see Arrival
}

// follow is one subscription.
type follow struct {
	start    millrace.Start
	attached bool
	pos      millrace.Position
	lose     int    // so many events will get lost on their way
	lost     uint64 // so many did in class ephemeral, which is told
	matched  map[string]bool
}

type dedup struct{ topic, principal, id string }

// NewBroker returns a broker without topics, attached.
func NewBroker() *Broker {
	s := &store{logs: map[string]*log{}, first: map[dedup]millrace.Ack{}, members: map[string]map[string]*membership{}, awaited: map[seatIn]chan struct{}{}}
	return s.end()
}

// Beside returns another gateway's end of the broker, attached.
func (b *Broker) Beside() *Broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end()
}

func (s *store) end() *Broker {
	b := &Broker{
		store: s, wake: make(chan struct{}, 1), gone: make(chan struct{}),
		follows: map[string]*follow{}, denied: map[string]*millrace.Error{}, holder: holder{told: map[seatIn]millrace.MemberChange{}},
	}
	s.ends = append(s.ends, b)
	return b
}

func (b *Broker) log(topic string) *log {
	l := b.logs[topic]
	if l == nil {
		l = newLog(topic)
		b.logs[topic] = l
	}
	return l
}

// match tells a pattern's follower of a topic, once.
func (b *Broker) match(pattern string, f *follow, l *log) {
	if millrace.Pattern(pattern).IsTopic() || f.matched[l.topic] || !millrace.Pattern(pattern).Matches(l.topic) {
		return
	}
	f.matched[l.topic] = true
	b.tell(millrace.Update{Kind: millrace.UpdateMatched, Pattern: pattern, Topic: l.topic, Position: l.head(), Class: l.class})
}

// attachPattern tells of all topics that a pattern covers.
func (b *Broker) attachPattern(pattern string, f *follow) {
	for _, topic := range slices.Sorted(maps.Keys(b.logs)) {
		if l := b.logs[topic]; len(l.stored)+len(l.passed) > 0 {
			b.match(pattern, f, l)
		}
	}
	f.attached = true
	b.tell(millrace.Update{Kind: millrace.UpdateAttached, Topic: pattern})
}

func (b *Broker) tell(u ...millrace.Update) {
	b.news = append(b.news, u...)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Subscribe implements Upstream.
func (b *Broker) Subscribe(want millrace.Subscription) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return millrace.Errorf(millrace.ReasonUnavailable, "the broker is closed")
	}
	f := &follow{start: want.Start, matched: map[string]bool{}}
	b.follows[want.Topic] = f
	b.attach(want.Topic, f)
	return nil
}

// attach tells where a subscription stands, what it missed, and goes on.
func (b *Broker) attach(topic string, f *follow) {
	if b.detached {
		return
	}
	if err := b.denied[topic]; err != nil {
		delete(b.follows, topic)
		b.tell(millrace.Update{Kind: millrace.UpdateRefused, Topic: topic, Err: err})
		return
	}
	if !millrace.Pattern(topic).IsTopic() {
		b.attachPattern(topic, f)
		return
	}
	l := b.log(topic)
	switch {
	case l.class == millrace.ClassEphemeral:
		f.lost = 0 // what a new attachment means, as does the old one
	case f.attached:
	case f.start.Kind == millrace.StartAfter:
		f.pos = f.start.After
	default:
		f.pos = l.resolve(f.start)
	}
	f.attached = true
	b.tell(millrace.Update{Kind: millrace.UpdateAttached, Topic: topic, Position: f.pos, Class: l.class})
	b.catchUp(l, f)
}

func (b *Broker) catchUp(l *log, f *follow) {
	if l.class == millrace.ClassEphemeral {
		return
	}
	events, gap := l.after(millrace.After(f.pos))
	if gap != nil {
		b.tell(millrace.Update{Kind: millrace.UpdateGap, Topic: l.topic, Gap: gap})
		f.pos = gap.Until
	}
	for len(events) > 0 {
		if before := events[0].Before(); before.Offset != f.pos.Offset {
			b.tell(millrace.Update{Kind: millrace.UpdateAdvanced, Topic: l.topic, Position: before, Conflated: before.Offset - f.pos.Offset})
		}
		n := 1
		for n < len(events) && events[n-1].Position.Precedes(events[n]) {
			n++
		}
		b.tell(millrace.Update{Kind: millrace.UpdateEvents, Topic: l.topic, Events: events[:n:n]})
		f.pos = events[n-1].Position
		events = events[n:]
	}
}

// Unsubscribe implements Upstream.
func (b *Broker) Unsubscribe(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.follows, topic)
}

// Next implements Upstream.
func (b *Broker) Next(ctx context.Context) ([]millrace.Update, error) {
	for {
		b.mu.Lock()
		news := b.news
		b.news = nil
		b.mu.Unlock()
		if len(news) > 0 {
			return news, nil
		}
		select {
		case <-b.wake:
		case <-b.gone:
			return nil, millrace.Errorf(millrace.ReasonUnavailable, "the broker is closed")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Publish implements Upstream.
func (b *Broker) Publish(_ context.Context, batch []millrace.Publish) ([]millrace.Ack, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure != nil {
		return nil, b.failure
	}
	acks := make([]millrace.Ack, len(batch))
	for i, p := range batch {
		acks[i] = b.publish(p)
	}
	return acks, nil
}

func (b *Broker) publish(p millrace.Publish) millrace.Ack {
	l := b.log(p.Event.Topic)
	key := dedup{p.Event.Topic, p.Principal, p.Event.ID}
	if ack, ok := b.first[key]; ok && key.id != "" {
		ack.Repeated = true
		return ack
	}
	if p.Expect != nil && *p.Expect != l.head() {
		return millrace.Ack{Topic: l.topic, Err: millrace.Errorf(millrace.ReasonConflict, "the head is at %s", l.head())}
	}
	for _, end := range b.ends {
		if end.detached {
			continue
		}
		for pattern, f := range end.follows {
			end.match(pattern, f, l)
		}
	}
	l.append(p.Event)
	ack := millrace.Ack{Topic: l.topic, Position: p.Event.Position, Time: p.Event.Time}
	if key.id != "" {
		b.first[key] = ack
	}
	for _, end := range b.ends {
		end.announce(l, p.Event)
	}
	return ack
}

func (b *Broker) announce(l *log, e *millrace.Event) {
	f := b.follows[l.topic]
	switch {
	case f == nil || b.detached:
	case f.lose > 0:
		f.lose--
		f.pos = e.Position
		f.lost++
	case l.class == millrace.ClassEphemeral:
		if f.lost > 0 {
			b.tell(millrace.Update{Kind: millrace.UpdateGap, Topic: l.topic, Gap: &millrace.Gap{Topic: l.topic, Cause: millrace.CauseSlow, Count: f.lost}})
			f.lost = 0
		}
		b.tell(millrace.Update{Kind: millrace.UpdateEvents, Topic: l.topic, Events: []*millrace.Event{e}})
	case b.careless || f.pos.Precedes(e):
		b.tell(millrace.Update{Kind: millrace.UpdateEvents, Topic: l.topic, Events: []*millrace.Event{e}})
		f.pos = e.Position
	default:
		b.catchUp(l, f)
	}
}

// History implements Upstream.
func (b *Broker) History(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error) {
	b.mu.Lock()
	b.reads++
	held := b.held
	b.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return millrace.Page{}, context.Cause(ctx)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure != nil {
		return millrace.Page{}, b.failure
	}
	return b.log(topic).read(r)
}

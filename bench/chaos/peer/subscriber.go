package peer

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// Subscriber is somebody with some topics, who holds a cursor and comes back with it.
type Subscriber struct {
	// Static.
	world      *World
	name       string
	topics     []string
	start      string      // where it begins the first time: of the protocol's query, "" is now
	transports []Transport // by turns; one is kept to, of several each is left after a while
	small      bool        // its sockets have small buffers
	choice     Choice
	maxRate    float64
	chains     map[string]*ledger.Chain
	gate       *gate

	// Owned by Run.
	chance *rand.Rand
	cursor string
	voice  *voice          // nil if it does not speak
	held   map[string]bool // patterns that were told to be held
}

// Plan is what a subscriber is to be.
type Plan struct {
	Name       string
	Topics     []string    // or patterns
	Covers     []string    // the topics that they name or cover, or will
	Choice     Choice      // its filter
	MaxRate    float64     // 0: none
	Start      string      // "", "earliest" or "last=N"
	Transports []Transport // one, or those between which it wanders
	Voice      uint32      // as which publisher it speaks up by WebSocket, without wanting to hear itself; 0: it does not
	Small      bool        // whether its sockets have small buffers
	Seed       uint64
}

// NewSubscriber makes a subscriber, with its chains in the world's book.
func NewSubscriber(w *World, p Plan) *Subscriber {
	s := &Subscriber{
		world: w, name: p.Name, topics: p.Topics, start: p.Start, transports: p.Transports, small: p.Small,
		choice: p.Choice, maxRate: p.MaxRate, held: map[string]bool{}, chains: map[string]*ledger.Chain{}, gate: newGate(), chance: rand.New(rand.NewPCG(p.Seed, 0x5b)),
	}
	wants := p.Choice.Wants
	var bears func(*ledger.Publication) bool
	if p.Voice != 0 {
		s.voice = newVoice(w, p.Voice, p.Covers, s.chance)
		wants = func(e *ledger.Publication) bool {
			return e.Publisher != p.Voice && (p.Choice.Wants == nil || p.Choice.Wants(e))
		}
		bears = func(e *ledger.Publication) bool {
			return e.Publisher == p.Voice && s.voice.another.Load() && (p.Choice.Wants == nil || p.Choice.Wants(e))
		}
	}
	for _, topic := range p.Covers {
		s.chains[topic] = w.Book.Chain(p.Name, p.Transports[0].String(), topic, ledger.Expectation{
			Class: ClassOf(topic), Wants: wants, Bears: bears, State: p.Start == "" || p.Start == "earliest", Thinned: p.MaxRate > 0,
		})
	}
	return s
}

// Pause makes the subscriber read nothing until Resume.
func (s *Subscriber) Pause() { s.gate.shut() }

// Resume lets it read again.
func (s *Subscriber) Resume() { s.gate.open() }

// Run subscribes until ctx ends.
func (s *Subscriber) Run(ctx context.Context) {
	failures := 0
	for turn := 0; ctx.Err() == nil; turn++ {
		transport := s.transports[turn%len(s.transports)]
		session := ctx
		cancel := func() {}
		if len(s.transports) > 1 {
			session, cancel = context.WithTimeout(ctx, time.Second+time.Duration(s.chance.IntN(4000))*time.Millisecond)
		}
		began := time.Now()
		after, err := s.session(session, transport)
		cancel()
		if time.Since(began) > time.Second {
			failures = 0
		}
		if err != nil {
			failures++
		}
		bound := min(50*time.Millisecond<<min(failures, 5), time.Second)
		if !pause(ctx, min(after, 2*time.Second)+time.Duration(s.chance.Int64N(int64(bound)))) {
			return
		}
	}
}

// session is one connection; it returns when to come back, and an error if it could not be made.
func (s *Subscriber) session(ctx context.Context, t Transport) (time.Duration, error) {
	c, err := millrace.ParseCursor(s.cursor)
	if err != nil && s.cursor != "" {
		s.world.Complain("%s: the cursor %q can't be read: %v", s.name, s.cursor, err)
	}
	for _, p := range c.Pieces {
		if chain := s.chains[p.Topic]; chain != nil && p.Attached {
			chain.Resume(p.Position)
		}
	}
	for _, chain := range s.chains {
		chain.Via(t.String())
	}
	var after time.Duration
	switch t {
	case WebSocket:
		after, err = s.websocket(ctx, c)
	case SSE:
		after, err = s.stream(ctx)
	default:
		after, err = 0, s.subscription(ctx)
	}
	if err != nil {
		s.world.Counts.Failures.Add(1)
	}
	return after, err
}

// take enters what a server said. It returns an error if that ends the session, with when to come back.
func (s *Subscriber) take(f *frame) (after time.Duration, err error) {
	switch {
	case f.Subscribed != nil:
		if !f.Subscribed.Pending {
			s.attached(f.Subscribed.Topic, f.Subscribed.Pattern, millrace.Position(f.Subscribed.Position))
		}
	case f.Event != nil:
		s.event(&millrace.Event{
			Topic: f.Event.Topic, Position: millrace.Position(f.Event.Position), ID: f.Event.ID, Key: f.Event.Key,
			Tombstone: f.Event.Tombstone, Data: f.Event.Data,
		})
	case f.Gap != nil:
		s.gap(f.Gap)
	case f.Advanced != nil:
		s.on(f.Advanced.Topic, func(c *ledger.Chain) { c.Advance(millrace.Position(f.Advanced.Position), f.Advanced.Conflated) })
	case f.Unsubscribed != nil:
		s.world.Complain("%s was unsubscribed from %s: %+v", s.name, f.Unsubscribed.Topic, f.Unsubscribed.Error)
	case f.Goaway != nil:
		return f.Goaway.after(), errEnded
	case f.Error != nil:
		if !f.Error.retryable() {
			s.world.Complain("%s was refused: %+v", s.name, f.Error)
		}
		return f.Error.after(), errEnded
	}
	return 0, nil
}

func (s *Subscriber) gap(g *gap) {
	cause, ok := millrace.ParseCause(g.Cause)
	if !ok {
		s.world.Complain("%s was told a gap of the cause %q", s.name, g.Cause)
	}
	s.on(g.Topic, func(c *ledger.Chain) {
		c.Gap(millrace.Gap{Topic: g.Topic, After: millrace.Position(g.After), Until: millrace.Position(g.Until), Cause: cause, Count: g.Count})
	})
}

// attached enters that the subscription to a topic holds, or that to a pattern: what a pattern brings from then on was
// born since.
func (s *Subscriber) attached(topic, pattern string, at millrace.Position) {
	switch {
	case strings.Contains(topic, "*"):
		s.held[topic] = true
	case s.held[pattern]:
		s.on(topic, func(c *ledger.Chain) { c.Born(at) })
	default:
		s.on(topic, func(c *ledger.Chain) { c.Attach(at) })
	}
}

// event enters an event, of which not all that there is need be told.
func (s *Subscriber) event(e *millrace.Event) {
	id, sum, err := readPayload(e.Topic, e.Key, e.Data)
	if e.Tombstone {
		id, sum, err = readTombstone(e.ID, e.Key)
	}
	if err != nil {
		s.world.Complain("%s at %s: %v", s.name, e.Position, err)
		return
	}
	s.on(e.Topic, func(c *ledger.Chain) {
		c.Event(ledger.Delivery{At: e.Position, Prev: e.Prev, Ident: id, Digest: sum})
	})
}

func (s *Subscriber) on(topic string, enter func(*ledger.Chain)) {
	c := s.chains[topic]
	if c == nil {
		s.world.Complain("%s was told of %s, which it did not ask for", s.name, topic)
		return
	}
	enter(c)
}

var errEnded = errors.New("the server ended the session")

// gate lets somebody pass while it is open. Its methods may be called concurrently.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // protected by mu; closed while the gate is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
		g.opened = make(chan struct{})
	default:
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

// pass waits until the gate is open, and reports false if ctx ends first.
func (g *gate) pass(ctx context.Context) bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-ctx.Done():
		return false
	}
}

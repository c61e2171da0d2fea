// Package gateway is what every gateway of Millrace has, whatever its wire: sessions, fan-out, replay, cursors, limits
// and drain.
//
// A topic that any session wants is subscribed once upstream and kept as a tail of its newest entries. Each loop (about
// one per processor) owns the outgoing side of its sessions. When a topic moves, each loop makes one batch of what came,
// encoded once per wire, and writes the same bytes to all its sessions that are up to date, without waiting.
//
// There is no queue per session. A subscription is a position: a session whose socket takes no more keeps its place in
// its topics, and when the socket is free again it is served from the tail, or from the log if the tail no longer reaches
// back. Attaching, resuming, replay of any length and overflow are this one mechanism. What the log can't give is told
// as a gap.
//
// The package knows no wire: it writes to a [Transport] in the form of a [Wire], and what can read from a peer calls its
// [Session]. It knows no broker either, only an [Upstream].
package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

// Gateway holds the sessions of one process. Its methods may be called concurrently.
type Gateway struct {
	// Static.
	config   Config
	upstream Upstream
	wires    []*Wire
	sealer   sealer
	started  time.Time
	loops    []*loop
	cancel   context.CancelFunc
	running  sync.WaitGroup // loops, feeder, janitor, gate, drainage
	flushers sync.WaitGroup
	replays  replays
	gate     *gate
	drainage *drainage

	clock    atomic.Int64 // seconds since started, as of the last tick
	draining atomic.Bool
	cut      atomic.Bool // the upstream ended for good

	mu       sync.RWMutex
	sources  map[string]source // by topic or pattern
	idle     int               // of the sources, that no loop holds
	sessions map[string]*Session
	opened   uint64 // sessions so far
}

// New returns a running gateway that speaks the wires. Close ends it. The upstream is the caller's to close, after the
// gateway.
func New(c Config, up Upstream, wires ...*Wire) (*Gateway, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configure gateway: %w", err)
	}
	if len(wires) == 0 || len(wires) > MaxWires {
		return nil, fmt.Errorf("configure gateway: %d wires; want 1 to %d", len(wires), MaxWires)
	}
	c = c.withDefaults()
	if len(c.SealKey) == 0 {
		c.SealKey = []byte(rand.Text())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gateway{
		config: c, upstream: up, wires: wires, sealer: sealer{key: c.SealKey}, started: time.Now(), cancel: cancel,
		sources: map[string]source{}, sessions: map[string]*Session{},
	}
	g.replays.gateway, g.replays.ctx, g.replays.shared = g, ctx, map[pageStart]*replay{}
	g.replays.warned.Store(-1) // no tick yet
	g.gate, g.drainage = newGate(g), newDrainage(g)
	for range c.Loops {
		l := &loop{gateway: g, wake: make(chan struct{}, 1), audiences: map[string]*audience{}, circles: map[string]*circle{}}
		g.loops = append(g.loops, l)
		g.running.Go(func() { l.run(ctx) })
	}
	g.running.Go(func() { g.feed(ctx) })
	g.running.Go(func() { g.tidy(ctx) })
	g.running.Go(func() { g.gate.run(ctx) })
	g.running.Go(func() { g.drainage.run(ctx) })
	return g, nil
}

// Close ends all sessions and waits for the gateway's goroutines.
func (g *Gateway) Close() {
	g.draining.Store(true)
	g.cancel()
	g.running.Wait()
	g.flushers.Wait()
	g.replays.workers.Wait()
}

// elapsed is the time since the gateway started, whatever becomes of the wall clock.
func (g *Gateway) elapsed() time.Duration { return time.Since(g.started) }

// Ready returns nil if the gateway takes sessions, and why not otherwise.
func (g *Gateway) Ready() error {
	switch {
	case g.draining.Load():
		return errGone
	case g.cut.Load():
		return millrace.Errorf(millrace.ReasonUnavailable, "the broker can't be reached")
	}
	return nil
}

// Session returns the session with an id.
func (g *Gateway) Session(id string) (*Session, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	s, ok := g.sessions[id]
	return s, ok
}

func (g *Gateway) all() []*Session {
	g.mu.RLock()
	defer g.mu.RUnlock()
	sessions := make([]*Session, 0, len(g.sessions))
	for _, s := range g.sessions {
		sessions = append(sessions, s)
	}
	return sessions
}

// MaxFrameBytes returns the largest frame that a peer may send.
func (g *Gateway) MaxFrameBytes() int { return g.config.MaxFrameBytes }

// MaxEventBytes returns the largest data of an event that a peer may publish.
func (g *Gateway) MaxEventBytes() int { return g.config.MaxEventBytes }

// Opening is what a peer asks for when it connects.
type Opening struct {
	Grant      *millrace.Grant // who the peer is and what it may do; not nil
	Topics     []Subscribe     // subscribed from the start, unless the cursor has topics
	Cursor     string          // the cursor of a former session, "" if there is none
	Wish       millrace.Option // filter and rate of the cursor's topics, in place of what it says; if Topics is empty
	Heartbeats bool            // the peer wants Heartbeat frames beside the wire's pings
}

// Open begins a session on a connection. On success the session owns the transport and has said its first words; the
// caller's part is then to read. The error is a *millrace.Error, and the transport is still the caller's.
//
// Where more sessions are opened than Config.AdmitRate allows it waits for its turn, no longer than Config.MaxAdmitWait
// and until ctx ends; those whose cursor has topics come first. One that would have to wait longer is refused as full,
// with the time after which to come back.
func (g *Gateway) Open(ctx context.Context, o Opening, w *Wire, t Transport) (*Session, error) {
	wireIndex := slices.Index(g.wires, w)
	if wireIndex < 0 {
		return nil, millrace.Errorf(millrace.ReasonUnsupported, "this gateway does not speak %s", w.Name)
	}
	topics, seal, resumes, err := g.check(o)
	if err != nil {
		return nil, err
	}
	if err := g.room(); err != nil {
		return nil, err // which no turn would change
	}
	if err := g.gate.pass(ctx, resumes); err != nil {
		return nil, err
	}
	s := &Session{
		gateway: g, wire: w, wireIndex: wireIndex, transport: t, grant: o.Grant, heartbeats: o.Heartbeats,
		done: make(chan struct{}), slot: noSlot,
	}
	g.mu.Lock() // until the beginning is posted, so that whoever finds the session posts after it
	defer g.mu.Unlock()
	g.opened++
	s.ordinal = g.opened
	s.loop = g.loops[s.ordinal%uint64(len(g.loops))]
	resumed, err := g.admit(s, seal)
	if err != nil {
		return nil, err
	}
	s.loop.post(call(func() {
		now := g.clock.Load()
		s.Heard()
		s.pingAt = now + 1 + mathrand.Int64N(seconds(w.PingInterval))
		s.oldAt = g.oldAt()
		s.loop.wheel.add(s, s.due(now))
		s.begin(resumed, topics)
	}))
	return s, nil
}

// Check returns the error that Open would return for an opening as it stands: one that the peer must not come back with
// unchanged if the opening is at fault, else one that it may. It is for wires that have to answer before they are open.
func (g *Gateway) Check(o Opening) error {
	if _, _, _, err := g.check(o); err != nil {
		return err
	}
	return g.Ready()
}

func (g *Gateway) check(o Opening) (topics []Subscribe, seal string, resumes bool, err error) {
	topics, seal, resumes, err = o.subscriptions()
	if err != nil {
		return nil, "", false, err
	}
	if n := g.config.MaxTopics; len(topics) > n {
		return nil, "", false, millrace.Errorf(millrace.ReasonTooManyTopics, "a session may have at most %d topics", n)
	}
	return topics, seal, resumes, nil
}

// admit gives the session its identity: that of the seal, if it was made for this subject and is not in use here. It runs
// under g.mu: whoever drains or closes the gateway and then looks under g.mu finds every session that was admitted.
func (g *Gateway) admit(s *Session, seal string) (resumed bool, err error) {
	if err := g.vacant(); err != nil {
		return false, err
	}
	if id, _, ok := g.sealer.open(seal, s.grant.Subject); ok && g.sessions[id.String()] == nil {
		s.id, resumed = id, true
	} else {
		if _, err := rand.Read(s.id[:]); err != nil {
			return false, millrace.AsError(err)
		}
	}
	s.name = s.id.String()
	s.seal = g.sealer.seal(s.id, s.grant.Subject, time.Now())
	g.sessions[s.name] = s
	return resumed, nil
}

// room reports why there can be no further session now, or nil.
func (g *Gateway) room() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.vacant()
}

// vacant is room for those who hold g.mu.
func (g *Gateway) vacant() error {
	if err := g.Ready(); err != nil {
		return err
	}
	if len(g.sessions) >= g.config.MaxSessions {
		return millrace.Errorf(millrace.ReasonFull, "the gateway has as many sessions as it takes")
	}
	return nil
}

func (g *Gateway) forget(s *Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, s.name)
}

// tidy lets go of idle topics.
func (g *Gateway) tidy(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			g.sweep(g.clock.Load())
		case <-ctx.Done():
			return
		}
	}
}

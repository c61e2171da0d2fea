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
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/absence"
	"github.com/millrace-dev/millrace/gateway/internal/door"
	"github.com/millrace-dev/millrace/gateway/internal/enrol"
	"github.com/millrace-dev/millrace/gateway/internal/replay"
	"github.com/millrace-dev/millrace/gateway/internal/roster"
	"github.com/millrace-dev/millrace/gateway/internal/seal"
	"github.com/millrace-dev/millrace/gateway/internal/source"
)

// Gateway holds the sessions of one process. Its methods may be called concurrently.
type Gateway struct {
	// Static.
	config   Config
	upstream Upstream
	wires    []*Wire
	sealer   seal.Sealer
	started  time.Time
	loops    []*loop
	cancel   context.CancelFunc
	running  sync.WaitGroup // loops, feeder, lists, janitor, gate, drain, enroller
	flushers sync.WaitGroup
	sources  *source.Sources
	replays  *replay.Reader[*loop, taker]
	lists    *roster.Lists
	gate     *door.Gate
	drain    *door.Drain
	enroller *enrol.Enroller
	absences *absence.Book
	facts    [MaxWires][]byte // what a session on each wire shows of itself among all sessions: a JSON text

	clock    atomic.Int64 // seconds since started, as of the last tick
	draining atomic.Bool
	warned   atomic.Int64 // tick of the last warning that a replay failed
	cut      atomic.Bool  // the upstream ended for good

	mu       sync.RWMutex
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
	var shown [MaxWires][]byte
	for i, w := range wires {
		transport, _, _ := strings.Cut(w.Name, "-")
		data, err := json.Marshal(facts{Gateway: c.Peer, Transport: transport})
		if err != nil {
			return nil, fmt.Errorf("configure gateway: %w", err)
		}
		shown[i] = data
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gateway{
		config: c, upstream: up, wires: wires, sealer: seal.New(c.SealKey), started: time.Now(), cancel: cancel,
		sessions: map[string]*Session{}, facts: shown,
	}
	g.sources = source.New(source.Config{
		TailEvents: c.TailEvents, TailBytes: c.TailBytes, MaxTopics: c.MaxTopics, Linger: c.Linger, MaxIdle: c.MaxIdleTopics,
	}, up)
	g.enroller = enrol.New(up)
	g.absences = absence.NewBook(c.Grace, func(leave millrace.MemberChange) {
		g.enroller.Submit(enrol.Change{MemberChange: leave})
	})
	g.warned.Store(-1) // no tick yet
	g.lists = roster.New(roster.Config{
		Most: c.MaxListedMembers, Interval: c.MembersInterval, Parallel: c.Replays, Now: g.clock.Load, Chance: mathrand.Float64,
		Failed: func(topic string, err error) { g.warn("the members can't be followed", topic, err) },
	}, g.sources, up)
	g.replays = replay.New(ctx, replay.Config[*loop, taker]{
		Parallel: c.Replays, Fetch: g.page,
		Failed: func(topic string, err error) { g.warn("replay failed", topic, err) },
		Hand: func(l *loop, to []taker, page millrace.Page, err error) {
			l.post(&handover{page: page, err: err, to: to})
		},
	})
	g.gate, g.drain = door.NewGate(c.AdmitRate, c.MaxAdmitWait, g.elapsed), door.NewDrain(g.elapsed)
	for range c.Loops {
		l := &loop{gateway: g, wake: make(chan struct{}, 1), audiences: map[string]*audience{}, circles: map[string]*circle{}}
		g.loops = append(g.loops, l)
		g.running.Go(func() { l.run(ctx) })
	}
	g.running.Go(func() { g.feed(ctx) })
	g.running.Go(func() { g.lists.Run(ctx) })
	g.running.Go(func() { g.tidy(ctx) })
	g.running.Go(func() { g.gate.Run(ctx) })
	g.running.Go(func() { g.drain.Run(ctx) })
	g.running.Go(func() { g.enroller.Run(ctx) })
	return g, nil
}

// facts is what a session shows of itself among all sessions.
type facts struct {
	Gateway   string `json:"gateway,omitempty"`
	Transport string `json:"transport"`
}

// Close ends all sessions and waits for the gateway's goroutines. Their memberships stay until the upstream is closed and
// its lease has run out, so that peers which come back elsewhere meanwhile have not left.
func (g *Gateway) Close() {
	g.draining.Store(true)
	g.cancel()
	g.running.Wait()
	g.flushers.Wait()
	g.replays.Wait()
}

// elapsed is the time since the gateway started, whatever becomes of the wall clock.
func (g *Gateway) elapsed() time.Duration { return time.Since(g.started) }

// Ready returns nil if the gateway takes sessions, and why not otherwise.
func (g *Gateway) Ready() error {
	switch {
	case g.draining.Load():
		return door.ErrGone
	case g.cut.Load():
		return millrace.Errorf(millrace.ReasonUnavailable, "the broker can't be reached")
	}
	return nil
}

// StartDrain refuses new sessions from now on and sends those at hand away, one after the other, evenly over the window
// or, where that is fewer than a hundred a second, sooner. What is left after within is cut off; 0 is 5 s more than the
// window. It returns at once, with the number of sessions that are to be told.
//
// A drain that is under way goes on by the schedule that ends sooner; the number is then of those that are still to be
// told.
func (g *Gateway) StartDrain(window, within time.Duration) int {
	g.draining.Store(true)
	return g.drain.Start(g.leavers, window, within)
}

// Drain is StartDrain, and waits until the sessions are gone or ctx ends.
func (g *Gateway) Drain(ctx context.Context, window time.Duration) {
	g.StartDrain(window, 0)
	select {
	case <-g.drain.Over():
	case <-ctx.Done():
	}
}

// leavers returns the sessions in the order in which a drain sends them away. The oldest goes first: it spares those who have
// just come, perhaps from a gateway that drained before, and as sessions are dealt out to the loops in turn, the loops are
// asked in turn too.
func (g *Gateway) leavers() []door.Peer {
	sessions := g.all()
	slices.SortFunc(sessions, func(a, b *Session) int { return cmp.Compare(a.ordinal, b.ordinal) })
	peers := make([]door.Peer, len(sessions))
	for i, s := range sessions {
		peers[i] = leaver{s}
	}
	return peers
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
	if g.sessions[s.name] == s {
		delete(g.sessions, s.name)
	}
}

// tidy lets go of idle topics, and of sessions that do not come back.
func (g *Gateway) tidy(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			g.sources.Sweep(g.clock.Load())
			g.absences.Sweep(g.elapsed())
		case <-ctx.Done():
			return
		}
	}
}

package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/millrace-dev/millrace"
)

// topic is one topic that sessions of this gateway follow: subscribed once upstream, however many they are, with the tail
// that all of them are served from.
type topic struct {
	name string

	// Protected by Gateway.mu.
	audiences int   // that hold the topic
	idleSince int64 // tick at which the last one let go

	mu       sync.Mutex
	known    bool // was attached once: head and tail mean something
	attached bool // the upstream is there: head and tail are verified
	refused  *millrace.Error
	head     millrace.Position
	tail     tail
	watched  []*audience
}

// apply takes an update from upstream and gives the audiences a turn if it has something for them.
func (t *topic) apply(u *millrace.Update) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch u.Kind {
	case millrace.UpdateAttached:
		if !t.known || t.head != u.Position {
			t.restart(u.Position)
		}
		t.known, t.attached = true, true
	case millrace.UpdateDetached:
		t.attached = false
		return
	case millrace.UpdateRefused:
		t.refused = u.Err
		t.attached = false
	case millrace.UpdateGap:
		switch {
		case !t.known:
			return
		case u.Gap.After != t.head: // not everyone who is at the head lacks just this
			t.restart(u.Gap.Until)
		default:
			t.tail.add(&entry{gap: u.Gap})
			t.head = u.Gap.Until
		}
	case millrace.UpdateEvents:
		if !t.known {
			return
		}
		for _, e := range u.Events {
			t.add(e)
		}
	}
	for _, a := range t.watched {
		a.schedule()
	}
}

// add appends an event if it follows on. One that was there before is left out; anything else breaks the tail, and
// everyone reads the log, which knows.
func (t *topic) add(e *millrace.Event) {
	switch {
	case t.head.Precedes(e):
		t.tail.add(&entry{event: e})
		t.head = e.Position
	case e.Position.Offset <= t.head.Offset && t.has(e.Position):
	default:
		t.restart(e.Position)
	}
}

// has reports whether the tail reaches back to a position. The caller holds t.mu.
func (t *topic) has(pos millrace.Position) bool {
	_, ok := t.tail.seek(pos)
	return ok
}

func (t *topic) restart(at millrace.Position) {
	t.tail.restart(at)
	t.head = at
}

// view is what an audience sees of its topic at one moment.
type view struct {
	known    bool
	attached bool
	refused  *millrace.Error
	head     millrace.Position
	end      uint64   // number of the next entry
	behind   bool     // the tail does not reach back to what was asked for
	entries  []*entry // what was asked for
}

// since returns the entries from a number on, up to maxBytes, in dst's space.
func (t *topic) since(from uint64, dst []*entry, maxBytes int) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{known: t.known, attached: t.attached, refused: t.refused, head: t.head, end: t.tail.end()}
	v.behind = from < t.tail.first
	if !v.behind {
		v.entries = t.tail.collect(dst, from, v.end, maxBytes)
	}
	return v
}

// after returns the entries that follow on a position, up to but not including number to and up to maxBytes. It has
// none, and says found, for a position at or past to.
func (t *topic) after(pos millrace.Position, to uint64, dst []*entry, maxBytes int) (entries []*entry, attached, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.attached {
		return nil, false, false
	}
	from, found := t.tail.seek(pos)
	if !found {
		return nil, true, false
	}
	return t.tail.collect(dst, from, to, maxBytes), true, true
}

// locate returns the number of the entry that follows on a position.
func (t *topic) locate(pos millrace.Position) (uint64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tail.seek(pos)
}

// holds reports whether the tail has what follows on a position.
func (t *topic) holds(pos millrace.Position) bool {
	_, ok := t.locate(pos)
	return ok
}

// verified reports whether the upstream is there, so that head and tail are what the log has.
func (t *topic) verified() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attached
}

// over reports whether the upstream refused the topic.
func (t *topic) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused != nil
}

func (t *topic) watch(a *audience) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watched = append(t.watched, a)
}

func (t *topic) unwatch(a *audience) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.watched, a); i >= 0 {
		t.watched = slices.Delete(t.watched, i, i+1)
	}
}

// acquire returns the topic for one more audience and subscribes to it upstream if nobody held it.
func (g *Gateway) acquire(name string) (*topic, *millrace.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.topics[name]
	if t != nil && t.audiences == 0 && t.over() { // nobody was there to hear of it: let the upstream say again
		g.abandon(t)
		t = nil
	}
	if t == nil {
		name = strings.Clone(name) // or it would keep the URL that it was cut from in memory, and the token in it
		t = &topic{name: name, tail: tail{first: 1, run: 1, maxEntries: g.config.TailEvents, maxBytes: g.config.TailBytes}}
		if err := g.upstream.Subscribe(millrace.Subscription{Topic: name, Start: millrace.Start{Kind: millrace.StartNow}}); err != nil {
			return nil, millrace.Errorf(millrace.ReasonUnavailable, "the broker can't be reached").WithCause(err)
		}
		g.topics[t.name] = t
	} else if t.audiences == 0 {
		g.idle--
	}
	t.audiences++
	return t, nil
}

// release gives the topic back. It stays subscribed for the linger time, so that those who come back find its tail,
// unless too many do.
func (g *Gateway) release(t *topic) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t.audiences--
	t.idleSince = g.clock.Load()
	if t.audiences > 0 || g.topics[t.name] != t {
		return
	}
	g.idle++
	if g.idle > g.config.MaxIdleTopics {
		g.abandon(t)
	}
}

// abandon lets go of an idle topic. The caller holds g.mu.
func (g *Gateway) abandon(t *topic) {
	g.idle--
	delete(g.topics, t.name)
	g.upstream.Unsubscribe(t.name)
}

// sweep lets go of the topics that nobody held for the linger time.
func (g *Gateway) sweep(now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	linger := int64(g.config.Linger.Seconds())
	for _, t := range g.topics {
		if t.audiences == 0 && now-t.idleSince >= linger {
			g.abandon(t)
		}
	}
}

// discard forgets a topic that the upstream refused.
func (g *Gateway) discard(t *topic) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.topics[t.name] == t {
		delete(g.topics, t.name)
	}
}

// feed hands the upstream's updates to the topics until ctx ends or the upstream is closed.
func (g *Gateway) feed(ctx context.Context) {
	for {
		updates, err := g.upstream.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				g.config.Log.Error("the upstream ended", "error", err)
				g.cut.Store(true)
			}
			return
		}
		for i := range updates {
			g.mu.RLock()
			t := g.topics[updates[i].Topic]
			g.mu.RUnlock()
			if t != nil {
				t.apply(&updates[i])
			}
		}
	}
}

package gateway

import (
	"context"
	"strings"

	"github.com/millrace-dev/millrace"
)

// source is what is subscribed to upstream, once for all sessions that want it: a topic or a pattern.
type source interface {
	// apply takes an update from upstream.
	apply(u *millrace.Update)

	// over reports whether the upstream refused it.
	over() bool

	held() *interest
}

// interest counts who wants a source.
type interest struct {
	name string

	// Protected by Gateway.mu.
	holders   int   // loops that want it
	idleSince int64 // tick at which the last one let go
}

func (i *interest) held() *interest { return i }

// acquire returns the source of a name for one more loop and subscribes to it upstream if nobody held it.
func (g *Gateway) acquire(name string, create func(g *Gateway, name string) source) (source, *millrace.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[name]
	if s != nil && s.held().holders == 0 && s.over() { // nobody was there to hear of it: let the upstream say again
		g.abandon(s)
		s = nil
	}
	if s == nil {
		name = strings.Clone(name) // or it would keep the URL that it was cut from in memory, and the token in it
		s = create(g, name)
		if err := g.upstream.Subscribe(millrace.Subscription{Topic: name, Start: millrace.Start{Kind: millrace.StartNow}}); err != nil {
			return nil, millrace.Errorf(millrace.ReasonUnavailable, "the broker can't be reached").WithCause(err)
		}
		g.sources[name] = s
	} else if s.held().holders == 0 {
		g.idle--
	}
	s.held().holders++
	return s, nil
}

// release gives the source back. It stays subscribed for the linger time, so that those who come back find what it has,
// unless too many do.
func (g *Gateway) release(s source) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := s.held()
	i.holders--
	i.idleSince = g.clock.Load()
	if i.holders > 0 || g.sources[i.name] != s {
		return
	}
	g.idle++
	if g.idle > g.config.MaxIdleTopics {
		g.abandon(s)
	}
}

// abandon lets go of an idle source. The caller holds g.mu.
func (g *Gateway) abandon(s source) {
	g.idle--
	delete(g.sources, s.held().name)
	g.upstream.Unsubscribe(s.held().name)
}

// sweep lets go of the sources that nobody held for the linger time.
func (g *Gateway) sweep(now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	linger := int64(g.config.Linger.Seconds())
	for _, s := range g.sources {
		if i := s.held(); i.holders == 0 && now-i.idleSince >= linger {
			g.abandon(s)
		}
	}
}

// discard forgets a source that is over.
func (g *Gateway) discard(s source) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if name := s.held().name; g.sources[name] == s {
		delete(g.sources, name)
		g.upstream.Unsubscribe(name)
	}
}

// feed hands the upstream's updates to the sources until ctx ends or the upstream is closed.
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
			u := &updates[i]
			name := u.Topic
			if u.Kind == millrace.UpdateMatched {
				name = u.Pattern
			}
			g.mu.RLock()
			s := g.sources[name]
			g.mu.RUnlock()
			if s != nil {
				s.apply(u)
			}
		}
	}
}

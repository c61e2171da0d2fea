// Package source is what a gateway is subscribed to upstream, once for all of its sessions: topics, each with the tail that
// all of them are served from, and patterns, each with the topics that it matched.
//
// A source is held by the loops that have sessions on it. One that nobody holds stays subscribed for a while, so that those
// who come back find what it has. What the upstream says of a source is applied to it by one goroutine, in [Sources.Feed],
// which then gives the source's watchers a turn; they look at the source when they have it.
package source

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// Config is what Sources are told.
type Config struct {
	TailEvents int           // newest events kept for each topic
	TailBytes  int           // their bytes
	MaxTopics  int           // that a session may have
	Linger     time.Duration // how long a source stays subscribed that nobody holds
	MaxIdle    int           // sources that stay so at a time
}

// Upstream is where sources are subscribed. The gateway's Upstream has the terms.
type Upstream interface {
	Subscribe(s millrace.Subscription) error
	Unsubscribe(topic string)
	Next(ctx context.Context) ([]millrace.Update, error)
}

// Watcher is given a turn when a source has something new. Schedule must not wait, and not call the source.
type Watcher interface{ Schedule() }

// Source is a topic or a pattern. It may be used concurrently.
type Source interface {
	// Name is the topic's name, or the pattern.
	Name() string

	// apply takes an update from upstream.
	apply(u *millrace.Update)

	// over reports whether the upstream refused it, or it can't go on for another reason.
	over() bool

	held() *interest
}

// interest counts who wants a source.
type interest struct {
	name string // static

	// Protected by Sources.mu.
	holders   int   // loops that want it
	idleSince int64 // second at which the last one let go
}

// Name returns the topic's name, or the pattern.
func (i *interest) Name() string { return i.name }

func (i *interest) held() *interest { return i }

// Sources are all that are subscribed. The methods may be called concurrently, Feed by one goroutine.
type Sources struct {
	// Static.
	config   Config
	upstream Upstream

	mu   sync.RWMutex
	all  map[string]Source // by name; protected by mu
	idle int               // of them, that no loop holds; protected by mu
}

// New returns Sources without any.
func New(c Config, up Upstream) *Sources {
	return &Sources{config: c, upstream: up, all: map[string]Source{}}
}

// Topic returns a topic for one more loop and subscribes to it upstream if nobody held it.
func (ss *Sources) Topic(name string) (*Topic, *millrace.Error) {
	s, err := ss.acquire(name, func(name string) Source { return newTopic(&ss.config, name) })
	if err != nil {
		return nil, err
	}
	t, _ := s.(*Topic) // no pattern has a topic's name
	return t, nil
}

// Pattern is Topic for a pattern.
func (ss *Sources) Pattern(name string) (*Pattern, *millrace.Error) {
	s, err := ss.acquire(name, func(name string) Source { return newPattern(&ss.config, name) })
	if err != nil {
		return nil, err
	}
	p, _ := s.(*Pattern) // no topic has a pattern's name
	return p, nil
}

func (ss *Sources) acquire(name string, create func(name string) Source) (Source, *millrace.Error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.all[name]
	if s != nil && s.held().holders == 0 && s.over() { // nobody was there to hear of it: let the upstream say again
		ss.abandon(s)
		s = nil
	}
	if s == nil {
		name = strings.Clone(name) // or it would keep the URL that it was cut from in memory, and the token in it
		s = create(name)
		if err := ss.upstream.Subscribe(millrace.Subscription{Topic: name, Start: millrace.Start{Kind: millrace.StartNow}}); err != nil {
			return nil, millrace.Errorf(millrace.ReasonUnavailable, "the broker can't be reached").WithCause(err)
		}
		ss.all[name] = s
	} else if s.held().holders == 0 {
		ss.idle--
	}
	s.held().holders++
	return s, nil
}

// Release gives a source back at a time, in seconds since any moment that stays the same. It stays subscribed for the linger
// time, so that those who come back find what it has, unless too many do.
func (ss *Sources) Release(s Source, now int64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	i := s.held()
	i.holders--
	i.idleSince = now
	if i.holders > 0 || ss.all[i.name] != s {
		return
	}
	ss.idle++
	if ss.idle > ss.config.MaxIdle {
		ss.abandon(s)
	}
}

// abandon lets go of an idle source. The caller holds ss.mu.
func (ss *Sources) abandon(s Source) {
	ss.idle--
	delete(ss.all, s.Name())
	ss.upstream.Unsubscribe(s.Name())
}

// Sweep lets go of the sources that nobody held for the linger time. Its time is as in Release.
func (ss *Sources) Sweep(now int64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	linger := int64(ss.config.Linger.Seconds())
	for _, s := range ss.all {
		if i := s.held(); i.holders == 0 && now-i.idleSince >= linger {
			ss.abandon(s)
		}
	}
}

// Discard forgets a source that is over.
func (ss *Sources) Discard(s Source) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if name := s.Name(); ss.all[name] == s {
		delete(ss.all, name)
		ss.upstream.Unsubscribe(name)
	}
}

// Feed hands the upstream's updates to the sources until ctx ends or the upstream is closed, which is the error.
func (ss *Sources) Feed(ctx context.Context) error {
	for {
		updates, err := ss.upstream.Next(ctx)
		if err != nil {
			return err
		}
		for i := range updates {
			u := &updates[i]
			name := u.Topic
			if u.Kind == millrace.UpdateMatched {
				name = u.Pattern
			}
			ss.mu.RLock()
			s := ss.all[name]
			ss.mu.RUnlock()
			if s != nil {
				s.apply(u)
			}
		}
	}
}

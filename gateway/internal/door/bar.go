package door

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

const (
	// barTime is how long who was sent away for good can't come back with what he had. Whoever does not know that he is to stay
	// away, such as a bare EventSource, has tried by then.
	barTime = 5 * time.Minute

	// maxBarred bounds those that are remembered. The oldest are forgotten first.
	maxBarred = 10_000
)

// Bar is who may not come back: sessions that were sent away for good, by their ids, and those of a subject that there were
// until a moment. It is no lock on the door: whoever begins anew is another session. Its methods may be called concurrently.
type Bar struct {
	elapsed func() time.Duration
	used    atomic.Bool // there may be somebody

	mu     sync.Mutex
	barred map[millrace.Target]verdict // protected by mu
	order  []millrace.Target           // protected by mu; the oldest first
}

// verdict is why somebody is barred.
type verdict struct {
	why   *millrace.Error
	at    time.Time     // by the wall clock
	until time.Duration // by elapsed
}

// NewBar returns a bar that keeps nobody out. Elapsed is the time since any moment that stays the same.
func NewBar(elapsed func() time.Duration) *Bar {
	return &Bar{elapsed: elapsed, barred: map[millrace.Target]verdict{}}
}

// Add bars a session, or those of a subject that there were until now.
func (b *Bar) Add(t millrace.Target, why *millrace.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used.Store(true)
	now := b.elapsed()
	for len(b.order) > 0 {
		oldest := b.order[0]
		if v, ok := b.barred[oldest]; ok && v.until > now && len(b.order) < maxBarred {
			break
		}
		delete(b.barred, oldest)
		b.order = b.order[1:]
	}
	if _, again := b.barred[t]; !again {
		b.order = append(b.order, t)
	}
	b.barred[t] = verdict{why: why, at: time.Now().Truncate(time.Second), until: now + barTime}
}

// Empty reports whether nobody was barred yet.
func (b *Bar) Empty() bool { return !b.used.Load() }

// Refuses returns why a session that was sealed for a subject at a time, to the second, may not come back, nil if it may.
func (b *Bar) Refuses(session, subject string, sealed time.Time) *millrace.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.elapsed()
	if v, ok := b.barred[millrace.Target{Session: session}]; ok && v.until > now {
		return v.why
	}
	if v, ok := b.barred[millrace.Target{Subject: subject}]; ok && v.until > now && sealed.Before(v.at) {
		return v.why
	}
	return nil
}

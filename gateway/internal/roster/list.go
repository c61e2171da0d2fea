package roster

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
)

// List is the members of one topic as sessions are told of them. Open, Close, Count and Since may be called concurrently.
type List struct {
	// Static.
	lists *Lists
	topic string

	scheduled bool // it is among the ready; protected by Lists.mu
	onlookers atomic.Int64

	mu       sync.Mutex
	watched  []Watcher
	newest   uint64                     // number of the newest edition; 0: there is none yet
	editions []*Text                    // the newest, by which they follow on each other
	named    int                        // members in the editions
	members  map[string]millrace.Member // as of the newest edition; written by Run only
	full     *Text                      // everyone as of the newest edition; nil until asked for
	merged   map[uint64]*Text           // what leads from an older edition to the newest; those that were asked for

	// Owned by Run.
	following
	sum
	alarm time.Time // when there is something to do; zero: never
	place int       // in the agenda
}

// Topic returns the topic's name.
func (l *List) Topic() string { return l.topic }

// Schedule gives the list a turn, since its source has something new.
func (l *List) Schedule() {
	l.lists.mu.Lock()
	defer l.lists.mu.Unlock()
	l.lists.schedule(l)
}

// Close gives the list back.
func (l *List) Close(w Watcher) {
	ls := l.lists
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.watched, w); i >= 0 {
		l.watched = slices.Delete(l.watched, i, i+1)
	}
	if len(l.watched) == 0 && ls.all[l.topic] == l {
		delete(ls.all, l.topic)
		ls.schedule(l) // to let go of the source
	}
}

// closed reports whether nobody watches any more. Nobody will again.
func (l *List) closed() bool {
	l.lists.mu.Lock()
	defer l.lists.mu.Unlock()
	return l.lists.all[l.topic] != l
}

// Count notes how many more sessions are told of the list: the more there are, the fewer editions.
func (l *List) Count(more int) { l.onlookers.Add(int64(more)) }

// share is what each onlooker adds to the time between two editions, since it is written to once for each.
const share = 100 * time.Microsecond

func (l *List) interval() time.Duration {
	return max(l.lists.config.Interval, time.Duration(l.onlookers.Load())*share)
}

// kept is how many editions are kept for those who fell behind. Together they name no more members than two lists have.
const kept = 16

// publish makes an edition and gives the watchers a turn.
func (l *List) publish(c *Changes) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &Text{changes: c}
	l.members = c.apply(l.members)
	l.newest++
	l.full, l.merged = nil, nil
	if t.alone() { // what leads to it is of no use any more
		l.full = t
		clear(l.editions)
		l.editions, l.named = l.editions[:0], 0
	} else {
		l.editions = append(l.editions, t)
		l.named += c.size()
	}
	for len(l.editions) > 1 && (len(l.editions) > kept || l.named > 2*l.lists.config.Most) {
		l.named -= l.editions[0].changes.size()
		l.editions = slices.Delete(l.editions, 0, 1)
	}
	for _, w := range l.watched {
		w.Schedule()
	}
}

// Since returns what to tell an onlooker that was told an edition, 0 for none, and the number of the edition that it then
// was told: the newest. It returns nil if there is nothing to tell.
func (l *List) Since(told uint64) (*Text, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if told == l.newest {
		return nil, l.newest
	}
	behind := l.newest - told
	if told == 0 || behind > uint64(len(l.editions)) {
		return l.everyone(), l.newest
	}
	texts := l.editions[uint64(len(l.editions))-behind:]
	if behind == 1 {
		return texts[0], l.newest
	}
	t := l.merged[told]
	if t == nil {
		if t = (&Text{changes: merge(texts)}); t.changes.size() > len(l.members) {
			t = l.everyone() // which is shorter
		}
		if l.merged == nil {
			l.merged = map[uint64]*Text{}
		}
		l.merged[told] = t
	}
	return t, l.newest
}

// everyone returns a reset. The caller holds l.mu.
func (l *List) everyone() *Text {
	if l.full == nil {
		last := l.editions[len(l.editions)-1].changes
		c := &Changes{Topic: l.topic, Reset: true, Joined: list(l.members), Count: last.Count, Subjects: last.Subjects, AsOf: last.AsOf}
		c.order()
		l.full = &Text{changes: c}
	}
	return l.full
}

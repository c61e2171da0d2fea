package source

import (
	"slices"
	"sync"

	"github.com/millrace-dev/millrace"
)

// Pattern is one pattern that sessions of this gateway follow, with the topics that it matched so far.
type Pattern struct {
	interest

	// Static.
	most int // topics that are kept: one more than a session may have. With so many the pattern is over for every session

	mu       sync.Mutex
	attached bool // the upstream is there: topics has all that there are
	refused  *millrace.Error
	topics   []string // only appended to
	known    map[string]bool
	watched  []Watcher
}

func newPattern(c *Config, name string) *Pattern {
	return &Pattern{interest: interest{name: name}, most: c.MaxTopics + 1, known: map[string]bool{}}
}

// apply implements source.
func (p *Pattern) apply(u *millrace.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch u.Kind {
	case millrace.UpdateMatched:
		if p.known[u.Topic] || len(p.topics) == p.most { // whoever follows the pattern learns that it is over
			return
		}
		p.known[u.Topic] = true
		p.topics = append(p.topics, u.Topic)
	case millrace.UpdateAttached:
		p.attached = true
	case millrace.UpdateDetached:
		p.attached = false
		return
	case millrace.UpdateRefused:
		p.refused, p.attached = u.Err, false
	default:
		return
	}
	for _, w := range p.watched {
		w.Schedule()
	}
}

// Look returns what there is: the topics, which only grow, whether the upstream is there, and why it refused the pattern.
func (p *Pattern) Look() (topics []string, attached bool, refused *millrace.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics, p.attached, p.refused
}

// over implements source. A full list has topics that the upstream perhaps let go of meanwhile.
func (p *Pattern) over() bool {
	topics, _, refused := p.Look()
	return refused != nil || len(topics) == p.most
}

// Watch gives the watcher a turn whenever there is something new.
func (p *Pattern) Watch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = append(p.watched, w)
}

// Unwatch ends Watch.
func (p *Pattern) Unwatch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.watched, w); i >= 0 {
		p.watched = slices.Delete(p.watched, i, i+1)
	}
}

package gateway

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace-dev/millrace"
)

// pattern is one pattern that sessions of this gateway follow, with the topics that it matched so far.
type pattern struct {
	interest

	// Static.
	most int // topics that are kept: one more than a session may have, which is as good as any number

	mu       sync.Mutex
	attached bool // the upstream is there: topics has all that there are
	refused  *millrace.Error
	topics   []string // only appended to
	known    map[string]bool
	watched  []*circle
}

func newPattern(g *Gateway, name string) source {
	p := &pattern{most: g.config.MaxTopics + 1, known: map[string]bool{}}
	p.name = name
	return p
}

// apply implements source.
func (p *pattern) apply(u *millrace.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch u.Kind {
	case millrace.UpdateMatched:
		if p.known[u.Topic] || len(p.topics) == p.most {
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
	for _, c := range p.watched {
		c.schedule()
	}
}

// look returns what there is: the topics, which only grow, whether the upstream is there, and why it refused the pattern.
func (p *pattern) look() (topics []string, attached bool, refused *millrace.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics, p.attached, p.refused
}

// over implements source.
func (p *pattern) over() bool {
	_, _, refused := p.look()
	return refused != nil
}

func (p *pattern) watch(c *circle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = append(p.watched, c)
}

func (p *pattern) unwatch(c *circle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.watched, c); i >= 0 {
		p.watched = slices.Delete(p.watched, i, i+1)
	}
}

// circle is one loop's part of a pattern: its sessions' wildcards.
type circle struct {
	pattern *pattern
	loop    *loop

	scheduled atomic.Bool // it is in the loop's mailbox

	members []*wildcard // owned by the loop
	turn    int         // of the members, whose turn is next; owned by the loop
}

// circle returns the loop's circle of a pattern, made if there is none.
func (l *loop) circle(name string) (*circle, *millrace.Error) {
	if c := l.circles[name]; c != nil {
		return c, nil
	}
	s, err := l.gateway.acquire(name, newPattern)
	if err != nil {
		return nil, err
	}
	p, _ := s.(*pattern) // no topic has a pattern's name
	c := &circle{pattern: p, loop: l}
	l.circles[p.name] = c
	p.watch(c)
	return c, nil
}

// schedule puts the circle into its loop's mailbox, once. It may be called by any goroutine.
func (c *circle) schedule() {
	if !c.scheduled.Swap(true) {
		c.loop.post(c)
	}
}

// run gives a few members a turn, so that a large circle does not hold up the others. It goes round until nobody had
// anything to do.
func (c *circle) run(l *loop) {
	c.scheduled.Store(false)
	for budget := l.gateway.config.Slice; c.turn < len(c.members); {
		w := c.members[c.turn]
		if !w.behind() {
			c.turn++
			continue
		}
		if budget == 0 {
			c.schedule()
			return
		}
		budget--
		w.step() // which may end it, and puts another in its place
	}
	c.turn = 0
	if slices.ContainsFunc(c.members, (*wildcard).behind) {
		c.schedule()
	}
}

func (c *circle) join(w *wildcard) {
	w.index = len(c.members)
	c.members = append(c.members, w)
	c.schedule()
}

// leave takes a member out, and lets go of a circle that nobody is in.
func (c *circle) leave(w *wildcard) {
	last := len(c.members) - 1
	c.members[w.index] = c.members[last]
	c.members[w.index].index = w.index
	c.members[last] = nil
	c.members = c.members[:last]
	if last == 0 {
		delete(c.loop.circles, c.pattern.name)
		c.pattern.unwatch(c)
		c.loop.gateway.release(c.pattern)
	}
}

// tellPending tells those who wait for the topics that there are that it will take a while.
func (c *circle) tellPending() {
	for _, w := range slices.Clone(c.members) {
		if !w.held && !w.told && !w.over {
			w.told = true
			w.session.say(w.re, w.subscribed())
			w.re = 0
		}
	}
}

package turn

import (
	"container/list"
	"time"
)

// Class is who goes first in a Line.
type Class int

// The classes, those that go first before the others.
const (
	First Class = iota
	Second
	classes
)

// Line lets in so many a second. Who can't come in at once waits for a turn, those of class First before the others; who
// would have to wait too long is sent away at once and told when to come back. Nobody waits longer than that in any case,
// so the places are bounded: by the rate times the longest wait for each class.
type Line[T any] struct {
	// Static.
	step  time.Duration // from one turn to the next
	ahead time.Duration // how far the turns may be ahead of their time after a quiet spell
	wait  time.Duration // the longest

	due      time.Duration // when the next turn is, without those ahead of their time
	waiting  [classes]list.List
	promised [classes]time.Duration // the latest moment that anyone sent away was told to come back at
}

// Place is a place in a Line.
type Place[T any] struct {
	Who T

	class   Class
	until   time.Duration
	element *list.Element
}

// Bounds of what those who are sent away are told.
const (
	// farthest bounds the promises, or peers that come back at once, whatever they are told, would drive them up for all.
	farthest = time.Minute

	// jitter is beside the promise, which no two have alike, for clients that count in whole seconds.
	jitter = time.Second
)

// NewLine returns a line that lets in so many a second, after a quiet spell so many at once, and lets nobody wait longer
// than wait.
func NewLine[T any](rate, burst int, wait time.Duration) *Line[T] {
	step := max(time.Second/time.Duration(rate), 1)
	return &Line[T]{step: step, ahead: time.Duration(burst-1) * step, wait: wait}
}

// Enter asks to be let in. In says that it is so; else there is a place to wait in, or, without one, the time after
// which to come back. Chance is from [0, 1).
func (l *Line[T]) Enter(now time.Duration, class Class, who T, chance float64) (in bool, place *Place[T], back time.Duration) {
	ahead := l.waiting[First].Len()
	if class != First {
		ahead += l.waiting[Second].Len()
	}
	if ahead == 0 && l.free(now) {
		l.use(now)
		return true, nil, 0
	}
	if l.turn(now, ahead)-now > l.wait {
		return false, nil, l.promise(now, class, ahead, chance)
	}
	p := &Place[T]{Who: who, class: class, until: now + l.wait}
	p.element = l.waiting[class].PushBack(p)
	return false, p, 0
}

// free reports whether a turn has come.
func (l *Line[T]) free(now time.Duration) bool { return l.due-l.ahead <= now }

// turn is when the turn of one comes who has so many before it.
func (l *Line[T]) turn(now time.Duration, before int) time.Duration {
	return max(now, l.due-l.ahead) + time.Duration(before)*l.step
}

func (l *Line[T]) use(now time.Duration) { l.due = max(l.due, now) + l.step }

// promise returns the time after which to come back. Those who are sent away get the turns behind all that were given
// before, one each, so that they come back as evenly as the line lets them in.
func (l *Line[T]) promise(now time.Duration, class Class, before int, chance float64) time.Duration {
	turn := l.turn(now, before)
	if l.promised[class]-now > farthest {
		return l.wait + time.Duration(chance*float64(farthest))
	}
	for c := class; c < classes; c++ {
		l.promised[c] = max(l.promised[c], turn) + l.step
	}
	return l.promised[class] - now + time.Duration(chance*float64(jitter))
}

// Leave gives up a place. It reports false if the place was taken out before, by Turn or Clear.
func (l *Line[T]) Leave(p *Place[T]) bool {
	if p.element == nil {
		return false
	}
	l.take(p)
	return true
}

func (l *Line[T]) take(p *Place[T]) {
	l.waiting[p.class].Remove(p.element)
	p.element = nil
}

// Turn takes out those whose turn has come, which are in, and those whose time is up, which are sent away.
func (l *Line[T]) Turn(now time.Duration) (in, away []*Place[T]) {
	for class := range classes {
		for p := l.front(class); p != nil && l.free(now); p = l.front(class) {
			l.take(p)
			l.use(now)
			in = append(in, p)
		}
	}
	for class := range classes {
		for p := l.front(class); p != nil && p.until <= now; p = l.front(class) {
			l.take(p)
			away = append(away, p)
		}
	}
	return in, away
}

// Back returns the time after which one that Turn sent away is to come back. Chance is from [0, 1).
func (l *Line[T]) Back(now time.Duration, p *Place[T], chance float64) time.Duration {
	before := l.waiting[First].Len()
	if p.class != First {
		before += l.waiting[Second].Len()
	}
	return l.promise(now, p.class, before, chance)
}

// Next returns when Turn has something to do next, and false if nobody waits.
func (l *Line[T]) Next() (time.Duration, bool) {
	at, waits := l.due-l.ahead, false
	for class := range classes {
		if p := l.front(class); p != nil {
			at, waits = min(at, p.until), true
		}
	}
	return at, waits
}

// Clear takes out all who wait.
func (l *Line[T]) Clear() (all []*Place[T]) {
	for class := range classes {
		for p := l.front(class); p != nil; p = l.front(class) {
			l.take(p)
			all = append(all, p)
		}
	}
	return all
}

func (l *Line[T]) front(class Class) *Place[T] {
	e := l.waiting[class].Front()
	if e == nil {
		return nil
	}
	p, ok := e.Value.(*Place[T])
	if !ok {
		panic("turn: a line holds something else than a place")
	}
	return p
}

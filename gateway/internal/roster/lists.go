// Package roster is the lists of members that a gateway tells its sessions of: one for each topic that any session looks at,
// whatever their number.
//
// A list is what the topic's lifecycle log adds up to. It follows that log like any topic, through the gateway's sources:
// pages of members are read once, and the events after them applied. Where the source can't lead on, as after a gap, the
// members are read anew. In both cases the onlookers are told the difference to what they were told before, in editions: each
// is what changed since the edition before, coalesced over a while and encoded once for all.
//
// Of a topic with more members than are listed only the counts are kept and told.
//
// One goroutine does all of this, in [Lists.Run]; reads of the broker have goroutines of their own, a few at a time. Loops
// look at a [List] when it gives them a turn.
package roster

import (
	"container/heap"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/source"
)

// Config is what Lists are told.
type Config struct {
	Most     int                           // members of a topic that are listed; of more only the counts are told
	Interval time.Duration                 // between two editions, at least
	Parallel int                           // reads of the broker under way at a time
	Failed   func(topic string, err error) // hears of what has to be tried again

	Now    func() int64   // the time as sources are told it, in seconds
	Chance func() float64 // from [0, 1)
}

// Upstream is where members are read. The gateway's Upstream has the terms.
type Upstream interface {
	Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error)
}

// Watcher is given a turn when a list has a new edition. Schedule must not wait, and not call the list.
type Watcher interface{ Schedule() }

// Lists are all lists of a gateway. The methods may be called concurrently, Run by one goroutine.
type Lists struct {
	// Static.
	config   Config
	sources  *source.Sources
	upstream Upstream
	wake     chan struct{}

	mu    sync.Mutex
	all   map[string]*List // by topic; protected by mu
	ready []*List          // whose turn it is, each once; protected by mu
	read  []*reading       // that came to an end; protected by mu; bounded by Config.Parallel

	// Owned by Run.
	agenda  agenda
	waiting []*List // for a read; each once
	reading int
	readers sync.WaitGroup
}

// New returns Lists without any.
func New(c Config, sources *source.Sources, up Upstream) *Lists {
	return &Lists{config: c, sources: sources, upstream: up, wake: make(chan struct{}, 1), all: map[string]*List{}}
}

// Open returns a topic's list for one more watcher, which has a turn whenever there is a new edition. Close gives it back.
func (ls *Lists) Open(topic string, w Watcher) *List {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.all[topic]
	if l == nil {
		l = &List{lists: ls, topic: strings.Clone(topic), place: noPlace} // or it would keep what it was cut from in memory
		ls.all[l.topic] = l
		ls.schedule(l)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watched = append(l.watched, w)
	return l
}

// schedule gives a list a turn. The caller holds ls.mu.
func (ls *Lists) schedule(l *List) {
	if l.scheduled {
		return
	}
	l.scheduled = true
	ls.ready = append(ls.ready, l)
	ls.rouse()
}

// rouse wakes Run.
func (ls *Lists) rouse() {
	select {
	case ls.wake <- struct{}{}:
	default:
	}
}

// Run keeps the lists until ctx ends.
func (ls *Lists) Run(ctx context.Context) {
	defer ls.readers.Wait()
	due := time.NewTimer(0)
	defer due.Stop()
	for ctx.Err() == nil {
		ready, read := ls.take()
		for _, r := range read {
			ls.reading--
			r.list.receive(r)
			ls.turn(r.list)
		}
		for _, l := range ready {
			ls.turn(l)
		}
		now := time.Now()
		for len(ls.agenda) > 0 && !ls.agenda[0].alarm.After(now) {
			ls.turn(ls.agenda[0])
		}
		ls.startReads(ctx)
		if len(ready)+len(read) > 0 {
			continue // there may be more by now
		}
		if len(ls.agenda) > 0 {
			due.Reset(time.Until(ls.agenda[0].alarm))
		}
		select {
		case <-ls.wake:
		case <-due.C:
		case <-ctx.Done():
		}
	}
}

// take returns what there is to do.
func (ls *Lists) take() (ready []*List, read []*reading) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ready, read = ls.ready, ls.read
	ls.ready, ls.read = nil, nil
	for _, l := range ready {
		l.scheduled = false
	}
	return ready, read
}

// turn lets a list do what it can.
func (ls *Lists) turn(l *List) {
	l.alarm = time.Time{}
	l.work(time.Now())
	switch {
	case l.alarm.IsZero() && l.place != noPlace:
		heap.Remove(&ls.agenda, l.place)
	case l.alarm.IsZero():
	case l.place != noPlace:
		heap.Fix(&ls.agenda, l.place)
	default:
		heap.Push(&ls.agenda, l)
	}
}

// startReads begins as many reads as there may be.
func (ls *Lists) startReads(ctx context.Context) {
	for ls.reading < ls.config.Parallel && len(ls.waiting) > 0 {
		l := ls.waiting[0]
		ls.waiting[0] = nil
		ls.waiting = ls.waiting[1:]
		if l.closed() {
			continue
		}
		r := &reading{list: l, most: l.most()}
		ls.reading++
		ls.readers.Go(func() {
			r.run(ctx, ls.upstream)
			ls.mu.Lock()
			defer ls.mu.Unlock()
			ls.read = append(ls.read, r)
			ls.rouse()
		})
	}
}

// agenda has the lists that have something to do at a time, the next one first.
type agenda []*List

// noPlace is the place of a list that is not in the agenda.
const noPlace = -1

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].alarm.Before(a[j].alarm) }

func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	l, _ := x.(*List)
	l.place = len(*a)
	*a = append(*a, l)
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	l := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	l.place = noPlace
	return l
}

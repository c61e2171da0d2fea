package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/source"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// loop is a goroutine that owns the outgoing side of its sessions. Everyone else posts to it. Its mailbox is bounded by
// what may post: each audience, circle and gallery, each session's flusher and replay once at a time, the answer to each change
// of a membership that is under way, and each goroutine that gives a session commands, since it waits for the loop.
type loop struct {
	gateway *Gateway
	wake    chan struct{}

	mu      sync.Mutex
	mailbox []task // protected by mu

	// Owned by the loop's goroutine.
	audiences map[string]*audience
	circles   map[string]*circle
	galleries map[string]*gallery
	aside     map[*Session][]*onlooker // who is to be told of members, and whose socket takes no more
	queued    []*subscription          // to be advanced, in turn
	lagging   []*subscription          // whose peers are to be told with the next tick how far they are
	told      []*subscription          // whose peers are being told
	agenda    agenda
	wheel     wheel
	batch     []*tail.Entry // reused space
	scratch   []byte        // reused space
	cursor    []byte        // reused space
}

// task is what a loop runs. It must not wait.
type task interface{ run(l *loop) }

// call is a task that is a function.
type call func()

func (c call) run(*loop) { c() }

// post puts a task into the mailbox.
func (l *loop) post(t task) {
	l.mu.Lock()
	l.mailbox = append(l.mailbox, t)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// queue lets a subscription have a turn.
func (l *loop) queue(sub *subscription) {
	sub.place = placeQueued
	l.queued = append(l.queued, sub)
}

// advances is how many subscriptions that catch up have a turn before the mailbox is looked at again.
const advances = 64

func (l *loop) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	var tasks []task
	for {
		l.mu.Lock()
		tasks, l.mailbox = l.mailbox, tasks[:0]
		l.mu.Unlock()
		for i, t := range tasks {
			t.run(l)
			tasks[i] = nil
		}
		l.advance()
		until, waits := l.resume()
		if len(l.queued) > 0 || len(tasks) > 0 {
			select {
			case <-ticker.C:
				l.tick()
			case <-ctx.Done():
				l.stop()
				return
			default:
			}
			continue
		}
		if waits {
			due.Reset(until)
		}
		select {
		case <-l.wake:
		case <-due.C:
		case <-ticker.C:
			l.tick()
		case <-ctx.Done():
			l.stop()
			return
		}
	}
}

func (l *loop) advance() {
	n := min(len(l.queued), advances)
	for _, sub := range l.queued[:n] {
		if sub.place == placeQueued {
			sub.place = placeNone
			sub.advance()
		}
	}
	rest := copy(l.queued, l.queued[n:])
	clear(l.queued[rest:])
	l.queued = l.queued[:rest]
}

// audience returns the loop's audience of a topic, made if there is none.
func (l *loop) audience(name string) (*audience, *millrace.Error) {
	if a := l.audiences[name]; a != nil {
		return a, nil
	}
	t, err := l.gateway.sources.Topic(name)
	if err != nil {
		return nil, err
	}
	a := &audience{topic: t, loop: l}
	l.audiences[t.Name()] = a
	t.Watch(a)
	a.Schedule()
	return a, nil
}

// dismiss lets go of an audience that nobody is in.
func (l *loop) dismiss(a *audience) {
	l.hide(a)
	l.release(a.topic)
}

// hide lets nobody find an audience any more. Those who are in it stay.
func (l *loop) hide(a *audience) {
	if name := a.topic.Name(); l.audiences[name] == a {
		delete(l.audiences, name)
	}
	a.topic.Unwatch(a)
}

// release gives a source back.
func (l *loop) release(s source.Source) { l.gateway.sources.Release(s, l.gateway.clock.Load()) }

// tick does what is due each second.
func (l *loop) tick() {
	now := int64(l.gateway.elapsed() / time.Second)
	l.gateway.clock.Store(now)
	l.wheel.turn(now)
	for _, a := range l.audiences {
		if len(a.waiting) == 0 && a.next != 0 {
			continue
		}
		a.tellPending()
		a.Schedule()
	}
	for _, c := range l.circles {
		c.tellPending()
	}
	l.tellLagging()
}

// stop ends what is left when the gateway closes, sessions that have yet to begin included.
func (l *loop) stop() {
	for _, s := range l.gateway.all() {
		if s.loop == l {
			s.lost()
		}
	}
}

// taker receives a page of the log on its loop.
type taker interface {
	take(page millrace.Page, err error)
}

// handover gives a page to those of one loop who wait for it.
type handover struct {
	page millrace.Page
	err  error
	to   []taker
}

// handovers is how many get a page before the loop looks at what else there is: each may be a write.
const handovers = 16

func (h *handover) run(l *loop) {
	n := min(len(h.to), handovers)
	for _, t := range h.to[:n] {
		t.take(h.page, h.err)
	}
	if h.to = h.to[n:]; len(h.to) > 0 {
		l.post(h)
	}
}

// wheel has each session in the slot of the second at which it is to be looked after.
type wheel struct {
	slots [64][]*Session
	last  int64
}

// noSlot is the slot of a session that is in none.
const noSlot = -1

// add puts a session into the slot of a time. Times beyond the wheel's turn come round more than once.
func (w *wheel) add(s *Session, at int64) {
	s.slot = int(at % int64(len(w.slots)))
	s.index = len(w.slots[s.slot])
	w.slots[s.slot] = append(w.slots[s.slot], s)
}

func (w *wheel) remove(s *Session) {
	if s.slot == noSlot {
		return
	}
	slot := w.slots[s.slot]
	last := len(slot) - 1
	slot[s.index] = slot[last]
	slot[s.index].index = s.index
	slot[last] = nil
	w.slots[s.slot] = slot[:last]
	s.slot = noSlot
}

// turn looks after the sessions of all seconds up to now, a full turn at most.
func (w *wheel) turn(now int64) {
	for at := max(w.last+1, now-int64(len(w.slots))+1); at <= now; at++ {
		i := int(at % int64(len(w.slots)))
		due := w.slots[i]
		w.slots[i] = nil
		for _, s := range due {
			s.slot = noSlot
		}
		for _, s := range due {
			if next := s.tick(now); !s.ended {
				w.add(s, min(next, now+int64(len(w.slots))-1))
			}
		}
	}
	w.last = now
}

package rpc

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc/internal/message"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// writer is the sending side of a link or of a subscriber's stream: one goroutine, which owns the stream's subscriptions
// and writes all that is sent. One message is what came up while the one before was on its way. If the peer does not
// take what is sent nothing more is fetched for it: the topics' tails and logs keep what is to come.
type writer struct {
	// Static.
	call    *call
	feed    *broker.Feed
	orders  *orders
	expands bool // subscribes by itself to the topics of patterns, as the peer can't

	subscriptions atomic.Int64 // how many there are, for operators

	// Owned by the writer's goroutine.
	topics    map[uint32]interest // the subscriptions, by their aliases
	aliases   map[string]uint32   // of their topics and patterns
	patterns  []uint32            // aliases of those that were asked for, where the stream expands them
	matched   uint32              // topics of patterns that were subscribed to, which number their aliases
	held      []millrace.Update   // fetched and not yet in a message
	limited   bool                // the peer gives credit
	credit    int64               // bytes of events that may be sent; a single event may overdraw it
	session   string              // the stream's own, from which events may be withheld; empty if it has none
	answering int                 // how many may still have something to answer, until the peer says nothing more
	out       message.Composer    // the next message
	afterOut  []func()            // to be called once it is sent
}

func newWriter(c *call) *writer {
	return &writer{
		call:    c,
		feed:    c.server.broker.NewFeed(),
		orders:  newOrders(c.ctx),
		topics:  map[uint32]interest{},
		aliases: map[string]uint32{},
		out:     message.NewComposer(&c.server.buffers),
	}
}

// write runs until the call ends.
func (w *writer) write() {
	defer w.feed.Close()
	defer w.orders.close()
	defer w.out.Drop()
	for w.call.ctx.Err() == nil {
		orders, awake := w.orders.take()
		for _, order := range orders {
			order()
			if w.out.Bytes() >= w.call.server.config.BatchBytes && !w.flush() {
				return
			}
		}
		w.fill()
		if !w.out.Empty() {
			if !w.flush() {
				return
			}
			continue
		}
		w.settle()
		switch {
		case w.answering == 0 && len(w.topics) == 0:
			w.call.end(errDone)
		case len(w.held) > 0:
			<-awake.Done() // for credit
		default:
			updates, err := w.feed.Next(awake)
			switch {
			case err == nil:
				w.held = updates
			case awake.Err() == nil:
				w.call.end(err)
			}
		}
	}
}

// flush sends the message.
func (w *writer) flush() bool {
	w.call.queued.Store(int64(w.out.Bytes()))
	sent := w.call.send(w.out.Take())
	w.call.queued.Store(0)
	w.settle()
	return sent
}

// settle does what waited for the message to be sent.
func (w *writer) settle() {
	for _, f := range w.afterOut {
		f()
	}
	clear(w.afterOut)
	w.afterOut = w.afterOut[:0]
}

// fill puts what is held into the message, as far as its bounds and the peer's credit go.
func (w *writer) fill() {
	c := &w.call.server.config
	for len(w.held) > 0 && w.out.Bytes() < c.BatchBytes && w.out.Events() < c.BatchEvents {
		u := &w.held[0]
		alias, ok := w.aliases[about(u)]
		if ok && !w.tell(alias, u) {
			return
		}
		if !ok || len(u.Events) == 0 {
			*u = millrace.Update{}
			w.held = w.held[1:]
		}
	}
}

// about returns the topic or pattern whose subscription an update is of.
func about(u *millrace.Update) string {
	if u.Kind == millrace.UpdateMatched {
		return u.Pattern
	}
	return u.Topic
}

// tell puts an update of a subscription into the message, of its events as many as fit; those it removes. It reports
// whether the peer's credit allowed to go on.
func (w *writer) tell(alias uint32, u *millrace.Update) bool {
	switch u.Kind {
	case millrace.UpdateEvents:
		return w.tellEvents(alias, u)
	case millrace.UpdateAttached:
		w.attach(alias, u)
	case millrace.UpdateGap:
		w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Gap{Gap: wire.Gap(u.Gap)}})
	case millrace.UpdateAdvanced:
		w.advanced(alias, u.Position, u.Conflated)
	case millrace.UpdateDetached:
		w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Detached{Detached: &millracev1.Detached{}}})
	case millrace.UpdateMatched:
		w.match(alias, u)
	case millrace.UpdateRefused:
		w.refused(alias, u.Err)
	}
	return true
}

func (w *writer) advanced(alias uint32, to millrace.Position, conflated uint64) {
	w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Advanced{Advanced: &millracev1.Advanced{
		Position:  wire.Position(to),
		Conflated: conflated,
	}}})
}

func (w *writer) tellEvents(alias uint32, u *millrace.Update) bool {
	if w.withheld(u.Events[0]) {
		n := 1
		for n < len(u.Events) && w.withheld(u.Events[n]) {
			n++
		}
		if last := u.Events[n-1].Position; !last.IsZero() {
			w.advanced(alias, last, 0)
		}
		u.Events = u.Events[n:]
		return true
	}
	c := &w.call.server.config
	n, bytes := 0, 0
	for n < len(u.Events) && w.out.Events()+n < c.BatchEvents && w.out.Bytes()+bytes < c.BatchBytes {
		e := u.Events[n]
		if w.withheld(e) || w.limited && w.credit-int64(bytes) <= 0 {
			break
		}
		bytes += message.Size(e)
		n++
	}
	if n == 0 {
		return false
	}
	if w.limited {
		w.credit -= int64(bytes)
	}
	w.out.Batch(alias, u.Events[:n])
	u.Events = u.Events[n:]
	return true
}

// withheld reports whether the stream's own session sent the event and does not want it back.
func (w *writer) withheld(e *millrace.Event) bool {
	return e.NoEcho && w.session != "" && e.Sender.Session == w.session
}

// answer replies to a command, if a reply is wanted.
func (w *writer) answer(r *millracev1.Reply) {
	if r.GetId() != 0 {
		w.out.Update(&millracev1.Update{Kind: &millracev1.Update_Reply{Reply: r}})
	}
}

// answered notes that one of those who answer has nothing more to say.
func (w *writer) answered() { w.answering-- }

// goaway tells the peer to go on elsewhere.
func (w *writer) goaway() {
	w.out.Update(&millracev1.Update{Kind: &millracev1.Update_Goaway{Goaway: w.call.farewell()}})
}

// orders is what other goroutines ask of a stream's writer. Asking wakes it.
type orders struct {
	parent context.Context //nolint:containedctx // static; the call's, which ends all waits

	room chan struct{} // has an item if the writer took orders since an asker last looked

	mu      sync.Mutex
	waiting []func()           // protected by mu
	awake   context.Context    //nolint:containedctx // protected by mu; ends when there is an order, which wakes the writer from any wait
	wake    context.CancelFunc // protected by mu
}

// maxOrders bounds the orders of a reader that wait, and with them what one peer can have waiting that does not take its
// answers. Those from elsewhere are bounded by what they answer.
const maxOrders = 4

func newOrders(parent context.Context) *orders {
	o := &orders{parent: parent, room: make(chan struct{}, 1)}
	o.awake, o.wake = context.WithCancel(parent)
	return o
}

// ask adds an order and does not wait.
func (o *orders) ask(f func()) {
	o.mu.Lock()
	o.waiting = append(o.waiting, f)
	o.wake()
	o.mu.Unlock()
}

// askInTurn adds an order when there is room for it. One goroutine may call it. It fails when the call ends.
func (o *orders) askInTurn(f func()) error {
	for {
		o.mu.Lock()
		if len(o.waiting) < maxOrders {
			o.waiting = append(o.waiting, f)
			o.wake()
			o.mu.Unlock()
			return nil
		}
		o.mu.Unlock()
		select {
		case <-o.room:
		case <-o.parent.Done():
			return context.Cause(o.parent)
		}
	}
}

// take returns the orders that wait and a context that ends with the next one.
func (o *orders) take() (orders []func(), awake context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) > 0 {
		orders, o.waiting = o.waiting, nil
		o.awake, o.wake = context.WithCancel(o.parent)
		signal(o.room)
	}
	return orders, o.awake
}

// close frees what the context of the last take holds.
func (o *orders) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake()
}

// signal puts an item into a channel that holds one, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

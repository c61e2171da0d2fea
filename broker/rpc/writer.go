package rpc

import (
	"sync/atomic"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
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
	session string // the stream's own, from which events may be withheld; empty if it has none

	subscriptions atomic.Int64 // how many there are, for operators

	// Owned by the writer's goroutine.
	topics   map[uint32]string // of each subscription, by its alias
	aliases  map[string]uint32 // the reverse
	held     []millrace.Update // fetched and not yet in a message
	limited  bool              // the peer gives credit
	credit   int64             // bytes of events that may be sent; a single event may overdraw it
	silent   bool              // the peer says nothing more, and what it published is answered
	out      composer          // the next message
	afterOut []func()          // to be called once it is sent
}

func newWriter(c *call, session string) *writer {
	return &writer{
		call:    c,
		feed:    c.server.broker.NewFeed(),
		orders:  newOrders(c.ctx),
		session: session,
		topics:  map[uint32]string{},
		aliases: map[string]uint32{},
		out:     composer{buffers: &c.server.buffers},
	}
}

// write runs until the call ends.
func (w *writer) write() {
	defer w.feed.Close()
	defer w.orders.close()
	defer w.out.drop()
	for w.call.ctx.Err() == nil {
		orders, awake := w.orders.take()
		for _, order := range orders {
			order()
			if w.out.bytes >= w.call.server.config.BatchBytes && !w.flush() {
				return
			}
		}
		w.fill()
		if !w.out.empty() {
			if !w.flush() {
				return
			}
			continue
		}
		w.settle()
		switch {
		case w.silent && len(w.topics) == 0:
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
	w.call.queued.Store(int64(w.out.bytes))
	sent := w.call.send(w.out.take())
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
	for len(w.held) > 0 && w.out.bytes < c.BatchBytes && w.out.events < c.BatchEvents {
		u := &w.held[0]
		alias, ok := w.aliases[u.Topic]
		if ok && !w.tell(alias, u) {
			return
		}
		if !ok || len(u.Events) == 0 {
			*u = millrace.Update{}
			w.held = w.held[1:]
		}
	}
}

// tell puts an update of a subscription into the message, of its events as many as fit; those it removes. It reports
// whether the peer's credit allowed to go on.
func (w *writer) tell(alias uint32, u *millrace.Update) bool {
	switch u.Kind {
	case millrace.UpdateEvents:
		return w.tellEvents(alias, u)
	case millrace.UpdateAttached:
		w.out.update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Attached{Attached: &millracev1.Attached{
			Topic:    u.Topic,
			Position: wire.Position(u.Position),
			Class:    wire.Class(u.Class),
		}}})
	case millrace.UpdateGap:
		w.out.update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Gap{Gap: wire.Gap(u.Gap)}})
	case millrace.UpdateDetached:
		w.out.update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Detached{Detached: &millracev1.Detached{}}})
	case millrace.UpdateRefused:
		w.forget(alias)
		w.refuse(alias, u.Err)
	}
	return true
}

func (w *writer) tellEvents(alias uint32, u *millrace.Update) bool {
	if w.withheld(u.Events[0]) {
		n := 1
		for n < len(u.Events) && w.withheld(u.Events[n]) {
			n++
		}
		w.out.update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Advanced{Advanced: &millracev1.Advanced{Position: wire.Position(u.Events[n-1].Position)}}})
		u.Events = u.Events[n:]
		return true
	}
	c := &w.call.server.config
	n, bytes := 0, 0
	for n < len(u.Events) && w.out.events+n < c.BatchEvents && w.out.bytes+bytes < c.BatchBytes {
		e := u.Events[n]
		if w.withheld(e) || w.limited && w.credit-int64(bytes) <= 0 {
			break
		}
		bytes += elementSize(e)
		n++
	}
	if n == 0 {
		return false
	}
	if w.limited {
		w.credit -= int64(bytes)
	}
	w.out.batch(alias, u.Events[:n])
	u.Events = u.Events[n:]
	return true
}

// withheld reports whether the stream's own session sent the event and does not want it back.
func (w *writer) withheld(e *millrace.Event) bool {
	return e.NoEcho && w.session != "" && e.Sender.Session == w.session
}

// subscribe begins a subscription. What is wrong with it is told under its alias.
func (w *writer) subscribe(alias uint32, m *millracev1.Subscription, start millrace.Start) {
	if err := w.check(m); err != nil {
		w.refuse(alias, err)
		return
	}
	if err := w.feed.Subscribe(millrace.Subscription{Topic: m.GetTopic(), Start: start}); err != nil {
		w.refuse(alias, millrace.AsError(err))
		return
	}
	w.topics[alias] = m.GetTopic()
	w.aliases[m.GetTopic()] = alias
	w.subscriptions.Store(int64(len(w.topics)))
}

func (w *writer) check(m *millracev1.Subscription) *millrace.Error {
	topic := m.GetTopic()
	if millrace.ValidateTopic(topic) != nil && millrace.Pattern(topic).Validate() == nil {
		return millrace.Errorf(millrace.ReasonUnsupported, "%q is a pattern; this broker subscribes single topics only", topic)
	}
	if err := w.call.who().allow(millrace.ActionSubscribe, "subscribe to", topic); err != nil {
		return err
	}
	switch _, taken := w.aliases[topic]; {
	case m.GetFilter() != "":
		return millrace.Errorf(millrace.ReasonUnsupported, "this broker has no filters")
	case m.GetMaxRate() != 0:
		return millrace.Errorf(millrace.ReasonUnsupported, "topic %q is of class log, which has no max_rate", topic)
	case m.GetMembers():
		return millrace.Errorf(millrace.ReasonUnsupported, "this broker keeps no members")
	case taken:
		return millrace.Errorf(millrace.ReasonUnsupported, "topic %q is subscribed on this stream already, under another alias", topic)
	case len(w.topics) >= w.call.server.config.MaxTopics:
		return millrace.Errorf(millrace.ReasonTooManyTopics, "a stream has at most %d topics", w.call.server.config.MaxTopics)
	}
	return nil
}

// unsubscribe ends a subscription, if there is one. What was fetched for it is dropped, so that it can't be taken for that
// of a later subscription.
func (w *writer) unsubscribe(alias uint32) {
	topic, ok := w.topics[alias]
	if !ok {
		return
	}
	w.feed.Unsubscribe(topic)
	w.forget(alias)
	kept := w.held[:0]
	for _, u := range w.held {
		if u.Topic != topic {
			kept = append(kept, u)
		}
	}
	clear(w.held[len(kept):])
	w.held = kept
}

func (w *writer) forget(alias uint32) {
	delete(w.aliases, w.topics[alias])
	delete(w.topics, alias)
	w.subscriptions.Store(int64(len(w.topics)))
}

func (w *writer) refuse(alias uint32, err *millrace.Error) {
	w.out.update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Refused{Refused: wire.Error(err)}})
}

// recheck ends the subscriptions that the peer's newest grant does not cover.
func (w *writer) recheck() {
	who := w.call.who()
	for alias, topic := range w.topics {
		if err := who.allow(millrace.ActionSubscribe, "subscribe to", topic); err != nil {
			w.unsubscribe(alias)
			w.refuse(alias, err)
		}
	}
}

// answer replies to a command, if a reply is wanted.
func (w *writer) answer(r *millracev1.Reply) {
	if r.GetId() != 0 {
		w.out.update(&millracev1.Update{Kind: &millracev1.Update_Reply{Reply: r}})
	}
}

// goaway tells the peer to go on elsewhere.
func (w *writer) goaway() {
	w.out.update(&millracev1.Update{Kind: &millracev1.Update_Goaway{Goaway: w.call.farewell()}})
}

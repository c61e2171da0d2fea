package rpc

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// interest is one subscription of a stream.
type interest struct {
	topic   string   // or the pattern
	pattern *pattern // nil for a topic
	by      uint32   // alias of the pattern that matched the topic; 0 if the peer named it
	of      *pattern // that waits for the topic to be told; nil if none does
	told    bool     // the peer knows which topic the alias stands for
}

// pattern is what a stream wants of the topics that a pattern covers.
type pattern struct {
	wanted   wanted
	attached bool // what is matched from here on was born since
	untold   int  // topics that there were, which the peer has yet to be told of
	due      bool // the peer is to be told that the pattern is attached, once it was told of those
}

// wanted is a subscription that a peer asks for.
type wanted struct {
	millrace.Subscription

	fault *millrace.Error // what was wrong with the message; nil if nothing
}

func parseWanted(m *millracev1.Subscription) wanted {
	s, err := wire.ParseSubscription(m)
	return wanted{Subscription: s, fault: err}
}

// firstMatched is the first alias of the broker's choice; those below are the peer's.
const firstMatched = 1 << 31

// subscribe begins a subscription. What is wrong with it is told under its alias.
func (w *writer) subscribe(alias uint32, want wanted) {
	err := w.check(&want)
	if err == nil {
		err = millrace.AsError(w.feed.Subscribe(want.Subscription))
	}
	if err != nil {
		w.refuse(alias, err)
		return
	}
	one := interest{topic: want.Topic, told: true}
	if isPattern(want.Topic) {
		one.pattern = &pattern{wanted: want}
		if w.expands {
			w.patterns = append(w.patterns, alias)
		}
	}
	w.add(alias, one)
}

func isPattern(topic string) bool { return !millrace.Pattern(topic).IsTopic() }

func (w *writer) check(want *wanted) *millrace.Error {
	if err := w.call.who().allowAll(millrace.ActionSubscribe, "subscribe to", want.Topic); err != nil {
		return err
	}
	switch _, taken := w.aliases[want.Topic]; {
	case want.fault != nil:
		return want.fault
	case taken:
		return millrace.Errorf(millrace.ReasonUnsupported, "topic %q is subscribed on this stream already, under another alias", want.Topic)
	case w.full():
		return w.tooMany()
	}
	return nil
}

func (w *writer) full() bool { return len(w.topics) >= w.call.server.config.MaxTopics }

func (w *writer) tooMany() *millrace.Error {
	return millrace.Errorf(millrace.ReasonTooManyTopics, "a stream has at most %d topics", w.call.server.config.MaxTopics)
}

func (w *writer) add(alias uint32, one interest) {
	w.topics[alias] = one
	w.aliases[one.topic] = alias
	w.subscriptions.Store(int64(len(w.topics)))
}

// attach tells that a subscription is attached. A pattern is once the peer knows its topics.
func (w *writer) attach(alias uint32, u *millrace.Update) {
	if p := w.topics[alias].pattern; p != nil {
		p.attached, p.due = true, true
		w.tellPattern(p)
		return
	}
	w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Attached{Attached: w.attached(alias, u)}})
	w.settled(alias)
}

// attached makes the message of an update.
func (w *writer) attached(alias uint32, u *millrace.Update) *millracev1.Attached {
	one := w.topics[alias]
	if !one.told {
		one.told = true
		w.topics[alias] = one
	}
	m := &millracev1.Attached{Topic: u.Topic, Class: wire.Class(u.Class), PatternAlias: one.by}
	if u.Class != millrace.ClassEphemeral {
		m.Position = wire.Position(u.Position)
	}
	return m
}

// match tells of a topic that a pattern covers, or subscribes to it unless the stream has it already. Of several patterns
// that cover it the first counts, whichever told of it. Where it can't be subscribed to the pattern ends, so that nobody
// takes what comes for all of it.
func (w *writer) match(alias uint32, u *millrace.Update) {
	if !w.expands {
		m := &millracev1.Matched{Topic: u.Topic, Class: wire.Class(u.Class)}
		if u.Class != millrace.ClassEphemeral {
			m.Position = wire.Position(u.Position)
		}
		w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Matched{Matched: m}})
		return
	}
	if _, taken := w.aliases[u.Topic]; taken {
		return
	}
	by := alias
	for _, first := range w.patterns {
		if p := w.topics[first].pattern; p != nil && millrace.Pattern(p.wanted.Topic).Matches(u.Topic) {
			by = first
			break
		}
	}
	want := w.topics[by].pattern.wanted.Subscription
	want.Topic = u.Topic
	if w.topics[alias].pattern.attached || u.Position.IsZero() {
		want.Start = millrace.After(millrace.Position{})
	}
	var err *millrace.Error
	if w.full() {
		err = w.tooMany()
	} else {
		err = millrace.AsError(w.feed.Subscribe(want))
	}
	if err != nil {
		w.feed.Unsubscribe(w.topics[alias].topic)
		w.refused(alias, err) // what is held of it has no alias then, and is passed over
		return
	}
	one := interest{topic: u.Topic, by: by}
	if p := w.topics[alias].pattern; !p.attached {
		one.of = p
		p.untold++
	}
	w.add(firstMatched+w.matched, one)
	w.matched++
}

// settled says that the peer was told of a topic, or that it will not be. The pattern that waited for it is attached with the
// last of those that there were: a cursor that has the pattern and lacks one of them would have it from its birth.
func (w *writer) settled(alias uint32) {
	one := w.topics[alias]
	p := one.of
	if p == nil {
		return
	}
	one.of = nil
	w.topics[alias] = one
	p.untold--
	w.tellPattern(p)
}

// tellPattern tells that a pattern is attached, if that is due.
func (w *writer) tellPattern(p *pattern) {
	alias, held := w.aliases[p.wanted.Topic]
	if !p.due || p.untold > 0 || !held {
		return
	}
	p.due = false
	m := &millracev1.Attached{Topic: p.wanted.Topic, Pattern: true}
	w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Attached{Attached: m}})
}

// unsubscribe ends a subscription, if there is one. What was fetched for it is dropped, so that it can't be taken for that
// of a later subscription.
func (w *writer) unsubscribe(alias uint32) {
	one, ok := w.topics[alias]
	if !ok {
		return
	}
	w.feed.Unsubscribe(one.topic)
	w.settled(alias)
	w.forget(alias)
	kept := w.held[:0]
	for _, u := range w.held {
		if about(&u) != one.topic {
			kept = append(kept, u)
		}
	}
	clear(w.held[len(kept):])
	w.held = kept
}

func (w *writer) forget(alias uint32) {
	delete(w.aliases, w.topics[alias].topic)
	delete(w.topics, alias)
	w.subscriptions.Store(int64(len(w.topics)))
}

// refused ends a subscription that the feed has ended.
func (w *writer) refused(alias uint32, err *millrace.Error) {
	if one := w.topics[alias]; !one.told {
		m := &millracev1.Attached{Topic: one.topic, Class: wire.Class(w.call.server.broker.Rule(one.topic).Class), PatternAlias: one.by}
		w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Attached{Attached: m}})
	}
	w.settled(alias)
	w.forget(alias)
	w.refuse(alias, err)
}

func (w *writer) refuse(alias uint32, err *millrace.Error) {
	w.out.Update(&millracev1.Update{Alias: alias, Kind: &millracev1.Update_Refused{Refused: wire.Error(err)}})
}

// recheck ends the subscriptions that the peer's newest grant does not cover.
func (w *writer) recheck() {
	who := w.call.who()
	for alias, one := range w.topics {
		if err := who.allowAll(millrace.ActionSubscribe, "subscribe to", one.topic); err != nil {
			w.unsubscribe(alias)
			w.refuse(alias, err)
		}
	}
}

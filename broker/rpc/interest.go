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
	told    bool     // the peer knows which topic the alias stands for
}

// pattern is what a stream wants of the topics that a pattern covers.
type pattern struct {
	wanted   wanted
	attached bool // what is matched from here on was born since
}

// wanted is a subscription that a peer asks for.
type wanted struct {
	millrace.Subscription

	members bool
	fault   *millrace.Error // what was wrong with the message; nil if nothing
}

func parseWanted(m *millracev1.Subscription) wanted {
	s, err := wire.ParseSubscription(m)
	return wanted{Subscription: s, members: m.GetMembers(), fault: err}
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
	case want.members:
		return millrace.Errorf(millrace.ReasonUnsupported, "this broker keeps no members")
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

// attached makes the message of an update, and remembers what it means for a pattern.
func (w *writer) attached(alias uint32, u *millrace.Update) *millracev1.Attached {
	one := w.topics[alias]
	if one.pattern != nil {
		one.pattern.attached = true
		return &millracev1.Attached{Topic: u.Topic, Pattern: true}
	}
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
	w.add(firstMatched+w.matched, interest{topic: u.Topic, by: by})
	w.matched++
}

// unsubscribe ends a subscription, if there is one. What was fetched for it is dropped, so that it can't be taken for that
// of a later subscription.
func (w *writer) unsubscribe(alias uint32) {
	one, ok := w.topics[alias]
	if !ok {
		return
	}
	w.feed.Unsubscribe(one.topic)
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

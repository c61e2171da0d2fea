package gatewaytest

import (
	"slices"

	"github.com/millrace-dev/millrace"
)

// Put publishes events that are just text, and returns the last one's position.
func (b *Broker) Put(topic string, texts ...string) millrace.Position {
	for _, text := range texts {
		b.Store(textEvent(topic, text))
	}
	return b.Head(topic)
}

// Set publishes events of one key that are just text.
func (b *Broker) Set(topic, key string, texts ...string) {
	for _, text := range texts {
		e := textEvent(topic, text)
		e.Key = key
		b.Store(e)
	}
}

// Delete publishes the tombstone of a key.
func (b *Broker) Delete(topic, key string) {
	b.Store(&millrace.Event{Topic: topic, Key: key, Tombstone: true})
}

// Store publishes events, whatever Fail says.
func (b *Broker) Store(events ...*millrace.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		b.publish(millrace.Publish{Event: e})
	}
}

// Head returns the topic's newest position.
func (b *Broker) Head(topic string) millrace.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log(topic).head()
}

// Reads returns how often History was called.
func (b *Broker) Reads() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads
}

// Subscribed reports whether the topic is subscribed to.
func (b *Broker) Subscribed(topic string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.follows[topic] != nil
}

// Detach cuts the broker off from those who follow it. What is published from then on is stored.
func (b *Broker) Detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.detached {
		return
	}
	b.detached = true
	for topic := range b.follows {
		b.tell(millrace.Update{Kind: millrace.UpdateDetached, Topic: topic})
	}
}

// Attach ends what Detach began.
func (b *Broker) Attach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.detached {
		return
	}
	b.detached = false
	for topic, f := range b.follows {
		b.attach(topic, f)
	}
	b.tellAnew()
}

// Lose makes the next n events of the topic, if it is subscribed to, stored but not told, as if all was well.
func (b *Broker) Lose(topic string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.follows[topic]; f != nil {
		f.lose += n
	}
}

// Careless makes the broker push events without a look at whether they follow on, so that a log that was reset is not
// told as a gap.
func (b *Broker) Careless() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.careless = true
}

// Trim leaves only the newest events of the topic's log.
func (b *Broker) Trim(topic string, keep int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log(topic).trim(keep)
}

// LetGo lets go of a key of a topic of class latest, as a log does of a tombstone for want of room. Those who read the state
// from then on are not owed it, nor do the books of a peer ask for it.
func (b *Broker) LetGo(topic, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log(topic).forget(key)
}

// Reset loses the topic's log. The next event begins another lineage.
func (b *Broker) Reset(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log(topic).reset()
}

// Drop lets go of the topic, whose events are long gone, for who asks which topics there are.
func (b *Broker) Drop(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.logs, topic)
}

// Deny refuses the topic from now on, nil lets it in again. A subscription at hand is ended.
func (b *Broker) Deny(topic string, err *millrace.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.denied[topic] = err
	if b.follows[topic] != nil && err != nil && !b.detached {
		delete(b.follows, topic)
		b.tell(millrace.Update{Kind: millrace.UpdateRefused, Topic: topic, Err: err})
	}
}

// Fail makes Publish and History fail until it is called with nil.
func (b *Broker) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure = err
}

// Hold makes History wait until release is called.
func (b *Broker) Hold() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := make(chan struct{})
	b.held = held
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.held == held {
			b.held = nil
			close(held)
		}
	}
}

// Close ends Next and refuses new subscriptions. The members that the end holds stay until Expire.
func (b *Broker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.ends = slices.DeleteFunc(b.ends, func(o *Broker) bool { return o == b })
		close(b.gone)
	}
}

// record is what a ledger is checked against.
type record struct {
	head   millrace.Position
	floor  millrace.Position
	resets int
}

func (b *Broker) record(topic string) record {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(topic)
	return record{head: l.head(), floor: l.floor(), resets: l.resets}
}

// replaced reports whether there is a later event of the same key, or the key was forgotten.
func (b *Broker) replaced(e *millrace.Event) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(e.Topic)
	if l.forgotten[e.Key] {
		return true
	}
	for _, other := range l.stored {
		if other.Key == e.Key && other.Position.Offset > e.Position.Offset {
			return true
		}
	}
	return false
}

// passed returns the events of a topic of class ephemeral from one number up to but not including another; 0: all.
func (b *Broker) passed(topic string, from, until uint64) []*millrace.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.log(topic).passed
	if until == 0 {
		until = uint64(len(all)) + 1
	}
	return slices.Clone(all[from-1 : until-1])
}

// between returns the events of one lineage after one position up to another, and whether there is such a run. Events that
// were trimmed since are among them.
func (b *Broker) between(topic string, after, until millrace.Position) ([]*millrace.Event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(topic)
	var events []*millrace.Event
	for until != after && !(after.IsZero() && until.Offset == 0) {
		e := l.stored[until.Mark]
		if e == nil || e.Position != until {
			return nil, false
		}
		events = append(events, e)
		until = e.Before()
	}
	slices.Reverse(events)
	return events, true
}

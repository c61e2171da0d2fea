// Package broker stores published events in the logs of their topics and hands them to those who follow them.
//
// The idea it stands on: a subscriber is a position, and the queue is everyone's. There is no queue of events per
// subscriber. Each followed topic has a hub with a bounded tail of its newest events; a subscription of a [Feed] holds
// the position up to which it was served and takes what follows on it from the tail. If the tail does not reach back to
// there, for whatever reason (it was slow, it attached with an old position, the news got lost on their way, the topic
// was made anew), the subscription reads the log, page by page, until it meets the tail again. An event is handed out
// only if it follows on the position, mark and all, so a hole can't pass: the log fills it or names it as a gap, and what
// a filter takes, or class latest leaves out for newer events of the same keys, is told by moving the position on.
//
// Class ephemeral has neither positions nor a log: there the hub numbers what passes, and a subscription holds the number.
// A subscription to a pattern carries no events: it tells of topics, which are then subscribed to as any others.
//
// Members are held by a [Holder] under one lease for all of them, and each change of them is an event of a log, so that
// the list of members is what these events add up to.
//
// The package knows no wire and no engine: engines implement [Log] and [Roster].
package broker

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/internal/waker"
)

// Broker is the topics of one process. All methods may be called concurrently.
type Broker struct {
	// Static.
	config Config
	log    Log
	roster Roster
	ctx    context.Context // ends with the reason when the broker stops
	end    context.CancelCauseFunc
	waker  *waker.Waker[*hub]
	keeper *keeper

	tails atomic.Int64 // what the events in all tails are charged for

	work sync.WaitGroup // the broker's goroutines

	mu      sync.Mutex
	hubs    map[string]*hub    // protected by mu
	feeds   map[*Feed]struct{} // protected by mu
	stopped bool               // protected by mu
}

// New returns a broker over a log and a roster and starts its goroutines, which run until Stop. Both stay the caller's, to be
// closed after Stop.
func New(config Config, log Log, roster Roster) (*Broker, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{
		config: config.withDefaults(),
		log:    log,
		roster: roster,
		waker:  waker.New[*hub](),
		hubs:   map[string]*hub{},
		feeds:  map[*Feed]struct{}{},
	}
	b.keeper = newKeeper(roster, &b.config)
	b.ctx, b.end = context.WithCancelCause(context.Background())
	b.work.Go(b.wakeMany)
	b.work.Go(b.trimTails)
	b.work.Go(func() { b.keeper.run(b.ctx) })
	return b, nil
}

// Stop ends all feeds and waits for the broker's goroutines. From then on publishing fails with ReasonDraining.
func (b *Broker) Stop() {
	reason := millrace.Errorf(millrace.ReasonDraining, "the broker is going away")
	b.mu.Lock()
	b.stopped = true
	feeds := make([]*Feed, 0, len(b.feeds))
	for f := range b.feeds {
		feeds = append(feeds, f)
	}
	b.mu.Unlock()
	b.end(reason)
	for _, f := range feeds {
		f.close(reason)
	}
	b.work.Wait()
}

// Publish stores events and answers each alone, in the order of the batch. It takes ownership of the events. Those that
// break a rule are refused, as are those for reserved topics. The error says that none was tried.
func (b *Broker) Publish(ctx context.Context, batch []millrace.Publish) ([]millrace.Ack, error) {
	return b.publish(ctx, batch, func(e *millrace.Event) *millrace.Error {
		if millrace.Reserved(e.Topic) {
			return millrace.Errorf(millrace.ReasonForbidden, "topic %q is reserved: only the broker publishes to it", e.Topic)
		}
		return nil
	})
}

// Announce is Publish for the broker's own events: topics may be reserved. What comes from a peer must not get here.
func (b *Broker) Announce(ctx context.Context, batch []millrace.Publish) ([]millrace.Ack, error) {
	return b.publish(ctx, batch, func(*millrace.Event) *millrace.Error { return nil })
}

func (b *Broker) publish(ctx context.Context, batch []millrace.Publish, allow func(*millrace.Event) *millrace.Error) ([]millrace.Ack, error) {
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, millrace.AsError(err)
	}
	refused := b.refusals(batch, allow)
	if len(refused) == 0 {
		return b.log.Append(ctx, batch), nil
	}
	admitted := make([]millrace.Publish, 0, len(batch)-len(refused))
	for i := range batch {
		if refused[i] == nil {
			admitted = append(admitted, batch[i])
		}
	}
	var stored []millrace.Ack
	if len(admitted) > 0 {
		stored = b.log.Append(ctx, admitted)
	}
	acks := make([]millrace.Ack, len(batch))
	for i := range batch {
		if err := refused[i]; err != nil {
			acks[i] = millrace.Ack{Topic: batch[i].Event.Topic, Err: err}
			continue
		}
		acks[i], stored = stored[0], stored[1:]
	}
	return acks, nil
}

// refusals returns what keeps events of a batch from being stored, by their place in it. Events that are tied are refused
// together.
func (b *Broker) refusals(batch []millrace.Publish, allow func(*millrace.Event) *millrace.Error) map[int]*millrace.Error {
	var refused map[int]*millrace.Error
	refuse := func(i int, err *millrace.Error) {
		if refused == nil {
			refused = map[int]*millrace.Error{}
		}
		refused[i] = err
	}
	for i := 0; i < len(batch); {
		end := i + 1
		for end < len(batch) && batch[end].Tied {
			end++
		}
		if err := b.fault(batch[i:end], allow); err != nil {
			for ; i < end; i++ {
				refuse(i, err)
			}
		}
		i = end
	}
	return refused
}

// fault reports what keeps events that are tied from being stored, or nil.
func (b *Broker) fault(tied []millrace.Publish, allow func(*millrace.Event) *millrace.Error) *millrace.Error {
	topic := tied[0].Event.Topic
	if tied[0].Tied {
		return millrace.Errorf(millrace.ReasonBadRequest, "the first event of a batch is tied to none")
	}
	for i := range tied {
		e := tied[i].Event
		if e.Topic != topic {
			return millrace.Errorf(millrace.ReasonBadRequest, "events of topics %q and %q can't be stored as one", topic, e.Topic)
		}
		if (e.ID == "") != (tied[0].Event.ID == "") {
			return millrace.Errorf(millrace.ReasonEventInvalid, "of the events that are published as one some have an id and some have none: a retry could not be told")
		}
		if err := allow(e); err != nil {
			return err
		}
		if err := admit(e, b.log.Rule(topic).Class, b.config.MaxEventBytes); err != nil {
			return err
		}
	}
	return nil
}

// Rule returns the rule that a topic is kept by. It must not be changed.
func (b *Broker) Rule(topic string) *Rule { return b.log.Rule(topic) }

// History reads a part of a topic's log, whole, or fails. The caller owns the page's slice; the events are shared. A
// backward range starts now or after a position.
func (b *Broker) History(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error) {
	if err := millrace.ValidateTopic(topic); err != nil {
		return millrace.Page{}, err
	}
	switch {
	case r.Limit < 0 || r.MaxBytes < 0 || r.Start.Count < 0:
		return millrace.Page{}, millrace.Errorf(millrace.ReasonBadRequest, "the range has a negative limit")
	case r.Backward && r.Start.Kind != millrace.StartDefault && r.Start.Kind != millrace.StartNow && r.Start.Kind != millrace.StartAfter:
		return millrace.Page{}, millrace.Errorf(millrace.ReasonBadRequest, "a backward range starts now or after a position")
	}
	return b.log.Read(ctx, topic, r)
}

// Topics returns the state of the logs of at most limit topics, those whose names come after a name, "" for the first.
func (b *Broker) Topics(ctx context.Context, after string, limit int) ([]TopicState, error) {
	return b.log.Topics(ctx, after, limit)
}

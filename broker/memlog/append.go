package memlog

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace"
)

// Append implements broker.Log. It never waits, so ctx only counts if it has ended before.
func (l *Log) Append(ctx context.Context, batch []millrace.Publish) []millrace.Ack {
	acks := make([]millrace.Ack, len(batch))
	if err := ctx.Err(); err != nil {
		for i := range acks {
			acks[i] = millrace.Ack{Topic: batch[i].Event.Topic, Err: millrace.AsError(err)}
		}
		return acks
	}
	for i := 0; i < len(batch); {
		name := batch[i].Event.Topic
		j := i + 1
		for j < len(batch) && batch[j].Event.Topic == name {
			j++
		}
		l.appendTo(name, batch[i:j], acks[i:j])
		i = j
	}
	return acks
}

// appendTo stores events of one topic and tells its followers of all of them at once.
func (l *Log) appendTo(name string, batch []millrace.Publish, acks []millrace.Ack) {
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		refuse(acks, name, errClosed())
		return
	}
	t := s.topics[name]
	if t == nil {
		t = newTopic(name, l.rules.For(name))
	}
	now := l.now()
	store := l.appendTied
	if t.rule.Class == millrace.ClassEphemeral {
		l.watchers.tell(t.name, millrace.Position{})
		store = l.pass
	} else {
		l.settle(t.expire(now))
	}
	for i := 0; i < len(batch); {
		j := i + 1
		for j < len(batch) && batch[j].Tied {
			j++
		}
		store(s, t, batch[i:j], acks[i:j], now)
		i = j
	}
	if len(s.told) == 0 {
		return
	}
	for _, f := range t.followers {
		f.to.Appended(s.told)
	}
	clear(s.told)
	s.told = s.told[:0]
}

// refuse answers events of one topic with an error.
func refuse(acks []millrace.Ack, topic string, err *millrace.Error) {
	for i := range acks {
		acks[i] = millrace.Ack{Topic: topic, Err: err}
	}
}

// pass hands events of a topic of class ephemeral on to whoever follows it now; those that are tied together, or none of
// them.
func (l *Log) pass(s *shard, t *topic, tied []millrace.Publish, acks []millrace.Ack, now int64) {
	for i := range tied {
		if tied[i].Expect != nil {
			refuse(acks, t.name, millrace.Errorf(millrace.ReasonUnsupported, "topic %q is of class ephemeral, which has no positions to expect", t.name))
			return
		}
	}
	at := time.UnixMilli(now).UTC()
	for i := range tied {
		e := tied[i].Event
		e.Position, e.Prev, e.Time = millrace.Position{}, 0, at
		acks[i] = millrace.Ack{Topic: t.name, Time: at}
		s.told = append(s.told, e)
	}
}

// appendTied stores events of one topic, one right after the other, or none of them.
func (l *Log) appendTied(s *shard, t *topic, tied []millrace.Publish, acks []millrace.Ack, now int64) {
	if repeated, err := t.repeats(tied, acks); repeated || err != nil {
		if err != nil {
			refuse(acks, t.name, err)
		}
		return
	}
	for i := range tied {
		if expect := tied[i].Expect; expect != nil && (i > 0 || *expect != t.head) {
			refuse(acks, t.name, millrace.Errorf(millrace.ReasonConflict, "the topic's head is %s, not %s", t.head, *expect))
			return
		}
	}
	freed, err := t.shelf.fit(tied)
	if err == nil {
		err = l.charge(t, tied, freed)
	}
	if err != nil {
		refuse(acks, t.name, err)
		return
	}
	if !t.born() {
		l.watchers.tell(t.name, millrace.Position{})
		t.birth(l.mark())
		s.topics[t.name] = t
	}
	for i := range tied {
		l.settle(t.store(&tied[i], l.mark(), now))
		e := tied[i].Event
		acks[i] = millrace.Ack{Topic: t.name, Position: e.Position, Time: e.Time}
		if len(t.followers) > 0 {
			s.told = append(s.told, e)
		}
	}
	t.shelf.trim()
}

// charge takes what events count, less what they displace, from what the log may keep, and a place for a topic that is
// being born.
func (l *Log) charge(t *topic, tied []millrace.Publish, freed int64) *millrace.Error {
	charge := -freed
	for i := range tied {
		charge += int64(tied[i].Event.Size()) + markBytes + t.idCharge(&tied[i])
	}
	if !t.born() {
		charge += topicBytes + int64(len(t.name))
		if l.topics.Add(1) > int64(l.cfg.MaxTopics) {
			l.topics.Add(-1)
			return millrace.Errorf(millrace.ReasonFull, "the broker keeps as many topics as it may")
		}
	}
	if l.bytes.Add(charge) > l.cfg.MaxBytes && charge > 0 {
		l.bytes.Add(-charge)
		if !t.born() {
			l.topics.Add(-1)
		}
		return millrace.Errorf(millrace.ReasonFull, "the broker keeps as many bytes of events as it may")
	}
	return nil
}

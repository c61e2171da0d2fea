package gatewaytest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// maxMemberBytes is how much a member may show of itself here.
const maxMemberBytes = 4 << 10

// membership is one session's in one topic.
type membership struct {
	member     millrace.Member
	generation uint32
	holder     *Broker
}

// seatIn is a session's place in a topic.
type seatIn struct{ topic, session string }

// holder is an end's part in the members.
type holder struct {
	told    map[seatIn]millrace.MemberChange // that the end goes on to tell, whenever it is attached anew
	failure error                            // of Enroll and Members
	held    chan struct{}                    // closed to let Enroll and Members go on; nil: they do not wait
	calls   int                              // of Enroll
}

// Enroll implements Upstream.
func (b *Broker) Enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	if err := b.awaitMembers(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holder.calls++
	switch {
	case b.closed:
		return nil, millrace.Errorf(millrace.ReasonUnavailable, "the broker is closed")
	case b.holder.failure != nil:
		return nil, b.holder.failure
	}
	acks := make([]millrace.MemberAck, len(changes))
	for i, c := range changes {
		acks[i] = b.enroll(c)
	}
	return acks, nil
}

// awaitMembers waits while HoldMembers says so.
func (b *Broker) awaitMembers(ctx context.Context) error {
	b.mu.Lock()
	held := b.holder.held
	b.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enroll does one change. A leave is done even while the end is cut off: it is not told anew.
func (b *Broker) enroll(c millrace.MemberChange) millrace.MemberAck {
	seat := seatIn{c.Topic, c.Member.Session}
	if c.Kind == millrace.MemberLeave {
		delete(b.holder.told, seat)
	}
	switch {
	case b.detached && c.Kind == millrace.MemberLeave:
		return millrace.MemberAck{Member: c.Member}
	case b.detached:
		return refusal(millrace.ReasonUnavailable, "the broker is away")
	case millrace.ValidateTopic(c.Topic) != nil, millrace.Reserved(c.Topic) && c.Topic != millrace.SessionsTopic:
		return refusal(millrace.ReasonTopicInvalid, "not a topic that can have members")
	case len(c.Member.Data) > maxMemberBytes:
		return refusal(millrace.ReasonTooLarge, "too much data")
	case len(c.Member.Data) > 0 && !json.Valid(c.Member.Data):
		return refusal(millrace.ReasonEventInvalid, "the data is not JSON")
	}
	ack := b.change(c)
	if m := b.members[c.Topic][c.Member.Session]; m != nil && m.holder == b && ack.Err == nil && c.Kind != millrace.MemberLeave {
		b.holder.told[seat] = millrace.MemberChange{Kind: millrace.MemberJoin, Topic: c.Topic, Member: m.member, Generation: m.generation}
	}
	ack.Count, ack.Subjects = b.count(c.Topic)
	return ack
}

func refusal(r millrace.Reason, why string) millrace.MemberAck {
	return millrace.MemberAck{Err: millrace.Errorf(r, "%s", why)}
}

// change changes the list, and appends what that makes to the lifecycle log.
func (b *Broker) change(c millrace.MemberChange) millrace.MemberAck {
	m := b.members[c.Topic][c.Member.Session]
	switch {
	case c.Kind == millrace.MemberLeave && (m == nil || m.holder != b || c.Generation < m.generation):
		return millrace.MemberAck{Member: c.Member}
	case c.Kind == millrace.MemberLeave:
		b.leave(c.Topic, m, c.Reason)
		return millrace.MemberAck{Member: m.member}
	case m == nil && c.Kind == millrace.MemberJoin:
		return b.enter(c)
	case m == nil:
		return refusal(millrace.ReasonNotFound, "the session is no member")
	case c.Generation < m.generation, c.Kind == millrace.MemberUpdate && m.holder != b:
		return refusal(millrace.ReasonConflict, "the session has gone on elsewhere")
	}
	m.generation, m.holder = c.Generation, b
	if c.Kind != millrace.MemberResume && !bytes.Equal(m.member.Data, c.Member.Data) {
		m.member.Data = c.Member.Data
		b.chronicle(c.Topic, millrace.MemberEvent{Kind: millrace.MemberUpdated, Member: m.member})
	}
	return millrace.MemberAck{Member: m.member}
}

func (b *Broker) enter(c millrace.MemberChange) millrace.MemberAck {
	m := &membership{member: c.Member, generation: c.Generation, holder: b}
	if m.member.Joined.IsZero() {
		m.member.Joined = time.Now().Truncate(time.Millisecond)
	}
	if b.members[c.Topic] == nil {
		b.members[c.Topic] = map[string]*membership{}
	}
	b.members[c.Topic][c.Member.Session] = m
	if awaited := b.awaited[seatIn{c.Topic, c.Member.Session}]; awaited != nil {
		close(awaited)
		delete(b.awaited, seatIn{c.Topic, c.Member.Session})
	}
	b.chronicle(c.Topic, millrace.MemberEvent{Kind: millrace.MemberJoined, Member: m.member})
	if len(b.members[c.Topic]) == 1 && c.Topic != millrace.SessionsTopic {
		b.chronicle(c.Topic, millrace.MemberEvent{Kind: millrace.TopicOccupied})
	}
	return millrace.MemberAck{Member: m.member}
}

// leave ends a membership, whoever holds it.
func (b *Broker) leave(topic string, m *membership, reason string) {
	delete(b.members[topic], m.member.Session)
	gone := m.member
	gone.Data = nil
	b.chronicle(topic, millrace.MemberEvent{Kind: millrace.MemberLeft, Member: gone, Reason: reason})
	if len(b.members[topic]) == 0 && topic != millrace.SessionsTopic {
		b.chronicle(topic, millrace.MemberEvent{Kind: millrace.TopicVacated})
	}
}

// chronicle appends an event to a topic's lifecycle log.
func (b *Broker) chronicle(topic string, m millrace.MemberEvent) {
	m.Count, m.Subjects = b.count(topic)
	e, err := m.Event(topic)
	if err != nil {
		panic("gatewaytest: a member's data passed for JSON: " + err.Error())
	}
	b.publish(millrace.Publish{Event: e})
}

func (b *Broker) count(topic string) (members, subjects int) {
	distinct := map[string]bool{}
	for _, m := range b.members[topic] {
		if s := m.member.Subject; s != "" {
			distinct[s] = true
		}
	}
	return len(b.members[topic]), len(distinct)
}

// tellAnew tells of all members that the end holds, as it does when it is attached after it was cut off. Others that it held
// have left.
func (b *Broker) tellAnew() {
	seats := slices.SortedFunc(maps.Keys(b.holder.told), func(a, o seatIn) int {
		return cmp.Or(cmp.Compare(a.topic, o.topic), cmp.Compare(a.session, o.session))
	})
	for _, seat := range seats {
		if b.change(b.holder.told[seat]).Err != nil {
			delete(b.holder.told, seat)
		}
	}
	b.dismiss(millrace.LeftLost, func(seat seatIn) bool {
		_, told := b.holder.told[seat]
		return !told
	})
}

// dismiss makes those members leave that the end holds and that are to go.
func (b *Broker) dismiss(reason string, goes func(seatIn) bool) {
	for _, topic := range slices.Sorted(maps.Keys(b.members)) {
		for _, session := range slices.Sorted(maps.Keys(b.members[topic])) {
			if m := b.members[topic][session]; m.holder == b && goes(seatIn{topic, session}) {
				b.leave(topic, m, reason)
			}
		}
	}
}

// Expire lets the lease run out under which the end holds its members: who was not told by another leaves.
func (b *Broker) Expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dismiss(millrace.LeftLease, func(seatIn) bool { return true })
}

// FailMembers makes Enroll and Members fail until it is called with nil.
func (b *Broker) FailMembers(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holder.failure = err
}

// HoldMembers makes Enroll and Members wait until release is called.
func (b *Broker) HoldMembers() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := make(chan struct{})
	b.holder.held = held
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.holder.held == held {
			b.holder.held = nil
			close(held)
		}
	}
}

// Enrolls returns how often Enroll was called.
func (b *Broker) Enrolls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holder.calls
}

// Roster returns a topic's members by their session.
func (b *Broker) Roster(topic string) map[string]millrace.Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	roster := map[string]millrace.Member{}
	for session, m := range b.members[topic] {
		roster[session] = m.member
	}
	return roster
}

// Arrival returns a channel that is closed once a session is a member of a topic.
func (b *Broker) Arrival(topic, session string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	seat := seatIn{topic, session}
	if b.awaited[seat] == nil {
		b.awaited[seat] = make(chan struct{})
	}
	if b.members[topic][session] == nil {
		return b.awaited[seat]
	}
	there := b.awaited[seat]
	delete(b.awaited, seat)
	close(there)
	return there
}

// Lifecycle returns all that was ever told in a topic's lifecycle log, in order.
func (b *Broker) Lifecycle(topic string) []millrace.MemberEvent {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(millrace.PresenceTopic(topic))
	stored := slices.SortedFunc(maps.Values(l.stored), func(a, o *millrace.Event) int {
		return cmp.Compare(a.Position.Offset, o.Position.Offset)
	})
	events := make([]millrace.MemberEvent, len(stored))
	for i, e := range stored {
		m, err := millrace.ParseMemberEvent(e)
		if err != nil {
			panic("gatewaytest: what the broker stored can't be read: " + err.Error())
		}
		events[i] = m
	}
	return events
}

// Members implements Upstream. A page goes on behind the session that its name says.
func (b *Broker) Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	if err := b.awaitMembers(ctx); err != nil {
		return millrace.MemberPage{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed, b.detached:
		return millrace.MemberPage{}, millrace.Errorf(millrace.ReasonUnavailable, "the broker is away")
	case b.holder.failure != nil:
		return millrace.MemberPage{}, b.holder.failure
	}
	page := millrace.MemberPage{AsOf: b.log(millrace.PresenceTopic(topic)).head()}
	page.Count, page.Subjects = b.count(topic)
	limit := r.Limit
	if limit == 0 {
		limit = 100
	}
	for _, session := range slices.Sorted(maps.Keys(b.members[topic])) {
		switch {
		case limit < 0 || session <= r.Page:
		case len(page.Members) == limit:
			page.Next = page.Members[limit-1].Session
			return page, nil
		default:
			page.Members = append(page.Members, b.members[topic][session].member)
		}
	}
	return page, nil
}

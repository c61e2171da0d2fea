package rpc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc/internal/intake"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// membership is the memberships that a link speaks for. One goroutine holds the peer's lease while the link stands and does
// what the reader takes in, all that waits at once. Where beginning a lease takes long it is this goroutine that waits.
type membership struct {
	// Static.
	link   *link
	intake *intake.Intake[wish]

	holder *broker.Holder // owned by the goroutine; nil until there is something to hold

	mu     sync.Mutex
	joined map[string]struct{} // protected by mu; topics that the link's own session joined, unless it is a gateway's
}

// wish is one thing that a peer says of memberships.
type wish struct {
	kind   wishKind
	number uint32 // of the answer
	change millrace.MemberChange
}

type wishKind uint8

const (
	wishChange  wishKind = iota + 1
	wishSettle           // all members were told
	wishRecheck          // the peer's grant is another now
)

// wishBytes is what a wish is charged for beside its texts.
const wishBytes = 64

func newMembership(l *link, c *Config) *membership {
	return &membership{
		link: l,
		intake: intake.New(c.WindowEvents, c.WindowBytes, func(w *wish) int {
			m := &w.change.Member
			return wishBytes + len(w.change.Topic) + len(m.Session) + len(m.Subject) + len(m.Data) + len(w.change.Reason)
		}),
		joined: map[string]struct{}{},
	}
}

// wishOf returns what a command says of memberships, if it does.
func wishOf(m *millracev1.Command) (wish, bool) {
	if _, ok := m.GetKind().(*millracev1.Command_RosterSent); ok {
		return wish{kind: wishSettle}, true
	}
	change, ok := wire.ParseMemberCommand(m)
	return wish{kind: wishChange, number: m.GetId(), change: change}, ok
}

// run keeps the memberships until the link ends. A peer that names itself has a lease from the beginning, as it may have
// members of an earlier link; another one when it has a member.
func (m *membership) run() {
	l, c := m.link, m.link.call
	defer m.end()
	select {
	case <-l.greeted:
	case <-c.ctx.Done():
		return
	}
	if l.greeting().GetPeer() != "" {
		if err := m.hold(); err != nil {
			c.end(err)
			return
		}
	}
	news := m.intake.News()
	for {
		select {
		case <-news:
		case <-m.lost():
			c.end(errLeaseLost)
			return
		case <-c.ctx.Done():
			return
		}
		batch, more := m.intake.Take()
		for some := range slices.Chunk(batch, orderCommands) {
			if err := m.grant(some); err != nil {
				c.end(err)
				return
			}
		}
		if !more {
			news = nil
			l.writer.orders.ask(l.writer.answered)
		}
	}
}

// errLeaseLost ends a link, so that its peer comes back and tells of its members anew.
var errLeaseLost = millrace.Errorf(millrace.ReasonUnavailable, "the lease of the link's members is gone, as another link of the peer has begun one or it could not be renewed")

// fault returns what a link ends with that could not do what was asked. A lease that is gone is no fault of the peer's.
func fault(err error) error {
	if e := millrace.AsError(err); !e.Reason.Outcome().Retryable {
		return errLeaseLost.WithCause(err)
	}
	return err
}

func (m *membership) hold() error {
	if m.holder != nil {
		return nil
	}
	h, err := m.link.call.server.broker.Hold(m.link.call.ctx, m.link.holder)
	if err != nil {
		return err
	}
	m.holder = h
	return nil
}

func (m *membership) lost() <-chan struct{} {
	if m.holder == nil {
		return nil
	}
	return m.holder.Lost()
}

// endTimeout bounds how long the members of a link that ended may take to leave. Then the lease runs out.
const endTimeout = 5 * time.Second

// end lets the lease run out, in which time the peer may come back. One without a name can't, so its members leave.
func (m *membership) end() {
	c := m.link.call
	switch {
	case m.holder == nil:
		return
	case m.link.greeting().GetPeer() != "":
		m.holder.Close()
		return
	}
	reason := millrace.LeftLost
	if errors.Is(context.Cause(c.ctx), errDone) {
		reason = millrace.LeftClosed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), endTimeout)
	defer cancel()
	if err := m.holder.End(ctx, reason); err != nil {
		c.server.report("Join", c.who(), millrace.AsError(err))
	}
}

// grant does what a peer wishes and has it answered, in order. An error ends the link.
func (m *membership) grant(batch []wish) error {
	who := m.link.call.who()
	acks := make([]millrace.MemberAck, len(batch))
	changes := make([]millrace.MemberChange, 0, len(batch))
	places := make([]int, 0, len(batch))
	enroll := func() error {
		if len(changes) == 0 {
			return nil
		}
		answers, err := m.enroll(changes)
		if err != nil {
			return err
		}
		for n, i := range places {
			acks[i] = answers[n]
		}
		changes, places = changes[:0], places[:0]
		return nil
	}
	for i := range batch {
		w := &batch[i]
		// Near the limit each change is done before the next is admitted, since what it makes of the session counts.
		if !m.link.speaks(who) && m.count()+len(changes) >= m.link.call.server.config.MaxTopics {
			if err := enroll(); err != nil {
				return err
			}
		}
		if w.kind == wishChange {
			if acks[i].Err = m.admit(who, &w.change); acks[i].Err == nil {
				changes, places = append(changes, w.change), append(places, i)
			}
			continue
		}
		if err := enroll(); err != nil {
			return err
		}
		if err := m.see(w.kind, who); err != nil {
			return err
		}
	}
	if err := enroll(); err != nil {
		return err
	}
	m.answer(who, batch, acks)
	return nil
}

// see does what is no change.
func (m *membership) see(kind wishKind, who *caller) error {
	if kind == wishSettle {
		if m.holder == nil {
			return nil // a peer without a name has no members of an earlier link
		}
		if err := m.holder.Settle(m.link.call.ctx); err != nil {
			return fault(err)
		}
		return nil
	}
	if m.link.speaks(who) {
		return nil
	}
	var leaves []millrace.MemberChange
	for _, topic := range m.topics() {
		if !who.grant.Allows(millrace.ActionJoin, topic) {
			leaves = append(leaves, millrace.MemberChange{
				Kind: millrace.MemberLeave, Topic: topic, Member: millrace.Member{Session: m.link.session}, Reason: string(millrace.ReasonForbidden),
			})
		}
	}
	if len(leaves) == 0 {
		return nil
	}
	acks, err := m.enroll(leaves)
	if err != nil {
		return err
	}
	for i := range acks {
		if err := acks[i].Err; err != nil {
			return fault(err) // the peer comes back and asks for what it may have
		}
	}
	return nil
}

// enroll asks for changes and notes what they make of the link's own session. An error ends the link.
func (m *membership) enroll(changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	l := m.link
	if err := m.hold(); err != nil {
		return nil, err
	}
	acks, err := m.holder.Enroll(l.call.ctx, changes)
	if err != nil {
		return nil, fault(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Member.Session != l.session:
		case c.Kind == millrace.MemberLeave, acks[i].Err != nil && acks[i].Err.Reason == millrace.ReasonNotFound:
			delete(m.joined, c.Topic)
		case acks[i].Err == nil && c.Kind != millrace.MemberUpdate:
			m.joined[c.Topic] = struct{}{}
		}
	}
	return acks, nil
}

// admit reports why a peer may not ask for a change, or nil, and fills in whom it is about. Who is no gateway speaks for
// the link's own session alone.
func (m *membership) admit(who *caller, c *millrace.MemberChange) *millrace.Error {
	l := m.link
	session := c.Member.Session
	if session == "" {
		c.Member.Session = l.session
	}
	if l.speaks(who) {
		return nil
	}
	switch {
	case session != "" && session != l.session:
		return millrace.Errorf(millrace.ReasonForbidden, "only a gateway may speak for another session than the link's own")
	case c.Topic == millrace.SessionsTopic:
		return millrace.Errorf(millrace.ReasonForbidden, "only a gateway tells of sessions")
	}
	c.Member.Subject, c.Generation = who.grant.Subject, 0
	if c.Kind == millrace.MemberLeave {
		if c.Reason != millrace.LeftClosed {
			c.Reason = millrace.LeftAsked
		}
		return millrace.AsError(millrace.ValidateTopic(c.Topic))
	}
	if err := who.allow(millrace.ActionJoin, "join", c.Topic); err != nil {
		return err
	}
	if n := l.call.server.config.MaxTopics; c.Kind != millrace.MemberUpdate && !m.in(c.Topic) && m.count() >= n {
		return millrace.Errorf(millrace.ReasonTooManyTopics, "a link's session may join at most %d topics", n)
	}
	return nil
}

// mayBroadcast reports why a peer may not publish to a topic as its member, or nil.
func (m *membership) mayBroadcast(who *caller, topic string) *millrace.Error {
	if m.link.speaks(who) || m.in(topic) {
		return nil
	}
	return millrace.Errorf(millrace.ReasonForbidden, "the link's session has not joined %.100q", topic)
}

// in reports whether the link's own session joined a topic.
func (m *membership) in(topic string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.joined[topic]
	return ok
}

// topics returns what the link's own session joined.
func (m *membership) topics() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.joined))
}

func (m *membership) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.joined)
}

// answer has the writer reply to what was asked. There is room for more once the replies are sent.
func (m *membership) answer(who *caller, batch []wish, acks []millrace.MemberAck) {
	l, w := m.link, m.link.writer
	for i := range acks {
		if err := acks[i].Err; err != nil && err.Cause != nil {
			l.call.server.report("Join", who, err)
		}
	}
	w.orders.ask(func() {
		for i := range batch {
			if batch[i].kind != wishChange {
				continue
			}
			reply := &millracev1.Reply{Id: batch[i].number}
			if err := acks[i].Err; err != nil {
				reply.Outcome = &millracev1.Reply_Error{Error: wire.Error(err)}
			} else {
				reply.Outcome = &millracev1.Reply_Member{Member: wire.MemberAck(acks[i])}
			}
			w.answer(reply)
		}
		w.afterOut = append(w.afterOut, func() { m.intake.Done(batch) })
	})
}

package sdk

import (
	"context"
	"crypto/rand"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	"github.com/millrace-dev/millrace/sdk/go/internal/membership"
)

// Enroll asks for changes of memberships and answers each alone, in order. Those of one session in one topic are done in the
// order in which they were asked.
//
// A session whose join or resume was acked is a member until its leave: the link tells of it anew whenever the broker was
// out of reach, unless the session has gone on elsewhere. A leave is done even then, though its ack has no counts: the member
// is not told of again. What has no answer when ctx ends, or after a few seconds, has an error, and a join is then withdrawn.
// The error says that nothing is known of any of them.
//
// Only a link that is opened AsGateway may speak for other sessions than its own, which an empty session stands for.
func (l *Link) Enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	acks := make([]millrace.MemberAck, len(changes))
	asked, places := make([]millrace.MemberChange, 0, len(changes)), make([]int, 0, len(changes))
	for i := range changes {
		if acks[i].Err = tellable(&changes[i]); acks[i].Err == nil {
			asked, places = append(asked, changes[i]), append(places, i)
		}
	}
	answers, err := l.enroll(ctx, asked)
	if err != nil {
		return nil, err
	}
	for n, i := range places {
		acks[i] = answers[n]
	}
	return acks, nil
}

func (l *Link) enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, unavailable("the broker can't be reached", nil))
	defer cancel()
	l.mu.Lock()
	if l.ctx.Err() != nil {
		l.mu.Unlock()
		return nil, endOf(l.ctx)
	}
	b := l.members.Ask(changes)
	l.wake()
	l.mu.Unlock()
	select {
	case <-b.Done:
		return b.Acks, nil
	case <-l.ctx.Done():
		return nil, endOf(l.ctx)
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members.Withdraw(b, endOf(ctx))
	l.wake()
	for i := range b.Acks {
		if b.Acks[i].Err == nil {
			return b.Acks, nil
		}
	}
	return nil, endOf(ctx)
}

// wake lets the stream at hand send what there is to say. l.mu is held.
func (l *Link) wake() {
	if l.stream != nil {
		signal(l.stream.wake)
	}
}

// maxChangeBytes bounds what a change brings along, far above what any broker takes.
const maxChangeBytes = 256 << 10

// tellable reports what keeps a change from being put into a message at all. The stream would end with it, and so would the
// next.
func tellable(c *millrace.MemberChange) *millrace.Error {
	if err := millrace.ValidateTopic(c.Topic); err != nil {
		return millrace.AsError(err)
	}
	if n := len(c.Member.Session) + len(c.Member.Subject) + len(c.Member.Data) + len(c.Reason); n > maxChangeBytes {
		return millrace.Errorf(millrace.ReasonTooLarge, "the member and its data have %d bytes; at most %d can be told", n, maxChangeBytes)
	}
	for _, text := range []string{c.Member.Session, c.Member.Subject, c.Reason} {
		if !utf8.ValidString(text) {
			return millrace.Errorf(millrace.ReasonBadRequest, "the change of a member has a text that is not UTF-8: %.64q", text)
		}
	}
	if c.Kind < millrace.MemberJoin || c.Kind > millrace.MemberLeave {
		return millrace.Errorf(millrace.ReasonBadRequest, "there is no change of a member of kind %d", c.Kind)
	}
	return nil
}

// Session returns the id of the link's own session, as which a bot publishes and joins. It is the same for as long as the
// link's peer has one id, and "" until the broker has answered once.
func (l *Link) Session() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.own
}

// Join makes the link's own session a member of a topic, with data that it shows of itself: a JSON text, or nothing. It is a
// member until Leave, whatever cuts the link off meanwhile. To have joined already is no error; other data is shown then.
func (l *Link) Join(ctx context.Context, topic string, data []byte) (millrace.MemberAck, error) {
	return l.change(ctx, millrace.MemberChange{Kind: millrace.MemberJoin, Topic: topic, Member: millrace.Member{Data: data}})
}

// Update changes what the link's own session shows of itself in a topic. It fails with ReasonNotFound if it is no member.
func (l *Link) Update(ctx context.Context, topic string, data []byte) (millrace.MemberAck, error) {
	return l.change(ctx, millrace.MemberChange{Kind: millrace.MemberUpdate, Topic: topic, Member: millrace.Member{Data: data}})
}

// Leave ends the membership of the link's own session in a topic. To be no member is no error.
func (l *Link) Leave(ctx context.Context, topic string) error {
	_, err := l.change(ctx, millrace.MemberChange{Kind: millrace.MemberLeave, Topic: topic, Reason: millrace.LeftAsked})
	return err
}

func (l *Link) change(ctx context.Context, c millrace.MemberChange) (millrace.MemberAck, error) {
	acks, err := l.Enroll(ctx, []millrace.MemberChange{c})
	switch {
	case err != nil:
		return millrace.MemberAck{}, err
	case acks[0].Err != nil:
		return acks[0], acks[0].Err
	}
	return acks[0], nil
}

// Broadcast publishes an event to a topic that the link's own session joined, for which it needs no right to publish. It takes
// ownership of the event, and gives it an id if it has none: while the broker can't be reached it is tried again for a few
// seconds, and by its id it is stored once. It fails with ReasonForbidden if the session is no member.
func (l *Link) Broadcast(ctx context.Context, e *millrace.Event) (millrace.Ack, error) {
	p := millrace.Publish{Event: e}
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if err := sendable(p); err != nil {
		return millrace.Ack{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, unavailable("the broker can't be reached", nil))
	defer cancel()
	l.mu.Lock()
	if l.ctx.Err() != nil {
		l.mu.Unlock()
		return millrace.Ack{}, endOf(l.ctx)
	}
	c := l.members.Broadcast(p, "", proto.Size(wire.NewEvent(p))+requestOverhead+eventOverhead)
	l.wake()
	l.mu.Unlock()
	select {
	case <-c.Done:
		if c.Ack.Err != nil {
			return c.Ack, c.Ack.Err
		}
		return c.Ack, nil
	case <-l.ctx.Done():
		return millrace.Ack{}, endOf(l.ctx)
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members.Recall(c)
	return millrace.Ack{}, endOf(ctx)
}

// departing bounds how long Close waits for the members to leave. Then their lease runs out.
const departing = time.Second

// depart makes the members of a link that is to be closed leave.
func (l *Link) depart() {
	l.mu.Lock()
	leaves := l.members.Leaves(millrace.LeftClosed)
	l.mu.Unlock()
	if len(leaves) == 0 || l.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, departing)
	defer cancel()
	if _, err := l.enroll(ctx, leaves); err != nil {
		l.client.config.log.Warn("members could not leave in time", "error", err)
	}
}

// bytesOfMembers is how many bytes about one request has of what is said of members.
const bytesOfMembers = 256 << 10

// sayMembers returns what is to be said of members next, and when there is more to say without anything happening. Link.mu
// is held.
func (s *linkStream) sayMembers(now time.Time, n int) (commands []*millracev1.Command, due time.Time) {
	if s.link.stream != s || n <= 0 {
		return nil, time.Time{}
	}
	said, due := s.link.members.Next(now, n, bytesOfMembers)
	for _, c := range said {
		commands = append(commands, commandOf(c))
	}
	return commands, due
}

func commandOf(c membership.Command) *millracev1.Command {
	switch {
	case c.Settled:
		return &millracev1.Command{Kind: &millracev1.Command_RosterSent{RosterSent: &millracev1.RosterSent{}}}
	case c.Broadcast != nil:
		return &millracev1.Command{Id: c.ID, Kind: &millracev1.Command_Broadcast{Broadcast: wire.NewEvent(*c.Broadcast)}}
	}
	return wire.MemberCommand(c.ID, c.Change)
}

// replied takes the answer to a command. Link.mu is held.
func (s *linkStream) replied(r *millracev1.Reply) {
	a := membership.Answer{Err: wire.ParseError(r.GetError())}
	switch kind := r.GetOutcome().(type) {
	case *millracev1.Reply_Member:
		a.Member = wire.ParseMemberAck(kind.Member)
	case *millracev1.Reply_Ack:
		a.Ack = wire.ParseAck(kind.Ack)
	}
	if lost := s.link.members.Reply(time.Now(), r.GetId(), a); lost != nil {
		s.link.client.config.log.Warn("a member that was told anew is none any more", "reason", lost.Error())
	}
	signal(s.wake)
}

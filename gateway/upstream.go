package gateway

import (
	"context"
	"crypto/rand"

	"github.com/millrace-dev/millrace"
)

// Upstream is what a gateway needs of a broker. The broker itself satisfies it inside one process, the Go SDK's link
// when the broker is another process. Package gatewaytest has the test that any Upstream must pass.
//
// All methods may be called concurrently, Next by one goroutine at a time. Events that it hands out are shared and
// immutable.
type Upstream interface {
	// Subscribe asks for a topic or a pattern and returns at once; what comes of it arrives through Next. Each is subscribed
	// once at a time. The error says that the upstream is closed.
	Subscribe(s millrace.Subscription) error

	// Unsubscribe ends the subscription to a topic or pattern. Updates that were under way may still arrive.
	Unsubscribe(topic string)

	// Next returns the updates that have come, at least one, in order for each topic. It waits for the first, until ctx
	// ends. An upstream that can't reach its broker says UpdateDetached and goes on by itself when it can; the error is
	// final. The caller owns the slice.
	Next(ctx context.Context) ([]millrace.Update, error)

	// Publish stores events and answers each alone, in the order of the batch. It takes ownership of the events. The
	// error says that nothing is known of any of them.
	Publish(ctx context.Context, batch []millrace.Publish) ([]millrace.Ack, error)

	// History reads a part of a topic's log, whole, or fails.
	History(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error)

	// Enroll asks for changes of memberships and answers each alone, in order. A session whose join or resume was acked is a
	// member until its leave, or until the upstream is closed and the lease has run out; an upstream that loses its broker
	// tells it of all members anew. A leave is done even if the broker can't be reached: it is not told of the member again.
	// The error says that nothing is known of any of them; a join is then withdrawn.
	Enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error)

	// Members reads a page of a topic's members.
	Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error)
}

// feed lets the upstream move the sources until ctx ends or the upstream does.
func (g *Gateway) feed(ctx context.Context) {
	if err := g.sources.Feed(ctx); ctx.Err() == nil {
		g.config.Log.Error("the upstream ended", "error", err)
		g.cut.Store(true)
	}
}

// page reads a page of the log for a replay.
func (g *Gateway) page(ctx context.Context, topic string, start millrace.Start, limit int) (millrace.Page, error) {
	return g.upstream.History(ctx, topic, millrace.Range{Start: start, Limit: limit, MaxBytes: g.config.BatchBytes})
}

// warn logs that something failed, once each second: a broker that is away fails everyone.
func (g *Gateway) warn(what, topic string, err error) {
	if now := g.clock.Load(); g.warned.Swap(now) != now {
		g.config.Log.Warn(what, "topic", topic, "error", err)
	}
}

// Authenticator turns a peer's token into what the peer may do. An empty token is an anonymous peer's. The error is a
// *millrace.Error; it says nothing of the token's text. It may be called concurrently.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*millrace.Grant, error)
}

// Publisher is who publishes through a gateway.
type Publisher struct {
	Grant   *millrace.Grant
	Session string // empty outside of a session
}

// principal scopes the ids of the publisher's events: its subject, or its session if it has none. Who has neither is
// nobody that could be recognised: a scope that all such strangers shared would take one's event for another's repeat.
func (p Publisher) principal() string {
	switch {
	case p.Grant.Subject != "":
		return "subject:" + p.Grant.Subject
	case p.Session != "":
		return "session:" + p.Session
	}
	return "request:" + rand.Text()
}

// Publish stores one event for a peer. It takes ownership of the event and fills in its sender. Errors are
// *millrace.Error; with a nil error the event is stored.
func (g *Gateway) Publish(ctx context.Context, who Publisher, p millrace.Publish) (millrace.Ack, error) {
	e := p.Event
	if err := millrace.ValidateTopic(e.Topic); err != nil {
		return millrace.Ack{}, err
	}
	if !who.Grant.Allows(millrace.ActionPublish, e.Topic) {
		return millrace.Ack{}, millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to publish to %s", e.Topic)
	}
	return g.store(ctx, who, p)
}

// store stores an event for a peer that may.
func (g *Gateway) store(ctx context.Context, who Publisher, p millrace.Publish) (millrace.Ack, error) {
	e := p.Event
	if n := g.config.MaxEventBytes; len(e.Data) > n {
		return millrace.Ack{}, millrace.Errorf(millrace.ReasonTooLarge, "the event's data has %d bytes; at most %d are allowed", len(e.Data), n)
	}
	p.Principal = who.principal()
	e.Sender = millrace.Sender{Session: who.Session, Subject: who.Grant.Subject}
	acks, err := g.upstream.Publish(ctx, []millrace.Publish{p})
	if err != nil {
		return millrace.Ack{}, millrace.AsError(err)
	}
	if acks[0].Err != nil {
		return millrace.Ack{}, acks[0].Err
	}
	return acks[0], nil
}

// History reads a part of a topic's log for a peer. Errors are *millrace.Error.
func (g *Gateway) History(ctx context.Context, grant *millrace.Grant, topic string, r millrace.Range) (millrace.Page, error) {
	if err := millrace.ValidateTopic(topic); err != nil {
		return millrace.Page{}, err
	}
	if !grant.Allows(millrace.ActionHistory, topic) {
		return millrace.Page{}, millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to read the history of %s", topic)
	}
	if n := g.config.MaxHistoryEvents; r.Limit <= 0 || r.Limit > n {
		r.Limit = n
	}
	r.MaxBytes = g.config.MaxHistoryBytes
	page, err := g.upstream.History(ctx, topic, r)
	if err != nil {
		return millrace.Page{}, millrace.AsError(err)
	}
	return page, nil
}

// Members reads a page of a topic's members for a peer. Errors are *millrace.Error.
func (g *Gateway) Members(ctx context.Context, grant *millrace.Grant, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	if err := millrace.ValidateTopic(topic); err != nil {
		return millrace.MemberPage{}, err
	}
	if !grant.Allows(millrace.ActionPresence, topic) {
		return millrace.MemberPage{}, errPresence(topic)
	}
	return g.members(ctx, topic, r)
}

// members reads a page of a topic's members, of Config.MaxListedMembers at most.
func (g *Gateway) members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	if n := g.config.MaxListedMembers; r.Limit > n {
		r.Limit = n
	}
	page, err := g.upstream.Members(ctx, topic, r)
	if err != nil {
		return millrace.MemberPage{}, millrace.AsError(err)
	}
	return page, nil
}

// isMember reports whether the session may act as a member of a topic. Not for the loop.
func (s *Session) isMember(topic string) bool {
	is := make(chan bool, 1)
	s.loop.post(call(func() {
		sub := s.find(topic)
		is <- sub != nil && sub.part.isMember()
	}))
	select {
	case member := <-is:
		return member
	case <-s.done:
		return false
	}
}

// Broadcast stores an event in a topic that the session is a member of; the grant has to allow to join it. It takes ownership
// of the event and fills in its sender. Errors are *millrace.Error; with a nil error the event is stored.
func (s *Session) Broadcast(ctx context.Context, grant *millrace.Grant, p millrace.Publish) (millrace.Ack, error) {
	topic := p.Event.Topic
	if err := mayJoin(grant, topic); err != nil {
		return millrace.Ack{}, err
	}
	if !s.isMember(topic) {
		return millrace.Ack{}, millrace.Errorf(millrace.ReasonForbidden, "the session is not a member of %s", topic)
	}
	return s.gateway.store(ctx, Publisher{Grant: grant, Session: s.name}, p)
}

// ReadMembers reads a page of a topic's members, for whom a grant allows that or who is a member itself. Errors are
// *millrace.Error.
func (s *Session) ReadMembers(ctx context.Context, grant *millrace.Grant, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	if !grant.Allows(millrace.ActionPresence, topic) && s.isMember(topic) {
		return s.gateway.members(ctx, topic, r)
	}
	return s.gateway.Members(ctx, grant, topic, r)
}

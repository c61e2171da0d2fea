package gateway

import (
	"context"
	"crypto/rand"

	"github.com/millrace-dev/millrace"
)

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

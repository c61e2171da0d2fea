package sdk

import (
	"context"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// Reached says how far a command to live sessions got.
type Reached struct {
	Sessions int      // for which it was done
	Missing  []string // gateways that did not answer, of whose sessions nothing is known
}

// SubscribeSessions subscribes live sessions to a topic or a pattern without their asking: one session, or all that a
// subject has at this moment, wherever they are. Their grants are not looked at, neither now nor when the sessions come back
// with their cursors; their peers are told as if they had asked. It returns when the gateways have done it.
//
// It is for the backends that the broker trusts, and so are the methods below: others are refused with ReasonForbidden.
// ReasonNotFound says that there is no such session, another reason why no session could. While the broker can't be
// reached it is tried again until ctx ends.
func (c *Client) SubscribeSessions(ctx context.Context, target millrace.Target, want millrace.Subscription) (Reached, error) {
	request := &millracev1.SubscribeSessionRequest{Target: wire.Target(target), Subscription: wire.Subscription(0, want)}
	return c.command(ctx, c.retry, target, func(ctx context.Context, broker stubs) (answered, error) {
		return broker.SubscribeSession(ctx, request)
	})
}

// UnsubscribeSessions ends a subscription of live sessions, and their membership of the topic. Sessions without it don't
// count. It is otherwise as SubscribeSessions.
func (c *Client) UnsubscribeSessions(ctx context.Context, target millrace.Target, topic string) (Reached, error) {
	request := &millracev1.UnsubscribeSessionRequest{Target: wire.Target(target), Topic: topic}
	return c.command(ctx, c.retry, target, func(ctx context.Context, broker stubs) (answered, error) {
		return broker.UnsubscribeSession(ctx, request)
	})
}

// JoinSessions makes live sessions members of a topic, and subscribes them to it. Data is what they show of themselves: a
// JSON text, or nil. A session that is a member already shows the new data. It is otherwise as SubscribeSessions; the
// members are in the topic's list when it returns.
func (c *Client) JoinSessions(ctx context.Context, target millrace.Target, topic string, data []byte) (Reached, error) {
	request := &millracev1.JoinSessionRequest{Target: wire.Target(target), Topic: topic, Data: data}
	return c.command(ctx, c.retry, target, func(ctx context.Context, broker stubs) (answered, error) {
		return broker.JoinSession(ctx, request)
	})
}

// LeaveSessions ends a membership of live sessions; their subscriptions stay. Sessions without it don't count. It is
// otherwise as SubscribeSessions.
func (c *Client) LeaveSessions(ctx context.Context, target millrace.Target, topic string) (Reached, error) {
	request := &millracev1.LeaveSessionRequest{Target: wire.Target(target), Topic: topic}
	return c.command(ctx, c.retry, target, func(ctx context.Context, broker stubs) (answered, error) {
		return broker.LeaveSession(ctx, request)
	})
}

// Disconnect ends live sessions and tells their peers why. What the peers then do follows from the reason:
// millrace.ReasonForbidden keeps them away, and millrace.ReasonDraining lets them come back, as any other does whose
// Outcome is Retryable. The message is for the peers' developers. A token stays good, so a peer that does not obey, or that
// begins anew, is let in again.
//
// It is tried once, so that nobody is sent away twice; if it fails as unavailable it may have been done. It is otherwise as
// SubscribeSessions.
func (c *Client) Disconnect(ctx context.Context, target millrace.Target, reason millrace.Reason, message string) (Reached, error) {
	request := &millracev1.DisconnectRequest{Target: wire.Target(target), Reason: string(reason), Message: message}
	return c.command(ctx, c.once, target, func(ctx context.Context, broker stubs) (answered, error) {
		return broker.Disconnect(ctx, request)
	})
}

// answered is a response that says what was done.
type answered interface {
	GetOutcome() *millracev1.SessionOutcome
}

// command makes a call. The error is a *millrace.Error.
func (c *Client) command(ctx context.Context, by caller, target millrace.Target, call func(ctx context.Context, broker stubs) (answered, error)) (Reached, error) {
	if err := target.Validate(); err != nil {
		return Reached{}, err
	}
	var reached Reached
	err := by(ctx, func(ctx context.Context, broker stubs) error {
		response, err := call(ctx, broker)
		if err != nil {
			return err
		}
		outcome := response.GetOutcome()
		reached = Reached{Sessions: int(outcome.GetCount()), Missing: outcome.GetMissingPeers()}
		return nil
	})
	return reached, err
}

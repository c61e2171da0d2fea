package gateway

import (
	"context"

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
}

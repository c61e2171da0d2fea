package sdk

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/proto/wire"
)

// ErrClosed is in the chain of what the methods of something return that its owner closed.
var ErrClosed = errors.New("closed by its owner")

// GapError tells what was not delivered, between the events of Subscription.All. It ends nothing: events go on at
// Gap.Until.
type GapError struct {
	Gap millrace.Gap
}

// Error describes the gap for people.
func (e *GapError) Error() string { return e.Gap.String() }

// RefusedError tells, between the events of Subscription.All, that the broker refused one topic. The others go on.
type RefusedError struct {
	Topic string
	Err   *millrace.Error
}

// Error names the topic and why it was refused.
func (e *RefusedError) Error() string { return "subscribe to " + e.Topic + ": " + e.Err.Error() }

// Unwrap returns why the topic was refused.
func (e *RefusedError) Unwrap() error { return e.Err }

func closed(what string) *millrace.Error {
	return millrace.Errorf(millrace.ReasonCanceled, "%s is closed", what).WithCause(ErrClosed)
}

func unavailable(message string, cause error) *millrace.Error {
	return millrace.Errorf(millrace.ReasonUnavailable, "%s", message).WithCause(cause)
}

// fault says that the server broke the rules of a stream, which is then opened anew.
func fault(format string, args ...any) *millrace.Error {
	return millrace.Errorf(millrace.ReasonInternal, format, args...)
}

// streamError is what ended a call or stream that its caller did not end.
func streamError(err error) *millrace.Error {
	if errors.Is(err, io.EOF) {
		return unavailable("the broker ended the stream", nil)
	}
	e := wire.ParseStatus(err)
	if e.Reason == millrace.ReasonCanceled && !errors.Is(e, ErrClosed) {
		return unavailable("the connection was cut", err)
	}
	return e
}

// endOf is why a context ended.
func endOf(ctx context.Context) *millrace.Error { return millrace.AsError(context.Cause(ctx)) }

// causeOr prefers why we ended a stream over how gRPC tells its end.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// chance returns a random number from [0, 1).
func chance() float64 { return rand.Float64() }

// signal wakes who waits on c, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

package millrace

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reason names what went wrong, the same on every wire. The list is closed; Reasons has what follows from each.
type Reason string

// The reasons.
const (
	ReasonBadRequest    Reason = "bad_request"      // can't be read as what it should be
	ReasonTopicInvalid  Reason = "topic_invalid"    // not a topic or pattern
	ReasonCursorInvalid Reason = "cursor_invalid"   // not a cursor
	ReasonFilterInvalid Reason = "filter_invalid"   // not a filter
	ReasonEventInvalid  Reason = "event_invalid"    // the event breaks a rule, for example its data is not of its content type
	ReasonUnauthorized  Reason = "unauthorized"     // no token, or one that does not hold
	ReasonTokenExpired  Reason = "token_expired"    // the token held until now
	ReasonForbidden     Reason = "forbidden"        // the grant does not cover it
	ReasonOrigin        Reason = "origin_forbidden" // the page's origin is not on the list
	ReasonNotFound      Reason = "not_found"        // there is no such thing
	ReasonUnsupported   Reason = "unsupported"      // this server does not do that
	ReasonConflict      Reason = "conflict"         // the condition of a publish does not hold
	ReasonTooLarge      Reason = "too_large"        // a frame or event beyond the size limit
	ReasonTooManyTopics Reason = "too_many_topics"  // a session with more topics than allowed
	ReasonRateLimited   Reason = "rate_limited"     // too much in too short a time
	ReasonFull          Reason = "full"             // the server is at a limit of its own
	ReasonUnavailable   Reason = "unavailable"      // what is behind the server can't be reached
	ReasonDraining      Reason = "draining"         // the server is going away
	ReasonStale         Reason = "stale"            // the peer did not answer in time
	ReasonSlow          Reason = "slow"             // the peer took nothing for too long
	ReasonDeadline      Reason = "deadline"         // the caller's time was up
	ReasonCanceled      Reason = "canceled"         // the caller gave up
	ReasonInternal      Reason = "internal"         // a fault of ours
)

// Outcome is what follows from a reason on each wire.
type Outcome struct {
	Reason    Reason `json:"reason"`
	GRPC      uint32 `json:"grpc"`      // status code of google.rpc.Code
	HTTP      int    `json:"http"`      // status code of RFC 9110
	Close     int    `json:"close"`     // WebSocket close code of RFC 6455 or, from 4000, of Millrace
	Retryable bool   `json:"retryable"` // the same request may be tried again later, unchanged
}

// outcomes is in the order of the constants above.
var outcomes = []Outcome{
	{ReasonBadRequest, 3, 400, 4000, false},
	{ReasonTopicInvalid, 3, 400, 4002, false},
	{ReasonCursorInvalid, 3, 400, 4004, false},
	{ReasonFilterInvalid, 3, 400, 4008, false},
	{ReasonEventInvalid, 3, 422, 4005, false},
	{ReasonUnauthorized, 16, 401, 4001, false},
	{ReasonTokenExpired, 16, 401, 4006, false},
	{ReasonForbidden, 7, 403, 4003, false},
	{ReasonOrigin, 7, 403, 4007, false},
	{ReasonNotFound, 5, 404, 4010, false},
	{ReasonUnsupported, 12, 501, 4011, false},
	{ReasonConflict, 9, 409, 4012, false},
	{ReasonTooLarge, 8, 413, 1009, false},
	{ReasonTooManyTopics, 8, 429, 4009, false},
	{ReasonRateLimited, 8, 429, 4504, true},
	{ReasonFull, 8, 503, 1013, true},
	{ReasonUnavailable, 14, 503, 1013, true},
	{ReasonDraining, 14, 503, 1012, true},
	{ReasonStale, 14, 408, 4500, true},
	{ReasonSlow, 14, 408, 4501, true},
	{ReasonDeadline, 4, 504, 4502, true},
	{ReasonCanceled, 1, 499, 4503, true},
	{ReasonInternal, 13, 500, 1011, true},
}

// Outcomes returns the whole table, in a fixed order. The caller owns the slice.
func Outcomes() []Outcome { return append([]Outcome(nil), outcomes...) }

// Outcome returns what follows from the reason. An unknown reason is answered as ReasonInternal.
func (r Reason) Outcome() Outcome {
	for _, o := range outcomes {
		if o.Reason == r {
			return o
		}
	}
	return ReasonInternal.Outcome()
}

// Error is the one error that crosses a wire. Message is for the peer's developer and holds nothing internal; the cause
// stays at home: it is unwrapped and logged, never sent.
type Error struct {
	Reason     Reason
	Message    string
	RetryAfter time.Duration // how long to wait before coming back; 0: no advice
	Cause      error
}

// Errorf makes an Error whose message is formatted as by fmt.Sprintf.
func Errorf(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

// WithCause returns a copy of the error with its cause.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// Error returns the reason and the message; it leaves the cause out.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// AsError returns err as an *Error: the first in its chain; ReasonCanceled or ReasonDeadline for an ended context; or else
// a ReasonInternal with err as its cause and a message that tells nothing. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Errorf(ReasonCanceled, "the caller gave up").WithCause(err)
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(ReasonDeadline, "the caller's time was up").WithCause(err)
	}
	return Errorf(ReasonInternal, "something went wrong on the server").WithCause(err)
}

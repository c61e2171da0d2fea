package wire

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Domain is that of the google.rpc.ErrorInfo in our statuses.
const Domain = "millrace.dev"

// Error makes the message of an error, without its cause; nil of nil.
func Error(e *millrace.Error) *millracev1.Error {
	if e == nil {
		return nil
	}
	return &millracev1.Error{Reason: string(e.Reason), Message: text(e.Message), RetryAfterMs: Millis(e.RetryAfter)}
}

// ParseError reads an error; nil of nil. A reason that this version does not know is ReasonInternal.
func ParseError(m *millracev1.Error) *millrace.Error {
	if m == nil {
		return nil
	}
	return &millrace.Error{
		Reason:     millrace.Reason(m.GetReason()).Outcome().Reason,
		Message:    m.GetMessage(),
		RetryAfter: time.Duration(m.GetRetryAfterMs()) * time.Millisecond,
	}
}

// text returns a message as protobuf takes it, which fails on a string that is not UTF-8.
func text(message string) string { return strings.ToValidUTF8(message, "\uFFFD") }

// Millis returns a duration in milliseconds as the contract has them in 32 bits: not negative, and cut at 49 days.
func Millis(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), math.MaxUint32))
}

// Status returns the status of an error, with its ErrorInfo and, if there is advice when to come back, a RetryInfo. The
// cause stays out.
func Status(e *millrace.Error) *status.Status {
	o := e.Reason.Outcome()
	bare := status.New(codes.Code(o.GRPC), text(e.Message))
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Domain: Domain, Reason: strings.ToUpper(string(o.Reason))}}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	full, err := bare.WithDetails(details...)
	if err != nil {
		// A reason whose code is OK; the table has none.
		return bare
	}
	return full
}

// ParseStatus returns what the error of a gRPC call tells; nil of nil. A status that was not made by Status, as the
// transport's own, is told by its code, with a message of ours and err as its cause. What is no status is treated as
// millrace.AsError does.
func ParseStatus(err error) *millrace.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*millrace.Error](err); ok {
		return e
	}
	s, ok := status.FromError(err)
	if !ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return millrace.AsError(err)
	}
	e := &millrace.Error{Message: s.Message()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				e.Reason = millrace.Reason(strings.ToLower(d.GetReason())).Outcome().Reason
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	if e.Reason != "" {
		return e
	}
	reason, message := foreign(s.Code())
	return &millrace.Error{Reason: reason, Message: message, RetryAfter: e.RetryAfter, Cause: err}
}

// foreign tells a status that names no reason: the transport's, a proxy's or that of a server of another kind.
func foreign(c codes.Code) (millrace.Reason, string) {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return millrace.ReasonBadRequest, "the server could not read the request"
	case codes.Unauthenticated:
		return millrace.ReasonUnauthorized, "the server does not know the caller"
	case codes.PermissionDenied:
		return millrace.ReasonForbidden, "the server does not allow it"
	case codes.NotFound:
		return millrace.ReasonNotFound, "the server has no such thing"
	case codes.Unimplemented:
		return millrace.ReasonUnsupported, "the server does not do that"
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists:
		return millrace.ReasonConflict, "the condition does not hold"
	case codes.ResourceExhausted:
		// What gRPC itself refuses with this code is a message beyond its size limit.
		return millrace.ReasonTooLarge, "a message is larger than its receiver takes"
	case codes.Unavailable:
		return millrace.ReasonUnavailable, "the server can't be reached"
	case codes.DeadlineExceeded:
		return millrace.ReasonDeadline, "the caller's time was up"
	case codes.Canceled:
		return millrace.ReasonCanceled, "the call was given up"
	default:
		return millrace.ReasonInternal, "something went wrong on the server"
	}
}

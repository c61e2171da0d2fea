package millrace_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestEachReasonHasOneOutcomeOnEachWire(t *testing.T) {
	seen, closes := map[millrace.Reason]bool{}, map[int]millrace.Reason{}
	for _, o := range millrace.Outcomes() {
		if seen[o.Reason] || o.Reason.Outcome() != o {
			t.Errorf("%s stands in the table twice", o.Reason)
		}
		seen[o.Reason] = true
		if other := closes[o.Close]; other != "" && o.Close >= 4000 {
			t.Errorf("%s and %s both close with %d", other, o.Reason, o.Close)
		}
		closes[o.Close] = o.Reason
		if o.GRPC < 1 || o.GRPC > 16 {
			t.Errorf("%s has gRPC status %d", o.Reason, o.GRPC)
		}
		if o.HTTP < 400 || o.HTTP > 599 {
			t.Errorf("%s has HTTP status %d", o.Reason, o.HTTP)
		}
		switch {
		case o.Close >= 4000 && o.Close < 4500:
			if o.Retryable {
				t.Errorf("%s closes with %d, which says not to come back unchanged, and is retryable", o.Reason, o.Close)
			}
		case o.Close >= 4500 && o.Close < 5000:
			if !o.Retryable {
				t.Errorf("%s closes with %d, which says to come back, and is not retryable", o.Reason, o.Close)
			}
		case o.Close >= 1000 && o.Close < 1016:
		default:
			t.Errorf("%s has close code %d", o.Reason, o.Close)
		}
	}
	if len(seen) != 23 {
		t.Errorf("the table has %d reasons", len(seen))
	}
	if got := millrace.Reason("nonsense").Outcome(); got.Reason != millrace.ReasonInternal {
		t.Errorf("an unknown reason is answered as %s", got.Reason)
	}
}

func TestTheTableCantBeChangedFromOutside(t *testing.T) {
	millrace.Outcomes()[0].HTTP = 200
	if millrace.Outcomes()[0].HTTP == 200 {
		t.Error("it was changed")
	}
}

func TestAnErrorKeepsItsCauseAtHome(t *testing.T) {
	cause := errors.New("password=secret")
	plain := millrace.Errorf(millrace.ReasonUnavailable, "log %d is away", 3)
	err := plain.WithCause(cause)
	if !errors.Is(err, cause) || strings.Contains(err.Error(), "secret") || err.Error() != "unavailable: log 3 is away" {
		t.Errorf("the error is %v", err)
	}
	if plain.Cause != nil {
		t.Error("WithCause changed the original")
	}
}

func TestAnyErrorHasAReason(t *testing.T) {
	conflict := millrace.Errorf(millrace.ReasonConflict, "no")
	for _, c := range []struct {
		err  error
		want millrace.Reason
	}{
		{conflict, millrace.ReasonConflict},
		{fmt.Errorf("append to a: %w", conflict), millrace.ReasonConflict},
		{fmt.Errorf("read a: %w", context.Canceled), millrace.ReasonCanceled},
		{context.DeadlineExceeded, millrace.ReasonDeadline},
		{errors.New("password=secret"), millrace.ReasonInternal},
	} {
		got := millrace.AsError(c.err)
		if got.Reason != c.want || !errors.Is(got, c.err) && got != conflict || strings.Contains(got.Error(), "secret") {
			t.Errorf("%v becomes %v", c.err, got)
		}
	}
	if got := millrace.AsError(nil); got != nil {
		t.Errorf("no error becomes %v", got)
	}
}

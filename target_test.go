package millrace_test

import (
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestATargetIsASessionOrASubject(t *testing.T) {
	for text, target := range map[string]millrace.Target{
		"session x":         {Session: "x"},
		"sessions of alice": {Subject: "alice"},
	} {
		if err := target.Validate(); err != nil || target.String() != text {
			t.Errorf("%s: %v", target, err)
		}
	}
	for _, target := range []millrace.Target{{}, {Session: "x", Subject: "alice"}, {Subject: "\xff"}, {Session: strings.Repeat("x", 5000)}} {
		if err := target.Validate(); millrace.AsError(err) == nil || millrace.AsError(err).Reason != millrace.ReasonBadRequest {
			t.Errorf("%.100q: %v", target, err)
		}
	}
}

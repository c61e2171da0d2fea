package sdk_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

func TestABrokerThatIsGoneIsTriedEverMoreSeldomAndOnceEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Time
		refuse := func(context.Context, string) (net.Conn, error) {
			dials = append(dials, time.Now())
			return nil, errors.New("refused")
		}
		c := dial(t, "passthrough:///nowhere", sdk.WithBackoff(sdk.Backoff{Tries: 8}), sdk.WithDialOptions(grpc.WithContextDialer(refuse)))
		s := subscribe(t, c, sdk.Topics("a"))
		u, err := s.Next(t.Context())
		if err != nil || u.Kind != millrace.UpdateDetached || u.Err.Reason != millrace.ReasonUnavailable {
			t.Errorf("the application is told %+v, %v", u, err)
		}
		if _, err := s.Next(t.Context()); millrace.AsError(err).Reason != millrace.ReasonUnavailable {
			t.Errorf("after all tries: %v", err)
		}
		if len(dials) != 8 {
			t.Fatalf("%d connects for 8 tries", len(dials))
		}
		bound := 500 * time.Millisecond
		for i := 1; i < len(dials); i++ {
			if wait := dials[i].Sub(dials[i-1]); wait > bound {
				t.Errorf("try %d came after %s; at most %s were allowed", i+1, wait, bound)
			}
			bound = min(2*bound, 30*time.Second)
		}
		if st := s.Status(); st.State != sdk.StateClosed || st.Failures != 8 {
			t.Errorf("the subscription is %+v", st)
		}
		c.Close()
	})
}

func TestALinkIsBackSoonAfterAnOutageOfAnyLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Time
		refuse := func(context.Context, string) (net.Conn, error) {
			dials = append(dials, time.Now())
			return nil, errors.New("refused")
		}
		c := dial(t, "passthrough:///nowhere", sdk.WithBackoff(sdk.Backoff{Tries: 200}), sdk.WithDialOptions(grpc.WithContextDialer(refuse)))
		l := open(t, c)
		if _, err := l.Next(t.Context()); millrace.AsError(err).Reason != millrace.ReasonUnavailable {
			t.Errorf("after all tries: %v", err)
		}
		if len(dials) != 200 {
			t.Fatalf("%d connects for 200 tries", len(dials))
		}
		for i := 1; i < len(dials); i++ {
			if wait := dials[i].Sub(dials[i-1]); wait > 2*time.Second {
				t.Errorf("try %d came after %s", i+1, wait)
			}
		}
		c.Close()
	})
}

package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

type subscribeStream = grpc.ServerStreamingServer[millracev1.SubscribeResponse]

// told is what the application gets of a subscription, as words, until it has so many.
func told(t *testing.T, s *sdk.Subscription, n int) []string {
	t.Helper()
	var words []string
	for e, err := range s.All(t.Context()) {
		words = append(words, word(e, err))
		if len(words) == n {
			break
		}
	}
	return words
}

func word(e *millrace.Event, err error) string {
	if gap, ok := errors.AsType[*sdk.GapError](err); ok {
		if gap.Gap.Count > 0 {
			return fmt.Sprintf("lost %d", gap.Gap.Count)
		}
		return fmt.Sprintf("gap %d-%d %s", gap.Gap.After.Offset, gap.Gap.Until.Offset, gap.Gap.Cause)
	}
	if refusal, ok := errors.AsType[*sdk.RefusedError](err); ok {
		return "refused " + refusal.Topic
	}
	if err != nil {
		return err.Error()
	}
	return strconv.FormatUint(e.Position.Offset, 10)
}

func startOf(in *millracev1.SubscribeRequest) millrace.Start {
	return wire.ParseStart(in.GetSubscriptions()[0].GetStart())
}

func TestASubscriptionGoesOnFromItsLastGoodPosition(t *testing.T) {
	after := millrace.After
	for _, c := range []struct {
		name   string
		script []func(s subscribeStream) error // one for each stream
		starts []millrace.Start
		want   string
	}{
		{
			"when the stream is cut",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1, 2))
					return status(millrace.ReasonUnavailable)
				},
				func(s subscribeStream) error { say(s, attached(1, "a", pos(1, 2)), events(1, 1, 3)); return nil },
				func(s subscribeStream) error { say(s, attached(1, "a", pos(1, 3)), events(1, 1, 4)); return wait(s) },
			},
			[]millrace.Start{{}, after(pos(1, 2)), after(pos(1, 3))},
			"1 2 3 4",
		},
		{
			"when the server leaves out an event",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1, 2, 4))
					return wait(s)
				},
				func(s subscribeStream) error { say(s, attached(1, "a", pos(1, 2)), events(1, 1, 3, 4)); return wait(s) },
			},
			[]millrace.Start{{}, after(pos(1, 2))},
			"1 2 3 4",
		},
		{
			"when the server repeats events",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1, 2), events(1, 1, 1, 2, 3), events(1, 1, 3), events(1, 1, 4))
					return wait(s)
				},
			},
			[]millrace.Start{{}},
			"1 2 3 4",
		},
		{
			"when the server forgot its log and begins anew, without a word",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1, 2), events(1, 2, 1))
					return wait(s)
				},
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 2)), gap(1, pos(1, 2), pos(2, 0), "reset"), events(1, 2, 1, 2))
					return wait(s)
				},
			},
			[]millrace.Start{{}, after(pos(1, 2))},
			"1 2 gap 2-0 reset 1 2",
		},
		{
			"when the server reuses the next offset in another lineage",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1), events(1, 2, 2))
					return wait(s)
				},
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 1)), gap(1, pos(1, 1), pos(2, 1), "reset"), events(1, 2, 2))
					return wait(s)
				},
			},
			[]millrace.Start{{}, after(pos(1, 1))},
			"1 gap 1-1 reset 2",
		},
		{
			"when the server says garbage",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error { say(s, events(1, 1, 1)); return wait(s) }, // before attached
				func(s subscribeStream) error {
					say(s, &millracev1.Update{}, events(7, 1, 1), attached(9, "b", pos(1, 0)))
					return nil
				}, // of nothing that we asked for
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), gap(1, pos(1, 7), pos(1, 9), "trimmed"))
					return wait(s)
				}, // beyond us
				func(s subscribeStream) error { say(s, attached(1, "a", pos(1, 5))); return wait(s) }, // not where we are
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1), events(1, 1, 1))
					return wait(s)
				}, // an empty batch
			},
			[]millrace.Start{{}, {}, {}, after(pos(1, 0)), after(pos(1, 0))},
			"1",
		},
		{
			"when a topic is refused only for now",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1), refused(1, "slow"))
					return wait(s)
				},
				func(s subscribeStream) error { say(s, attached(1, "a", pos(1, 1)), events(1, 1, 2)); return wait(s) },
			},
			[]millrace.Start{{}, after(pos(1, 1))},
			"1 2",
		},
		{
			"over what was withheld from it",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error {
					say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1), advanced(1, pos(1, 5), 0))
					return status(millrace.ReasonDraining)
				},
				func(s subscribeStream) error { say(s, attached(1, "a", pos(1, 5)), events(1, 1, 6)); return wait(s) },
			},
			[]millrace.Start{{}, after(pos(1, 5))},
			"1 6",
		},
		{
			"when a topic that nobody had published to is born",
			[]func(s subscribeStream) error{
				func(s subscribeStream) error { say(s, attached(1, "a", millrace.Position{})); return nil },
				func(s subscribeStream) error { say(s, attached(1, "a", pos(1, 0)), events(1, 1, 1)); return wait(s) },
			},
			[]millrace.Start{{}, after(millrace.Position{})},
			"1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var starts []millrace.Start
			f := &fake{subscribe: func(try int, in *millracev1.SubscribeRequest, stream subscribeStream) error {
				mu.Lock()
				starts = append(starts, startOf(in))
				mu.Unlock()
				return c.script[min(try, len(c.script))-1](stream)
			}}
			s := subscribe(t, f.start(t), sdk.Topics("a"))
			want := strings.Split(strings.ReplaceAll(c.want, "gap ", "gap_"), " ")
			n := 0
			for _, w := range want {
				if w != "reset" {
					n++
				}
			}
			if got := strings.Join(told(t, s, n), " "); got != c.want {
				t.Errorf("the application got %q, want %q", got, c.want)
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(starts, c.starts) {
				t.Errorf("the streams began at %v, want %v", starts, c.starts)
			}
		})
	}
}

// wait keeps a stream open until its client leaves.
func wait(s grpc.ServerStream) error {
	<-s.Context().Done()
	return s.Context().Err()
}

func subscribe(t *testing.T, c *sdk.Client, opts ...sdk.SubscribeOption) *sdk.Subscription {
	t.Helper()
	s, err := c.Subscribe(context.Background(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestTheCursorIsWhatTheApplicationWasGiven(t *testing.T) {
	f := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		say(stream, attached(1, "a", pos(1, 0)), attached(2, "b", pos(1, 7)), events(1, 1, 1, 2, 3))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("a", "b"))
	if got := s.Cursor(); got != "--a,--b" {
		t.Errorf("before anything came the cursor is %q", got)
	}
	for range s.All(t.Context()) {
		break
	}
	if got, want := s.Cursor(), pos(1, 1).String()+"-a,"+pos(1, 7).String()+"-b"; got != want {
		t.Errorf("after one event the cursor is %q, want %q", got, want)
	}
	if got := told(t, s, 2); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("after the loop was left, it goes on with %v", got)
	}
	if got, want := s.Cursor(), pos(1, 3).String()+"-a,"+pos(1, 7).String()+"-b"; got != want {
		t.Errorf("at the end the cursor is %q, want %q", got, want)
	}
}

func TestASubscriptionBeginsWhereItIsToldTo(t *testing.T) {
	requests := make(chan *millracev1.SubscribeRequest, 1)
	f := &fake{subscribe: func(_ int, in *millracev1.SubscribeRequest, stream subscribeStream) error {
		requests <- in
		return wait(stream)
	}}
	cursor := pos(1, 4).String() + "-a," + pos(1, 5).String() + "-b,--c"
	subscribe(t, f.start(t), sdk.Resume(""), sdk.Topics("a", "d"), sdk.Resume(cursor),
		sdk.TopicsFrom(millrace.Start{Kind: millrace.StartEarliest}, "b"), sdk.TopicsFrom(millrace.Start{Kind: millrace.StartLast, Count: 3}, "e"))
	in := <-requests
	got := map[string]millrace.Start{}
	for _, s := range in.GetSubscriptions() {
		got[s.GetTopic()] = wire.ParseStart(s.GetStart())
	}
	want := map[string]millrace.Start{
		"a": millrace.After(pos(1, 4)), "b": {Kind: millrace.StartEarliest}, "c": {}, "d": {}, "e": {Kind: millrace.StartLast, Count: 3},
	}
	for topic, start := range want {
		if got[topic] != start {
			t.Errorf("%s begins at %+v, want %+v", topic, got[topic], start)
		}
	}
	if len(got) != len(want) || len(in.GetSubscriptions()) != len(want) {
		t.Errorf("asked for %v", got)
	}
}

func TestABadRequestIsToldBeforeAnythingIsSent(t *testing.T) {
	c := dial(t, "127.0.0.1:1")
	for name, opts := range map[string][]sdk.SubscribeOption{
		"no topic":    {sdk.Resume("")},
		"bad topic":   {sdk.Topics("a::b")},
		"bad pattern": {sdk.Topics("a:**:b")},
		"bad cursor":  {sdk.Resume("garbage"), sdk.Topics("a")},
		"bad filter":  {sdk.WithFilter("name = 1"), sdk.Topics("a")},
		"bad rate":    {sdk.MaxRate(-1), sdk.Topics("a")},
	} {
		if _, err := c.Subscribe(t.Context(), opts...); millrace.AsError(err).Reason.Outcome().GRPC != 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneRefusedTopicLeavesTheOthersAlone(t *testing.T) {
	f := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		say(stream, refused(1, "forbidden"), attached(2, "b", pos(1, 0)), events(2, 1, 1), refused(2, "forbidden"))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("a", "b"))
	got := told(t, s, -1)
	want := []string{"refused a", "1", "refused b", "forbidden: "}
	if !slices.Equal(got, want) {
		t.Errorf("the application got %q, want %q", got, want)
	}
	if st := s.Status(); st.State != sdk.StateClosed || st.Reason.Reason != millrace.ReasonForbidden {
		t.Errorf("with all topics refused the subscription is %+v", st)
	}
}

func TestATokenIsAskedForBeforeEveryTry(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	source := func(context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if asked == 2 {
			return "", errors.New("the vault is closed")
		}
		return fmt.Sprint("token-", asked), nil
	}
	tokens := make(chan []string, 2)
	f := &fake{subscribe: func(try int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		tokens <- authorization(stream.Context())
		if try == 1 {
			return status(millrace.ReasonTokenExpired)
		}
		return wait(stream)
	}}
	subscribe(t, f.start(t, sdk.WithToken(source)), sdk.Topics("a"))
	if first, second := <-tokens, <-tokens; !slices.Equal(first, []string{"Bearer token-1"}) || !slices.Equal(second, []string{"Bearer token-3"}) {
		t.Errorf("came with %v, then with %v", first, second)
	}
}

func TestWhatWillNotGetBetterClosesTheSubscriptionAndSaysWhy(t *testing.T) {
	f := &fake{subscribe: func(int, *millracev1.SubscribeRequest, subscribeStream) error {
		return status(millrace.ReasonUnauthorized)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("a"))
	_, err := s.Next(t.Context())
	if e := millrace.AsError(err); e.Reason != millrace.ReasonUnauthorized {
		t.Errorf("Next fails with %v", err)
	}
	if st := s.Status(); st.State != sdk.StateClosed || st.Reason.Reason != millrace.ReasonUnauthorized {
		t.Errorf("the subscription is %+v", st)
	}
}

func TestASubscriptionThatIsAskedToGoComesBackWithoutANoise(t *testing.T) {
	f := &fake{subscribe: func(try int, in *millracev1.SubscribeRequest, stream subscribeStream) error {
		if try == 1 {
			say(stream, attached(1, "a", pos(1, 0)), events(1, 1, 1), goaway(time.Millisecond, 5*time.Millisecond), events(1, 1, 2))
			return wait(stream)
		}
		p := startOf(in).After
		say(stream, attached(1, "a", p), events(1, 1, p.Offset+1))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("a"))
	var got []string
	for len(got) < 5 {
		u, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(u.Kind, u.Position.Offset))
	}
	want := []string{"1 0", "2 1", "2 2", "1 2", "2 3"} // kinds and offsets
	if !slices.Equal(got, want) {
		t.Errorf("the application got %q, want %q", got, want)
	}
}

func TestClosingEndsLoopsAndFailsNext(t *testing.T) {
	f := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error { return wait(stream) }}
	c := f.start(t)
	s := subscribe(t, c, sdk.Topics("a"))
	done := make(chan []string)
	go func() { done <- told(t, s, -1) }()
	s.Close()
	if got := <-done; len(got) > 0 {
		t.Errorf("the loop ended with %v", got)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("Next fails with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := c.Subscribe(ctx, sdk.Topics("a"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Next(t.Context()); millrace.AsError(err).Reason != millrace.ReasonCanceled {
		t.Errorf("after its context ended Next fails with %v", err)
	}
	c.Close()
	if _, err := c.Subscribe(t.Context(), sdk.Topics("a")); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("on a closed client Subscribe fails with %v", err)
	}
}

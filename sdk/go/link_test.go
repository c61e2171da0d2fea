package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

type joinStream = grpc.BidiStreamingServer[millracev1.JoinRequest, millracev1.JoinResponse]

// far is the broker's end of a link, after hello and welcome, with what the link said.
type far struct {
	stream   joinStream
	hello    *millracev1.Hello
	commands chan *millracev1.Command // but for those of settled
	settled  chan struct{}            // has an item when the link said that all members were told
	end      chan error               // ends the stream with a status
}

func (f *far) say(updates ...*millracev1.Update) {
	_ = f.stream.Send(&millracev1.JoinResponse{Updates: updates}) // the link may be gone; that is part of the tests
}

// links serves links and hands their far ends to the test, in the order of their coming. A link that is not welcome gets
// the status.
func links(t *testing.T, welcome func(try int) error) (*fake, chan *far) {
	t.Helper()
	ends := make(chan *far, 64)
	return &fake{join: func(try int, stream joinStream) error {
		if err := welcome(try); err != nil {
			return err
		}
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		hello := in.GetCommands()[0].GetHello()
		if hello.GetMinVersion() != 1 || hello.GetMaxVersion() != 1 {
			t.Errorf("the link began with %v", in)
		}
		f := &far{stream: stream, hello: hello, commands: make(chan *millracev1.Command, 1024), settled: make(chan struct{}, 16), end: make(chan error, 1)}
		f.say(&millracev1.Update{Kind: &millracev1.Update_Welcome{Welcome: &millracev1.Welcome{Version: 1}}})
		received := make(chan struct{})
		go func() {
			defer close(received)
			for {
				in, err := stream.Recv()
				if err != nil {
					return
				}
				for _, c := range in.GetCommands() {
					if c.GetRosterSent() != nil {
						f.settled <- struct{}{}
						continue
					}
					f.commands <- c
				}
			}
		}()
		ends <- f
		select {
		case err := <-f.end:
			return err
		case <-stream.Context().Done():
			<-received
			return stream.Context().Err()
		}
	}}, ends
}

func always(int) error { return nil }

func open(tb testing.TB, c *sdk.Client) *sdk.Link {
	tb.Helper()
	l, err := c.Link()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	return l
}

func (f *far) subscription(t *testing.T) *millracev1.Subscription {
	t.Helper()
	s := (<-f.commands).GetSubscribe()
	if s == nil {
		t.Fatal("the link asked for something else than a subscription")
	}
	return s
}

// heard collects what a link tells, as words, until there are so many.
type heard struct {
	link  *sdk.Link
	words []string
}

func (h *heard) want(t *testing.T, words ...string) {
	t.Helper()
	for len(h.words) < len(words) {
		updates, err := h.link.Next(t.Context())
		if err != nil {
			t.Fatalf("after %q: %v", h.words, err)
		}
		for _, u := range updates {
			h.words = append(h.words, phrase(u)...)
		}
	}
	got := h.words[:len(words)]
	if !slices.Equal(got, words) {
		t.Fatalf("the link told %q, want %q", got, words)
	}
	h.words = h.words[len(words):]
}

func phrase(u millrace.Update) []string {
	switch u.Kind {
	case millrace.UpdateAttached:
		return []string{fmt.Sprintf("%s at %d", u.Topic, u.Position.Offset)}
	case millrace.UpdateEvents:
		var words []string
		for _, e := range u.Events {
			words = append(words, fmt.Sprintf("%s %d", e.Topic, e.Position.Offset))
		}
		return words
	case millrace.UpdateGap:
		if u.Gap.Count > 0 {
			return []string{fmt.Sprintf("%s lost %d", u.Gap.Topic, u.Gap.Count)}
		}
		return []string{fmt.Sprintf("%s gap %d-%d %s", u.Gap.Topic, u.Gap.After.Offset, u.Gap.Until.Offset, u.Gap.Cause)}
	case millrace.UpdateDetached:
		return []string{u.Topic + " detached"}
	case millrace.UpdateRefused:
		return []string{u.Topic + " refused " + string(u.Err.Reason)}
	case millrace.UpdateAdvanced:
		return []string{fmt.Sprintf("%s on to %d, %d conflated", u.Topic, u.Position.Offset, u.Conflated)}
	case millrace.UpdateMatched:
		return []string{fmt.Sprintf("%s brings %s at %d", u.Pattern, u.Topic, u.Position.Offset)}
	}
	return []string{fmt.Sprint(u)}
}

func mustSubscribe(t *testing.T, l *sdk.Link, topic string, start millrace.Start) {
	t.Helper()
	if err := l.Subscribe(millrace.Subscription{Topic: topic, Start: start}); err != nil {
		t.Fatal(err)
	}
}

func TestALinkThatIsCutOffDetachesItsTopicsAndGoesOnFromTheirPositions(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	first := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	s := first.subscription(t)
	first.say(attached(s.GetAlias(), "a", pos(1, 3)), events(s.GetAlias(), 1, 4, 5))
	h.want(t, "a at 3", "a 4", "a 5")

	first.end <- status(millrace.ReasonUnavailable)
	h.want(t, "a detached")
	second := <-ends
	s = second.subscription(t)
	if start := wire.ParseStart(s.GetStart()); start != millrace.After(pos(1, 5)) {
		t.Errorf("the second link asks for %+v", start)
	}
	second.say(attached(s.GetAlias(), "a", pos(1, 5)), gap(s.GetAlias(), pos(1, 5), pos(2, 0), "reset"), events(s.GetAlias(), 2, 1))
	h.want(t, "a at 5", "a gap 5-0 reset", "a 1")
}

func TestTopicsThatAreSubscribedWhileTheBrokerIsAwayAreAttachedWhenItIsBack(t *testing.T) {
	back := make(chan struct{})
	f, ends := links(t, func(int) error {
		select {
		case <-back:
			return nil
		default:
			return status(millrace.ReasonUnavailable)
		}
	})
	l := open(t, f.start(t))
	mustSubscribe(t, l, "a", millrace.Start{Kind: millrace.StartEarliest})
	h := &heard{link: l}
	h.want(t, "a detached")
	close(back)
	end := <-ends
	s := end.subscription(t)
	if start := wire.ParseStart(s.GetStart()); start.Kind != millrace.StartEarliest {
		t.Errorf("the link asks for %+v", start)
	}
	end.say(attached(s.GetAlias(), "a", pos(1, 0)))
	h.want(t, "a at 0")
}

func TestWhatComesForAnEarlierSubscriptionToATopicIsNotTold(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	old := end.subscription(t).GetAlias()
	end.say(attached(old, "a", pos(1, 0)), events(old, 1, 1))
	h.want(t, "a at 0", "a 1")
	l.Unsubscribe("a")
	l.Unsubscribe("a")
	mustSubscribe(t, l, "a", millrace.After(pos(1, 1)))
	if u := (<-end.commands).GetUnsubscribe(); u.GetAlias() != old {
		t.Errorf("the link unsubscribed %v", u)
	}
	alias := end.subscription(t).GetAlias()
	if alias == old {
		t.Errorf("alias %d is used again", alias)
	}
	end.say(events(old, 1, 2), refused(old, "full"), attached(alias, "a", pos(1, 1)), events(old, 1, 3), events(alias, 1, 2))
	h.want(t, "a at 1", "a 2")
	if err := l.Subscribe(millrace.Subscription{Topic: "a"}); millrace.AsError(err).Reason != millrace.ReasonConflict {
		t.Errorf("a topic is subscribed twice: %v", err)
	}
}

func TestWhatHadComeButWasNotTakenIsNotToldAfterUnsubscribe(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	a := end.subscription(t).GetAlias()
	mustSubscribe(t, l, "b", millrace.Start{})
	b := end.subscription(t).GetAlias()
	end.say(attached(a, "a", pos(1, 0)), attached(b, "b", pos(1, 0)))
	h.want(t, "a at 0", "b at 0")
	end.say(events(a, 1, 1), events(b, 1, 1, 3))
	<-end.commands // the link repairs b, so the events have come
	b = end.subscription(t).GetAlias()
	l.Unsubscribe("a")
	mustSubscribe(t, l, "a", millrace.Start{})
	<-end.commands
	a = end.subscription(t).GetAlias()
	end.say(attached(a, "a", pos(1, 1)), attached(b, "b", pos(1, 1)))
	h.want(t, "b 1", "a at 1", "b at 1")
}

func TestAHoleInOneTopicIsRepairedWithoutTheOthers(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	a := end.subscription(t).GetAlias()
	mustSubscribe(t, l, "b", millrace.Start{})
	b := end.subscription(t).GetAlias()
	end.say(attached(a, "a", pos(1, 0)), attached(b, "b", pos(1, 0)), events(a, 1, 1, 3), events(a, 1, 4), events(b, 1, 1))
	h.want(t, "a at 0", "b at 0", "a 1", "b 1")
	if u := (<-end.commands).GetUnsubscribe(); u.GetAlias() != a {
		t.Errorf("the link unsubscribed %v", u)
	}
	s := end.subscription(t)
	if start := wire.ParseStart(s.GetStart()); s.GetTopic() != "a" || start != millrace.After(pos(1, 1)) {
		t.Errorf("the link asks for %v", s)
	}
	end.say(attached(s.GetAlias(), "a", pos(1, 1)), events(s.GetAlias(), 1, 2, 3, 4))
	h.want(t, "a at 1", "a 2", "a 3", "a 4")

	// The same again, and again: each time is later, and none is the last.
	for range 4 {
		end.say(events(s.GetAlias(), 1, 9))
		<-end.commands
		s = end.subscription(t)
	}
	end.say(attached(s.GetAlias(), "a", pos(1, 4)), events(s.GetAlias(), 1, 5))
	h.want(t, "a at 4", "a 5")
}

func TestARefusalOfANewTopicIsToldAndOneForNowOfAnOldIsTriedAgain(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	alias := end.subscription(t).GetAlias()
	end.say(refused(alias, "full"))
	h.want(t, "a refused full")
	mustSubscribe(t, l, "a", millrace.Start{})
	alias = end.subscription(t).GetAlias()
	end.say(attached(alias, "a", pos(1, 2)), refused(alias, "slow"))
	h.want(t, "a at 2", "a detached")
	s := end.subscription(t)
	end.say(attached(s.GetAlias(), "a", pos(1, 2)), refused(s.GetAlias(), "forbidden"))
	h.want(t, "a at 2", "a refused forbidden")
}

func TestALinkThatIsAskedToGoMovesWithoutDetaching(t *testing.T) {
	f, ends := links(t, func(try int) error {
		if try == 2 { // the first try to move meets a broker that does not take it
			return status(millrace.ReasonDraining)
		}
		return nil
	})
	l := open(t, f.start(t))
	h := &heard{link: l}
	first := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	old := first.subscription(t).GetAlias()
	first.say(attached(old, "a", pos(1, 0)), events(old, 1, 1))
	h.want(t, "a at 0", "a 1")
	first.say(goaway(time.Millisecond, 5*time.Millisecond), events(old, 1, 2))
	h.want(t, "a 2")
	second := <-ends
	s := second.subscription(t)
	first.say(events(old, 1, 3))
	if start := wire.ParseStart(s.GetStart()); start != millrace.After(pos(1, 2)) {
		t.Errorf("the new stream asks for %+v", start)
	}
	second.say(attached(s.GetAlias(), "a", pos(1, 2)), events(s.GetAlias(), 1, 3, 4))
	h.want(t, "a at 2", "a 3", "a 4")
	<-first.stream.Context().Done()
	if st := l.Status(); st.State != sdk.StateLive {
		t.Errorf("the link is %+v", st)
	}
}

func TestALinkThatTheBrokerWillNeverTakeIsOver(t *testing.T) {
	f, _ := links(t, func(int) error { return status(millrace.ReasonUnsupported) })
	l := open(t, f.start(t))
	_, err := l.Next(t.Context())
	if millrace.AsError(err).Reason != millrace.ReasonUnsupported {
		t.Errorf("Next fails with %v", err)
	}
	if err := l.Subscribe(millrace.Subscription{Topic: "a"}); millrace.AsError(err).Reason != millrace.ReasonUnsupported {
		t.Errorf("Subscribe fails with %v", err)
	}
}

func TestABrokerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	entered := make(chan struct{}, 64)
	f := &fake{join: func(_ int, s joinStream) error {
		entered <- struct{}{}
		return wait(s)
	}}
	l := open(t, f.start(t, sdk.WithConnectTimeout(20*time.Millisecond)))
	<-entered
	<-entered
	if st := l.Status(); st.State != sdk.StateConnecting {
		t.Errorf("the link is %+v", st)
	}
}

func TestAClosedLinkFails(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	<-ends
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Next(ctx); millrace.AsError(err).Reason != millrace.ReasonCanceled || errors.Is(err, sdk.ErrClosed) {
		t.Errorf("with an ended context Next fails with %v", err)
	}
	l.Close()
	if _, err := l.Next(t.Context()); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("Next fails with %v", err)
	}
	if err := l.Subscribe(millrace.Subscription{Topic: "a"}); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("Subscribe fails with %v", err)
	}
}

func TestALinkSendsAnEventWithoutAnIDAtMostOnce(t *testing.T) {
	sent := make(chan string, 64)
	f := &fake{
		join: func(_ int, s joinStream) error { return wait(s) },
		publish: func(_ int, _ context.Context, in *millracev1.PublishRequest) (*millracev1.PublishResponse, error) {
			id := in.GetEvents()[0].GetId()
			sent <- id
			if id == "" || len(sent) < 3 {
				return nil, status(millrace.ReasonUnavailable)
			}
			return &millracev1.PublishResponse{Acks: []*millracev1.Ack{{Topic: "a", Position: wire.Position(pos(1, 1)), Repeated: true}}}, nil
		},
	}
	l := open(t, f.start(t))
	_, err := l.Publish(t.Context(), []millrace.Publish{{Event: &millrace.Event{Topic: "a"}}})
	if millrace.AsError(err).Reason != millrace.ReasonUnavailable || len(sent) != 1 {
		t.Errorf("without an id it was sent %d times: %v", len(sent), err)
	}
	acks, err := l.Publish(t.Context(), []millrace.Publish{{Event: &millrace.Event{Topic: "a", ID: "x"}}})
	if err != nil || acks[0].Position != pos(1, 1) || !acks[0].Repeated || len(sent) != 3 {
		t.Errorf("with an id it was sent %d times: %v, %v", len(sent)-1, acks, err)
	}
}

func TestATopicThatCanNotBeSentIsRefusedAndTheOthersGoOn(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "\xff", millrace.Start{})
	h.want(t, "\xff refused topic_invalid")
	mustSubscribe(t, l, "a", millrace.Start{})
	end.say(attached(end.subscription(t).GetAlias(), "a", pos(1, 2)))
	h.want(t, "a at 2")
}

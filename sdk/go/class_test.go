package sdk_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

func latest(alias uint32, topic string, p millrace.Position) *millracev1.Update {
	u := attached(alias, topic, p)
	u.GetAttached().Class = wire.Class(millrace.ClassLatest)
	return u
}

func TestWhatWasConflatedIsToldBeforeTheEventThatFollowsOnIt(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	a := end.subscription(t).GetAlias()
	end.say(latest(a, "a", millrace.Position{}), advanced(a, pos(1, 4), 0), events(a, 1, 5), advanced(a, pos(1, 8), 3), events(a, 1, 9))
	h.want(t, "a at 0", "a on to 4, 0 conflated", "a 5", "a on to 8, 3 conflated", "a 9")
}

func TestAnOlderEventThatIsLeftOutWithoutAWordIsRepairedInEveryClass(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	a := end.subscription(t).GetAlias()
	end.say(latest(a, "a", pos(1, 0)), events(a, 1, 1, 3))
	h.want(t, "a at 0", "a 1")
	<-end.commands
	s := end.subscription(t)
	if start := wire.ParseStart(s.GetStart()); start != millrace.After(pos(1, 1)) {
		t.Errorf("the link asks for %+v", start)
	}
	end.say(latest(s.GetAlias(), "a", pos(1, 1)), advanced(s.GetAlias(), pos(1, 2), 1), events(s.GetAlias(), 1, 3))
	h.want(t, "a at 1", "a on to 2, 1 conflated", "a 3")
}

func TestTheClassOfATopicIsToldWhenItIsAttached(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	end := <-ends
	for _, topic := range []string{"a", "b", "c"} {
		mustSubscribe(t, l, topic, millrace.Start{})
		alias := end.subscription(t).GetAlias()
		switch topic {
		case "a":
			end.say(attached(alias, topic, pos(1, 0)))
		case "b":
			end.say(latest(alias, topic, pos(1, 0)))
		case "c":
			end.say(ephemeral(alias, topic))
		}
		updates, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]millrace.Class{"a": millrace.ClassLog, "b": millrace.ClassLatest, "c": millrace.ClassEphemeral}[topic]
		if updates[0].Kind != millrace.UpdateAttached || updates[0].Class != want {
			t.Errorf("%s is told as %v, %v", topic, updates[0].Kind, updates[0].Class)
		}
	}
}

func TestAnEphemeralTopicGoesOnAfterAnOutageWithWhatComesThen(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	first := <-ends
	mustSubscribe(t, l, "a", millrace.Start{})
	a := first.subscription(t).GetAlias()
	first.say(ephemeral(a, "a"), passing(a), counted(a, 7), passing(a))
	h.want(t, "a at 0", "a 0", "a lost 7", "a 0")
	first.end <- status(millrace.ReasonUnavailable)
	h.want(t, "a detached")
	second := <-ends
	s := second.subscription(t)
	if start := wire.ParseStart(s.GetStart()); start != (millrace.Start{}) {
		t.Errorf("the second link asks for %+v", start)
	}
	second.say(ephemeral(s.GetAlias(), "a"), passing(s.GetAlias()))
	h.want(t, "a at 0", "a 0")

	// On the way from one stream to another something may go by, too, so the topic is told as detached.
	second.say(goaway(0, 0))
	third := <-ends
	a = third.subscription(t).GetAlias()
	third.say(ephemeral(a, "a"), passing(a))
	h.want(t, "a detached", "a at 0", "a 0")
}

// Promise: docs/delivery.md 3.3.
func TestASubscriptionIsToldWhereAnEphemeralTopicMayHaveMissedEvents(t *testing.T) {
	f := &fake{subscribe: func(try int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		if say(stream, ephemeral(1, "a"), passing(1)); try == 1 {
			return status(millrace.ReasonUnavailable)
		}
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("a"))
	if got := told(t, s, 3); !slices.Equal(got, []string{"0", "gap 0-0 reset", "0"}) {
		t.Errorf("the application got %q", got)
	}
}

func TestALoopIsToldOfLostEphemeralEventsAndCanAskWhatWasConflated(t *testing.T) {
	f := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		say(stream, ephemeral(1, "a"), passing(1), counted(1, 7), passing(1),
			latest(2, "b", millrace.Position{}), advanced(2, pos(1, 4), 0), events(2, 1, 5), advanced(2, pos(1, 8), 3), events(2, 1, 9))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("a", "b"))
	var got []string
	for e, err := range s.All(t.Context()) {
		w := word(e, err)
		if err == nil {
			w = fmt.Sprint(e.Topic, " ", w, " after ", s.Conflated(e.Topic))
		}
		if got = append(got, w); len(got) == 5 {
			break
		}
	}
	want := []string{"a 0 after 0", "lost 7", "a 0 after 0", "b 5 after 0", "b 9 after 3"}
	if !slices.Equal(got, want) {
		t.Errorf("the application got %q, want %q", got, want)
	}
	if got, want := s.Cursor(), "--a,"+pos(1, 9).String()+"-b"; got != want {
		t.Errorf("the cursor is %q, want %q", got, want)
	}
	if n := s.Conflated("c"); n != 0 {
		t.Errorf("of what is no topic of it %d are conflated", n)
	}
}

func TestNextTellsWhatWasPassedOver(t *testing.T) {
	f := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		say(stream, latest(1, "a", pos(1, 0)), advanced(1, pos(1, 4), 2))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("a"))
	var got []string
	for range 2 {
		u, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, phrase(u)...)
	}
	if want := []string{"a at 0", "a on to 4, 2 conflated"}; !slices.Equal(got, want) {
		t.Errorf("the application got %q, want %q", got, want)
	}
	if got, want := s.Cursor(), pos(1, 4).String()+"-a"; got != want {
		t.Errorf("the cursor is %q, want %q", got, want)
	}
}

package sdk_test

import (
	"slices"
	"testing"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

func TestALinkIsToldEachTopicOfAPatternOnceAndThoseBornInAnOutageAsBorn(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	first := <-ends
	mustSubscribe(t, l, "o:*", millrace.Start{})
	p := first.subscription(t).GetAlias()
	first.say(matched(p, "o:1", pos(1, 4)), matched(p, "o:1", pos(1, 5)), watching(p, "o:*"), matched(p, "o:2", millrace.Position{}))
	h.want(t, "o:* brings o:1 at 4", "o:* at 0", "o:* brings o:2 at 0")

	first.end <- status(millrace.ReasonUnavailable)
	h.want(t, "o:* detached")
	second := <-ends
	s := second.subscription(t)
	if start := wire.ParseStart(s.GetStart()); s.GetTopic() != "o:*" || start != millrace.After(millrace.Position{}) {
		t.Errorf("the second link asks for %v", s)
	}
	p = s.GetAlias()
	second.say(matched(p, "o:1", pos(1, 9)), matched(p, "o:3", pos(1, 7)), matched(p, "o:2", pos(1, 1)), watching(p, "o:*"), matched(p, "o:4", millrace.Position{}))
	h.want(t, "o:* brings o:3 at 0", "o:* at 0", "o:* brings o:4 at 0")
}

func TestAPatternThatWasNotAttachedYetBeginsAgainWhereItsTopicsAre(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	first := <-ends
	mustSubscribe(t, l, "o:*", millrace.Start{})
	p := first.subscription(t).GetAlias()
	first.say(matched(p, "o:1", pos(1, 4)))
	h.want(t, "o:* brings o:1 at 4")
	first.end <- status(millrace.ReasonUnavailable)
	h.want(t, "o:* detached")
	second := <-ends
	s := second.subscription(t)
	if start := wire.ParseStart(s.GetStart()); start != (millrace.Start{}) {
		t.Errorf("the second link asks for %+v", start)
	}
	p = s.GetAlias()
	second.say(matched(p, "o:1", pos(1, 9)), matched(p, "o:2", pos(1, 3)), watching(p, "o:*"))
	h.want(t, "o:* brings o:2 at 3", "o:* at 0")
}

func TestAPatternThatIsLeftAndTakenAgainIsToldItsTopicsAgain(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	for range 2 {
		mustSubscribe(t, l, "o:*", millrace.Start{})
		p := end.subscription(t).GetAlias()
		end.say(matched(p, "o:1", pos(1, 4)), watching(p, "o:*"))
		h.want(t, "o:* brings o:1 at 4", "o:* at 0")
		l.Unsubscribe("o:*")
		if u := (<-end.commands).GetUnsubscribe(); u.GetAlias() != p {
			t.Errorf("the link unsubscribed %v", u)
		}
	}
}

func TestTopicsThatMayHaveBeenMissedAreToldAsAGapOfThePattern(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "o:*", millrace.Start{})
	p := end.subscription(t).GetAlias()
	missed := &millracev1.Update{Alias: p, Kind: &millracev1.Update_Gap{Gap: &millracev1.Gap{Pattern: "o:*", Cause: "reset"}}}
	end.say(watching(p, "o:*"), missed, refused(p, "forbidden"))
	h.want(t, "o:* at 0", "o:* gap 0-0 reset", "o:* refused forbidden")
}

func TestAPatternThatIsToldWhatItDoesNotCoverIsSubscribedAnew(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	h := &heard{link: l}
	end := <-ends
	mustSubscribe(t, l, "o:*", millrace.Start{})
	p := end.subscription(t).GetAlias()
	for _, nonsense := range []func(p uint32) *millracev1.Update{
		func(p uint32) *millracev1.Update { return matched(p, "x:1", pos(1, 4)) },
		func(p uint32) *millracev1.Update { return matched(p, "o:*", pos(1, 4)) },
		func(p uint32) *millracev1.Update { return events(p, 1, 1) },
		func(p uint32) *millracev1.Update { return advanced(p, pos(1, 1), 0) },
	} {
		end.say(nonsense(p))
		if u := (<-end.commands).GetUnsubscribe(); u.GetAlias() != p {
			t.Errorf("the link unsubscribed %v", u)
		}
		p = end.subscription(t).GetAlias()
	}
	end.say(watching(p, "o:*"))
	h.want(t, "o:* at 0")
}

func TestALinkAsksForFilterAndRateWithEachSubscription(t *testing.T) {
	f, ends := links(t, always)
	l := open(t, f.start(t))
	filter, err := millrace.ParseFilter(`name == "paid"`)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Subscribe(millrace.Subscription{Topic: "a", Filter: filter, MaxRate: 2}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		end := <-ends
		if s := end.subscription(t); s.GetFilter() != filter.String() || s.GetMaxRate() != 2 {
			t.Errorf("the link asks for %v", s)
		}
		end.end <- status(millrace.ReasonUnavailable)
	}
}

// asked is what a request asks for, by topic.
func asked(in *millracev1.SubscribeRequest) map[string]millrace.Start {
	starts := map[string]millrace.Start{}
	for _, s := range in.GetSubscriptions() {
		starts[s.GetTopic()] = wire.ParseStart(s.GetStart())
	}
	return starts
}

// choice is the first alias that a broker chooses.
const choice = 1 << 31

func TestTheTopicsOfAPatternAreFollowedByTheirPositions(t *testing.T) {
	requests := make(chan *millracev1.SubscribeRequest, 2)
	f := &fake{subscribe: func(try int, in *millracev1.SubscribeRequest, stream subscribeStream) error {
		requests <- in
		if try == 1 {
			say(stream, attached(2, "o:9", pos(1, 0)),
				brought(choice, 1, "o:1", pos(1, 4)), events(choice, 1, 5), watching(1, "o:*"),
				brought(choice+1, 1, "o:9", pos(1, 0)), events(choice+1, 1, 1), // asked for by name, so not again by the pattern
				brought(choice+2, 1, "o:2", millrace.Position{}), events(choice+2, 1, 1, 2), events(2, 1, 1))
			return status(millrace.ReasonUnavailable)
		}
		say(stream, watching(1, "o:*"), attached(2, "o:9", pos(1, 1)), attached(3, "o:1", pos(1, 5)), attached(4, "o:2", pos(1, 2)),
			events(3, 1, 6), brought(choice, 1, "o:3", millrace.Position{}), events(choice, 2, 1), events(4, 1, 3))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("o:*", "o:9"))
	var got []string
	for e, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Topic+" "+word(e, nil)); len(got) == 7 {
			break
		}
	}
	if want := []string{"o:1 5", "o:2 1", "o:2 2", "o:9 1", "o:1 6", "o:3 1", "o:2 3"}; !slices.Equal(got, want) {
		t.Errorf("the application got %q, want %q", got, want)
	}
	if got := asked(<-requests); len(got) != 2 || got["o:*"] != (millrace.Start{}) {
		t.Errorf("at first it asked for %+v", got)
	}
	again := asked(<-requests)
	for topic, start := range map[string]millrace.Start{
		"o:*": millrace.After(millrace.Position{}), "o:9": millrace.After(pos(1, 1)), "o:1": millrace.After(pos(1, 5)), "o:2": millrace.After(pos(1, 2)),
	} {
		if again[topic] != start {
			t.Errorf("the second time it asked for %s from %+v, want %+v", topic, again[topic], start)
		}
	}
	want := "0-0-o:%2A," + pos(1, 1).String() + "-o:9," + pos(1, 6).String() + "-o:1," + pos(1, 3).String() + "-o:2," + pos(2, 1).String() + "-o:3"
	if got := s.Cursor(); got != want {
		t.Errorf("the cursor is %q, want %q", got, want)
	}
}

func TestNextTellsTheTopicsOfAPatternAndThenThePattern(t *testing.T) {
	f := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		say(stream, brought(choice, 1, "o:1", pos(1, 4)), watching(1, "o:*"), refused(choice, "forbidden"), refused(1, "forbidden"))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("o:*"))
	var got []string
	for {
		u, err := s.Next(t.Context())
		if err != nil {
			break
		}
		got = append(got, phrase(u)...)
		if len(got) == 1 && s.Cursor() != "--o:%2A,"+pos(1, 4).String()+"-o:1" {
			t.Errorf("before the pattern is attached the cursor is %q", s.Cursor())
		}
	}
	if want := []string{"o:1 at 4", "o:* at 0", "o:1 refused forbidden", "o:* refused forbidden"}; !slices.Equal(got, want) {
		t.Errorf("the application got %q, want %q", got, want)
	}
}

func TestATopicThatNoPatternCoversEndsTheStreamThatBringsIt(t *testing.T) {
	f := &fake{subscribe: func(try int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		switch try {
		case 1:
			say(stream, brought(choice, 1, "x:1", pos(1, 4)), events(choice, 1, 5))
		case 2:
			say(stream, brought(choice, 2, "o:1", pos(1, 4)), events(choice, 1, 5)) // by what is no pattern
		case 3:
			say(stream, brought(choice, 1, "o:1", pos(1, 4)), events(choice, 1, 5))
		}
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("o:*", "o:2"))
	if got := told(t, s, 1); !slices.Equal(got, []string{"5"}) {
		t.Errorf("the application got %q", got)
	}
}

func TestEphemeralTopicsOfAPatternAreNotInTheCursor(t *testing.T) {
	f := &fake{subscribe: func(_ int, _ *millracev1.SubscribeRequest, stream subscribeStream) error {
		u := ephemeral(choice, "o:1")
		u.GetAttached().PatternAlias = 1
		say(stream, u, watching(1, "o:*"), passing(choice))
		return wait(stream)
	}}
	s := subscribe(t, f.start(t), sdk.Topics("o:*"))
	if got := told(t, s, 1); !slices.Equal(got, []string{"0"}) {
		t.Errorf("the application got %q", got)
	}
	if got := s.Cursor(); got != "0-0-o:%2A" {
		t.Errorf("the cursor is %q", got)
	}
}

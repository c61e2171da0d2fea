package sdk_test

import (
	"testing"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// choose reads a filter of a test.
func choose(t *testing.T, text string) *millrace.Filter {
	t.Helper()
	filter, err := millrace.ParseFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return filter
}

// options is what a request wants of each topic beside its place, as words of a cursor.
func options(in *millracev1.SubscribeRequest) map[string]string {
	words := map[string]string{}
	for _, s := range in.GetSubscriptions() {
		words[s.GetTopic()] = s.GetFilter()
		if s.GetMaxRate() != 0 {
			words[s.GetTopic()] += " slowly"
		}
	}
	return words
}

func TestFilterAndRateAreAskedForByWhatTheApplicationAndTheCursorSay(t *testing.T) {
	paid, late := `name=="paid"`, `key=="late"`
	cursor := millrace.Cursor{
		Options: []millrace.Option{
			{Topic: "o:*", Filter: choose(t, paid)},
			{Topic: "o:2", MaxRate: 3},
			{Topic: "p:*", Filter: choose(t, late), MaxRate: 2},
			{Topic: "o:3"},
		},
		Pieces: []millrace.Piece{
			{Topic: "o:*", Attached: true},
			{Topic: "p:*", Attached: true},
			{Topic: "*:1"},
			{Topic: "o:1", Position: pos(1, 1), Attached: true},
			{Topic: "o:2", Position: pos(1, 1), Attached: true},
			{Topic: "o:3", Position: pos(1, 1), Attached: true},
			{Topic: "p:1", Position: pos(1, 1), Attached: true},
			{Topic: "x:1", Position: pos(1, 1), Attached: true},
		},
	}.String()
	for name, c := range map[string]struct {
		opts []sdk.SubscribeOption
		want map[string]string
	}{
		"nothing said": {[]sdk.SubscribeOption{sdk.Topics("a", "b:*")}, map[string]string{"a": "", "b:*": ""}},
		"for all": {
			[]sdk.SubscribeOption{sdk.WithFilter(` name == "paid" `), sdk.Topics("a", "b:*"), sdk.MaxRate(0.5)},
			map[string]string{"a": paid + " slowly", "b:*": paid + " slowly"},
		},
		"as the cursor has it": {
			[]sdk.SubscribeOption{sdk.Topics("o:4", "o:1"), sdk.Resume(cursor)},
			map[string]string{
				"o:4": "", "o:1": paid, "o:2": " slowly", "o:3": "", "o:*": paid, "p:*": late + " slowly", "p:1": late + " slowly", "*:1": "", "x:1": "",
			},
		},
		"other than the cursor has it": {
			[]sdk.SubscribeOption{sdk.Resume(cursor), sdk.WithFilter(late), sdk.MaxRate(0)},
			map[string]string{"o:1": late, "o:2": late, "o:3": late, "o:*": late, "p:*": late, "p:1": late, "*:1": late, "x:1": late},
		},
		"no more as the cursor has it": {
			[]sdk.SubscribeOption{sdk.Resume(cursor), sdk.WithFilter("")},
			map[string]string{"o:1": "", "o:2": " slowly", "o:3": "", "o:*": "", "p:*": " slowly", "p:1": " slowly", "*:1": "", "x:1": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			requests := make(chan *millracev1.SubscribeRequest, 2)
			f := &fake{subscribe: func(_ int, in *millracev1.SubscribeRequest, stream subscribeStream) error {
				requests <- in
				return wait(stream)
			}}
			broker := f.start(t)
			s := subscribe(t, broker, c.opts...)
			got := options(<-requests)
			for topic, want := range c.want {
				if got[topic] != want {
					t.Errorf("%s is asked for with %q, want %q", topic, got[topic], want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("asked for %v", got)
			}
			// What the cursor of the subscription says is just the same again.
			subscribe(t, broker, sdk.Resume(s.Cursor()))
			again := options(<-requests)
			for topic, want := range c.want {
				if again[topic] != want {
					t.Errorf("resumed by %q %s is asked for with %q, want %q", s.Cursor(), topic, again[topic], want)
				}
			}
		})
	}
}

// Promise: docs/delivery.md 5.2.
func TestTheTopicsOfAPatternAreWantedAsThePatternIs(t *testing.T) {
	requests := make(chan *millracev1.SubscribeRequest, 3)
	f := &fake{subscribe: func(try int, in *millracev1.SubscribeRequest, stream subscribeStream) error {
		requests <- in
		if try == 1 {
			say(stream, brought(choice, 1, "o:1", pos(1, 4)), watching(1, "o:*"))
			return status(millrace.ReasonUnavailable)
		}
		say(stream, attached(2, "o:1", pos(1, 4)), watching(1, "o:*"), advanced(2, pos(1, 7), 0), events(2, 1, 8))
		return wait(stream)
	}}
	broker := f.start(t)
	s := subscribe(t, broker, sdk.Topics("o:*"), sdk.WithFilter(`name == "paid"`))
	if got := told(t, s, 1); got[0] != "8" {
		t.Errorf("the application got %q", got)
	}
	<-requests
	if got := options(<-requests); got["o:1"] != `name=="paid"` || got["o:*"] != `name=="paid"` {
		t.Errorf("after an outage it asked for %v", got)
	}
	cursor, err := millrace.ParseCursor(s.Cursor())
	if err != nil || len(cursor.Options) != 1 || cursor.Options[0].Topic != "o:*" || len(cursor.Pieces) != 2 {
		t.Errorf("the cursor is %+v, %v", cursor, err)
	}
	subscribe(t, broker, sdk.Resume(s.Cursor()))
	in := <-requests
	starts := asked(in)
	if starts["o:*"] != millrace.After(millrace.Position{}) || starts["o:1"] != millrace.After(pos(1, 8)) || options(in)["o:1"] != `name=="paid"` {
		t.Errorf("by the cursor it asked for %v", in)
	}
}

package millrace_test

import (
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestAnEventFollowsOnlyOnThePositionBeforeIt(t *testing.T) {
	at := func(offset, mark uint64) millrace.Position { return millrace.Position{Offset: offset, Mark: mark} }
	event := func(offset, prev uint64) *millrace.Event {
		return &millrace.Event{Position: at(offset, 99), Prev: prev}
	}
	for _, c := range []struct {
		pos   millrace.Position
		event *millrace.Event
		want  bool
	}{
		{at(4, 7), event(5, 7), true},
		{at(4, 7), event(5, 8), false}, // another lineage
		{at(4, 7), event(6, 7), false}, // a hole
		{at(4, 7), event(4, 7), false}, // a repeat
		{at(0, 7), event(1, 7), true},
		{at(0, 7), event(1, 8), false}, // another birth
		{at(0, 0), event(1, 8), true},  // before any birth
		{at(0, 0), event(2, 8), false},
		{at(4, 0), event(5, 7), false}, // no mark is zero
	} {
		if got := c.pos.Precedes(c.event); got != c.want {
			t.Errorf("%s precedes %s after mark %d: %v", c.pos, c.event.Position, c.event.Prev, got)
		}
		if c.want && c.pos.Mark != 0 && c.event.Before() != c.pos {
			t.Errorf("before %s is %s, want %s", c.event.Position, c.event.Before(), c.pos)
		}
	}
}

func TestAPositionIsReadAsItWasWritten(t *testing.T) {
	for text, p := range map[string]millrace.Position{
		"0-0": {},
		"5-7": {Offset: 5, Mark: 7},
		"18446744073709551615-18446744073709551615": {Offset: ^uint64(0), Mark: ^uint64(0)},
	} {
		if p.String() != text {
			t.Errorf("%+v is written %q", p, p.String())
		}
		if got, err := millrace.ParsePosition(text); err != nil || got != p {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", "5", "5-", "-7", "5-7-9", "a-7", "5-b", " 5-7", "18446744073709551616-1"} {
		if p, err := millrace.ParsePosition(text); err == nil {
			t.Errorf("%q is read as %+v", text, p)
		}
	}
}

func TestCausesHaveOneWordEach(t *testing.T) {
	seen := map[string]bool{}
	for c := millrace.CauseTrimmed; c <= millrace.CauseDenied; c++ {
		word := c.String()
		if got, ok := millrace.ParseCause(word); !ok || got != c || seen[word] {
			t.Errorf("cause %d is %q, which is read as %d, %v", c, word, got, ok)
		}
		seen[word] = true
	}
	for _, word := range []string{"", "unknown", "Trimmed"} {
		if c, ok := millrace.ParseCause(word); ok {
			t.Errorf("%q is read as cause %d", word, c)
		}
	}
	for _, c := range []millrace.Cause{0, -1, 99} {
		if c.String() != "unknown" {
			t.Errorf("cause %d is %q", c, c)
		}
	}
}

package millrace_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/millrace-dev/millrace"
)

func reasonOf(err error) millrace.Reason {
	if e, ok := errors.AsType[*millrace.Error](err); ok {
		return e.Reason
	}
	return ""
}

func TestATopicIsSegmentsOfPlainText(t *testing.T) {
	for _, topic := range []string{
		"a", "chat:42", "user:alice@example.org", "größe:€", "$sessions", "a-b_c.d~e/f?g=h", "日本:東京", "\ufffd",
		strings.Repeat("x", millrace.MaxTopicBytes),
		"$presence:" + strings.Repeat("x", millrace.MaxTopicBytes),
	} {
		if err := millrace.ValidateTopic(topic); err != nil {
			t.Errorf("topic %q: %v", topic, err)
		}
	}
	for _, topic := range []string{
		"", ":", ":a", "a:", "a::b", "a b", "a\tb", "a\nb", "a\u00a0b", "a\x00", "a\u0085", "*", "a:*", "a:**", "a,b", "a%20b", "\xff", "a:\xc3",
		strings.Repeat("x", millrace.MaxTopicBytes+1),
		"$" + strings.Repeat("x", millrace.MaxReservedBytes),
	} {
		if err := millrace.ValidateTopic(topic); reasonOf(err) != millrace.ReasonTopicInvalid {
			t.Errorf("topic %q: %v", topic, err)
		}
	}
}

func TestReservedTopicsBeginWithADollar(t *testing.T) {
	for topic, want := range map[string]bool{"$sessions": true, "$presence:a": true, "a": false, "a:$b": false, "": false} {
		if got := millrace.Reserved(topic); got != want {
			t.Errorf("topic %q: reserved %v", topic, got)
		}
	}
}

func TestAPatternIsATopicWithStars(t *testing.T) {
	for _, p := range []millrace.Pattern{"a", "*", "**", "a:*", "*:a", "a:*:b", "a:**", "*:**", "$presence:**"} {
		if err := p.Validate(); err != nil {
			t.Errorf("pattern %q: %v", p, err)
		}
	}
	for _, p := range []millrace.Pattern{"", "a:**:b", "**:a", "a*", "a:b*", "***", "a::*", ":*", "*:", "a b", "\xff"} {
		if err := p.Validate(); reasonOf(err) != millrace.ReasonTopicInvalid {
			t.Errorf("pattern %q: %v", p, err)
		}
	}
}

func TestAPatternMatchesSegmentBySegment(t *testing.T) {
	for _, c := range []struct {
		pattern millrace.Pattern
		topic   string
		want    bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a:b", false},
		{"a:b", "a", false},
		{"a:b", "a:b", true},
		{"*", "a", true},
		{"*", "a:b", false},
		{"*:b", "a:b", true},
		{"a:*", "a", false},
		{"a:*", "a:b", true},
		{"a:*", "a:b:c", false},
		{"a:*:c", "a:b:c", true},
		{"a:*:c", "a:b:d", false},
		{"a:**", "a", false},
		{"a:**", "a:b", true},
		{"a:**", "a:b:c:d", true},
		{"a:**", "b:b", false},
		{"**", "a", true},
		{"**", "a:b:c", true},
		// Reserved topics want to be named.
		{"**", "$a", false},
		{"*", "$a", false},
		{"*:b", "$a:b", false},
		{"$a", "$a", true},
		{"$a:**", "$a:b:c", true},
		{"$a:**", "$b:c", false},
		{"a:**", "a:$b", true},
	} {
		if got := c.pattern.Matches(c.topic); got != c.want {
			t.Errorf("pattern %q matches %q: %v", c.pattern, c.topic, got)
		}
	}
}

func TestAPatternCoversWhatMatchesNothingElse(t *testing.T) {
	for _, c := range []struct {
		p, q millrace.Pattern
		want bool
	}{
		{"a:b", "a:b", true},
		{"a:*", "a:b", true},
		{"a:*", "a:*", true},
		{"a:*", "a:**", false},
		{"a:*", "*:b", false},
		{"a:**", "a", false},
		{"a:**", "a:*:c", true},
		{"a:**", "a:*:**", true},
		{"a:*:**", "a:**", false},
		{"*:**", "**", false},
		{"*", "**", false},
		{"**", "**", true},
		{"**", "*:**", true},
		// Reserved topics want to be named here too.
		{"**", "$a", false},
		{"**", "$a:**", false},
		{"*:b", "$a:b", false},
		{"$a:**", "$a:*", true},
		{"$a:**", "**", false},
	} {
		if got := c.p.Covers(c.q); got != c.want {
			t.Errorf("pattern %q covers %q: %v", c.p, c.q, got)
		}
	}
}

// All patterns of up to three segments are held against all topics of one segment more. A topic has "x", which no
// pattern names, since a star stands for that too.
func TestCoversAgreesWithAllTopicsOfASmallAlphabet(t *testing.T) {
	var patterns []millrace.Pattern
	for _, text := range paths([]string{"a", "b", "$a", "*", "**"}, 3) {
		if p := millrace.Pattern(text); p.Validate() == nil {
			patterns = append(patterns, p)
		}
	}
	topics := paths([]string{"a", "b", "$a", "x", "$x"}, 4)
	matched := map[millrace.Pattern][]bool{}
	for _, p := range patterns {
		for _, topic := range topics {
			matched[p] = append(matched[p], p.Matches(topic))
		}
	}
	for _, p := range patterns {
		for _, q := range patterns {
			want := true
			for i := range topics {
				want = want && (matched[p][i] || !matched[q][i])
			}
			if got := p.Covers(q); got != want {
				t.Errorf("pattern %q covers %q: %v", p, q, got)
			}
		}
	}
}

// paths returns all that can be made of one to most of the segments.
func paths(segments []string, most int) []string {
	all, last := []string(nil), []string{""}
	for range most {
		var next []string
		for _, beginning := range last {
			for _, s := range segments {
				next = append(next, strings.TrimPrefix(beginning+":"+s, ":"))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

func TestAPatternWithoutStarsIsATopic(t *testing.T) {
	for p, want := range map[millrace.Pattern]bool{"a": true, "a:b": true, "$a": true, "*": false, "**": false, "a:*": false, "a:*:b": false, "a:**": false} {
		if got := p.IsTopic(); got != want {
			t.Errorf("pattern %q is a topic: %v", p, got)
		}
	}
}

func TestAGrantAllowsWhatOneOfItsRulesAllows(t *testing.T) {
	g := &millrace.Grant{Rules: []millrace.Rule{
		{Pattern: "chat:**", Actions: millrace.ActionSubscribe | millrace.ActionPublish},
		{Pattern: "chat:*", Actions: millrace.ActionHistory},
		{Pattern: "$presence:**", Actions: millrace.ActionAll},
	}}
	for _, c := range []struct {
		action millrace.Action
		topic  string
		want   bool
	}{
		{millrace.ActionSubscribe, "chat:1", true},
		{millrace.ActionSubscribe | millrace.ActionPublish, "chat:1:2", true},
		{millrace.ActionHistory, "chat:1", true},
		{millrace.ActionHistory, "chat:1:2", false},
		{millrace.ActionSubscribe | millrace.ActionHistory, "chat:1", false}, // not by any one rule
		{millrace.ActionJoin, "chat:1", false},
		{millrace.ActionSubscribe, "news", false},
		{millrace.ActionSubscribe, "$presence:chat:1", true},
		{millrace.ActionPublish, "$presence:chat:1", false}, // no peer may
	} {
		if got := g.Allows(c.action, c.topic); got != c.want {
			t.Errorf("action %b on %q: %v", c.action, c.topic, got)
		}
	}
}

// FuzzTopic holds what is taken for a topic to the rules that cursors, frames and patterns rely on.
func FuzzTopic(f *testing.F) {
	for _, seed := range []string{"a", "chat:42", "", "::", "a:*", "$s", "\xff", "größe:€", "a%2Fb", "a,b", "a\u2028b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		err := millrace.ValidateTopic(topic)
		if err != nil {
			if reasonOf(err) != millrace.ReasonTopicInvalid {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if topic == "" || len(topic) > millrace.MaxReservedBytes || !utf8.ValidString(topic) || strings.ContainsAny(topic, " \t\r\n,*%\x00") {
			t.Fatalf("%q is taken for a topic", topic)
		}
		p := millrace.Pattern(topic)
		if err := p.Validate(); err != nil || !p.Matches(topic) {
			t.Fatalf("topic %q is not a pattern of itself: %v", topic, err)
		}
		cursor, err := millrace.ParseCursor(millrace.Cursor{Pieces: []millrace.Piece{{Topic: topic}}}.String())
		if err != nil || cursor.Pieces[0].Topic != topic {
			t.Fatalf("topic %q comes out of a cursor as %+v, %v", topic, cursor, err)
		}
	})
}

// FuzzPattern compares Matches with a plain reading of its rules.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"a:*", "a:b"}, {"**", "a:b:c"}, {"a:**", "a"}, {"*:b", "$a:b"}, {"$a:**", "$a:b"}, {"a:*:c", "a:b:c"}, {"", ""}, {"**:a", "b:a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, topic string) {
		p := millrace.Pattern(pattern)
		if p.Validate() != nil || millrace.ValidateTopic(topic) != nil {
			return
		}
		if got, want := p.Matches(topic), matches(strings.Split(pattern, ":"), strings.Split(topic, ":")); got != want {
			t.Fatalf("pattern %q matches %q: %v, want %v", pattern, topic, got, want)
		}
	})
}

func matches(pattern, topic []string) bool {
	if strings.HasPrefix(topic[0], "$") && pattern[0] != topic[0] {
		return false
	}
	for i, want := range pattern {
		switch {
		case i >= len(topic):
			return false
		case want == "**":
			return true
		case want != "*" && want != topic[i]:
			return false
		}
	}
	return len(pattern) == len(topic)
}

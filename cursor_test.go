package millrace_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestACursorIsReadAsItWasWritten(t *testing.T) {
	at := func(offset, mark uint64) millrace.Position { return millrace.Position{Offset: offset, Mark: mark} }
	for text, c := range map[string]millrace.Cursor{
		"42-7-chat:1": {Pieces: []millrace.Piece{{Topic: "chat:1", Position: at(42, 7), Attached: true}}},
		"0-0-a":       {Pieces: []millrace.Piece{{Topic: "a", Attached: true}}},
		"--a":         {Pieces: []millrace.Piece{{Topic: "a"}}},
		"1-2-a-b-c":   {Pieces: []millrace.Piece{{Topic: "a-b-c", Position: at(1, 2), Attached: true}}},
		"s.x-y_z":     {Seal: "s.x-y_z"},
		"s.x,1-2-a,18446744073709551615-18446744073709551615-b,--c": {Seal: "s.x", Pieces: []millrace.Piece{
			{Topic: "a", Position: at(1, 2), Attached: true},
			{Topic: "b", Position: at(^uint64(0), ^uint64(0)), Attached: true},
			{Topic: "c"},
		}},
		"s.x,j.chat:1,q.a-b,m.%24x,1-2-a": {
			Seal:   "s.x",
			Parts:  []millrace.Part{{Topic: "chat:1", Joined: true, Told: true}, {Topic: "a-b", Joined: true}, {Topic: "$x", Told: true}},
			Pieces: []millrace.Piece{{Topic: "a", Position: at(1, 2), Attached: true}},
		},
		"1-2-gr%C3%B6%C3%9Fe%2Fx%40y%24": {Pieces: []millrace.Piece{{Topic: "größe/x@y$", Position: at(1, 2), Attached: true}}},
	} {
		if got := c.String(); got != text {
			t.Errorf("the cursor is written %q, want %q", got, text)
		}
		got, err := millrace.ParseCursor(text)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%q is read as %+v, %v; want %+v", text, got, err, c)
		}
	}
}

func TestALaterPieceOfATopicCounts(t *testing.T) {
	c, err := millrace.ParseCursor("1-11-a,2-22-b,3-33-a,--b,s.x,s.y")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.String(), "s.y,3-33-a,--b"; got != want {
		t.Errorf("the cursor is %q, want %q", got, want)
	}
}

func TestAPieceNeedsNoQuotingInURLsAndHeaders(t *testing.T) {
	var topic strings.Builder
	for r := rune(' ') + 1; r < 0x180; r++ {
		if millrace.ValidateTopic("x"+string(r)+"x") == nil {
			topic.WriteRune(r)
		}
		if topic.Len() < millrace.MaxTopicBytes-4 && r < 0x17f {
			continue
		}
		name := strings.ReplaceAll(topic.String(), ":", "")
		topic.Reset()
		text := string(millrace.AppendPiece(nil, millrace.Piece{Topic: name, Attached: true}))
		if rest := strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.~%"); rest != "" {
			t.Errorf("%q has %q", text, rest)
		}
		c, err := millrace.ParseCursor(text)
		if err != nil || c.Pieces[0].Topic != name {
			t.Errorf("%q is read as %+v, %v", text, c, err)
		}
	}
}

func TestWhatIsNoCursorIsRefusedByName(t *testing.T) {
	for _, text := range []string{
		"", ",", "a", "1-2", "1-2-", "1-2-a::b", "x-2-a", "1-x-a", "1--a", "-2-a", "-1-2-a", "1-2-a,", "1-2-%zz", "1-2-%FF", "1-2-a%2Cb",
		"18446744073709551616-1-a", "1-2-a,,1-2-b", "+1-2-a",
		"j.", "j.a:*", "q.%zz", "m.a::b", "j.%FF",
		"1-2-" + strings.Repeat("a", millrace.MaxCursorBytes),
	} {
		if c, err := millrace.ParseCursor(text); reasonOf(err) != millrace.ReasonCursorInvalid {
			t.Errorf("%.40q is read as %+v, %v", text, c, err)
		}
	}
}

// FuzzCursor reads what a stranger may send. What is read is written and read again as the same.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{
		"42-7-chat:1", "s.abc,1-2-a,--b", "1-2-a,3-4-a", "", ",", "1-2-%C3%B6", "--a", "18446744073709551616-1-a", "1-2-%", "s.", "0-0-$sessions",
		"s.abc,o.Y2hhdDoqADAAbmFtZT09InNhaWQi,5-7-chat:1,0-0-chat:%2A", "--chat:**", "j.chat:1,q.b,m.c,--chat:1", "j.%24sessions", "o.", "o.YQAxZTkAbmFtZQ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := millrace.ParseCursor(text)
		if err != nil {
			if reasonOf(err) != millrace.ReasonCursorInvalid {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, p := range c.Pieces {
			if seen[p.Topic] || millrace.Pattern(p.Topic).Validate() != nil || !p.Attached && !p.Position.IsZero() {
				t.Fatalf("%q has the piece %+v", text, p)
			}
			seen[p.Topic] = true
		}
		written := c.String()
		if len(written) > millrace.MaxCursorBytes {
			return // percent-encoding made it longer; nobody hands that out
		}
		again, err := millrace.ParseCursor(written)
		if err != nil || again.String() != written || again.Seal != c.Seal || !slices.Equal(again.Permits, c.Permits) || !reflect.DeepEqual(again.Pieces, c.Pieces) || !reflect.DeepEqual(again.Parts, c.Parts) {
			t.Fatalf("%q is written as %q and read as %+v, %v", text, written, again, err)
		}
	})
}

package output_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/cmd/millrace/output"
)

var now = time.Date(2026, 9, 21, 12, 0, 0, 0, time.UTC)

func TestMembersAreATableWithTheOldestFirst(t *testing.T) {
	members := []millrace.Member{
		{Session: "Zx3hYb0mQ5qvC0dWzCkq0w", Joined: now},
		{Session: "aaaaaaaaaaaaaaaaaaaaaa", Subject: "alice", Data: []byte("{ \"name\": \"Ali\u202ece\\n\" }"), Joined: now.Add(-90 * time.Minute)},
		{Session: "bbbbbbbbbbbbbbbbbbbbbb", Subject: "bob\x1b[2J", Joined: now.Add(-50 * time.Second)},
		{Session: "cccccccccccccccccccccc", Subject: "carol", Joined: now.Add(-72 * time.Hour)},
	}
	want := `SESSION                 SUBJECT       JOINED   DATA
cccccccccccccccccccccc  carol         3d ago
aaaaaaaaaaaaaaaaaaaaaa  alice         1h ago   {"name":"Ali\u202ece\n"}
bbbbbbbbbbbbbbbbbbbbbb  bob\u001b[2J  50s ago
Zx3hYb0mQ5qvC0dWzCkq0w  -             now
`
	var b strings.Builder
	if err := output.Table(&b, members, now); err != nil || b.String() != want {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestAMemberIsALineOfJSONWithItsDataAsItStands(t *testing.T) {
	m := millrace.Member{Session: "s", Subject: "alice", Data: []byte(`{"a":1}`), Joined: now}
	for want, line := range map[string]any{
		`{"session":"s","subject":"alice","joinedMs":"1789992000000","data":{"a":1}}`: output.Member(m),
		`{"members":3,"subjects":1}`: output.Counts(3, 1),
		`{"session":"s"}`:            output.Member(millrace.Member{Session: "s"}),
		`{"joined":{"session":"s","subject":"alice","joinedMs":"1789992000000","data":{"a":1}}}`:  output.Change(millrace.MemberJoined, m),
		`{"updated":{"session":"s","subject":"alice","joinedMs":"1789992000000","data":{"a":1}}}`: output.Change(millrace.MemberUpdated, m),
		`{"left":{"session":"s","subject":"alice"}}`:                                              output.Change(millrace.MemberLeft, m),
	} {
		if b, err := json.Marshal(line); err != nil || string(b) != want {
			t.Errorf("got %s, %v; want %s", b, err, want)
		}
	}
}

func TestChangesAndCountsAreToldInWords(t *testing.T) {
	m := millrace.Member{Session: "s", Subject: "alice", Data: []byte(`{"a":1}`), Joined: now}
	for want, text := range map[string]string{
		`12:00:00  joined   s  alice  {"a":1}`: output.ChangeText(millrace.MemberJoined, m, now),
		`12:00:00  left     s  alice`:          output.ChangeText(millrace.MemberLeft, m, now),
		`12:00:00  updated  s  -`:              output.ChangeText(millrace.MemberUpdated, millrace.Member{Session: "s"}, now),
		"1 member, 0 subjects":                 output.CountText(1, 0),
		"2 members, 1 subject":                 output.CountText(2, 1),
	} {
		if text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	}
}

package millrace_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestAMembersEventIsReadAsItWasWritten(t *testing.T) {
	ada := millrace.Member{Session: "s1", Subject: "ada", Data: []byte(`{"name":"Ada"}`), Joined: time.UnixMilli(1_790_000_000_123)}
	gone := ada
	gone.Data = nil
	for _, c := range []struct {
		topic string
		name  string
		event millrace.MemberEvent
	}{
		{"chat:1", "joined", millrace.MemberEvent{Kind: millrace.MemberJoined, Member: ada, Count: 3, Subjects: 2}},
		{"chat:1", "updated", millrace.MemberEvent{Kind: millrace.MemberUpdated, Member: ada, Count: 3, Subjects: 2}},
		{"chat:1", "left", millrace.MemberEvent{Kind: millrace.MemberLeft, Member: gone, Reason: millrace.LeftLease}},
		{"chat:1", "occupied", millrace.MemberEvent{Kind: millrace.TopicOccupied, Count: 1, Subjects: 1}},
		{"chat:1", "vacated", millrace.MemberEvent{Kind: millrace.TopicVacated}},
		{"$sessions", "connected", millrace.MemberEvent{Kind: millrace.MemberJoined, Member: ada, Count: 1}},
		{"$sessions", "disconnected", millrace.MemberEvent{Kind: millrace.MemberLeft, Member: gone, Reason: millrace.LeftClosed}},
	} {
		e, err := c.event.Event(c.topic)
		if err != nil {
			t.Fatal(err)
		}
		if e.Topic != millrace.PresenceTopic(c.topic) || e.Name != c.name || e.Key != c.event.Member.Session || e.Sender.Subject != c.event.Member.Subject {
			t.Errorf("the event is %+v", e)
		}
		got, err := millrace.ParseMemberEvent(e)
		if err != nil || !reflect.DeepEqual(got, c.event) {
			t.Errorf("%s is read as %+v, %v; want %+v", e.Data, got, err, c.event)
		}
	}
}

func TestAMembersEventSaysInJSONWhoAndHowMany(t *testing.T) {
	m := millrace.MemberEvent{
		Kind:   millrace.MemberJoined,
		Member: millrace.Member{Session: "s1", Subject: "ada", Data: []byte(`{"n":1}`), Joined: time.UnixMilli(1_790_000_000_000)},
		Count:  2, Subjects: 1,
	}
	e, err := m.Event("chat:1")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"session":"s1","subject":"ada","data":{"n":1},"joinedMs":"1790000000000","count":2,"subjects":1}`
	if string(e.Data) != want {
		t.Errorf("the data is %s, want %s", e.Data, want)
	}
}

func TestDataThatIsNoJSONMakesNoEvent(t *testing.T) {
	m := millrace.MemberEvent{Kind: millrace.MemberJoined, Member: millrace.Member{Session: "s", Data: []byte("{")}}
	if _, err := m.Event("a"); reasonOf(err) != millrace.ReasonEventInvalid {
		t.Errorf("the error is %v", err)
	}
}

func TestAnEventOfAnotherKindIsNoMembersEvent(t *testing.T) {
	for _, data := range []string{"", "[]", `{"joinedMs":"x"}`, `{"count":"many"}`} {
		if m, err := millrace.ParseMemberEvent(&millrace.Event{Topic: "$presence:a", Name: "joined", Data: []byte(data)}); reasonOf(err) != millrace.ReasonEventInvalid {
			t.Errorf("%q is read as %+v, %v", data, m, err)
		}
	}
}

func TestEveryTopicHasALifecycleLogOfItsOwn(t *testing.T) {
	longest := strings.Repeat("a", millrace.MaxTopicBytes)
	for topic, want := range map[string]string{"chat:1": "$presence:chat:1", "$sessions": "$sessions", longest: "$presence:" + longest} {
		got := millrace.PresenceTopic(topic)
		if got != want || millrace.ValidateTopic(got) != nil {
			t.Errorf("the log of %q is %q", topic, got)
		}
	}
}

func TestASubjectIsReachedOnATopicOfItsOwn(t *testing.T) {
	for subject, want := range map[string]string{
		"alice": "user:alice", "a@b.example": "user:a@b.example", "auth0|7": "user:auth0|7", "ö": "user:ö",
		"": "", "a:b": "", "a b": "", "*": "", "**": "", "a,b": "", "a%": "", "$x": "", "\xff": "", strings.Repeat("a", 251): "",
	} {
		if got, ok := millrace.PersonalTopic(subject); got != want || ok != (want != "") {
			t.Errorf("the topic of %q is %q, %v", subject, got, ok)
		}
	}
}

package millrace_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// person returns a member whose subject is the first letter of its session.
func person(session, data string) millrace.Member {
	return millrace.Member{Session: session, Subject: session[:1], Data: []byte(data), Joined: time.UnixMilli(1)}
}

func came(m millrace.Member) millrace.MemberEvent {
	return millrace.MemberEvent{Kind: millrace.MemberJoined, Member: m}
}

func changed(m millrace.Member) millrace.MemberEvent {
	return millrace.MemberEvent{Kind: millrace.MemberUpdated, Member: m}
}

func went(session string) millrace.MemberEvent {
	return millrace.MemberEvent{Kind: millrace.MemberLeft, Member: millrace.Member{Session: session}}
}

// rollText shows a list in an order of its own.
func rollText(members []millrace.Member) string {
	texts := make([]string, 0, len(members))
	for _, m := range members {
		texts = append(texts, m.Session+"="+string(m.Data))
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

func listOf(r *millrace.Roll) string { return rollText(slices.Collect(r.Members())) }

func TestARollIsWhatItsEventsAddUpTo(t *testing.T) {
	var r millrace.Roll
	for i, step := range []struct {
		event    millrace.MemberEvent
		changed  bool
		list     string
		subjects int
	}{
		{went("a1"), false, "", 0},
		{came(person("a1", "1")), true, "a1=1", 1},
		{millrace.MemberEvent{Kind: millrace.TopicOccupied}, false, "a1=1", 1},
		{came(person("a2", "1")), true, "a1=1 a2=1", 1},
		{came(person("b1", "1")), true, "a1=1 a2=1 b1=1", 2},
		{changed(person("a1", "2")), true, "a1=2 a2=1 b1=1", 2},
		{changed(person("a1", "2")), false, "a1=2 a2=1 b1=1", 2},
		{went("a1"), true, "a2=1 b1=1", 2},
		{went("a2"), true, "b1=1", 1},
		{changed(person("c1", "1")), true, "b1=1 c1=1", 2},
		{millrace.MemberEvent{Kind: "promoted", Member: person("d1", "1")}, false, "b1=1 c1=1", 2},
		{went("c1"), true, "b1=1", 1},
		{went("b1"), true, "", 0},
		{millrace.MemberEvent{Kind: millrace.TopicVacated}, false, "", 0},
	} {
		if got := r.Apply(step.event); got != step.changed {
			t.Errorf("step %d: Apply says %v", i, got)
		}
		if got := listOf(&r); got != step.list || r.Subjects() != step.subjects {
			t.Fatalf("step %d: the list is %q of %d subjects, want %q of %d", i, got, r.Subjects(), step.list, step.subjects)
		}
	}
}

// TestPagesOfAnyMomentAddUp takes a list in parts, each of a later moment, and then applies the events after the first.
func TestPagesOfAnyMomentAddUp(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var truth millrace.Roll
		var events []millrace.MemberEvent
		happen := func() {
			session := fmt.Sprintf("%c%d", 'a'+random.IntN(3), random.IntN(3))
			_, member := truth.Get(session)
			e := went(session)
			switch data := fmt.Sprint(random.IntN(3)); {
			case !member:
				e = came(person(session, data))
			case random.IntN(2) == 0:
				e = changed(person(session, data))
			}
			truth.Apply(e)
			events = append(events, e)
		}
		for range 10 {
			happen()
		}
		asOf := len(events)
		var read []millrace.Member
		for _, subject := range []string{"a", "b", "c"} {
			for m := range truth.Members() {
				if m.Subject == subject {
					read = append(read, m)
				}
			}
			for range random.IntN(4) {
				happen()
			}
		}
		var r millrace.Roll
		r.Replace(read)
		for _, e := range events[asOf:] {
			r.Apply(e)
		}
		if got, want := listOf(&r), listOf(&truth); got != want || r.Subjects() != truth.Subjects() {
			t.Fatalf("the list is %q of %d subjects, want %q of %d", got, r.Subjects(), want, truth.Subjects())
		}
	}
}

func TestARollThatIsReplacedTellsTheDifference(t *testing.T) {
	var r millrace.Roll
	r.Replace([]millrace.Member{person("a1", "1"), person("a2", "1"), person("b1", "1")})
	back := person("b1", "1")
	back.Joined = back.Joined.Add(time.Second)
	got := r.Replace([]millrace.Member{person("a2", "1"), person("c1", "0"), back, person("c1", "1")})
	for name, c := range map[string]struct {
		members []millrace.Member
		want    string
	}{
		"joined":  {got.Joined, "c1=1"},
		"updated": {got.Updated, "b1=1"}, // it left and came back
		"left":    {got.Left, "a1=1"},
		"all":     {slices.Collect(r.Members()), "a2=1 b1=1 c1=1"},
	} {
		if text := rollText(c.members); text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
	if r.Len() != 3 || r.Subjects() != 3 {
		t.Errorf("%d members of %d subjects, want 3 of 3", r.Len(), r.Subjects())
	}
	if again := r.Replace(slices.Collect(r.Members())); len(again.Joined)+len(again.Updated)+len(again.Left) > 0 {
		t.Errorf("the same list is said to differ: %+v", again)
	}
}

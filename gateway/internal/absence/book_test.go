package absence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/absence"
)

const grace = 5 * time.Second

// book returns a book, and what has left by it.
func book() (*absence.Book, func() string) {
	var left []string
	b := absence.NewBook(grace, func(c millrace.MemberChange) {
		if c.Kind != millrace.MemberLeave {
			panic(fmt.Sprint("asked for ", c.Kind))
		}
		left = append(left, fmt.Sprintf("%s-%d:%s:%s", c.Member.Session, c.Generation, c.Topic, c.Reason))
	})
	return b, func() string {
		text := strings.Join(left, " ")
		left = nil
		return text
	}
}

func want(t *testing.T, left func() string, what string) {
	t.Helper()
	if got := left(); got != what {
		t.Errorf("left %q, want %q", got, what)
	}
}

func TestWhoIsAwayTooLongLeavesAllItsTopicsOnce(t *testing.T) {
	b, left := book()
	b.Add(0, absence.Absent{Session: "a", Generation: 3, Reason: "lost", Topics: []string{"x", "y"}})
	b.Add(time.Second, absence.Absent{Session: "b", Generation: 1, Reason: "stale", Topics: []string{"x"}})
	b.Sweep(grace - 1)
	want(t, left, "")
	b.Sweep(grace)
	want(t, left, "a-3:x:lost a-3:y:lost")
	if g := b.Generation("a"); g != 0 {
		t.Errorf("generation %d of one that has left", g)
	}
	b.Sweep(time.Hour)
	want(t, left, "b-1:x:stale")
	b.Sweep(2 * time.Hour)
	want(t, left, "")
}

func TestWhatIsClaimedDoesNotLeave(t *testing.T) {
	b, left := book()
	topics := []string{"x", "y", "z"}
	shared := slices.Clone(topics)
	b.Add(0, absence.Absent{Session: "a", Generation: 3, Reason: "lost", Topics: shared})
	if g := b.Generation("a"); g != 3 {
		t.Errorf("generation %d", g)
	}
	b.Claim("a", "y")
	b.Claim("a", "other")
	b.Claim("b", "x")
	b.Sweep(grace)
	want(t, left, "a-3:x:lost a-3:z:lost")
	if !slices.Equal(shared, topics) {
		t.Errorf("the topics that sessions share are now %q", shared)
	}
	b.Add(grace, absence.Absent{Session: "a", Generation: 4, Topics: []string{"x"}})
	b.Claim("a", "x")
	if g := b.Generation("a"); g != 0 {
		t.Errorf("generation %d of one that is back", g)
	}
	b.Sweep(time.Hour)
	want(t, left, "")
}

func TestWhoIsLostAgainHasTheGraceAgain(t *testing.T) {
	b, left := book()
	b.Add(0, absence.Absent{Session: "a", Generation: 1, Reason: "lost", Topics: []string{"x", "y"}})
	b.Claim("a", "x")
	b.Add(4*time.Second, absence.Absent{Session: "a", Generation: 2, Reason: "slow", Topics: []string{"x", "z"}})
	b.Sweep(grace)
	want(t, left, "")
	b.Sweep(4*time.Second + grace)
	want(t, left, "a-2:x:slow a-2:z:slow a-2:y:slow")
	b.Sweep(time.Hour)
	want(t, left, "")
}

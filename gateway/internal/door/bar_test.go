package door_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/door"
)

func TestWhoWasSentAwayForGoodIsRefusedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		b := door.NewBar(func() time.Duration { return time.Since(start) })
		why := millrace.Errorf(millrace.ReasonForbidden, "out")
		if !b.Empty() || b.Refuses("s", "alice", start) != nil {
			t.Error("somebody is refused from the beginning")
		}
		<-time.After(10 * time.Second)
		b.Add(millrace.Target{Session: "s"}, why)
		b.Add(millrace.Target{Subject: "bob"}, why)
		late := time.Now().Add(time.Second)
		for _, c := range []struct {
			session, subject string
			sealed           time.Time
			refused          bool
		}{
			{"s", "alice", start, true},
			{"s", "alice", late, true},
			{"x", "alice", start, false},
			{"x", "bob", start, true},
			{"x", "bob", late, false},
		} {
			if err := b.Refuses(c.session, c.subject, c.sealed); (err != nil) != c.refused {
				t.Errorf("%+v: %v", c, err)
			}
		}
		<-time.After(5 * time.Minute)
		if err := b.Refuses("s", "bob", start); err != nil || b.Empty() {
			t.Errorf("it is for ever: %v", err)
		}
	})
}

func TestThoseWhoAreBarredAreBounded(t *testing.T) {
	b := door.NewBar(func() time.Duration { return 0 })
	why := millrace.Errorf(millrace.ReasonForbidden, "out")
	for i := range 20_000 {
		b.Add(millrace.Target{Session: strconv.Itoa(i)}, why)
		b.Add(millrace.Target{Session: "again"}, why)
	}
	refused := 0
	for i := range 20_000 {
		if b.Refuses(strconv.Itoa(i), "", time.Time{}) != nil {
			refused++
		}
	}
	if refused > 10_000 || refused < 9_000 {
		t.Errorf("%d of 20,000 are remembered", refused)
	}
	if b.Refuses("19999", "", time.Time{}) == nil {
		t.Error("the newest is forgotten")
	}
}

package memlog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
)

// change asks for one change, which must be done.
func change(t testing.TB, r broker.Roster, l broker.Lease, kind millrace.MemberChangeKind, topic, session, subject string) {
	t.Helper()
	ack := r.Change(t.Context(), l, []millrace.MemberChange{{
		Kind: kind, Topic: topic, Member: millrace.Member{Session: session, Subject: subject}, Reason: millrace.LeftAsked,
	}})[0]
	if ack.Err != nil {
		t.Fatal(ack.Err)
	}
}

// Those who come and go leave nothing behind, in rooms that stay and in rooms that end.
func TestARosterKeepsNothingOfWhoHasLeft(t *testing.T) {
	r := openRoster(t, open(t, memlog.Config{}))
	l, err := r.Begin(t.Context(), "h", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	change(t, r, l, millrace.MemberJoin, "a", "stays", "alice")
	for i := range 5_000 {
		session, room := fmt.Sprint(i), fmt.Sprint("room:", i%100)
		change(t, r, l, millrace.MemberJoin, "a", session, session)
		change(t, r, l, millrace.MemberJoin, room, session, session)
		change(t, r, l, millrace.MemberLeave, "a", session, "")
		change(t, r, l, millrace.MemberLeave, room, session, "")
		guest, err := r.Begin(t.Context(), session, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		change(t, r, guest, millrace.MemberJoin, "a", "guest", session)
		if err := r.End(t.Context(), guest, millrace.LeftClosed); err != nil {
			t.Fatal(err)
		}
	}
	if places, members, subjects, holders := r.Held(); places > 50 || members != 1 || subjects != 1 || holders != 1 {
		t.Fatalf("for one member there are %d places, %d members, %d subjects and %d holders", places, members, subjects, holders)
	}
}

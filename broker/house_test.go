package broker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

// term is how long leases last in these tests.
const term = 12 * time.Second

// house is a broker with members, over a log that can refuse events and a roster that can't be reached at times.
type house struct {
	*broker.Broker
	t      *testing.T
	log    *brokertest.Refusing
	roster *brokertest.TornRoster
}

// inHouse runs body in a bubble of its own time.
func inHouse(t *testing.T, cfg broker.Config, body func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, log: &brokertest.Refusing{Log: newLog(t)}}
		h.roster = &brokertest.TornRoster{Roster: memlog.NewRoster(h.log)}
		cfg.LeaseTerm = term
		var err error
		if h.Broker, err = broker.New(cfg, h.log, h.roster); err != nil {
			t.Fatal(err)
		}
		body(h)
		h.Stop()
		if err := h.roster.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func (h *house) hold(name string) *broker.Holder {
	h.t.Helper()
	holder, err := h.Hold(h.t.Context(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return holder
}

func (h *house) elapse(d time.Duration) {
	<-time.After(d) // the time of the bubble
	synctest.Wait()
}

// enroll asks for one change and returns why it was refused.
func (h *house) enroll(holder *broker.Holder, c millrace.MemberChange) millrace.Reason {
	h.t.Helper()
	acks, err := holder.Enroll(h.t.Context(), []millrace.MemberChange{c})
	switch {
	case err != nil:
		return reason(err)
	case acks[0].Err != nil:
		return acks[0].Err.Reason
	}
	return ""
}

func joining(topic, session string) millrace.MemberChange {
	return millrace.MemberChange{Kind: millrace.MemberJoin, Topic: topic, Member: millrace.Member{Session: session, Subject: "u-" + session}}
}

// join makes sessions members.
func (h *house) join(holder *broker.Holder, topic string, sessions ...string) {
	h.t.Helper()
	for _, s := range sessions {
		if why := h.enroll(holder, joining(topic, s)); why != "" {
			h.t.Fatalf("%s joins %s: %s", s, topic, why)
		}
	}
}

// list reads all members of a topic.
func (h *house) list(topic string) []millrace.Member {
	h.t.Helper()
	var all []millrace.Member
	for r := (millrace.MemberRange{}); ; {
		page, err := h.Members(h.t.Context(), topic, r)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, page.Members...)
		if r.Page = page.Next; r.Page == "" {
			return all
		}
	}
}

// audit checks that the list of a topic is what its log adds up to, and returns it.
func (h *house) audit(topic string) *brokertest.Fold {
	h.t.Helper()
	fold := brokertest.NewFold(topic)
	page, err := h.History(h.t.Context(), millrace.PresenceTopic(topic), millrace.Range{Start: millrace.After(millrace.Position{}), Limit: 10_000})
	if err != nil || page.Gap != nil || page.More {
		h.t.Fatalf("the log of %s: %v, %v", topic, err, page.Gap)
	}
	for _, e := range page.Events {
		if err := fold.Apply(e); err != nil {
			h.t.Fatalf("the log of %s: %v", topic, err)
		}
	}
	if err := fold.Differs(h.list(topic)); err != nil {
		h.t.Fatalf("the list of %s: %v", topic, err)
	}
	return fold
}

// expect checks who the members of a topic are, after so many events.
func (h *house) expect(topic string, events int, sessions string) {
	h.t.Helper()
	fold := h.audit(topic)
	want := strings.Fields(sessions)
	for _, s := range want {
		if _, ok := fold.Members[s]; !ok {
			h.t.Fatalf("%s is no member of %s: %v", s, topic, fold.Members)
		}
	}
	if len(fold.Members) != len(want) || int(fold.At.Offset) != events {
		h.t.Fatalf("after %d events the members of %s are %v, want %v after %d", fold.At.Offset, topic, fold.Members, want, events)
	}
}

// lost reports whether a holder was told that its lease is gone.
func lost(holder *broker.Holder) bool {
	synctest.Wait()
	select {
	case <-holder.Lost():
		return true
	default:
		return false
	}
}

func away() *millrace.Error { return millrace.Errorf(millrace.ReasonUnavailable, "torn") }

package ssegateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

// Protocol 5.12.
func TestATombstoneIsAnEventOfTheStreamsOwn(t *testing.T) {
	h := build(t, plan{})
	s := h.open("topic=latest:a", "")
	s.until("subscribed")
	h.publish(
		&millrace.Event{Topic: "latest:a", Key: "k", Data: []byte("1")},
		&millrace.Event{Topic: "latest:a", Key: "k", Tombstone: true},
		&millrace.Event{Topic: "latest:a", Key: "k", Name: "tombstone", Data: []byte("2")},
	)
	s.wants("1")
	m := s.next()
	if m.name != "tombstone" || !strings.HasPrefix(m.data, `{"topic":"latest:a","position":{"offset":"2"`) || !strings.Contains(m.data, `"key":"k"`) {
		t.Errorf("got %+v", m)
	}
	if m := s.next(); m.name != "~tombstone" || m.data != "2" {
		t.Errorf("an event of that name came as %+v", m)
	}
}

// Protocol 5.13.
func TestWhatWasConflatedIsToldAndTheRestOnlyMovesTheID(t *testing.T) {
	h := build(t, plan{})
	for range 3 {
		h.publish(&millrace.Event{Topic: "latest:a", Key: "k", Data: []byte("1")}, &millrace.Event{Topic: "latest:a", Key: "other", Name: "no", Data: []byte("2")})
	}
	s := h.open(query("topic", "latest:a", "filter", `name != "no"`), "")
	s.until("message")
	h.publish(&millrace.Event{Topic: "latest:a", Key: "other", Name: "no", Data: []byte("3")}, &millrace.Event{Topic: "latest:a", Key: "k", Data: []byte("4")})
	before := s.events.bare
	s.wants("4")
	if n := s.events.bare - before; n != 1 {
		t.Errorf("the id moved %d times without an event", n)
	}
	all := h.open("topic=latest:a&start=after%3D0-0", "")
	if m := all.until("advanced"); !strings.Contains(m.data, `"conflated":"6"`) {
		t.Errorf("got %+v", m)
	}
	if m := all.next(); m.name != "no" || m.data != "3" {
		t.Errorf("got %+v", m)
	}
	all.wants("4")
}

// Protocol 5.14.
func TestAnEphemeralTopicHasNoPositionInTheID(t *testing.T) {
	h := build(t, plan{})
	s := h.open("topic=ephemeral:a&topic=a", "")
	for range 3 {
		s.next()
	}
	h.put("ephemeral:a", "1")
	m := s.wants("1")
	if !strings.HasSuffix(m.id, ",--ephemeral:a") {
		t.Errorf("the id is %q", m.id)
	}
	s.end()
	again := h.open("", m.id)
	for range 3 {
		again.next()
	}
	h.put("ephemeral:a", "2")
	again.wants("2")
}

// docs/delivery.md 4.2; protocol 10.6 and 11.4.
func TestABareEventSourceKeepsItsFilterAndItsPatternOverReconnects(t *testing.T) {
	h := build(t, plan{})
	url := query("topic", "chat:*", "filter", `name == "yes"`)
	s := h.open(url, "")
	s.until("subscribed")
	put := func(topic, name, data string) {
		h.publish(&millrace.Event{Topic: topic, Name: name, Data: []byte(data)})
	}
	named := func(s *source) message {
		for {
			if m := s.next(); m.name != "connected" && m.name != "subscribed" {
				return m
			}
		}
	}
	put("chat:1", "no", "0")
	put("chat:1", "yes", "1")
	m := named(s)
	if m.data != "1" || !strings.Contains(m.id, ",o.") || !strings.Contains(m.id, ",0-0-chat:%2A") {
		t.Fatalf("got %+v", m)
	}
	s.end()
	put("chat:1", "no", "2")
	put("chat:2", "no", "3")
	put("chat:2", "yes", "4")
	again := h.open(url, m.id)
	if m := named(again); m.data != "4" || m.name != "yes" {
		t.Errorf("the next connection got %+v", m)
	}
}

// docs/delivery.md 8.6
func TestAResumedStreamDoesNotGetItsOwnEventsInReplay(t *testing.T) {
	both(t, plan{}, func(t *testing.T, h *house) {
		s := h.open("topic=a&token=alice", "")
		c := s.next().read(t)
		m := s.until("subscribed")
		s.end()
		h.publish(
			&millrace.Event{Topic: "a", NoEcho: true, Sender: millrace.Sender{Session: c.Session, Subject: "alice"}, Data: []byte("1")},
			&millrace.Event{Topic: "a", NoEcho: true, Sender: millrace.Sender{Session: "another", Subject: "alice"}, Data: []byte("2")},
		)
		for { // until the gateway knows that the first connection is gone
			again := h.open("token=alice", m.id)
			if !again.next().read(t).Resumed {
				again.end()
				continue
			}
			again.until("subscribed")
			again.wants("2")
			return
		}
	})
}

func TestAFilterOrRateThatIsNoneIsRefused(t *testing.T) {
	h := build(t, plan{})
	for q, reason := range map[string]string{
		query("topic", "a", "filter", "name ="):  "filter_invalid",
		query("topic", "a", "maxRate", "often"):  "bad_request",
		query("topic", "a", "maxRate", "100000"): "bad_request",
		query("topic", "a**"):                    "topic_invalid",
	} {
		resp := h.get(q, nil)
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s (%s): got %s", q, reason, resp.Status)
		}
	}
}

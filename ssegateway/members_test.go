package ssegateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// room is what a frame about members says.
type room struct {
	Topic  string
	Reset  bool
	Joined []struct {
		Session string
		Data    json.RawMessage
	}
	Left  []struct{ Session string }
	Count int
}

// Protocol 12.20 and 12.22: a bare EventSource joins by its URL, is told of the members, and stays one over reconnects.
func TestABareEventSourceIsAMemberAndSeesTheOthers(t *testing.T) {
	both(t, plan{}, func(t *testing.T, h *house) {
		q := query("join", "a", "info", `{"n":1}`, "token", "alice")
		s := h.open(q, "")
		session := s.next().read(t).Session
		joined := s.until("joined")
		if f := joined.read(t); f.Topic != "a" || !strings.Contains(joined.id, ",j.a,") {
			t.Errorf("got %+v", joined)
		}
		told := func(count int) room {
			t.Helper()
			for {
				m := s.until("members")
				var r room
				if err := json.Unmarshal([]byte(m.data), &r); err != nil || m.id != joined.id || r.Topic != "a" {
					t.Fatalf("got %+v: %v", m, err)
				}
				if r.Count == count {
					return r
				}
			}
		}
		if r := told(1); !r.Reset || r.Joined[0].Session != session {
			t.Errorf("told %+v", r)
		}
		other := h.open(query("join", "a", "members", "0"), "")
		other.until("joined")
		if r := told(2); r.Reset || len(r.Joined) != 1 {
			t.Errorf("told %+v", r)
		}
		s.end()
		s = h.open(q, joined.id)
		if f := s.next().read(t); f.Session != session || !f.Resumed {
			t.Errorf("came back as %+v", f)
		}
		joined = s.until("joined")
		if r := told(2); !r.Reset {
			t.Errorf("told %+v", r)
		}
		h.put("a", "1")
		s.wants("1")
	})
}

// Protocol 6.6.
func TestASessionJoinsAndBroadcastsByPost(t *testing.T) {
	h := build(t, plan{})
	s := h.open(query("topic", "b", "token", "alice"), "")
	c := s.next().read(t)
	s.until("subscribed")
	post := func(want int, part, body string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, h.server.URL+"/v1/sessions/"+url.PathEscape(c.Session)+"/commands", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer alice")
		req.Header.Set("Millrace-Cursor", c.Cursor)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want || !strings.Contains(string(b), part) {
			t.Errorf("%s: got %d %s, %v; want %d with %s", body, resp.StatusCode, b, err, want, part)
		}
	}
	await := func(name string) message {
		t.Helper()
		m := s.next()
		for m.name != name {
			m = s.next()
		}
		return m
	}
	post(403, `"forbidden"`, `{"broadcast":{"topic":"a","data":1}}`)
	post(202, "{}", `{"id":3,"join":{"topic":"a","data":{}}}`)
	if m := await("joined"); m.read(t).Re != 3 {
		t.Errorf("got %+v", m)
	}
	post(200, `{"re":4,"published":{"topic":"a"`, `{"id":4,"broadcast":{"topic":"a","data":1}}`)
	post(200, `{"re":5,"presence":{"topic":"a","members":[{"session":"`+c.Session+`","subject":"alice","data":{}`, `{"id":5,"presence":{"topic":"a"}}`)
	post(202, "{}", `{"id":6,"update":{"topic":"a","data":1}}`)
	if m := await("done"); m.read(t).Re != 6 {
		t.Errorf("got %+v", m)
	}
	post(202, "{}", `{"id":7,"subscribe":{"topic":"c","members":true}}`)
	if m := await("subscribed"); m.read(t).Topic != "c" {
		t.Errorf("got %+v", m)
	}
	for topic := ""; topic != "c"; {
		topic = await("members").read(t).Topic
	}
	post(202, "{}", `{"id":8,"leave":{"topic":"a"}}`)
	if m := await("left"); m.read(t).Re != 8 {
		t.Errorf("got %+v", m)
	}
	if n := len(h.broker.Roster("a")); n != 0 {
		t.Errorf("%d members are left", n)
	}
}

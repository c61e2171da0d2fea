package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/auth"
)

// stream is a bare event stream that keeps the names of what comes, and its newest id.
type stream struct {
	t       *testing.T
	events  chan named
	end     func()
	id      string
	session string
}

type named struct{ name, data, id string }

// follow opens an event stream with a cursor, or returns the status that it is refused with.
func follow(t *testing.T, addr, token, cursor string) (*stream, int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/events?token="+token, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", cursor)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, resp.StatusCode
	}
	s := &stream{t: t, events: make(chan named, 1<<10), end: cancel}
	go func() {
		defer close(s.events)
		defer resp.Body.Close()
		var e named
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.data != "" {
					s.events <- e
				}
				e = named{id: e.id}
			}
		}
	}()
	connected := s.until("connected")
	var c struct {
		Session string `json:"session"`
	}
	if err := json.Unmarshal([]byte(connected.data), &c); err != nil {
		t.Fatal(err)
	}
	s.session = c.Session
	return s, http.StatusOK
}

// until returns the next event with a name, "" for one that has none, and lets others pass.
func (s *stream) until(name string) named {
	s.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.t.Fatalf("the stream ended before %q", name)
			}
			s.id = e.id
			if e.name == name {
				return e
			}
		case <-timer.C:
			s.t.Fatalf("no %q came", name)
		}
	}
}

// over waits until the stream has ended.
func (s *stream) over() {
	s.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-s.events:
			if !ok {
				return
			}
		case <-timer.C:
			s.t.Fatal("the stream does not end")
		}
	}
}

// says checks what a command of millrace prints.
func says(t *testing.T, want string, args ...string) {
	t.Helper()
	if out, err := operate(t, args...); err != nil || out != want {
		t.Errorf("millrace %s: %q, %v; want %q", strings.Join(args, " "), out, err, want)
	}
}

// A backend reaches into the sessions of two SSE gateways and a WebSocket gateway: all of a subject, and one.
// Promise: docs/delivery.md 9.10.
func TestABackendReachesIntoLiveSessionsWhereverTheyAre(t *testing.T) {
	key := strings.Repeat("k", auth.MinKeyBytes)
	signer, err := auth.NewSigner([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	token := func(subject string) string {
		text, err := signer.Sign(subject, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	b := start(t, "broker", "--listen", "127.0.0.1:0")
	gateway := func(role, peer string) string {
		return start(t, role, "--listen", "127.0.0.1:0", "--broker", b.addr("grpc"), "--key", key, "--seal-key", sealKey, "--peer", peer).addr("http")
	}
	ws, sse1, sse2 := gateway("wsgateway", "ws-1"), gateway("ssegateway", "sse-1"), gateway("ssegateway", "sse-2")
	broker := []string{"--broker", b.addr("grpc")}
	run := func(args ...string) []string { return append(args, broker...) }

	one, _ := follow(t, sse1, token("alice"), "")
	two := dialWS(t, ws, "token="+token("alice"))
	two.until("connected")
	other, _ := follow(t, sse2, token("bob"), "")

	// The sessions of a subject, on two gateways.
	says(t, "2", run("session", "subscribe", "news", "--subject", "alice")...)
	says(t, "2", run("session", "join", "room", "--subject", "alice", "--data", `{"n":1}`)...)
	one.until("joined")
	if out, err := operate(t, run("presence", "room")...); err != nil || strings.Count(out, "alice") != 2 ||
		!strings.HasPrefix(out, "SESSION ") || !strings.Contains(out, `{"n":1}`) || !strings.HasSuffix(out, "2 members, 1 subject") {
		t.Errorf("the members are shown as %s, %v", out, err)
	}
	if out, err := operate(t, run("presence", "$sessions", "--json")...); err != nil || strings.Count(out, "\n") != 2 ||
		!strings.Contains(out, `"gateway":"sse-2"`) || !strings.Contains(out, `"subject":"bob"`) {
		t.Errorf("the sessions are shown as %s, %v", out, err)
	}
	if _, err := operate(t, run("publish", "news", `{"n":2}`)...); err != nil {
		t.Error(err)
	}
	if e := one.until(""); e.data != `{"n":2}` {
		t.Errorf("the session got %+v", e)
	}
	for i := two.next(); i.kind != "event"; i = two.next() {
		if i.kind == "closed" {
			t.Fatalf("the session ended: %+v", i)
		}
	}

	// A POST for a session, at another gateway than its own.
	for topic, addr := range map[string]string{"room:ws": ws, "room:1": sse1, "room:2": sse2} {
		postFor(t, addr, other, token("bob"), `{"id":3,"join":{"topic":"`+topic+`"}}`, http.StatusAccepted)
		if e := other.until("joined"); !strings.Contains(e.data, `"re":3`) || !strings.Contains(e.data, topic) {
			t.Errorf("the session was told %+v", e)
		}
		postFor(t, addr, other, token("bob"), `{"broadcast":{"topic":"`+topic+`","data":1}}`, http.StatusOK)
		other.until("")
		postFor(t, addr, other, token("bob"), `{"id":4,"leave":{"topic":"`+topic+`"}}`, http.StatusAccepted)
		other.until("left")
	}
	postFor(t, sse1, other, token("alice"), `{"leave":{"topic":"room"}}`, http.StatusNotFound)

	// One that may come back does, elsewhere, with all that it was given.
	says(t, "1", run("disconnect", "--session", one.session, "--reason", "draining")...)
	one.until("goaway")
	one.over()
	back, status := follow(t, sse2, token("alice"), one.id)
	if status != http.StatusOK || back.session != one.session {
		t.Fatalf("it came back as %+v, %d", back, status)
	}
	if _, err := operate(t, run("publish", "news", `{"n":3}`)...); err != nil {
		t.Error(err)
	}
	if e := back.until(""); e.data != `{"n":3}` {
		t.Errorf("the session got %+v", e)
	}
	says(t, "2 members, 1 subject", run("presence", "room", "--count-only")...)

	// Those that may not do not.
	says(t, "2", run("disconnect", "--subject", "alice", "--message", "enough")...)
	if e := back.until("error"); !strings.Contains(e.data, `"forbidden"`) || !strings.Contains(e.data, "enough") {
		t.Errorf("the session was told %+v", e)
	}
	back.over()
	end := two.next()
	for end.kind != "closed" {
		end = two.next()
	}
	if end.close != 4003 || end.reason != "forbidden" {
		t.Errorf("the WebSocket was closed with %+v", end)
	}
	if _, status := follow(t, sse2, token("alice"), back.id); status != http.StatusForbidden {
		t.Errorf("the one that may not come back is answered %d", status)
	}
	says(t, "0 members, 0 subjects", run("presence", "room", "--count-only")...)
	says(t, "1", run("disconnect", "--session", other.session)...)
	other.over()
	if _, status := follow(t, sse1, token("bob"), other.id); status != http.StatusForbidden {
		t.Errorf("the one that may not come back is answered %d elsewhere", status)
	}
	if s, _ := follow(t, sse1, token("bob"), ""); s == nil {
		t.Error("who begins anew is refused")
	}

	if out, err := operate(t, run("session", "join", "room", "--subject", "alice")...); err == nil || out != "" {
		t.Errorf("nobody was reached: %q, %v", out, err)
	}
}

// postFor posts a client frame for the session of a stream.
func postFor(t *testing.T, addr string, s *stream, token, frame string, want int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/sessions/"+s.session+"/commands", strings.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Millrace-Cursor", s.id)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != want {
		t.Errorf("%s at %s is answered %s %s, %v; want %d", frame, addr, resp.Status, b, err, want)
	}
}

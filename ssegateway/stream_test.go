package ssegateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// both runs a test on a connection of the stream's own and on a shared one.
func both(t *testing.T, p plan, body func(t *testing.T, h *house)) {
	t.Helper()
	t.Run("HTTP/1.1", func(t *testing.T) { body(t, build(t, p)) })
	p.http2 = true
	t.Run("HTTP/2", func(t *testing.T) { body(t, build(t, p)) })
}

// Protocol 5.2, 5.3 and 5.8.
func TestAStreamBeginsWithConnectedAndSubscribed(t *testing.T) {
	both(t, plan{}, func(t *testing.T, h *house) {
		s := h.open(query("topic", "a", "topic", "b", "token", "alice"), "")
		first := s.next()
		c := first.read(t)
		if first.name != "connected" || c.Session == "" || c.Subject != "alice" || !strings.HasPrefix(first.id, c.Cursor) {
			t.Errorf("got %+v", first)
		}
		if ms, err := strconv.Atoi(s.events.retry); err != nil || ms < 1000 || ms >= 2000 {
			t.Errorf("retry is %q", s.events.retry)
		}
		topics := ""
		for range 2 {
			m := s.next()
			if m.name != "subscribed" {
				t.Fatalf("got %+v", m)
			}
			topics += m.read(t).Topic
		}
		if topics != "ab" && topics != "ba" {
			t.Errorf("subscribed to %s", topics)
		}
	})
}

// The first users' checklist: it passes ordinary HTTP proxies, and nothing is chunked or kept.
func TestTheHeadTellsProxiesToLetTheStreamPass(t *testing.T) {
	h := build(t, plan{})
	conn := h.bare("topic=a")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if resp.StatusCode != http.StatusOK || !resp.Close || len(resp.TransferEncoding) > 0 || resp.ContentLength != -1 {
		t.Errorf("got %+v", resp)
	}
	if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
		t.Error(err)
	}
}

// Protocol 5.4.
func TestAnEventIsItsPayloadUnderItsName(t *testing.T) {
	both(t, plan{}, func(t *testing.T, h *house) {
		s := h.open("topic=a", "")
		s.until("subscribed")
		h.publish(
			&millrace.Event{Topic: "a", Data: []byte(`{"n": 1}`)},
			&millrace.Event{Topic: "a", Name: "price", Data: []byte("{\n\"n\":\r\n2}")},
			&millrace.Event{Topic: "a", ContentType: "text/plain", Data: []byte(" one\ntwo\rthree\r\n")},
			&millrace.Event{Topic: "a", ContentType: "text/plain"},
			&millrace.Event{Topic: "a", ContentType: "image/png", Data: []byte{0, 1, 255}},
		)
		for i, want := range []message{
			{"message", `{"n": 1}`, ""},
			{"price", "{\n\"n\":\n2}", ""},
			{"message", " one\ntwo\nthree\n", ""},
			{"message", "", ""},
			{"message", "AAH/", ""},
		} {
			got := s.next()
			c, err := millrace.ParseCursor(got.id)
			if err != nil || len(c.Pieces) != 1 || c.Pieces[0].Position.Offset != uint64(i+1) {
				t.Errorf("the id is %q", got.id)
			}
			got.id = ""
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	})
}

// Protocol 5.5: nobody can publish what passes for the gateway's word.
func TestNamesOfTheStreamsOwnEventsAreEscaped(t *testing.T) {
	h := build(t, plan{})
	s := h.open("topic=a", "")
	s.until("subscribed")
	for name, want := range map[string]string{
		"gap": "~gap", "connected": "~connected", "goaway": "~goaway", "error": "~error", "open": "~open", "event": "~event",
		"presence": "~presence", "members": "~members", "joined": "~joined", "left": "~left", "done": "~done", "~gap": "~~gap", "Gap": "Gap", "message": "message",
		"x\nevent: gap\ndata: {}\n\n": "x event: gap data: {}  ", "x\r\ny": "x y", "\rz": " z",
	} {
		h.publish(&millrace.Event{Topic: "a", Name: name, Data: []byte("1")})
		if got := s.next(); got.name != want || got.data != "1" {
			t.Errorf("%q came as %+v, want %q", name, got, want)
		}
	}
}

// Protocol 5.1 and DESIGN promise 3.
func TestLastEventIDResumesAllTopicsAndCountsBeforeTheCursorAndTheTopics(t *testing.T) {
	h := build(t, plan{})
	s := h.open("topic=a&topic=b", "")
	s.next()
	s.next()
	s.next()
	h.put("a", "1")
	s.wants("1")
	h.put("b", "2")
	id := s.wants("2").id
	s.end()
	h.put("a", "3")
	h.put("b", "4")
	for name, ask := range map[string]struct{ query, id string }{
		"header":                  {"topic=other", id},
		"header before parameter": {query("cursor", "--c"), id},
		"parameter":               {query("cursor", id), ""},
	} {
		back := h.open(ask.query, ask.id) // the session goes on with the one that came last
		got := map[string]string{}
		for len(got) < 2 {
			m := back.next()
			if m.name == "message" {
				c, err := millrace.ParseCursor(m.id)
				if err != nil || len(c.Pieces) != 2 {
					t.Fatalf("%s: id %q: %v", name, m.id, err)
				}
				got[c.Pieces[1].Topic] += m.data
			}
		}
		if got["a"] != "3" || got["b"] != "4" {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// DESIGN promise 3: the cursor is handed out before any event.
// Promise: docs/delivery.md 1.4.
func TestAQuietTopicResumes(t *testing.T) {
	h := build(t, plan{})
	s := h.open("topic=a", "")
	id := s.until("subscribed").id
	s.end()
	h.put("a", "1", "2")
	h.open("", id).wants("1", "2")
}

// Protocol 5.6.
func TestAGapIsAnEventThatABareEventSourceCanRead(t *testing.T) {
	h := build(t, plan{})
	at := h.put("a", "1")
	h.put("a", "2", "3", "4")
	h.broker.Trim("a", 1)
	s := h.open("", millrace.Cursor{Pieces: []millrace.Piece{{Topic: "a", Position: at, Attached: true}}}.String())
	m := s.until("gap")
	g := m.read(t)
	if g.Topic != "a" || g.After.Offset != 1 || g.Until.Offset != 3 || g.Cause != "trimmed" || !strings.HasSuffix(m.id, "-a") {
		t.Errorf("got %+v", m)
	}
	s.wants("4")
}

// Protocol 5.2: what is withheld moves the cursor alone.
func TestAnIDAloneMovesTheCursorOverWhatIsWithheld(t *testing.T) {
	h := build(t, plan{})
	s := h.open(query("topic", "a", "token", "alice"), "")
	session := s.next().read(t).Session
	s.until("subscribed")
	h.publish(&millrace.Event{Topic: "a", NoEcho: true, Sender: millrace.Sender{Session: session}, Data: []byte("1")})
	h.put("a", "2")
	m := s.wants("2")
	if s.events.bare != 1 || !strings.HasPrefix(m.id[strings.LastIndex(m.id, ",")+1:], "2-") {
		t.Errorf("%d blocks with an id alone; then %+v", s.events.bare, m)
	}
}

// Protocol 5.9.
func TestOnlyWhatIsOfNoUseToRepeatIsAnsweredByAStatus(t *testing.T) {
	both(t, plan{gateway: gateway.Config{MaxTopics: 2}}, func(t *testing.T, h *house) {
		for q, want := range map[string]struct {
			status int
			reason string
		}{
			"topic=a%20b":             {400, "topic_invalid"},
			"cursor=garbage":          {400, "cursor_invalid"},
			"topic=a&start=yesterday": {400, "bad_request"},
			"topic=a&token=mallory":   {401, "unauthorized"},
			"topic=a&topic=b&topic=c": {429, "too_many_topics"},
		} {
			resp := h.get(q, nil)
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != want.status || !strings.Contains(string(b), `{"error":{"reason":"`+want.reason+`"`) {
				t.Errorf("%s: got %s %s %v", q, resp.Status, b, err)
			}
		}
		if resp := h.get("topic=a", http.Header{"Origin": {"https://evil.example.com"}}); resp.StatusCode != http.StatusForbidden {
			t.Errorf("another origin: got %s", resp.Status)
		}
		resp := h.get("topic=a", http.Header{"Origin": {"https://app.example.com"}})
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != http.StatusOK || got != "https://app.example.com" {
			t.Errorf("a listed origin: got %s %q", resp.Status, got)
		}
	})
}

// Protocol 1.6.
func TestATopicThatTheGrantDoesNotCoverIsToldAndTheOthersGoOn(t *testing.T) {
	h := build(t, plan{})
	s := h.open(query("topic", "a", "topic", "b", "token", "narrow"), "")
	if m := s.until("unsubscribed"); m.read(t).Topic != "b" || m.read(t).Error.Reason != "forbidden" {
		t.Errorf("got %+v", m)
	}
	s.until("subscribed")
	h.put("a", "1")
	s.wants("1")
}

// Protocol 5.9 and 5.10: who may come back gets 200, a time and the end, and keeps its cursor.
func TestWhoMayComeBackGetsAStreamThatSaysWhen(t *testing.T) {
	both(t, plan{gateway: gateway.Config{MaxSessions: 1}}, func(t *testing.T, h *house) {
		refused := func(q, id, reason string) {
			t.Helper()
			s := h.open(q, id)
			m := s.next()
			if m.name != "goaway" || m.read(t).Reason != reason || m.id != id {
				t.Errorf("got %+v", m)
			}
			if ms, err := strconv.Atoi(s.events.retry); err != nil || ms < 1000 {
				t.Errorf("retry is %q", s.events.retry)
			}
			s.over()
		}
		refused("token=away&topic=a", "", "unavailable")
		first := h.open("topic=a", "")
		id := first.until("subscribed").id
		refused("topic=a", id, "full")
		h.gateway.Drain(t.Context(), time.Minute)
		m := first.next()
		if m.name != "goaway" || m.read(t).Reason != "draining" || first.events.retry != strconv.Itoa(m.read(t).RetryAfterMs) {
			t.Errorf("got %+v, retry %s", m, first.events.retry)
		}
		first.over()
		refused("topic=a", id, "draining")
		refused("topic=a", millrace.Cursor{Parts: []millrace.Part{{Topic: "a", Joined: true}}, Pieces: []millrace.Piece{{Topic: "a"}}}.String(), "draining")
	})
}

// Protocol 5.8, 5.9 and 8.5: so does who would have to wait too long for its turn.
func TestWhoComesInACrowdGetsAStreamThatSaysWhen(t *testing.T) {
	both(t, plan{gateway: gateway.Config{AdmitRate: 1, MaxAdmitWait: time.Millisecond}}, func(t *testing.T, h *house) {
		for range 100 { // one a second is let in
			s := h.open("topic=a", "")
			m := s.next()
			if m.name == "connected" {
				s.end()
				continue
			}
			if m.name != "goaway" || m.read(t).Reason != "full" || m.read(t).RetryAfterMs < 500 || s.events.retry != strconv.Itoa(m.read(t).RetryAfterMs) {
				t.Errorf("got %+v, retry %s", m, s.events.retry)
			}
			s.over()
			return
		}
		t.Error("a hundred came in at once")
	})
}

func TestASessionThatIsEndedSaysWhy(t *testing.T) {
	h := build(t, plan{})
	s := h.open("topic=a", "")
	session, _ := h.gateway.Session(s.next().read(t).Session)
	s.until("subscribed")
	session.End(millrace.Errorf(millrace.ReasonTokenExpired, "the token's time is up"))
	if m := s.next(); m.name != "error" || m.read(t).Reason != "token_expired" {
		t.Errorf("got %+v", m)
	}
	s.over()
}

// Protocol 5.7.
func TestACommentIsTheHeartbeat(t *testing.T) {
	both(t, plan{heartbeat: time.Second}, func(t *testing.T, h *house) {
		s := h.open("topic=a", "")
		s.until("subscribed")
		if err := s.events.comment(); err != nil {
			t.Fatal(err)
		}
		h.put("a", "1")
		s.wants("1")
	})
}

// The first users' checklist: unsubscribed on close.
func TestASessionEndsWithItsConnection(t *testing.T) {
	both(t, plan{}, func(t *testing.T, h *house) {
		s := h.open("topic=a", "")
		session, _ := h.gateway.Session(s.next().read(t).Session)
		s.end()
		select {
		case <-session.Done():
		case <-time.After(patience):
			t.Error("the session goes on")
		}
	})
}

// DESIGN promise 7: what the socket does not take is caught up at the peer's own speed.
func TestASlowReaderGetsEverything(t *testing.T) {
	both(t, plan{gateway: gateway.Config{TailEvents: 8}}, func(t *testing.T, h *house) {
		s := h.open("topic=a", "")
		s.until("subscribed")
		var want []string
		for i := range 400 {
			want = append(want, fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 20_000)))
			h.put("a", want[i])
		}
		s.wants(want...)
	})
}

// DESIGN promise 8.
func TestAPeerThatReadsNothingIsCutOffAndAHealthyOneBesideItIsNot(t *testing.T) {
	const stall = 5 * time.Second
	inBubble(t, plan{stall: stall, gateway: gateway.Config{TailEvents: 8}}, func(t *testing.T, h *house) {
		s := h.open("topic=a", "")
		session, _ := h.gateway.Session(s.next().read(t).Session)
		healthy := h.open("topic=a", "")
		healthy.until("subscribed")
		big := `"` + strings.Repeat("x", 500_000) + `"`
		begin := time.Now()
		for range 20 { // more than an HTTP/2 client takes for a stream that nobody reads
			h.put("a", big)
			healthy.wants(big)
		}
		<-session.Done()
		if took := time.Since(begin); took != stall {
			t.Errorf("it was cut off after %v, want %v", took, stall)
		}
		h.put("a", big)
		healthy.wants(big)
	})
}

// DESIGN promise 8, on a socket, which the loop writes to itself.
func TestAPeerThatDoesNotReadItsSocketIsCutOff(t *testing.T) {
	h := build(t, plan{stall: 50 * time.Millisecond, gateway: gateway.Config{TailEvents: 8}})
	s := h.open("topic=a", "")
	session, _ := h.gateway.Session(s.next().read(t).Session)
	big := `"` + strings.Repeat("x", 500_000) + `"`
	for range 100 { // more than the buffers of any socket hold
		h.put("a", big)
	}
	<-session.Done()
}

// Protocol 6.6: a peer of SSE sends by POST.
func TestASessionTakesCommandsByPost(t *testing.T) {
	h := build(t, plan{})
	s := h.open(query("topic", "a", "token", "alice"), "")
	c := s.next().read(t)
	s.until("subscribed")
	post := func(token, cursor, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, h.server.URL+"/v1/sessions/"+url.PathEscape(c.Session)+"/commands", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Millrace-Cursor", cursor)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if status, body := post("alice", c.Cursor, `{"id":5,"subscribe":{"topic":"b"}}`); status != http.StatusAccepted {
		t.Fatalf("subscribe: %d %s", status, body)
	}
	if m := s.next(); m.name != "subscribed" || m.read(t).Topic != "b" || m.read(t).Re != 5 {
		t.Errorf("got %+v", m)
	}
	if status, body := post("alice", c.Cursor, `{"id":6,"publish":{"topic":"b","data":1,"echo":false}}`); status != http.StatusOK || !strings.HasPrefix(body, `{"re":6,"published":{"topic":"b"`) {
		t.Errorf("publish: %d %s", status, body)
	}
	h.put("b", "2")
	s.wants("2")
	if status, body := post("alice", c.Cursor, `{"history":{"topic":"b"}}`); status != http.StatusOK || !strings.Contains(body, `"data":1`) {
		t.Errorf("history: %d %s", status, body)
	}
	if status, body := post("alice", c.Cursor, `{"id":7,"unsubscribe":{"topic":"b"}}`); status != http.StatusAccepted {
		t.Errorf("unsubscribe: %d %s", status, body)
	}
	if m := s.next(); m.name != "unsubscribed" || m.read(t).Re != 7 {
		t.Errorf("got %+v", m)
	}
	for name, c := range map[string]struct {
		token, cursor, body string
		status              int
	}{
		"another subject":      {"bob", c.Cursor, `{"ping":{}}`, 404},
		"no token":             {"mallory", c.Cursor, `{"ping":{}}`, 401},
		"the public id alone":  {"alice", "--a", `{"ping":{}}`, 404},
		"another seal":         {"alice", c.Cursor + "x", `{"ping":{}}`, 404},
		"no cursor":            {"alice", "", `{"ping":{}}`, 400},
		"what can't be read":   {"alice", c.Cursor, `}{`, 400},
		"what it does not do":  {"alice", c.Cursor, `{"refresh":{"token":"x"}}`, 501},
		"what breaks a rule":   {"alice", c.Cursor, `{"publish":{"topic":"a b","data":1}}`, 400},
		"what is all in order": {"alice", c.Cursor, `{"ping":{}}`, 200},
	} {
		if status, body := post(c.token, c.cursor, c.body); status != c.status {
			t.Errorf("%s: got %d %s, want %d", name, status, body, c.status)
		}
	}
}

package wsgateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/wsgateway"
)

// Protocol 2.5, and the first users' checklist.
func TestTheFirstFrameIsConnectedWithTheSessionAndTheSubject(t *testing.T) {
	h := build(t, plan{})
	c := h.dial(query("token", "alice")).connected().Connected
	if c.Session == "" || c.Subject != "alice" || !strings.HasPrefix(c.Cursor, "s.") || c.MaxFrameBytes != 64<<10 {
		t.Errorf("got %+v", c)
	}
}

// Protocol 1.1.
func TestATokenIsTakenFromHeaderSubprotocolAndQuery(t *testing.T) {
	h := build(t, plan{strict: true})
	header := http.Header{"Authorization": {"Bearer alice"}}
	for name, p := range map[string]peer{
		"header":      h.dialBy(h.dialer(), query("token", "bob"), header),
		"subprotocol": h.dial(query("token", "alice"), wsgateway.ProtocolJSON, "bearer.alice"),
		"query":       h.dial(query("token", "alice")),
	} {
		if c := p.connected().Connected; c.Subject != "alice" {
			t.Errorf("%s: the subject is %q", name, c.Subject)
		}
	}
}

// Protocol 3.3: 4001 unauthorized before any frame.
func TestAPeerWithoutAValidTokenIsClosedAfterTheHandshake(t *testing.T) {
	h := build(t, plan{strict: true})
	for _, q := range []string{"", query("token", "mallory"), query("token", "mallory", "topic", "a b")} {
		if end := h.dial(q).closed(); end.Code != 4001 || end.Text != "unauthorized" {
			t.Errorf("%s: closed with %d %q", q, end.Code, end.Text)
		}
	}
}

// Protocol 1.6 and 3.4.
func TestABadQueryIsNamedAndClosed(t *testing.T) {
	h := build(t, plan{gateway: gateway.Config{MaxTopics: 2}})
	for q, want := range map[string]struct {
		code   int
		reason string
	}{
		query("topic", "a b"):                             {4002, "topic_invalid"},
		query("topic", ""):                                {4002, "topic_invalid"},
		query("cursor", "garbage"):                        {4004, "cursor_invalid"},
		query("topic", "a", "start", "yesterday"):         {4000, "bad_request"},
		query("topic", "a", "heartbeats", "often"):        {4000, "bad_request"},
		query("topic", "a", "topic", "b", "topic", "c"):   {4009, "too_many_topics"},
		query("cursor", "--a,--b,--c", "topic", "unused"): {4009, "too_many_topics"},
	} {
		p := h.dial(q)
		if f := p.next(); f.Error == nil || f.Error.Reason != want.reason || f.Error.Message == "" {
			t.Errorf("%s: got %+v", q, f)
		}
		if end := p.closed(); end.Code != want.code || end.Text != want.reason {
			t.Errorf("%s: closed with %d %q", q, end.Code, end.Text)
		}
	}
}

// Protocol 3.4 and 3.5: who may come back is told when.
func TestAFullOrDrainingGatewaySaysWhenToComeBack(t *testing.T) {
	h := build(t, plan{gateway: gateway.Config{MaxSessions: 1}})
	first := h.dial("")
	first.connected()
	p := h.dial("")
	if f := p.next(); f.Error == nil || f.Error.Reason != "full" || f.Error.RetryAfterMs < 1000 {
		t.Errorf("got %+v", f)
	}
	if end := p.closed(); end.Code != 1013 || !strings.HasPrefix(end.Text, "full; retryAfterMs=") {
		t.Errorf("closed with %d %q", end.Code, end.Text)
	}
	h.gateway.Drain(t.Context(), time.Minute)
	if f := first.next(); f.Goaway == nil || f.Goaway.Reason != "draining" || f.Goaway.RetryAfterMs > 60_000 {
		t.Errorf("got %+v", f)
	}
	if end := first.closed(); end.Code != 1012 || !strings.HasPrefix(end.Text, "draining; retryAfterMs=") {
		t.Errorf("closed with %d %q", end.Code, end.Text)
	}
	late := h.dial("")
	if f := late.next(); f.Goaway == nil || f.Goaway.RetryAfterMs < 1000 {
		t.Errorf("got %+v", f)
	}
	if end := late.closed(); end.Code != 1012 {
		t.Errorf("closed with %d %q", end.Code, end.Text)
	}
}

// Protocol 3.4, 3.5 and 8.5: so is who would have to wait too long for its turn.
func TestWhoComesInACrowdIsToldWhenToComeBack(t *testing.T) {
	h := build(t, plan{gateway: gateway.Config{AdmitRate: 1, MaxAdmitWait: time.Millisecond}})
	for range 100 { // one a second is let in
		p := h.dial("")
		f := p.next()
		if f.Connected != nil {
			continue
		}
		if f.Error == nil || f.Error.Reason != "full" || f.Error.RetryAfterMs < 500 {
			t.Errorf("got %+v", f)
		}
		if end := p.closed(); end.Code != 1013 || end.Text != fmt.Sprintf("full; retryAfterMs=%d", f.Error.RetryAfterMs) {
			t.Errorf("closed with %d %q", end.Code, end.Text)
		}
		return
	}
	t.Error("a hundred came in at once")
}

// Protocol 1.2.
func TestPagesOfOtherOriginsMustBeListed(t *testing.T) {
	h := build(t, plan{origins: []string{"https://app.example.com", "https://*.example.org"}})
	own := h.server.URL
	for _, origin := range []string{own, "https://app.example.com", "https://APP.example.com", "https://a.b.example.org"} {
		h.dialBy(h.dialer(), "", http.Header{"Origin": {origin}}).connected()
	}
	for _, origin := range []string{"https://evil.example.com", "http://app.example.com", "https://example.org", "https://evilexample.org", "null"} {
		status, body := h.refused("", http.Header{"Origin": {origin}})
		if status != http.StatusForbidden || !strings.Contains(body, "origin_forbidden") {
			t.Errorf("%s: status %d, %s", origin, status, body)
		}
	}
}

// Protocol 3.1.
func TestTheSubprotocolIsThePeersFirstThatIsKnown(t *testing.T) {
	h := build(t, plan{})
	for _, c := range []struct {
		ask  []string
		want string
	}{
		{nil, ""},
		{[]string{wsgateway.ProtocolJSON}, wsgateway.ProtocolJSON},
		{[]string{"graphql-ws", wsgateway.ProtocolProtobuf, wsgateway.ProtocolJSON}, wsgateway.ProtocolProtobuf},
	} {
		if got := h.dial("", c.ask...).Subprotocol(); got != c.want {
			t.Errorf("asked for %v, got %q", c.ask, got)
		}
	}
	for _, ask := range []string{"graphql-ws", "bearer.alice"} {
		status, body := h.refused("", http.Header{"Sec-Websocket-Protocol": {ask}})
		if status != http.StatusBadRequest || !strings.Contains(body, wsgateway.ProtocolJSON) {
			t.Errorf("%s: status %d, %s", ask, status, body)
		}
	}
}

func TestARequestThatIsNoHandshakeIsNamed(t *testing.T) {
	h := build(t, plan{})
	resp, err := http.Get(h.server.URL + "/v1/ws")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", resp.StatusCode)
	}
	resp, err = http.Post(h.server.URL+"/v1/ws", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// Protocol 1.3 and 2.6.
func TestTopicsOfTheURLAreSubscribedFromTheirStart(t *testing.T) {
	h := build(t, plan{})
	h.put("a", "1", "2", "3")
	for start, want := range map[string][]string{"earliest": {"1", "2", "3"}, "last=1": {"3"}, "now": nil} {
		p := h.dial(query("topic", "a", "start", start))
		p.connected()
		head := h.broker.Head("a").Offset
		if f := p.next(); f.Subscribed == nil || f.Subscribed.Topic != "a" || f.Subscribed.Position.Offset != head-uint64(len(want)) {
			t.Fatalf("%s: got %+v", start, f.Subscribed)
		}
		p.wants("a", want...)
	}
}

// Protocol 1.4 and 4: a hand-written client comes back with what it put together.
func TestACursorTakesUpEachTopicBehindItsPosition(t *testing.T) {
	h := build(t, plan{})
	at := millrace.Cursor{Pieces: []millrace.Piece{
		{Topic: "a", Position: h.put("a", "1"), Attached: true},
		{Topic: "b", Position: h.put("b", "1"), Attached: true},
	}}
	h.put("a", "2", "3")
	h.put("b", "2")
	p := h.dial(query("topic", "other", "cursor", at.String()))
	p.connected()
	seen := map[string]string{}
	for len(seen["a"])+len(seen["b"]) < 3 {
		f := p.next()
		switch {
		case f.Event != nil:
			seen[f.Event.Topic] += string(f.Event.Data)
		case f.Subscribed == nil || f.Subscribed.Topic == "other":
			t.Fatalf("got %+v", f)
		}
	}
	if seen["a"] != "23" || seen["b"] != "2" {
		t.Errorf("got %v", seen)
	}
}

// Protocol 4.5.
func TestASessionThatComesBackKeepsItsIdentity(t *testing.T) {
	h := build(t, plan{})
	p := h.dial(query("token", "alice"))
	first := p.connected().Connected
	s, _ := h.gateway.Session(first.Session)
	p.Close()
	<-s.Done()
	if again := h.dial(query("token", "alice", "cursor", first.Cursor)).connected().Connected; again.Session != first.Session || !again.Resumed {
		t.Errorf("got %+v, want session %s resumed", again, first.Session)
	}
	if other := h.dial(query("token", "bob", "cursor", first.Cursor)).connected().Connected; other.Session == first.Session || other.Resumed {
		t.Errorf("another subject got %+v", other)
	}
}

func TestOverTLSItIsTheSame(t *testing.T) {
	h := build(t, plan{tls: true})
	p := h.dial(query("topic", "a"))
	p.connected()
	p.next()
	h.put("a", "1", `"`+strings.Repeat("x", 200_000)+`"`, "3")
	p.wants("a", "1", `"`+strings.Repeat("x", 200_000)+`"`, "3")
	if err := p.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if end := p.closed(); end.Code != websocket.CloseNormalClosure {
		t.Errorf("closed with %d", end.Code)
	}
}

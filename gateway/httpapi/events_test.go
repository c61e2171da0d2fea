package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/httpapi"
)

const events = "/v1/topics/chat:1/events"

// Protocol 6.1.
func TestABodyIsPublishedWithItsTypeAndItsNames(t *testing.T) {
	h := build(t)
	h.wants(200, `{"topic":"chat:1","position":{"offset":"1"`, "POST", events, `{"n":1}`, "Content-Type", "application/json", "Authorization", "Bearer alice",
		"Millrace-Event-Id", "m1", "Millrace-Event-Name", "said", "Millrace-Event-Key", "k")
	h.wants(200, `"offset":"2"`, "POST", events+"?name=n&id=m2&key=k2", `plain`, "Content-Type", "text/plain; charset=utf-8")
	h.wants(200, `"offset":"3"`, "POST", events, "\x00\x01", "Content-Type", "image/png")
	h.wants(200, `"offset":"4"`, "POST", events, `{"n":4}`, "Content-Type", "application/x-www-form-urlencoded")
	h.wants(200, `"offset":"5"`, "POST", events, `{"n":5}`)
	h.wants(200, `"topic":"a/ü"`, "POST", "/v1/topics/a%2F%C3%BC/events", `1`)
	var page struct {
		Events []map[string]any `json:"events"`
	}
	if err := json.Unmarshal([]byte(h.wants(200, "", "GET", events, "")), &page); err != nil || len(page.Events) != 5 {
		t.Fatalf("got %+v, %v", page, err)
	}
	for i, want := range []map[string]any{
		{"id": "m1", "name": "said", "key": "k", "contentType": nil, "data": map[string]any{"n": 1.0}, "sender": map[string]any{"session": "", "subject": "alice"}},
		{"id": "m2", "name": "n", "key": "k2", "contentType": "text/plain; charset=utf-8", "text": "plain"},
		{"contentType": "image/png", "binary": "AAE="},
		{"contentType": nil, "data": map[string]any{"n": 4.0}},
		{"contentType": nil, "data": map[string]any{"n": 5.0}},
	} {
		for name, v := range want {
			got, err1 := json.Marshal(page.Events[i][name])
			wanted, err2 := json.Marshal(v)
			if errors.Join(err1, err2) != nil || !bytes.Equal(got, wanted) {
				t.Errorf("event %d: %s is %s, want %s", i+1, name, got, wanted)
			}
		}
	}
}

// DESIGN promise 6.
func TestAPublishThatIsSentAgainIsStoredOnce(t *testing.T) {
	h := build(t)
	first := h.wants(200, `"offset":"1"`, "POST", events+"?token=alice&id=m1", `1`)
	again := h.wants(200, `"repeated":true`, "POST", events+"?token=alice&id=m1", `1`)
	if mark := first[strings.Index(first, `"mark"`):strings.Index(first, `}`)]; !strings.Contains(again, mark) {
		t.Errorf("first %s, then %s", first, again)
	}
}

func TestAConditionalPublishIsRefusedWhenTheHeadIsElsewhere(t *testing.T) {
	h := build(t)
	at := h.broker.Put("chat:1", "x")
	h.wants(200, `"offset":"2"`, "POST", events, "1", "Millrace-Expect", at.String())
	h.wants(409, `"conflict"`, "POST", events+"?expect="+at.String(), "1")
	h.wants(400, `"bad_request"`, "POST", events+"?expect=here", "1")
}

// Protocol 1.6, 6.3 and 6.5.
func TestWhatCanNotBePublishedIsNamed(t *testing.T) {
	h := build(t)
	h.wants(413, `{"error":{"reason":"too_large"`, "POST", events, strings.Repeat("1", 1001))
	h.wants(200, `"position"`, "POST", events, strings.Repeat("1", 1000))
	h.wants(400, `"topic_invalid"`, "POST", "/v1/topics/a::b/events", "1")
	h.wants(400, `"topic_invalid"`, "POST", "/v1/topics/a%20b/events", "1")
	h.wants(403, `"forbidden"`, "POST", "/v1/topics/$sessions/events", "1")
	h.wants(403, `"forbidden"`, "POST", events+"?token=reader", "1")
	resp, _ := h.ask("POST", events, "1", "Authorization", "Bearer mallory")
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("a bad token: got %s %v", resp.Status, resp.Header)
	}
}

// A body whose length is not announced is cut at the limit.
func TestABodyOfUnknownLengthIsBoundedToo(t *testing.T) {
	h := build(t)
	resp, err := http.Post(h.server.URL+events, "", struct{ *strings.Reader }{strings.NewReader(strings.Repeat("1", 5000))})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %s", resp.Status)
	}
}

// Protocol 6.2.
func TestTheLogIsReadInPagesBothWays(t *testing.T) {
	h := build(t)
	h.broker.Put("chat:1", "1", "2", "3", "4", "5")
	type page struct {
		Events []struct {
			Text string `json:"text"`
		} `json:"events"`
		Next struct {
			Offset, Mark string
		} `json:"next"`
		More bool `json:"more"`
		Gap  *struct {
			Cause string `json:"cause"`
		} `json:"gap"`
	}
	read := func(query string) (p page, texts string) {
		t.Helper()
		if err := json.Unmarshal([]byte(h.wants(200, "", "GET", events+"?token=reader&"+query, "")), &p); err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Events {
			texts += e.Text
		}
		return p, texts
	}
	for order, want := range map[string]string{"asc": "12345", "desc": "54321"} {
		all, after := "", ""
		for more := true; more; {
			p, texts := read("order=" + order + "&limit=2&after=" + after)
			all, after, more = all+texts, p.Next.Offset+"-"+p.Next.Mark, p.More
		}
		if all != want {
			t.Errorf("%s: got %s", order, all)
		}
	}
	for query, want := range map[string]string{
		"": "12345", "start=last%3D2": "45", "order=desc&limit=1": "5", "start=now": "", "start=since=1999-12-31T23:59:59Z": "12345",
	} {
		if _, texts := read(query); texts != want {
			t.Errorf("%s: got %s, want %s", query, texts, want)
		}
	}
	h.broker.Trim("chat:1", 1)
	if p, texts := read("after=1-7"); p.Gap == nil || p.Gap.Cause != "reset" || texts != "5" {
		t.Errorf("got %+v", p)
	}
	for _, query := range []string{"limit=0", "limit=x", "order=up", "after=here", "start=soon", "start=now&after=1-2"} {
		h.wants(400, `"bad_request"`, "GET", events+"?"+query, "")
	}
	h.wants(401, `"unauthorized"`, "GET", events+"?token=mallory", "")
}

func TestABrokerThatDoesNotAnswerIsADeadline(t *testing.T) {
	h := build(t)
	release := h.broker.Hold()
	defer release()
	h.wants(504, `"deadline"`, "GET", events, "")
}

// Protocol 6.4.
func TestHealthAndReadinessAreApart(t *testing.T) {
	h := build(t)
	h.wants(200, "ok", "GET", "/healthz", "")
	h.wants(200, "ready", "GET", "/readyz", "")
	h.gateway.Drain(t.Context(), 0)
	h.wants(200, "ok", "GET", "/healthz", "")
	h.wants(503, `"draining"`, "GET", "/readyz", "")
}

// Protocol 6.5.
func TestPathsAndMethodsThatThereAreNotAreNamed(t *testing.T) {
	h := build(t)
	h.wants(404, `"not_found"`, "GET", "/v1/nothing", "")
	resp, _ := h.ask("DELETE", events, "")
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, POST" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
}

// Protocol 1.2 and 6.7.
func TestPagesOfListedOriginsMayDoAllThis(t *testing.T) {
	h := build(t)
	const listed = "https://app.example.com"
	resp, _ := h.ask("OPTIONS", events, "", "Origin", listed, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
	if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Origin") != listed ||
		!strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization") || resp.Header.Get("Access-Control-Allow-Methods") != "GET, POST" {
		t.Errorf("preflight: got %s %v", resp.Status, resp.Header)
	}
	resp, _ = h.ask("POST", events, "1", "Origin", listed)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != listed || resp.Header.Get("Vary") != "Origin" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	resp, body := h.ask("POST", events, "1", "Origin", "https://evil.example.com")
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Access-Control-Allow-Origin") != "" || !strings.Contains(body, "origin_forbidden") {
		t.Errorf("another origin: got %s %v", resp.Status, resp.Header)
	}
}

func TestEveryBadOriginOfAListIsReportedAtOnce(t *testing.T) {
	_, err := httpapi.NewOrigins([]string{"https://ok.example.com", "example.com", "https://a/", "https://a.*.com", "*", "null", "http://localhost:8080"})
	for _, bad := range []string{`"example.com"`, `"https://a/"`, `"https://a.*.com"`} {
		if err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%v does not name %s", err, bad)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("%d faults: %v", n, err)
	}
}

func TestADefaultPortInTheListIsTheOriginWithoutIt(t *testing.T) {
	origins, err := httpapi.NewOrigins([]string{"https://app.example.com:443", "http://*.example.org:80", "https://other.example.com:80"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"https://app.example.com": true, "http://a.example.org": true,
		"http://app.example.com": false, "https://a.example.org": false, "https://other.example.com": false, "https://other.example.com:80": true,
	} {
		r := httptest.NewRequest(http.MethodGet, "http://gateway/v1/ws", http.NoBody)
		r.Header.Set("Origin", origin)
		if got := origins.Allows(r); got != want {
			t.Errorf("%s: got %v", origin, got)
		}
	}
}

func TestAnyOriginIsAllowedOnlyByAStar(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://gateway/", http.NoBody)
	r.Header.Set("Origin", "https://anywhere.example")
	star, err := httpapi.NewOrigins([]string{"*"})
	if err != nil || !star.Allows(r) {
		t.Errorf("a star does not allow it: %v", err)
	}
	var none *httpapi.Origins
	if none.Allows(r) {
		t.Error("an empty list allows it")
	}
	r.Header.Set("Origin", "http://gateway")
	if !none.Allows(r) {
		t.Error("the same host is not allowed")
	}
}

// Protocol 1.3.
func TestAStartIsReadFromText(t *testing.T) {
	for text, want := range map[string]millrace.Start{
		"": {}, "now": {Kind: millrace.StartNow}, "earliest": {Kind: millrace.StartEarliest}, "last=7": {Kind: millrace.StartLast, Count: 7},
		"since=1500":                 {Kind: millrace.StartSince, Since: time.UnixMilli(1500)},
		"since=2026-01-02T03:04:05Z": {Kind: millrace.StartSince, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		"after=7-9":                  millrace.After(millrace.Position{Offset: 7, Mark: 9}),
	} {
		if got, err := httpapi.ReadStart(text); err != nil || got != want {
			t.Errorf("%q: got %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"last", "last=", "last=-1", "last=99999999999", "since=", "since=noon", "after=7", "NOW", "earliest=1"} {
		if _, err := httpapi.ReadStart(text); err == nil || err.Reason != millrace.ReasonBadRequest {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// Protocol 1.1.
func TestTheTokenOfTheHeaderCountsBeforeThatOfTheQuery(t *testing.T) {
	for _, c := range []struct{ header, query, want string }{
		{"", "", ""},
		{"", "q", "q"},
		{"Bearer h", "q", "h"},
		{"bearer  h ", "", "h"},
		{"Basic h", "q", "q"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?"+url.Values{"token": {c.query}}.Encode(), http.NoBody)
		r.Header.Set("Authorization", c.header)
		if got := httpapi.Token(r); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

// Protocol 6.1 and 6.2.
func TestAStateIsReadAndItsKeysAreDeleted(t *testing.T) {
	h := build(t)
	const state = "/v1/topics/latest:prices/events"
	h.wants(200, `"offset":"1"`, "POST", state+"?key=a", "1")
	h.wants(200, `"offset":"2"`, "POST", state+"?key=b", "2")
	h.wants(200, `"offset":"3"`, "POST", state+"?key=a&tombstone=1", "")
	h.wants(200, `"key":"a","timeMs":`, "GET", state, "")
	h.wants(200, `"tombstone":true`, "GET", state, "")
	if got := h.wants(200, `"key":"b"`, "GET", state+"?state=1", ""); strings.Contains(got, "tombstone") {
		h.Errorf("the state has a tombstone: %s", got)
	}
	h.wants(200, `"offset":"4"`, "POST", state, "", "Millrace-Event-Key", "b", "Millrace-Event-Tombstone", "1")
	h.wants(200, `"events":[]`, "GET", state+"?state=1", "")
	h.wants(501, `"unsupported"`, "GET", events+"?state=1", "")
	h.wants(400, `"bad_request"`, "GET", state+"?state=yes", "")
	h.wants(200, `{"topic":"ephemeral:a","timeMs":`, "POST", "/v1/topics/ephemeral:a/events", "1")
	h.wants(501, `"unsupported"`, "GET", "/v1/topics/ephemeral:a/events", "")
}

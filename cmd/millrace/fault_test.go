package main_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Bad input gets a clear, named error and harms only its sender (DESIGN section 7).
func TestBadInputIsNamedToItsSenderAlone(t *testing.T) {
	s := startSplit(t)
	broker := dialBroker(t, s.broker.addr("grpc"))
	const topic = "safe:1"
	bystanders := []*peer{dialWS(t, s.ws.addr("http"), "topic="+topic), openSSE(t, s.sse.addr("http"), "topic="+topic, "")}
	for _, p := range bystanders {
		p.until("subscribed")
	}

	t.Run("a payload that is not JSON, over gRPC", func(t *testing.T) {
		resp, err := broker.Publish(t.Context(), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: topic, Data: []byte("not json")}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.GetAcks()[0].GetError().GetReason(); got != "event_invalid" {
			t.Errorf("reason %q, want event_invalid", got)
		}
	})
	for name, c := range map[string]struct {
		path, body, contentType string
		status                  int
		reason                  string
	}{
		"a payload that is not JSON, over HTTP": {"/v1/topics/safe:1/events", "not json", "application/json", 422, "event_invalid"},
		"a body beyond the limit":               {"/v1/topics/safe:1/events", `"` + strings.Repeat("x", 1<<20) + `"`, "application/json", 413, "too_large"},
		"a topic with an empty segment":         {"/v1/topics/a::b/events", `1`, "application/json", 400, "topic_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, g := range []*process{s.ws, s.sse} {
				resp, err := http.Post("http://"+g.addr("http")+c.path, c.contentType, strings.NewReader(c.body))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != c.status || !strings.Contains(string(b), `"`+c.reason+`"`) {
					t.Errorf("%s answered %s %s; want %d %s", g.args[0], resp.Status, b, c.status, c.reason)
				}
			}
		})
	}
	for name, c := range map[string]struct{ send, reason string }{
		"a frame that is not JSON":         {"}{", "bad_request"},
		"a frame of no known kind":         {`{"id":7,"dance":{}}`, "bad_request"},
		"a topic that is none, by a frame": {`{"id":8,"publish":{"topic":"a b","data":1}}`, "topic_invalid"},
		"data that is text":                {`{"id":9,"publish":{"topic":"safe:1","contentType":"application/json","binary":"bm90IGpzb24="}}`, "event_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, resp, err := websocket.DefaultDialer.Dial("ws://"+s.ws.addr("http")+"/v1/ws", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			p := readWS(t, conn)
			p.until("connected")
			if err := conn.WriteMessage(websocket.TextMessage, []byte(c.send)); err != nil {
				t.Fatal(err)
			}
			if got := p.until("error"); got.reason != c.reason {
				t.Errorf("reason %q, want %q", got.reason, c.reason)
			}
			if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"id":1,"subscribe":{"topic":"safe:1"}}`)); err != nil {
				t.Fatal(err)
			}
			p.until("subscribed")
		})
	}
	t.Run("a frame beyond the limit", func(t *testing.T) {
		conn, resp, err := websocket.DefaultDialer.Dial("ws://"+s.ws.addr("http")+"/v1/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		p := readWS(t, conn)
		p.until("connected")
		// The gateway ends the connection while the frame is still on its way, so the write may fail.
		if err := conn.WriteMessage(websocket.TextMessage, []byte(strings.Repeat(" ", 1<<20))); err != nil {
			t.Log(err)
		}
		if end := p.until("closed"); end.close != websocket.CloseMessageTooBig {
			t.Errorf("closed with %d, want 1009", end.close)
		}
	})
	for name, c := range map[string]struct {
		query string
		code  int
	}{
		"a cursor that is none":        {"cursor=garbage", 4004},
		"a topic that is none, by URL": {"topic=a%20b", 4002},
		"a token that is none":         {"topic=safe:1&token=garbage", 4001},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialWS(t, s.ws.addr("http"), c.query)
			end := p.next()
			for end.kind == "error" {
				end = p.next()
			}
			if end.kind != "closed" || end.close != c.code {
				t.Errorf("got %+v; want to be closed with %d", end, c.code)
			}
			resp, err := http.Get("http://" + s.sse.addr("http") + "/v1/events?" + c.query)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if want := map[int]int{4001: 401}[c.code]; resp.StatusCode != max(want, 400) {
				t.Errorf("the event stream answered %s", resp.Status)
			}
		})
	}

	sent := publish(t, broker, topic, 0, 3)
	for _, p := range bystanders {
		p.wantEvents(topic, 0, sent)
	}
}

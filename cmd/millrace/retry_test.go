package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/auth"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// answer is what acks a publish, over HTTP and in a frame.
type answer struct {
	Position wirePosition `json:"position"`
	Repeated bool         `json:"repeated"`
}

// A publish whose answer was lost, because the gateway that had it was killed right after it was stored, is sent again at
// other gateways: over WebSocket, by POST, and by POST for a session on SSE. It is stored once, and each answer has the
// first position.
// Promise: docs/delivery.md 8.1, 8.2.
func TestAPublishThatIsTriedAgainAtOtherGatewaysIsStoredOnce(t *testing.T) {
	const topic, event = "orders:1", `{"id":7,"publish":{"topic":"orders:1","id":"order-1","data":{"n":1}}}`
	key := strings.Repeat("k", auth.MinKeyBytes)
	signer, err := auth.NewSigner([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign("alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, "broker", "--listen", "127.0.0.1:0")
	gateway := func(role string) *process {
		return start(t, role, "--listen", "127.0.0.1:0", "--broker", b.addr("grpc"), "--key", key, "--seal-key", sealKey)
	}
	dies, ws, sse := gateway("wsgateway"), gateway("wsgateway"), gateway("ssegateway")
	broker := dialBroker(t, b.addr("grpc"))
	watcher := subscribeGRPC(t, broker, "--"+topic)
	watcher.until("subscribed")

	// The peer reads nothing once it has sent, so the answer is lost with the gateway.
	send := func(g *process) *websocket.Conn {
		conn, resp, err := websocket.DefaultDialer.Dial("ws://"+g.addr("http")+"/v1/ws?token="+token, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if err := conn.WriteMessage(websocket.TextMessage, []byte(event)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	lost := send(dies)
	first := watcher.next()
	if first.kind != "event" || first.topic != topic {
		t.Fatalf("the subscriber got %+v", first)
	}
	dies.kill()
	if err := lost.Close(); err != nil {
		t.Log(err) // the gateway is gone
	}

	again := readWS(t, send(ws))
	again.until("connected")
	if got := again.until("published"); got.at != first.at {
		t.Errorf("over WebSocket it is at %s, first at %s", got.at, first.at)
	}
	check := func(how string, got answer) {
		t.Helper()
		if !got.Repeated || got.Position.position() != first.at {
			t.Errorf("%s is answered %+v; it was stored at %s", how, got, first.at)
		}
	}
	var plain answer
	post(t, "http://"+sse.addr("http")+"/v1/topics/"+topic+"/events?id=order-1", token, "", `{"n":1}`, &plain)
	check("a POST", plain)

	stream := openSSE(t, sse.addr("http"), "topic=elsewhere&token="+token, "")
	connected := stream.until("connected")
	var session struct {
		Session string `json:"session"`
	}
	if err := json.Unmarshal([]byte(connected.data), &session); err != nil {
		t.Fatal(err)
	}
	var framed struct {
		Re        int    `json:"re"`
		Published answer `json:"published"`
	}
	post(t, "http://"+sse.addr("http")+"/v1/sessions/"+session.Session+"/commands", token, connected.cursor, event, &framed)
	check("a POST for a session", framed.Published)
	if framed.Re != 7 {
		t.Errorf("the answer is to %d, not to 7", framed.Re)
	}

	page, err := broker.History(t.Context(), &millracev1.HistoryRequest{Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	if head := page.GetHead(); len(page.GetEvents()) != 1 || (millrace.Position{Offset: head.GetOffset(), Mark: head.GetMark()}) != first.at {
		t.Errorf("%d events are stored, up to %v; want the one at %s", len(page.GetEvents()), head, first.at)
	}
}

// post sends a body and reads the answer.
func post(t *testing.T, url, token, cursor, body string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if cursor != "" {
		req.Header.Set("Millrace-Cursor", cursor)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s: %s", url, resp.Status, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s answered %s: %v", url, b, err)
	}
}

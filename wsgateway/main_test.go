package wsgateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/gateway/socket"
	"github.com/millrace-dev/millrace/wsgateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// doorman knows the peers by their token's own text.
type doorman struct{ strict bool }

func (d doorman) Authenticate(_ context.Context, token string) (*millrace.Grant, error) {
	all := []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}
	switch {
	case token == "" && !d.strict:
		return &millrace.Grant{Rules: all}, nil
	case token == "alice", token == "bob":
		return &millrace.Grant{Subject: token, Rules: all}, nil
	}
	return nil, millrace.Errorf(millrace.ReasonUnauthorized, "the token does not hold")
}

// house is a gateway on a real socket, with its broker.
type house struct {
	*testing.T
	broker  *gatewaytest.Broker
	gateway *gateway.Gateway
	server  *httptest.Server
}

type plan struct {
	gateway  gateway.Config
	strict   bool
	origins  []string
	interval time.Duration
	timeout  time.Duration
	tls      bool
}

func build(t *testing.T, p plan) *house {
	t.Helper()
	p.gateway.Log = slog.New(slog.DiscardHandler)
	origins, err := httpapi.NewOrigins(p.origins)
	if err != nil {
		t.Fatal(err)
	}
	wires := wsgateway.NewWires(p.interval, p.timeout)
	broker := gatewaytest.NewBroker()
	g, err := gateway.New(p.gateway, broker, wires.JSON, wires.Protobuf)
	if err != nil {
		t.Fatal(err)
	}
	handler := wsgateway.New(wsgateway.Config{Origins: origins, Socket: socket.Config{Linger: 100 * time.Millisecond}}, g, wires, doorman{strict: p.strict})
	mux := http.NewServeMux()
	mux.Handle("/v1/ws", handler)
	h := &house{T: t, broker: broker, gateway: g, server: httptest.NewUnstartedServer(mux)}
	if p.tls {
		h.server.StartTLS()
	} else {
		h.server.Start()
	}
	t.Cleanup(func() {
		g.Close()
		h.server.Close()
		handler.Close()
		broker.Close()
	})
	return h
}

func (h *house) url(query string) string {
	return "ws" + strings.TrimPrefix(h.server.URL, "http") + "/v1/ws?" + query
}

func (h *house) dialer() *websocket.Dialer {
	d := &websocket.Dialer{}
	if h.server.TLS != nil {
		d.TLSClientConfig = h.server.Client().Transport.(*http.Transport).TLSClientConfig
	}
	return d
}

// peer is a bare client.
type peer struct {
	*testing.T
	*websocket.Conn
}

func (h *house) dial(query string, protocols ...string) peer {
	h.Helper()
	d := h.dialer()
	d.Subprotocols = protocols
	return h.dialBy(d, query, nil)
}

func (h *house) dialBy(d *websocket.Dialer, query string, header http.Header) peer {
	h.Helper()
	conn, resp, err := d.Dial(h.url(query), header)
	if err != nil {
		h.Fatalf("dial: %v", err)
	}
	resp.Body.Close()
	h.Cleanup(func() { conn.Close() })
	return peer{h.T, conn}
}

// refused dials and returns the status of a handshake that fails.
func (h *house) refused(query string, header http.Header) (status int, body string) {
	h.Helper()
	conn, resp, err := h.dialer().Dial(h.url(query), header)
	if err == nil {
		conn.Close()
		h.Fatal("the handshake succeeded")
	}
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		h.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

// told is what a server frame says, as far as these tests look.
type told struct {
	Re        uint32 `json:"re"`
	Connected *struct {
		Session, Subject, Cursor string
		MaxFrameBytes            int
		Resumed                  bool
	} `json:"connected"`
	Subscribed   *place          `json:"subscribed"`
	Unsubscribed *place          `json:"unsubscribed"`
	Event        *place          `json:"event"`
	Gap          *place          `json:"gap"`
	Advanced     *place          `json:"advanced"`
	Published    *place          `json:"published"`
	History      *page           `json:"history"`
	Error        *fault          `json:"error"`
	Goaway       *fault          `json:"goaway"`
	Pong         json.RawMessage `json:"pong"`
	Heartbeat    json.RawMessage `json:"heartbeat"`
}

type page struct {
	Events []place `json:"events"`
	More   bool    `json:"more"`
}

type fault struct {
	Reason       string `json:"reason"`
	Message      string `json:"message"`
	RetryAfterMs int    `json:"retryAfterMs"`
}

type place struct {
	Topic    string          `json:"topic"`
	Position position        `json:"position"`
	After    position        `json:"after"`
	Until    position        `json:"until"`
	Cause    string          `json:"cause"`
	Repeated bool            `json:"repeated"`
	Pending  bool            `json:"pending"`
	Data     json.RawMessage `json:"data"`
	Text     *string         `json:"text"`
	Binary   []byte          `json:"binary"`
	Error    *fault          `json:"error"`
}

func (p *place) data() string {
	if p == nil {
		return ""
	}
	return string(p.Data)
}

type position struct {
	Offset uint64 `json:"offset,string"`
	Mark   uint64 `json:"mark,string"`
}

func (p peer) next() told {
	p.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	kind, b, err := p.ReadMessage()
	if err != nil {
		p.Fatalf("read: %v", err)
	}
	var f told
	if err := json.Unmarshal(b, &f); err != nil || kind != websocket.TextMessage {
		p.Fatalf("frame %q of kind %d: %v", b, kind, err)
	}
	return f
}

func (p peer) connected() told {
	p.Helper()
	f := p.next()
	if f.Connected == nil {
		p.Fatalf("the first frame is %+v", f)
	}
	return f
}

func (p peer) say(text string) {
	p.Helper()
	if err := p.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		p.Fatal(err)
	}
}

// closed reads the end of the connection, and nothing else.
func (p peer) closed() *websocket.CloseError {
	p.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	_, b, err := p.ReadMessage()
	end, ok := errors.AsType[*websocket.CloseError](err)
	if !ok {
		p.Fatalf("got %q, %v; want a close frame", b, err)
	}
	return end
}

// wants checks that the next frames are events of a topic with these data.
func (p peer) wants(topic string, data ...string) (last place) {
	p.Helper()
	for _, want := range data {
		f := p.next()
		if f.Event == nil || f.Event.Topic != topic || string(f.Event.Data) != want {
			p.Fatalf("got %.200s of %+v, want event %.200s in %s", f.Event.data(), f, want, topic)
		}
		last = *f.Event
	}
	return last
}

func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// bare connects without a WebSocket library and returns the socket behind the handshake.
func (h *house) bare(q string) net.Conn {
	h.Helper()
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	const handshake = "GET /v1/ws?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := conn.Write([]byte(strings.Replace(handshake, "%s", q, 1))); err != nil {
		h.Fatal(err)
	}
	var b []byte
	for !strings.HasSuffix(string(b), "\r\n\r\n") {
		one := make([]byte, 1)
		if _, err := conn.Read(one); err != nil {
			h.Fatalf("handshake: %v", err)
		}
		b = append(b, one...)
	}
	return conn
}

// put stores events of these JSON texts and returns the position of the last.
func (h *house) put(topic string, data ...string) millrace.Position {
	h.Helper()
	batch := make([]millrace.Publish, len(data))
	for i, text := range data {
		batch[i].Event = &millrace.Event{Topic: topic, Data: []byte(text)}
	}
	acks, err := h.broker.Publish(h.Context(), batch)
	if err != nil {
		h.Fatal(err)
	}
	return acks[len(acks)-1].Position
}

package ssegateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/gateway/socket"
	"github.com/millrace-dev/millrace/ssegateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// doorman knows the peers by their token's own text.
type doorman struct{}

func (doorman) Authenticate(_ context.Context, token string) (*millrace.Grant, error) {
	switch token {
	case "", "alice", "bob":
		return &millrace.Grant{Subject: token, Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}}, nil
	case "narrow":
		return &millrace.Grant{Subject: token, Rules: []millrace.Rule{{Pattern: "a", Actions: millrace.ActionSubscribe}}}, nil
	case "away":
		return nil, millrace.Errorf(millrace.ReasonUnavailable, "who knows the tokens can't be reached")
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
	gateway   gateway.Config
	heartbeat time.Duration
	stall     time.Duration
	http2     bool
	memory    bool // for a bubble; see inBubble
}

func build(t *testing.T, p plan) *house {
	t.Helper()
	p.gateway.Log = slog.New(slog.DiscardHandler)
	origins, err := httpapi.NewOrigins([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	wire := ssegateway.NewWire(p.heartbeat)
	broker := gatewaytest.NewBroker()
	g, err := gateway.New(p.gateway, broker, wire)
	if err != nil {
		t.Fatal(err)
	}
	handler := ssegateway.New(ssegateway.Config{
		Origins: origins, Socket: socket.Config{Linger: 100 * time.Millisecond, StallTimeout: p.stall},
	}, g, wire, doorman{})
	mux := http.NewServeMux()
	mux.Handle("/v1/events", handler)
	httpapi.New(httpapi.Config{Origins: origins}, g, doorman{}).Mount(mux)
	h := &house{T: t, broker: broker, gateway: g}
	switch {
	case p.memory:
		h.server = inMemory(mux, p.http2)
	case p.http2:
		h.server = httptest.NewUnstartedServer(mux)
		h.server.EnableHTTP2 = true
		h.server.StartTLS()
	default:
		h.server = httptest.NewServer(mux)
	}
	t.Cleanup(func() {
		g.Close()
		h.server.Close()
		handler.Close()
		broker.Close()
	})
	return h
}

// put stores events of these JSON texts and returns the position of the last.
func (h *house) put(topic string, data ...string) millrace.Position {
	h.Helper()
	var events []*millrace.Event
	for _, text := range data {
		events = append(events, &millrace.Event{Topic: topic, Data: []byte(text)})
	}
	return h.publish(events...)
}

func (h *house) publish(events ...*millrace.Event) millrace.Position {
	h.Helper()
	var batch []millrace.Publish
	for _, e := range events {
		batch = append(batch, millrace.Publish{Event: e})
	}
	acks, err := h.broker.Publish(h.Context(), batch)
	if err != nil {
		h.Fatal(err)
	}
	return acks[len(acks)-1].Position
}

// get asks for a stream. The response is the caller's.
func (h *house) get(q string, header http.Header) *http.Response {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.server.URL+"/v1/events?"+q, http.NoBody)
	if err != nil {
		h.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := h.server.Client().Do(req)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { resp.Body.Close() })
	return resp
}

// source is a bare reader of an event stream.
type source struct {
	*testing.T
	events *parser
	end    func()
}

func (h *house) open(q, lastEventID string) *source {
	h.Helper()
	header := http.Header{}
	if lastEventID != "" {
		header.Set("Last-Event-ID", lastEventID)
	}
	resp := h.get(q, header)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		h.Fatalf("got %s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	timer := time.AfterFunc(patience, func() { resp.Body.Close() })
	h.Cleanup(func() { timer.Stop() })
	return &source{T: h.T, events: newParser(resp.Body), end: func() { resp.Body.Close() }}
}

func (s *source) next() message {
	s.Helper()
	m, err := s.events.next()
	if err != nil {
		s.Fatalf("read: %v", err)
	}
	return m
}

// until returns the next event of a name, which must be the first that is no subscribed or connected.
func (s *source) until(name string) message {
	s.Helper()
	for {
		m := s.next()
		if m.name == name {
			return m
		}
		if m.name != "connected" && m.name != "subscribed" {
			s.Fatalf("got %+v, want %s", m, name)
		}
	}
}

// wants checks that the next events are unnamed and have these data.
func (s *source) wants(data ...string) (last message) {
	s.Helper()
	for _, want := range data {
		m := s.next()
		for m.name == "connected" || m.name == "subscribed" {
			m = s.next()
		}
		if m.name != "message" || m.data != want {
			s.Fatalf("got %.200v, want %.200q", m, want)
		}
		last = m
	}
	return last
}

// over checks that the stream ends.
func (s *source) over() {
	s.Helper()
	if m, err := s.events.next(); !errors.Is(err, io.EOF) {
		s.Fatalf("got %v %v, want the end", m, err)
	}
}

// message is what an EventSource dispatches.
type message struct {
	name, data, id string
}

// parser reads a stream by the rules of WHATWG HTML, section 9.2.6.
type parser struct {
	r     *bufio.Reader
	id    string
	retry string
	bare  int // blocks that moved the id without an event
}

func newParser(r io.Reader) *parser { return &parser{r: bufio.NewReader(r)} }

// line returns the next line; it ends with CR LF, LF or CR.
func (p *parser) line() (string, error) {
	var b strings.Builder
	for {
		c, err := p.r.ReadByte()
		if err != nil {
			return "", err // an unfinished block is thrown away
		}
		switch c {
		case '\n':
			return b.String(), nil
		case '\r':
			if next, err := p.r.Peek(1); err == nil && next[0] == '\n' {
				if _, err := p.r.ReadByte(); err != nil {
					return "", err
				}
			}
			return b.String(), nil
		}
		b.WriteByte(c)
	}
}

func (p *parser) next() (message, error) {
	name, data, id, seen := "", "", p.id, false
	for {
		line, err := p.line()
		if err != nil {
			return message{}, err
		}
		if line == "" {
			if id != p.id && !seen {
				p.bare++
			}
			p.id = id
			if !seen {
				name = ""
				continue
			}
			if name == "" {
				name = "message"
			}
			return message{name: name, data: strings.TrimSuffix(data, "\n"), id: p.id}, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			data, seen = data+value+"\n", true
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		case "retry":
			p.retry = value
		}
	}
}

// comment reads up to a comment, and fails at anything else.
func (p *parser) comment() error {
	for {
		line, err := p.line()
		if err != nil || strings.HasPrefix(line, ":") {
			return err
		}
		if line != "" {
			return fmt.Errorf("%q came before a comment", line)
		}
	}
}

// fields reads the data of one of the stream's own events.
type fields struct {
	Re           uint32   `json:"re"`
	Session      string   `json:"session"`
	Subject      string   `json:"subject"`
	Cursor       string   `json:"cursor"`
	Resumed      bool     `json:"resumed"`
	Topic        string   `json:"topic"`
	After        place    `json:"after"`
	Until        place    `json:"until"`
	Cause        string   `json:"cause"`
	Reason       string   `json:"reason"`
	RetryAfterMs int      `json:"retryAfterMs"`
	Error        *problem `json:"error"`
}

type place struct {
	Offset uint64 `json:"offset,string"`
}

type problem struct {
	Reason string `json:"reason"`
}

func (m message) read(t *testing.T) fields {
	t.Helper()
	var f fields
	if err := json.Unmarshal([]byte(m.data), &f); err != nil {
		t.Fatalf("read %+v: %v", m, err)
	}
	return f
}

func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// bare connects without an HTTP library.
func (h *house) bare(q string) net.Conn {
	h.Helper()
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte("GET /v1/events?" + q + " HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		h.Fatal(err)
	}
	return conn
}

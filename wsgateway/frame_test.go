package wsgateway_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
	"github.com/millrace-dev/millrace/wsgateway"
)

// open returns a peer behind its first frame.
func open(h *house, q string) peer {
	h.Helper()
	p := h.dial(q)
	p.connected()
	return p
}

func TestAPeerSubscribesPublishesReadsAndUnsubscribesByFrames(t *testing.T) {
	h := build(t, plan{})
	p := open(h, query("token", "alice"))
	p.say(`{"id":1,"subscribe":{"topic":"a"}}`)
	if f := p.next(); f.Re != 1 || f.Subscribed == nil || f.Subscribed.Topic != "a" {
		t.Fatalf("got %+v", f)
	}
	p.say(`{"id":2,"publish":{"topic":"a","id":"x","data":{"n": 1}}}`)
	var at, event *place
	for at == nil || event == nil {
		switch f := p.next(); {
		case f.Event != nil:
			event = f.Event
		case f.Published != nil && f.Re == 2:
			at = f.Published
		default:
			t.Fatalf("got %+v", f)
		}
	}
	if at.Position != event.Position || string(event.Data) != `{"n": 1}` {
		t.Errorf("published %+v, got %+v", at, event)
	}
	p.say(`{"id":3,"publish":{"topic":"a","id":"x","data":2}}`)
	if f := p.next(); f.Re != 3 || f.Published == nil || !f.Published.Repeated || f.Published.Position != at.Position {
		t.Errorf("again: got %+v", f.Published)
	}
	p.say(`{"id":4,"history":{"topic":"a"}}`)
	if f := p.next(); f.Re != 4 || f.History == nil || len(f.History.Events) != 1 || string(f.History.Events[0].Data) != `{"n": 1}` {
		t.Errorf("history: got %+v", f.History)
	}
	p.say(`{"id":5,"unsubscribe":{"topic":"a"}}`)
	if f := p.next(); f.Re != 5 || f.Unsubscribed == nil || f.Unsubscribed.Error != nil {
		t.Errorf("unsubscribe: got %+v", f)
	}
	h.put("a", "9")
	p.say(`{"id":6,"ping":{}}`)
	if f := p.next(); f.Re != 6 || f.Pong == nil {
		t.Errorf("ping: got %+v", f)
	}
	p.say(`{"id":7,"subscribe":{"cursor":"` + millrace.Cursor{Pieces: []millrace.Piece{
		{Topic: "a", Position: millrace.Position(at.Position), Attached: true}, {Topic: "b"},
	}}.String() + `"}}`)
	for range 3 { // two subscribed, one event
		if f := p.next(); f.Subscribed == nil && (f.Event == nil || string(f.Event.Data) != "9") {
			t.Fatalf("got %+v", f)
		}
	}
}

// Protocol 2.4.
func TestAPayloadStandsInTheMemberOfItsType(t *testing.T) {
	h := build(t, plan{})
	p := open(h, query("topic", "a"))
	p.next()
	p.say(`{"publish":{"topic":"a","text":"a \"word\"\n"}}`)
	if f := p.next(); f.Event == nil {
		f = p.next()
		if f.Event == nil || f.Event.Text == nil || *f.Event.Text != "a \"word\"\n" {
			t.Errorf("text: got %+v", f.Event)
		}
	}
	p = open(h, query("topic", "b"))
	p.next()
	p.say(`{"publish":{"topic":"b","binary":"AAH/"}}`)
	for range 2 {
		if f := p.next(); f.Event != nil && !bytes.Equal(f.Event.Binary, []byte{0, 1, 255}) {
			t.Errorf("binary: got %+v", f.Event)
		}
	}
}

// Protocol 2.8.
func TestWhoSendsWithoutEchoIsMovedOnInstead(t *testing.T) {
	h := build(t, plan{})
	p, other := open(h, query("topic", "a")), open(h, query("topic", "a"))
	p.next()
	other.next()
	p.say(`{"publish":{"topic":"a","data":1,"echo":false}}`)
	other.wants("a", "1")
	for range 2 {
		if f := p.next(); f.Published == nil && (f.Advanced == nil || f.Advanced.Position.Offset != 1) {
			t.Errorf("got %+v", f)
		}
	}
}

// Protocol 2.7.
func TestAGapIsToldInBand(t *testing.T) {
	h := build(t, plan{})
	at := h.put("a", "1")
	h.put("a", "2", "3", "4")
	h.broker.Trim("a", 1)
	p := open(h, query("cursor", millrace.Cursor{Pieces: []millrace.Piece{{Topic: "a", Position: at, Attached: true}}}.String()))
	p.next()
	g := p.next().Gap
	if g == nil || g.After.Offset != 1 || g.Until.Offset != 3 || g.Cause != "trimmed" {
		t.Fatalf("got %+v", g)
	}
	p.wants("a", "4")
}

// Protocol 2.11: what is bad is named to its sender, and the session goes on.
func TestBadFramesAreNamedAndTheSessionGoesOn(t *testing.T) {
	h := build(t, plan{})
	bystander := open(h, query("topic", "a"))
	bystander.next()
	p := open(h, "")
	for _, c := range []struct {
		text, reason string
		re           uint32
	}{
		{`}{`, "bad_request", 0},
		{``, "bad_request", 0},
		{`{"id":7,"dance":{}}`, "bad_request", 7},
		{`{"id":8,"refresh":{"token":"x"}}`, "unsupported", 8},
		{`{"id":9,"publish":{"topic":"a b","data":1}}`, "topic_invalid", 9},
		{`{"id":10,"publish":{"topic":"$sessions","data":1}}`, "forbidden", 10},
		{`{"id":11,"unsubscribe":{"topic":"never"}}`, "not_found", 11},
		{"{\"publish\":{\"topic\":\"a\",\"data\":\"\xff\"}}", "bad_request", 0},
	} {
		p.say(c.text)
		if f := p.next(); f.Error == nil || f.Error.Reason != c.reason || f.Re != c.re {
			t.Errorf("%s: got %+v %+v", c.text, f, f.Error)
		}
	}
	if err := p.WriteMessage(websocket.BinaryMessage, []byte(`{"ping":{}}`)); err != nil {
		t.Fatal(err)
	}
	if f := p.next(); f.Error == nil || f.Error.Reason != "bad_request" {
		t.Errorf("a binary message: got %+v", f)
	}
	p.say(`{"publish":{"topic":"a","data":1}}`)
	if f := p.next(); f.Published == nil {
		t.Errorf("got %+v", f)
	}
	bystander.wants("a", "1")
}

// Protocol 3.5.
func TestAFrameBeyondTheLimitEndsItsSessionWith1009(t *testing.T) {
	h := build(t, plan{gateway: gateway.Config{MaxFrameBytes: 1000}})
	p := open(h, "")
	p.say(`{"publish":{"topic":"a","data":"` + strings.Repeat("x", 900) + `"}}`)
	if f := p.next(); f.Published == nil {
		t.Fatalf("got %+v", f)
	}
	p.say(strings.Repeat(" ", 100_000))
	if f := p.next(); f.Error == nil || f.Error.Reason != "too_large" {
		t.Errorf("got %+v", f)
	}
	if end := p.closed(); end.Code != websocket.CloseMessageTooBig || end.Text != "too_large" {
		t.Errorf("closed with %d %q", end.Code, end.Text)
	}
}

func TestAPeerThatBreaksTheWebSocketProtocolIsTold(t *testing.T) {
	h := build(t, plan{})
	conn := h.bare("")
	if _, err := conn.Write([]byte{0x81, 0x01, 'x'}); err != nil { // without a mask
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if want := "\x0f\xa0bad_request"; err != nil || !bytes.HasSuffix(b, []byte(want)) {
		t.Errorf("got %q, %v", b, err)
	}
}

// Protocol 3.7.
func TestAPingIsAnsweredWithItsPayload(t *testing.T) {
	h := build(t, plan{})
	p := open(h, "")
	pongs := make(chan string, 2)
	p.SetPongHandler(func(payload string) error { pongs <- payload; return nil })
	for _, payload := range []string{"", strings.Repeat("p", 125)} {
		if err := p.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		p.say(`{"ping":{}}`)
		p.next()
		if got := <-pongs; got != payload {
			t.Errorf("got %q, want %q", got, payload)
		}
	}
}

// Protocol 3.6 and 3.9.
func TestASilentPeerIsStaleAndOneThatAnswersIsNot(t *testing.T) {
	h := build(t, plan{interval: time.Second, timeout: time.Second})
	silent := open(h, "")
	silent.SetPingHandler(func(string) error { return nil })
	lively := open(h, query("heartbeats", "1"))
	beats := make(chan int)
	go func() {
		n := 0
		defer func() { beats <- n }()
		for {
			_, b, err := lively.ReadMessage()
			if err != nil {
				return
			}
			if string(b) == `{"heartbeat":{}}` {
				n++
			}
		}
	}()
	if f := silent.next(); f.Error == nil || f.Error.Reason != "stale" {
		t.Errorf("got %+v", f)
	}
	if end := silent.closed(); end.Code != 4500 || !strings.HasPrefix(end.Text, "stale") {
		t.Errorf("closed with %d %q", end.Code, end.Text)
	}
	lively.Close()
	if n := <-beats; n == 0 {
		t.Error("no heartbeat came")
	}
}

// Protocol 3.8.
func TestAPeersCloseIsAnswered(t *testing.T) {
	h := build(t, plan{})
	p := h.dial("")
	s, _ := h.gateway.Session(p.connected().Connected.Session)
	if err := p.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye"), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if end := p.closed(); end.Code != websocket.CloseNormalClosure {
		t.Errorf("closed with %d", end.Code)
	}
	<-s.Done()
}

// Protocol 12: a peer that closes with 1000 is done and has left, one that closes otherwise may come back.
func TestByItsCloseCodeAPeerHasLeftOrIsAway(t *testing.T) {
	for code, left := range map[int]bool{1000: true, 1001: false, 4000: false, websocket.CloseNoStatusReceived: false} {
		h := build(t, plan{gateway: gateway.Config{Grace: time.Hour}})
		p := h.dial("")
		s, _ := h.gateway.Session(p.connected().Connected.Session)
		if err := p.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		other := h.dial("") // what it is a member of is asked for behind what was asked before
		id := other.connected().Connected.Session
		select {
		case <-h.broker.Arrival(millrace.SessionsTopic, id):
		case <-time.After(patience):
			t.Fatal("the session is not listed")
		}
		if _, there := h.broker.Roster(millrace.SessionsTopic)[s.ID()]; there == left {
			t.Errorf("closed with %d: it is there: %v", code, there)
		}
	}
}

func TestASessionEndsWithItsConnection(t *testing.T) {
	h := build(t, plan{})
	p := h.dial("")
	s, _ := h.gateway.Session(p.connected().Connected.Session)
	p.NetConn().(*net.TCPConn).SetLinger(0)
	p.NetConn().Close()
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Error("the session goes on")
	}
}

// Protocol 2.3.
func TestInProtobufASessionIsTheSame(t *testing.T) {
	h := build(t, plan{})
	p := h.dial(query("topic", "a"), wsgateway.ProtocolProtobuf)
	read := func() []byte {
		t.Helper()
		kind, b, err := p.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage {
			t.Fatalf("kind %d, %v", kind, err)
		}
		return b
	}
	read() // connected
	if want := frame.AppendProtobuf(nil, 0, gateway.Subscribed{Topic: "a"}); !bytes.Equal(read(), want) {
		t.Error("want subscribed")
	}
	e := &millrace.Event{Topic: "a", Data: []byte(strings.Repeat(" ", 70_000) + "1")}
	if _, err := h.broker.Publish(t.Context(), []millrace.Publish{{Event: e}}); err != nil {
		t.Fatal(err)
	}
	if want := frame.AppendProtobufEvent(nil, e); !bytes.Equal(read(), want) {
		t.Error("want the event")
	}
	if err := p.WriteMessage(websocket.BinaryMessage, []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(read(), []byte("bad_request")) {
		t.Error("want an error")
	}
}

// A message of each length that has a header of its own form (RFC 6455 section 5.2).
func TestMessagesOfAnyLengthAreFramed(t *testing.T) {
	wires := wsgateway.NewWires(0, 0)
	empty := len(frame.AppendJSONEvent(nil, &millrace.Event{Topic: "a", Data: []byte(`""`)}))
	for n, header := range map[int][]byte{
		125:       {0x81, 125},
		126:       {0x81, 126, 0, 126},
		1<<16 - 1: {0x81, 126, 0xff, 0xff},
		1 << 16:   append([]byte{0x81, 127}, binary.BigEndian.AppendUint64(nil, 1<<16)...),
	} {
		e := &millrace.Event{Topic: "a", Data: []byte(`"` + strings.Repeat("x", n-empty) + `"`)}
		want := frame.AppendJSONEvent(header, e)
		got := wires.JSON.AppendEvent([]byte("before"), e)
		if !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("%d bytes: got %.40q, want %.40q", n, got, want)
		}
	}
}

// DESIGN promise 7: what the socket does not take is caught up at the peer's own speed.
func TestASlowReaderGetsEverything(t *testing.T) {
	h := build(t, plan{gateway: gateway.Config{TailEvents: 8}})
	p := open(h, query("topic", "a"))
	p.next()
	var want []string
	for i := range 400 {
		text := `"` + strings.Repeat(string(rune('a'+i%26)), 20_000) + `"`
		want = append(want, text)
		h.put("a", text)
	}
	p.wants("a", want...)
}

func TestAClosedGatewayCutsItsPeers(t *testing.T) {
	h := build(t, plan{})
	p := open(h, "")
	h.gateway.Close()
	if _, _, err := p.ReadMessage(); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// item is what a subscriber was told, on whatever wire: an event or a gap, or another frame by its kind.
type item struct {
	kind   string
	topic  string
	at     millrace.Position // of an event; where a gap ends or a subscription begins
	after  millrace.Position // where a gap begins
	cause  string
	data   string
	cursor string // what resumes behind it
	close  int    // close code, if the connection ended
	reason string // of an error, or what the close frame says
}

// peer is a bare client: it has nothing but the wire.
type peer struct {
	t     *testing.T
	items chan item
	end   func()
}

func (p *peer) next() item {
	p.t.Helper()
	select {
	case i, ok := <-p.items:
		if !ok {
			p.t.Fatal("the connection ended")
		}
		return i
	case <-time.After(patience):
		p.t.Fatal("nothing came")
	}
	return item{}
}

// until returns the next item of a kind and lets others pass, but never an event, a gap or an end.
func (p *peer) until(kind string) item {
	p.t.Helper()
	for {
		i := p.next()
		if i.kind == kind {
			return i
		}
		if i.kind == "event" || i.kind == "gap" || i.kind == "closed" {
			p.t.Fatalf("%s came instead of %s: %+v", i.kind, kind, i)
		}
	}
}

// wireFrame is the JSON of a server frame, as far as these tests look.
type wireFrame struct {
	Connected *struct {
		Session string `json:"session"`
		Subject string `json:"subject"`
		Cursor  string `json:"cursor"`
	} `json:"connected"`
	Subscribed *placed         `json:"subscribed"`
	Event      *placed         `json:"event"`
	Gap        *wireGap        `json:"gap"`
	Advanced   *placed         `json:"advanced"`
	Published  *placed         `json:"published"`
	Error      *wireError      `json:"error"`
	Goaway     json.RawMessage `json:"goaway"`
}

type wireError struct {
	Reason string `json:"reason"`
}

type placed struct {
	Topic    string          `json:"topic"`
	Position wirePosition    `json:"position"`
	Pending  bool            `json:"pending"`
	Data     json.RawMessage `json:"data"`
}

type wirePosition struct {
	Offset uint64 `json:"offset,string"`
	Mark   uint64 `json:"mark,string"`
}

func (w wirePosition) position() millrace.Position { return millrace.Position(w) }

type wireGap struct {
	Topic string       `json:"topic"`
	After wirePosition `json:"after"`
	Until wirePosition `json:"until"`
	Cause string       `json:"cause"`
}

// dialWS connects a bare WebSocket. Its items carry the cursor that a hand-written client would have put together.
func dialWS(t *testing.T, addr, query string) *peer {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+"/v1/ws?"+query, nil)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	resp.Body.Close()
	return readWS(t, conn)
}

func readWS(t *testing.T, conn *websocket.Conn) *peer {
	p := &peer{t: t, items: make(chan item, 1<<16)}
	p.end = func() { conn.Close() }
	t.Cleanup(p.end)
	go func() {
		defer close(p.items)
		seal, order, pieces := "", []string(nil), map[string]string{}
		for {
			_, b, err := conn.ReadMessage()
			if err != nil {
				i := item{kind: "closed"}
				if c, ok := errors.AsType[*websocket.CloseError](err); ok {
					i.close, i.reason = c.Code, c.Text
				}
				conn.Close()
				p.items <- i
				return
			}
			i := readFrame(b)
			if i.kind == "connected" {
				seal = i.cursor
			}
			if i.topic != "" && (i.kind == "event" || i.kind == "gap" || i.kind == "subscribed" || i.kind == "advanced") {
				if pieces[i.topic] == "" {
					order = append(order, i.topic)
				}
				pieces[i.topic] = fmt.Sprintf("%d-%d-%s", i.at.Offset, i.at.Mark, url.PathEscape(i.topic))
			}
			all := []string{seal}
			for _, topic := range order {
				all = append(all, pieces[topic])
			}
			i.cursor = strings.Join(all, ",")
			p.items <- i
		}
	}()
	return p
}

func readFrame(b []byte) item {
	var f wireFrame
	if err := json.Unmarshal(b, &f); err != nil {
		return item{kind: "unreadable", data: string(b)}
	}
	place := func(kind string, p *placed) item {
		return item{kind: kind, topic: p.Topic, at: p.Position.position(), data: string(p.Data)}
	}
	switch {
	case f.Connected != nil:
		return item{kind: "connected", cursor: f.Connected.Cursor, data: f.Connected.Session}
	case f.Subscribed != nil && f.Subscribed.Pending:
		return item{kind: "pending"}
	case f.Subscribed != nil:
		return place("subscribed", f.Subscribed)
	case f.Event != nil:
		return place("event", f.Event)
	case f.Advanced != nil:
		return place("advanced", f.Advanced)
	case f.Published != nil:
		return place("published", f.Published)
	case f.Gap != nil:
		return item{kind: "gap", topic: f.Gap.Topic, after: f.Gap.After.position(), at: f.Gap.Until.position(), cause: f.Gap.Cause}
	case f.Error != nil:
		return item{kind: "error", reason: f.Error.Reason}
	case f.Goaway != nil:
		return item{kind: "goaway", data: string(f.Goaway)}
	}
	return item{kind: "other", data: string(b)}
}

// openSSE connects a bare event stream. The topics of its items are read off the ids.
func openSSE(t *testing.T, addr, query, lastEventID string) *peer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/events?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("event stream answered %s: %s", resp.Status, b)
	}
	p := &peer{t: t, items: make(chan item, 1<<16), end: cancel}
	t.Cleanup(cancel)
	go func() {
		defer close(p.items)
		defer resp.Body.Close()
		r := bufio.NewReader(resp.Body)
		id, name, data := "", "", []string(nil)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				p.items <- item{kind: "closed"}
				return
			}
			line = strings.TrimRight(line, "\n")
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case line == "":
				if data != nil {
					p.items <- sseItem(id, name, strings.Join(data, "\n"))
				}
				name, data = "", nil
			case field == "id":
				id = value
			case field == "event":
				name = value
			case field == "data":
				data = append(data, value)
			}
		}
	}()
	return p
}

// sseItem reads an event of the stream as EventSource would give it.
func sseItem(id, name, data string) item {
	switch name {
	case "connected", "subscribed", "unsubscribed", "goaway", "error":
		return item{kind: name, data: data, cursor: id}
	case "gap":
		var g wireGap
		if err := json.Unmarshal([]byte(data), &g); err != nil {
			return item{kind: "unreadable", data: data}
		}
		return item{kind: "gap", topic: g.Topic, after: g.After.position(), at: g.Until.position(), cause: g.Cause, cursor: id}
	}
	i := item{kind: "event", data: data, cursor: id}
	if c, err := millrace.ParseCursor(id); err == nil && len(c.Pieces) > 0 {
		last := c.Pieces[len(c.Pieces)-1]
		i.topic, i.at = last.Topic, last.Position
	}
	return i
}

// dialBroker returns a raw gRPC client.
func dialBroker(t *testing.T, addr string) millracev1.BrokerServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return millracev1.NewBrokerServiceClient(conn)
}

// subscribeGRPC subscribes with raw gRPC from a cursor.
func subscribeGRPC(t *testing.T, broker millracev1.BrokerServiceClient, cursor string) *peer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := broker.Subscribe(ctx, &millracev1.SubscribeRequest{Cursor: cursor})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, items: make(chan item, 1<<16), end: cancel}
	t.Cleanup(cancel)
	position := func(w *millracev1.Position) millrace.Position {
		return millrace.Position{Offset: w.GetOffset(), Mark: w.GetMark()}
	}
	go func() {
		defer close(p.items)
		topics := map[uint32]string{}
		for {
			resp, err := stream.Recv()
			if err != nil {
				p.items <- item{kind: "closed"}
				return
			}
			for _, u := range resp.GetUpdates() {
				topic := topics[u.GetAlias()]
				switch {
				case u.GetAttached() != nil:
					topics[u.GetAlias()] = u.GetAttached().GetTopic()
					p.items <- item{kind: "subscribed", topic: u.GetAttached().GetTopic(), at: position(u.GetAttached().GetPosition())}
				case u.GetGap() != nil:
					g := u.GetGap()
					p.items <- item{kind: "gap", topic: topic, after: position(g.GetAfter()), at: position(g.GetUntil()), cause: g.GetCause()}
				case u.GetEvents() != nil:
					for _, e := range u.GetEvents().GetEvents() {
						p.items <- item{kind: "event", topic: topic, at: position(e.GetPosition()), data: string(e.GetData())}
					}
				}
			}
		}
	}()
	return p
}

// publish stores n numbered events with raw gRPC, in calls of at most 100, and returns their positions.
func publish(t *testing.T, broker millracev1.BrokerServiceClient, topic string, from, n int) []millrace.Position {
	t.Helper()
	var all []millrace.Position
	for n > 0 {
		k := min(n, 100)
		req := &millracev1.PublishRequest{}
		for i := range k {
			req.Events = append(req.Events, &millracev1.NewEvent{Topic: topic, Data: fmt.Appendf(nil, `{"n":%d}`, from+i)})
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		resp, err := broker.Publish(ctx, req)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range resp.GetAcks() {
			if a.GetError() != nil {
				t.Fatalf("publish refused: %v", a.GetError())
			}
			all = append(all, millrace.Position{Offset: a.GetPosition().GetOffset(), Mark: a.GetPosition().GetMark()})
		}
		from, n = from+k, n-k
	}
	return all
}

// wantEvents checks that the next items are exactly these events.
func (p *peer) wantEvents(topic string, from int, at []millrace.Position) (last item) {
	p.t.Helper()
	for i, pos := range at {
		got := p.next()
		for got.kind == "subscribed" || got.kind == "connected" || got.kind == "pending" {
			got = p.next()
		}
		want := fmt.Sprintf(`{"n":%d}`, from+i)
		if got.kind != "event" || got.topic != topic || got.at != pos || got.data != want {
			p.t.Fatalf("event %d of %d: got %+v, want %s at %s in %s", i+1, len(at), got, want, pos, topic)
		}
		last = got
	}
	return last
}

// freePort returns an address that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// publishNamed stores one event with a name by raw gRPC.
func publishNamed(t *testing.T, broker millracev1.BrokerServiceClient, topic, name string, data []byte) millrace.Position {
	t.Helper()
	resp, err := broker.Publish(t.Context(), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: topic, Name: name, Data: data}}})
	if err != nil {
		t.Fatal(err)
	}
	ack := resp.GetAcks()[0]
	if ack.GetError() != nil {
		t.Fatalf("publish refused: %v", ack.GetError())
	}
	return millrace.Position{Offset: ack.GetPosition().GetOffset(), Mark: ack.GetPosition().GetMark()}
}

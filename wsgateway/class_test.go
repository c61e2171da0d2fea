package wsgateway_test

import (
	"encoding/json"
	"testing"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// frames reads frames as they are.
func (p peer) frames(n int) []string {
	p.Helper()
	var texts []string
	for range n {
		_, b, err := p.ReadMessage()
		if err != nil {
			p.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	return texts
}

// Protocol 9.2 to 9.4.
func TestAStateAndItsTombstonesAreTold(t *testing.T) {
	h := build(t, plan{})
	h.broker.Set("latest:a", "k", "1", "2")
	h.broker.Delete("latest:a", "gone")
	p := h.dial("")
	p.connected()
	p.say(`{"id":1,"subscribe":{"topic":"latest:a","start":{"after":{"offset":"0","mark":"0"}}}}`)
	var told [4]struct {
		Subscribed *struct{ Class string }
		Advanced   *struct{ Conflated string }
		Event      *struct {
			Key, Text string
			Tombstone bool
		}
	}
	for i, text := range p.frames(len(told)) {
		if err := json.Unmarshal([]byte(text), &told[i]); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case told[0].Subscribed == nil || told[0].Subscribed.Class != "latest":
		t.Errorf("first came %+v", told[0])
	case told[1].Advanced == nil || told[1].Advanced.Conflated != "1":
		t.Errorf("then came %+v", told[1])
	case told[2].Event == nil || told[2].Event.Text != "2":
		t.Errorf("then came %+v", told[2])
	case told[3].Event == nil || !told[3].Event.Tombstone || told[3].Event.Key != "gone":
		t.Errorf("then came %+v", told[3])
	}
}

// Protocol 9.6.
func TestAnEphemeralTopicIsToldWithoutPositions(t *testing.T) {
	h := build(t, plan{})
	p := h.dial("topic=ephemeral:a")
	p.connected()
	if got := p.frames(1)[0]; got != `{"subscribed":{"topic":"ephemeral:a","class":"ephemeral"}}` {
		t.Errorf("got %s", got)
	}
	h.put("ephemeral:a", "1")
	e := p.wants("ephemeral:a", "1")
	if e.Position != (position{}) {
		t.Errorf("got %+v", e)
	}
	p.say(`{"id":1,"publish":{"topic":"ephemeral:a","data":2,"echo":false}}`)
	if f := p.next(); f.Re != 1 || f.Published == nil || f.Published.Position != (position{}) {
		t.Errorf("got %+v", f)
	}
}

// docs/delivery.md 8.6
func TestAResumedSessionDoesNotGetItsOwnEventsInReplay(t *testing.T) {
	h := build(t, plan{})
	p := h.dial("topic=a&token=alice")
	c := p.connected().Connected
	p.next()
	at := h.put("a", "0")
	p.wants("a", "0")
	p.say(`{"publish":{"topic":"a","data":1,"echo":false}}`)
	p.next()
	p.next()
	p.Close()
	h.put("a", "2")
	cursor := c.Cursor + "," + string(millrace.AppendPiece(nil, millrace.Piece{Topic: "a", Position: at, Attached: true}))
	for { // until the gateway knows that the first connection is gone
		q := h.dial(query("token", "alice", "cursor", cursor))
		if !q.connected().Connected.Resumed {
			q.Close()
			continue
		}
		q.next()
		if f := q.next(); f.Advanced == nil || f.Advanced.Position.Offset != at.Offset+1 {
			t.Errorf("got %+v in place of the session's own event", f)
		}
		q.wants("a", "2")
		return
	}
}

// Protocol 11.2.
func TestAPatternAndAFilterAreToldOnTheBinaryWireToo(t *testing.T) {
	h := build(t, plan{})
	p := h.dial(query("topic", "chat:*", "filter", `name != "no"`), "millrace.v1.protobuf")
	next := func() *millracev1.ServerFrame {
		t.Helper()
		kind, b, err := p.ReadMessage()
		f := &millracev1.ServerFrame{}
		if err != nil || kind != websocket.BinaryMessage || proto.Unmarshal(b, f) != nil {
			t.Fatalf("got %x of kind %d, %v", b, kind, err)
		}
		return f
	}
	next()
	if f := next().GetSubscribed(); f.GetTopic() != "chat:*" || f.GetPosition() != nil || f.GetPending() {
		t.Errorf("got %v", f)
	}
	h.broker.Store(&millrace.Event{Topic: "chat:1", Name: "no", Data: []byte("1")}, &millrace.Event{Topic: "chat:1", Data: []byte("2")})
	if f := next().GetSubscribed(); f.GetTopic() != "chat:1" || f.GetPattern() != "chat:*" || f.GetPosition().GetOffset() != 0 {
		t.Errorf("got %v", f)
	}
	if f := next().GetAdvanced(); f.GetPosition().GetOffset() != 1 || f.GetConflated() != 0 {
		t.Errorf("got %v", f)
	}
	if f := next().GetEvent(); f.GetPosition().GetOffset() != 2 || string(f.GetData()) != "2" {
		t.Errorf("got %v", f)
	}
}

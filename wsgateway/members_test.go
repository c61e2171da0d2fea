package wsgateway_test

import (
	"encoding/json"
	"testing"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/wsgateway"
)

// room is what a peer was told of a topic's members, by their session.
type room struct {
	peer
	members map[string]string // what they show
	count   int
	asked   map[uint32]json.RawMessage // what answered commands, by their id
}

// frameOfMembers is a frame about members.
type frameOfMembers struct {
	Re      uint32 `json:"re"`
	Members *struct {
		Topic                 string
		Reset                 bool
		Joined, Updated, Left []struct {
			Session string
			Data    json.RawMessage
		}
		Count int
	} `json:"members"`
	Joined    json.RawMessage `json:"joined"`
	Left      json.RawMessage `json:"left"`
	Done      json.RawMessage `json:"done"`
	Presence  json.RawMessage `json:"presence"`
	Published json.RawMessage `json:"published"`
	Event     json.RawMessage `json:"event"`
	Error     json.RawMessage `json:"error"`
}

// until reads frames until done holds.
func (r *room) until(what string, done func() bool) {
	r.Helper()
	for !done() {
		_, b, err := r.ReadMessage()
		if err != nil {
			r.Fatalf("waiting for %s: %v", what, err)
		}
		var f frameOfMembers
		if err := json.Unmarshal(b, &f); err != nil {
			r.Fatal(err)
		}
		for _, answer := range []json.RawMessage{f.Joined, f.Left, f.Done, f.Presence, f.Published, f.Error} {
			if answer != nil {
				r.asked[f.Re] = answer
			}
		}
		if f.Members == nil {
			continue
		}
		if f.Members.Reset {
			clear(r.members)
		}
		for _, m := range append(f.Members.Joined, f.Members.Updated...) {
			r.members[m.Session] = string(m.Data)
		}
		for _, m := range f.Members.Left {
			delete(r.members, m.Session)
		}
		if r.count = f.Members.Count; r.count != len(r.members) {
			r.Errorf("%s\nleads to %v", b, r.members)
		}
	}
}

func enter(h *house, q string) (r *room, session string) {
	p := h.dial(q)
	return &room{peer: p, members: map[string]string{}, asked: map[uint32]json.RawMessage{}}, p.connected().Connected.Session
}

// Protocol 12.14: the members of a topic, as a page without any library sees them.
func TestPeersJoinAndSeeEachOther(t *testing.T) {
	h := build(t, plan{})
	a, alice := enter(h, query("token", "alice", "join", "room:1", "info", `{"name": "Alice"}`))
	a.until("oneself", func() bool { return a.members[alice] == `{"name":"Alice"}` || a.members[alice] == `{"name": "Alice"}` })
	b, bob := enter(h, query("token", "bob"))
	b.say(`{"id":1,"join":{"topic":"room:1","data":{"name":"Bob"}}}`)
	for _, r := range []*room{a, b} {
		r.until("both", func() bool { return len(r.members) == 2 })
	}
	b.until("the answer", func() bool { return b.asked[1] != nil })
	b.say(`{"id":2,"update":{"topic":"room:1","data":{"name":"Robert"}}}`)
	a.until("the new name", func() bool { return a.members[bob] == `{"name":"Robert"}` })
	a.say(`{"id":3,"presence":{"topic":"room:1"}}`)
	a.until("the answer", func() bool { return a.asked[3] != nil })
	var page struct{ Members []struct{ Session string } }
	if err := json.Unmarshal(a.asked[3], &page); err != nil || len(page.Members) != 2 {
		t.Errorf("presence: %s, %v", a.asked[3], err)
	}
	a.say(`{"id":4,"broadcast":{"topic":"room:1","data":"hello"}}`)
	a.until("the answer", func() bool { return a.asked[4] != nil })
	b.say(`{"id":5,"leave":{"topic":"room:1"}}`)
	b.until("the answer", func() bool { return b.asked[2] != nil && b.asked[5] != nil })
	a.until("oneself alone", func() bool { return a.count == 1 })
	if s := string(b.asked[2]); s != "{}" {
		t.Errorf("update was answered by %s", s)
	}
}

func TestInProtobufMembersAreTheSame(t *testing.T) {
	h := build(t, plan{})
	p := h.dial(query("token", "alice", "join", "room:1", "info", `{"n":1}`), wsgateway.ProtocolProtobuf)
	for {
		kind, b, err := p.ReadMessage()
		var f millracev1.ServerFrame
		if err != nil || kind != websocket.BinaryMessage || proto.Unmarshal(b, &f) != nil {
			t.Fatalf("kind %d, %v", kind, err)
		}
		m := f.GetMembers()
		if m == nil {
			continue
		}
		if !m.GetReset_() || m.GetCount() != 1 || string(m.GetJoined()[0].GetData()) != `{"n":1}` || m.GetAsOf().GetOffset() == 0 {
			t.Errorf("got %v", m)
		}
		return
	}
}

func TestWhatAMemberShowsMustBeJSON(t *testing.T) {
	h := build(t, plan{})
	p := h.dial(query("join", "room:1", "info", "Alice"))
	if f := p.next(); f.Error == nil || f.Error.Reason != "bad_request" {
		t.Errorf("got %+v", f)
	}
	if end := p.closed(); end.Code != 4000 {
		t.Errorf("closed with %d", end.Code)
	}
}

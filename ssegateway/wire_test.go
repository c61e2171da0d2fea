package ssegateway_test

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
	"github.com/millrace-dev/millrace/ssegateway"
)

// FuzzEvent holds that what goes in comes out, whatever a publisher puts into topic, name and data: one event under its
// own name, with its own data, and an id that is the session's cursor.
func FuzzEvent(f *testing.F) {
	f.Add("chat:1", "said", "", []byte(`{"text":"hi"}`))
	f.Add("a", "gap", "text/plain", []byte("one\r\ntwo\rthree\n\n"))
	f.Add("ü-,%:\"", "x\nid: 1\n\nevent: gap\ndata: {}\n\n", "text/plain", []byte("\n\nevent: gap\ndata: x\n\n"))
	f.Add("a", "\r\n", "image/png", []byte("\x00\r\n"))
	f.Add("a", " ~", "text/plain", []byte("\r"))
	f.Add("a", "\ufeff", "", []byte(": comment"))
	wire := ssegateway.NewWire(0)
	f.Fuzz(func(t *testing.T, topic, name, contentType string, data []byte) {
		if millrace.ValidateTopic(topic) != nil || topic == "b" { // which is the session's other topic
			return
		}
		e := &millrace.Event{Topic: topic, Position: millrace.Position{Offset: 7, Mark: 9}, Name: name, ContentType: contentType, Data: data}
		before := &millrace.Event{Topic: topic, Position: millrace.Position{Offset: 6, Mark: 8}, Data: []byte("before")}
		stream := slices.Concat(
			wire.AppendEvent(wire.AppendLead(nil, []byte("s.x,--b")), before),
			wire.AppendEvent(wire.AppendLead(nil, []byte("s.x,--b")), e),
			wire.AppendAdvanced(wire.AppendLead(nil, []byte("s.x")), &gateway.Advanced{Topic: "b", Position: millrace.Position{Offset: 1, Mark: 2}}),
		)
		p := newParser(bytes.NewReader(stream))
		if _, err := p.next(); err != nil {
			t.Fatalf("before %q: %v", stream, err)
		}
		got, err := p.next()
		if err != nil {
			t.Fatalf("event %q: %v", stream, err)
		}
		if want := text(contentType, data); got.data != want {
			t.Errorf("data %q came as %q", want, got.data)
		}
		if want := expectedName(name); got.name != want {
			t.Errorf("name %q came as %q, want %q", name, got.name, want)
		}
		c, err := millrace.ParseCursor(got.id)
		if err != nil || len(c.Pieces) != 2 || c.Pieces[1] != (millrace.Piece{Topic: topic, Position: e.Position, Attached: true}) {
			t.Errorf("topic %q came as %q: %+v %v", topic, got.id, c, err)
		}
		if m, err := p.next(); err == nil || p.id != "s.x,1-2-b" {
			t.Errorf("behind the event came %+v; the id is %q", m, p.id)
		}
	})
}

// text is what an EventSource has for a payload.
func text(contentType string, data []byte) string {
	if millrace.PayloadOf(contentType) == millrace.PayloadBinary {
		return base64.StdEncoding.EncodeToString(data)
	}
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
}

func expectedName(name string) string {
	name = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(name)
	switch {
	case name == "":
		return "message"
	case name == "open", name == "tombstone", name[0] == '~', frame.IsKind(name):
		return "~" + name
	}
	return name
}

// Protocol 12.20: what members show of themselves can't end the line, and the cursor does not move by it.
func TestMembersAreABlockWithoutAnID(t *testing.T) {
	wire := ssegateway.NewWire(0)
	m := &gateway.MemberChanges{Topic: "a", Reset: true, Count: 1, Joined: []millrace.Member{{
		Session: "x\nid: 1", Data: []byte("{\r\n\"id\":\n\r1}"),
	}}}
	joined := gateway.Joined{Topic: "a", Member: m.Joined[0], Count: 1}
	p := newParser(bytes.NewReader(slices.Concat(
		wire.AppendMembers(nil, m), wire.AppendFrame(nil, 7, joined, []byte("s.x,1-2-a")), wire.AppendMembers(nil, m), wire.AppendFrame(nil, 0, joined, []byte("s.y")),
		wire.AppendFrame(nil, 8, gateway.Done{}, []byte("s.z")),
	)))
	const body = `"joined":[{"session":"x\nid: 1","data":{` + "\n\"id\":\n\n1}" + `}],"count":1,"subjects":0,"asOf":{"offset":"0","mark":"0"}}`
	const member = `"topic":"a","member":{"session":"x\nid: 1","data":{` + "\n\"id\":\n\n1}" + `},"count":1,"subjects":0}`
	for i, want := range []message{
		{"members", `{"topic":"a","reset":true,` + body, ""},
		{"joined", `{"re":7,` + member, "s.x,1-2-a"},
		{"members", `{"topic":"a","reset":true,` + body, "s.x,1-2-a"},
		{"joined", "{" + member, "s.y"},
		{"done", `{"re":8}`, "s.z"},
	} {
		if got, err := p.next(); err != nil || got != want {
			t.Errorf("block %d: got %+v, %v; want %+v", i, got, err, want)
		}
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	wire := ssegateway.NewWire(0)
	e := &millrace.Event{Topic: "prices:eur:usd", Name: "price", Data: []byte(`{"bid":1.08345,"ask":1.08351,"pad":"` + strings.Repeat("x", 160) + `"}`)}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = wire.AppendEvent(dst[:0], e)
	}
}

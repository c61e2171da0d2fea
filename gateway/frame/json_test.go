package frame_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

var (
	noon  = time.UnixMilli(1_790_000_000_123)
	here  = millrace.Position{Offset: 42, Mark: 1<<64 - 1}
	there = millrace.Position{Offset: 7, Mark: 9}
	fault = &millrace.Error{Reason: millrace.ReasonRateLimited, Message: "too \"much\" \u2028 \x01", RetryAfter: 1500 * time.Millisecond}
)

func events() []*millrace.Event {
	return []*millrace.Event{
		{Topic: "chat:1", Position: here, Prev: 3, Time: noon, Data: []byte(`{"a": [1, "é\n"]}`)},
		{
			Topic: "chat:ü\"", Position: there, ID: "id\\1", Name: "say \"hi\"\r\n", Key: "k\x00", Time: noon,
			ContentType: "application/vnd.x+json", Headers: []millrace.Header{{Name: "a", Value: "1"}, {Name: "", Value: ""}, {Name: "b", Value: "\t"}},
			Sender: millrace.Sender{Session: "s1", Subject: "alice"}, NoEcho: true, Data: []byte("{\n\"x\":1}"),
		},
		{Topic: "t", Position: here, ContentType: "text/plain", Data: []byte("one\ntwo \u2029 </script>")},
		{Topic: "t", Position: here, ContentType: "text/plain", Data: nil},
		{Topic: "t", Position: here, ContentType: "text/plain", Data: []byte("not UTF-8: \xff")},
		{Topic: "t", Position: here, ContentType: "text/html; charset=latin1", Data: []byte{0xe9}},
		{Topic: "t", Position: here, ContentType: "image/png", Data: []byte{0, 1, 2, 255}},
		{Topic: "t", Position: here, ContentType: "application/json"},
		{Topic: "t", Position: here, Name: "bad \xff name", Sender: millrace.Sender{Subject: "bob"}, Data: []byte("0")},
		{Topic: "latest:a", Position: here, Key: "k", Tombstone: true, Time: noon},
		{Topic: "latest:a", Position: here, Key: "k", Tombstone: true, ContentType: "text/plain"},
		{Topic: "ephemeral:a", Time: noon, Data: []byte("1")},
		{},
	}
}

func frames() []gateway.Frame {
	return []gateway.Frame{
		gateway.Connected{
			Session: "abc", Subject: "alice", Resumed: true, Prefix: "s.xyz", PingInterval: 25 * time.Second,
			MaxFrameBytes: 65536, MaxTopics: 128, Expires: noon,
		},
		gateway.Connected{Session: "abc", Prefix: "s.xyz"},
		gateway.Subscribed{Topic: "chat:1", Position: here},
		gateway.Subscribed{Topic: "chat:1"},
		gateway.Subscribed{Topic: "chat:1", Pending: true},
		gateway.Subscribed{Topic: "latest:a", Class: millrace.ClassLatest, Position: here, Pattern: "latest:*", Prefix: "s.xyz,o.abc"},
		gateway.Subscribed{Topic: "ephemeral:a", Class: millrace.ClassEphemeral},
		gateway.Subscribed{Topic: "chat:*"},
		gateway.Subscribed{Topic: "chat:**", Pending: true},
		gateway.Unsubscribed{Topic: "chat:1", Prefix: "s.xyz"},
		gateway.Advanced{Topic: "latest:a", Position: here, Conflated: 1<<64 - 1},
		gateway.Published{Ack: millrace.Ack{Topic: "ephemeral:a", Time: noon}},
		gateway.Unsubscribed{Topic: "chat:1"},
		gateway.Unsubscribed{Topic: "chat:1", Err: fault},
		gateway.Advanced{Topic: "chat:1", Position: here},
		gateway.Published{Ack: millrace.Ack{Topic: "chat:1", Position: here, Time: noon, Repeated: true}},
		gateway.Published{Ack: millrace.Ack{Topic: "chat:1", Position: here}},
		gateway.History{Topic: "chat:1"},
		gateway.History{Topic: "chat:1", Page: millrace.Page{
			Events: events(), Gap: &millrace.Gap{Topic: "chat:1", After: there, Until: here, Cause: millrace.CauseTrimmed},
			Next: here, Head: there, More: true,
		}},
		gateway.Failed{Err: fault},
		gateway.Goaway{Err: fault},
		gateway.Goaway{Err: millrace.Errorf(millrace.ReasonDraining, "bye")},
		gateway.Joined{Topic: "chat:1", Member: members()[0], Count: 3, Subjects: 2, Prefix: "s.xyz"},
		gateway.Joined{Topic: "chat:1"},
		gateway.Left{Topic: "chat:1", Prefix: "s.xyz"},
		gateway.Left{Topic: "chat:1", Err: fault},
		gateway.Presence{Topic: "chat:1", Page: millrace.MemberPage{
			Members: members(), Next: "next \"page\"", Count: 1<<31 - 1, Subjects: 2, AsOf: here,
		}},
		gateway.Presence{Topic: "chat:1"},
		gateway.Done{},
		gateway.Pong{},
		gateway.Heartbeat{},
	}
}

func members() []millrace.Member {
	return []millrace.Member{
		{Session: "Zx3h", Subject: "alice", Data: []byte("{\n\"name\": \"Alïce <b>\" }"), Joined: noon},
		{Session: "Qy7", Subject: "bad \xff subject", Joined: noon},
		{Session: "Qz8", Data: []byte("null")},
		{},
	}
}

func changes() []*gateway.MemberChanges {
	all := members()
	return []*gateway.MemberChanges{
		{Topic: "chat:1", Reset: true, Joined: all, Count: 4, Subjects: 2, AsOf: here},
		{Topic: "chat:1", Joined: all[:1], Updated: all[1:3], Left: all[3:], Count: 1, Subjects: 1, AsOf: there},
		{Topic: "chat:ü\"", CountOnly: true, Count: 1<<31 - 1, Subjects: 7, AsOf: here},
		{Topic: "chat:1", Reset: true},
	}
}

// Outside of verbatim data the JSON form is the ProtoJSON mapping of the schema (protocol 2.3).
func TestEveryFrameInJSONIsTheProtoJSONOfTheSameFrameInProtobuf(t *testing.T) {
	for _, f := range frames() {
		for _, re := range []uint32{0, 1<<32 - 1} {
			same(t, frame.AppendJSON(nil, re, f), frame.AppendProtobuf(nil, re, f))
		}
	}
	for _, m := range changes() {
		same(t, frame.AppendJSONMembers(nil, m), frame.AppendProtobufMembers(nil, m))
	}
	for _, e := range events() {
		same(t, frame.AppendJSONEvent(nil, e), frame.AppendProtobufEvent(nil, e))
	}
	for c := millrace.CauseTrimmed; c <= millrace.CauseDenied; c++ {
		g := &millrace.Gap{Topic: "chat:1", After: there, Until: here, Cause: c}
		same(t, frame.AppendJSONGap(nil, g), frame.AppendProtobufGap(nil, g))
		lost := &millrace.Gap{Topic: "ephemeral:a", Cause: c, Count: 1 << 63}
		same(t, frame.AppendJSONGap(nil, lost), frame.AppendProtobufGap(nil, lost))
	}
}

func same(t *testing.T, inJSON, inProtobuf []byte) {
	t.Helper()
	var want, got millracev1.ServerFrame
	if err := proto.Unmarshal(inProtobuf, &want); err != nil {
		t.Fatalf("read %x: %v", inProtobuf, err)
	}
	if !utf8.Valid(inJSON) {
		t.Fatalf("%q is not UTF-8", inJSON)
	}
	if !json.Valid(inJSON) {
		t.Fatalf("%s is not JSON", inJSON)
	}
	if err := protojson.Unmarshal(coverData(t, inJSON), &got); err != nil {
		t.Fatalf("read %s: %v", inJSON, err)
	}
	// White space in data is the publisher's own; the cover keeps none.
	for _, m := range []*millracev1.ServerFrame{&want, &got} {
		compactEvent(t, m.GetEvent())
		for _, e := range m.GetHistory().GetEvents() {
			compactEvent(t, e)
		}
		for _, list := range [][]*millracev1.Member{
			m.GetMembers().GetJoined(), m.GetMembers().GetUpdated(), m.GetMembers().GetLeft(), m.GetPresence().GetMembers(), {m.GetJoined().GetMember()},
		} {
			for _, one := range list {
				if len(one.GetData()) > 0 {
					one.Data = compact(t, one.Data)
				}
			}
		}
	}
	if !proto.Equal(&want, &got) {
		t.Errorf("JSON %s\nsays     %v\nprotobuf %v", inJSON, &got, &want)
	}
}

// coverData puts the base64 of what data holds in place of it, as plain ProtoJSON has it.
func coverData(t *testing.T, b []byte) []byte {
	t.Helper()
	var tree map[string]any
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	// cover covers what an object has as data and, one level below, those of the objects and lists in it.
	var cover func(v any, depth int)
	cover = func(v any, depth int) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				cover(one, depth)
			}
		case map[string]any:
			for name, one := range v {
				if name == "data" {
					text, err := json.Marshal(one)
					if err != nil {
						t.Fatal(err)
					}
					v[name] = base64.StdEncoding.EncodeToString(text)
				} else if depth > 0 {
					cover(one, depth-1)
				}
			}
		}
	}
	for name, body := range tree {
		if name != "error" && name != "re" {
			cover(body, 1)
		}
	}
	covered, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return covered
}

func compactEvent(t *testing.T, e *millracev1.EventFrame) {
	t.Helper()
	if p, ok := e.GetPayload().(*millracev1.EventFrame_Data); ok {
		p.Data = compact(t, p.Data)
	}
}

func compact(t *testing.T, text []byte) []byte {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDataInJSONStandsVerbatim(t *testing.T) {
	const data = "{ \"b\" :1.0,\n\t\"a\":1e400, \"a\":\"\\u00e9\" }"
	got := string(frame.AppendJSONEvent(nil, &millrace.Event{Topic: "t", Data: []byte(data)}))
	if !strings.Contains(got, `"data":`+data) {
		t.Errorf("%s does not hold %s", got, data)
	}
	got = string(frame.AppendJSONMembers(nil, &gateway.MemberChanges{Topic: "t", Joined: []millrace.Member{{Session: "a", Data: []byte(data)}}}))
	if !strings.Contains(got, `"data":`+data) {
		t.Errorf("%s does not hold %s", got, data)
	}
}

func TestAFrameIsWhatTheDocumentShows(t *testing.T) {
	e := &millrace.Event{
		Topic: "chat:1", Position: millrace.Position{Offset: 42, Mark: 7}, ID: "m1", Name: "said",
		Sender: millrace.Sender{Session: "Zx", Subject: "alice"}, Time: time.UnixMilli(1790000000000), Data: []byte(`{"text":"hi"}`),
	}
	const event = `{"event":{"topic":"chat:1","position":{"offset":"42","mark":"7"},"id":"m1","name":"said",` +
		`"sender":{"session":"Zx","subject":"alice"},"timeMs":"1790000000000","data":{"text":"hi"}}}`
	if got := string(frame.AppendJSONEvent(nil, e)); got != event {
		t.Errorf("got  %s\nwant %s", got, event)
	}
	for want, f := range map[string]gateway.Frame{
		`{"subscribed":{"topic":"ephemeral:a","class":"ephemeral"}}`: gateway.Subscribed{Topic: "ephemeral:a", Class: millrace.ClassEphemeral},
		`{"subscribed":{"topic":"chat:*","pending":true}}`:           gateway.Subscribed{Topic: "chat:*", Pending: true},
		`{"advanced":{"topic":"latest:a","position":{"offset":"7","mark":"9"},"conflated":"3"}}`: gateway.Advanced{
			Topic: "latest:a", Position: there, Conflated: 3,
		},
		`{"joined":{"topic":"a","member":{"session":"Zx","data":{},"joinedMs":"1790000000123"},"count":1,"subjects":0}}`: gateway.Joined{
			Topic: "a", Member: millrace.Member{Session: "Zx", Data: []byte("{}"), Joined: noon}, Count: 1,
		},
		`{"left":{"topic":"a"}}`: gateway.Left{Topic: "a"},
		`{"done":{}}`:            gateway.Done{},
		`{"presence":{"topic":"a","count":0,"subjects":0,"asOf":{"offset":"7","mark":"9"}}}`: gateway.Presence{
			Topic: "a", Page: millrace.MemberPage{AsOf: there},
		},
	} {
		if got := string(frame.AppendJSON(nil, 0, f)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	const refused = `{"re":3,"error":{"reason":"topic_invalid","message":"the topic is empty"}}`
	if got := string(frame.AppendJSON(nil, 3, gateway.Failed{Err: millrace.Errorf(millrace.ReasonTopicInvalid, "the topic is empty")})); got != refused {
		t.Errorf("got  %s\nwant %s", got, refused)
	}
}

func TestEveryKindOfTheContractIsNamed(t *testing.T) {
	kinds := (&millracev1.ServerFrame{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		if name := string(kinds.Get(i).Name()); !frame.IsKind(name) {
			t.Errorf("%s is not known as a kind", name)
		}
	}
	said := map[string]bool{frame.KindEvent: true, frame.KindGap: true, frame.KindMembers: true}
	for _, f := range frames() {
		said[frame.Kind(f)] = true
	}
	for i := range kinds.Len() {
		if name := string(kinds.Get(i).Name()); !said[name] && name != "refreshed" { // which answers a command that is not done yet
			t.Errorf("%s is said by no frame", name)
		}
	}
	if frame.IsKind("price") {
		t.Error("price is taken for a kind")
	}
}

func TestAnEventIsEncodedWithoutAllocations(t *testing.T) {
	e := benchmarkEvent()
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { dst = frame.AppendJSONEvent(dst[:0], e) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func benchmarkEvent() *millrace.Event {
	return &millrace.Event{
		Topic: "prices:eur:usd", Position: here, Prev: 1, ID: "0190b3f2-7c4e", Name: "price", Time: noon,
		Sender: millrace.Sender{Subject: "feed"}, Data: []byte(`{"bid":1.08345,"ask":1.08351,"at":"2026-11-23T20:00:00Z","pad":"` + strings.Repeat("x", 130) + `"}`),
	}
}

func BenchmarkAppendJSONEvent(b *testing.B) {
	e, dst := benchmarkEvent(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = frame.AppendJSONEvent(dst[:0], e)
	}
}

func BenchmarkAppendProtobufEvent(b *testing.B) {
	e, dst := benchmarkEvent(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = frame.AppendProtobufEvent(dst[:0], e)
	}
}

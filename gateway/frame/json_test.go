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
		gateway.Pong{},
		gateway.Heartbeat{},
	}
}

// Outside of verbatim data the JSON form is the ProtoJSON mapping of the schema (protocol 2.3).
func TestEveryFrameInJSONIsTheProtoJSONOfTheSameFrameInProtobuf(t *testing.T) {
	for _, f := range frames() {
		for _, re := range []uint32{0, 1<<32 - 1} {
			same(t, frame.AppendJSON(nil, re, f), frame.AppendProtobuf(nil, re, f))
		}
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
		compactData(t, m.GetEvent())
		for _, e := range m.GetHistory().GetEvents() {
			compactData(t, e)
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
	cover := func(e any) {
		m, _ := e.(map[string]any)
		if data, ok := m["data"]; ok {
			text, err := json.Marshal(data)
			if err != nil {
				t.Fatal(err)
			}
			m["data"] = base64.StdEncoding.EncodeToString(text)
		}
	}
	cover(tree["event"])
	if page, ok := tree["history"].(map[string]any); ok {
		for _, e := range page["events"].([]any) {
			cover(e)
		}
	}
	covered, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return covered
}

func compactData(t *testing.T, e *millracev1.EventFrame) {
	t.Helper()
	p, ok := e.GetPayload().(*millracev1.EventFrame_Data)
	if !ok {
		return
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(p.Data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	p.Data = b
}

func TestDataInJSONStandsVerbatim(t *testing.T) {
	const data = "{ \"b\" :1.0,\n\t\"a\":1e400, \"a\":\"\\u00e9\" }"
	got := string(frame.AppendJSONEvent(nil, &millrace.Event{Topic: "t", Data: []byte(data)}))
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

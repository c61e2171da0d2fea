package frame_test

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

func publish(e *millrace.Event) gateway.PublishEvent {
	return gateway.PublishEvent{Publish: millrace.Publish{Event: e}}
}

// named is the filter of events with a name.
func named(name string) *millrace.Filter {
	f, err := millrace.ParseFilter("name == " + strconv.Quote(name))
	if err != nil {
		panic(err)
	}
	return f
}

var readable = map[string]struct {
	id   uint32
	want gateway.Command
}{
	`{"subscribe":{"topic":"chat:1"}}`:                                        {0, gateway.Subscribe{Topic: "chat:1"}},
	`{"id":7,"subscribe":{"topic":"a","start":{"now":true}}}`:                 {7, gateway.Subscribe{Topic: "a", Start: millrace.Start{Kind: millrace.StartNow}}},
	`{"id":"7","subscribe":{"topic":"a","start":{"last":5}}}`:                 {7, gateway.Subscribe{Topic: "a", Start: millrace.Start{Kind: millrace.StartLast, Count: 5}}},
	`{"subscribe":{"topic":"a","start":{"earliest":true}}}`:                   {0, gateway.Subscribe{Topic: "a", Start: millrace.Start{Kind: millrace.StartEarliest}}},
	`{"subscribe":{"topic":"a","start":{"sinceMs":"1000"}}}`:                  {0, gateway.Subscribe{Topic: "a", Start: millrace.Start{Kind: millrace.StartSince, Since: time.UnixMilli(1000).UTC()}}},
	`{"subscribe":{"topic":"a","start":{"after":{"offset":"7","mark":"9"}}}}`: {0, gateway.Subscribe{Topic: "a", Start: millrace.After(there)}},
	`{"subscribe":{"topic":"a:*","filter":"name == \"x\"","maxRate":0.5}}`:    {0, gateway.Subscribe{Topic: "a:*", Filter: named("x"), MaxRate: 0.5}},
	`{"subscribe":{"cursor":"s.seal,7-9-a,--b"}}`:                             {0, gateway.SubscribeAll{{Topic: "a", Start: millrace.After(there), Again: true}, {Topic: "b", Again: true}}},
	`{"id":4294967295,"unsubscribe":{"topic":"a"}}`:                           {1<<32 - 1, gateway.Unsubscribe{Topic: "a"}},
	`{"publish":{"topic":"a","data":{"x":[1,null]},"later":1}}`:               {0, publish(&millrace.Event{Topic: "a", Data: []byte(`{"x":[1,null]}`)})},
	`{"publish":{"topic":"a","data":null}}`:                                   {0, publish(&millrace.Event{Topic: "a", Data: []byte(`null`)})},
	`{"publish":{"topic":"a","data":"x","echo":true}}`:                        {0, publish(&millrace.Event{Topic: "a", Data: []byte(`"x"`)})},
	`{"publish":{"topic":"a","text":"héllo","echo":false}}`:                   {0, publish(&millrace.Event{Topic: "a", ContentType: "text/plain", NoEcho: true, Data: []byte("héllo")})},
	`{"publish":{"topic":"a","binary":"AAH/"}}`:                               {0, publish(&millrace.Event{Topic: "a", ContentType: "application/octet-stream", Data: []byte{0, 1, 255}})},
	`{"publish":{"topic":"a","contentType":"text/html","text":"<b>"}}`:        {0, publish(&millrace.Event{Topic: "a", ContentType: "text/html", Data: []byte("<b>")})},
	`{"publish":{"topic":"a","id":"1","name":"n","key":"k","headers":[{"name":"h","value":"v"}],"data":1,"expect":{"offset":"7","mark":"9"}}}`: {
		0, gateway.PublishEvent{Publish: millrace.Publish{
			Event:  &millrace.Event{Topic: "a", ID: "1", Name: "n", Key: "k", Headers: []millrace.Header{{Name: "h", Value: "v"}}, Data: []byte("1")},
			Expect: &there,
		}},
	},
	`{"subscribe":{"cursor":"7-9-a:1,0-0-a:%2A,o.YToqADUAbmFtZT09Ingi"}}`: {0, gateway.SubscribeAll{
		{Topic: "a:*", Start: millrace.After(millrace.Position{}), Filter: named("x"), MaxRate: 5, Again: true},
		{Topic: "a:1", Start: millrace.After(there), Filter: named("x"), MaxRate: 5, Pattern: "a:*", Again: true},
	}},
	`{"subscribe":{"cursor":"7-9-a,o.YQA1AG5hbWU9PSJ4Ig","maxRate":2}}`: {0, gateway.SubscribeAll{{Topic: "a", Start: millrace.After(there), MaxRate: 2, Again: true}}},
	`{"publish":{"topic":"a","key":"k","tombstone":true}}`:              {0, publish(&millrace.Event{Topic: "a", Key: "k", Tombstone: true})},
	`{"history":{"topic":"a","state":true}}`:                            {0, gateway.ReadHistory{Topic: "a", Range: millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}, State: true}}},
	`{"history":{"topic":"a"}}`:                                         {0, gateway.ReadHistory{Topic: "a", Range: millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}}}},
	`{"history":{"topic":"a","backward":true,"limit":10}}`:              {0, gateway.ReadHistory{Topic: "a", Range: millrace.Range{Backward: true, Limit: 10}}},
	`{"id":7,"join":{"topic":"a"}}`:                                     {7, gateway.Join{Subscribe: gateway.Subscribe{Topic: "a", Members: true}}},
	`{"join":{"topic":"a","data":{"name": "Alïce"},"members":false,"start":{"earliest":true},"filter":"name == \"x\""}}`: {0, gateway.Join{
		Subscribe: gateway.Subscribe{Topic: "a", Start: millrace.Start{Kind: millrace.StartEarliest}, Filter: named("x")}, Data: []byte(`{"name": "Alïce"}`),
	}},
	`{"update":{"topic":"a","data":[1, 2]}}`:                         {0, gateway.Update{Topic: "a", Data: []byte("[1, 2]")}},
	`{"update":{"topic":"a"}}`:                                       {0, gateway.Update{Topic: "a"}},
	`{"leave":{"topic":"a"}}`:                                        {0, gateway.Leave{Topic: "a"}},
	`{"broadcast":{"topic":"a","name":"n","text":"x","echo":false}}`: {0, gateway.Broadcast{Publish: publish(&millrace.Event{Topic: "a", Name: "n", ContentType: "text/plain", NoEcho: true, Data: []byte("x")}).Publish}},
	`{"broadcast":{"topic":"a","data":{"x":1}}}`:                     {0, gateway.Broadcast{Publish: publish(&millrace.Event{Topic: "a", Data: []byte(`{"x":1}`)}).Publish}},
	`{"presence":{"topic":"a"}}`:                                     {0, gateway.ReadMembers{Topic: "a"}},
	`{"presence":{"topic":"a","limit":10,"page":"p2"}}`:              {0, gateway.ReadMembers{Topic: "a", Range: millrace.MemberRange{Limit: 10, Page: "p2"}}},
	`{"presence":{"topic":"a","limit":10,"countOnly":true}}`:         {0, gateway.ReadMembers{Topic: "a", Range: millrace.MemberRange{Limit: -1}}},
	`{"subscribe":{"topic":"a","members":true}}`:                     {0, gateway.Subscribe{Topic: "a", Members: true}},
	`{"subscribe":{"cursor":"7-9-a,0-0-b:%2A","members":true}}`: {0, gateway.SubscribeAll{
		{Topic: "b:*", Start: millrace.After(millrace.Position{}), Again: true}, {Topic: "a", Start: millrace.After(there), Members: true, Again: true},
	}},
	`{"ping":{}}`: {0, gateway.Ping{}},
}

func TestACommandIsReadFromJSON(t *testing.T) {
	for text, c := range readable {
		id, got, err := frame.DecodeJSON([]byte(text))
		if err != nil || id != c.id || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %d %+v %v; want %d %+v", text, id, got, err, c.id, c.want)
		}
	}
}

func TestACommandIsTheSameInProtobuf(t *testing.T) {
	for _, m := range messages(t) {
		inJSON, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if p := m.GetPublish(); p.GetData() != nil {
			continue // data is no ProtoJSON: TestACommandIsReadFromJSON has it
		}
		inProtobuf, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		id1, c1, err1 := frame.DecodeJSON(inJSON)
		id2, c2, err2 := frame.DecodeProtobuf(inProtobuf)
		if id1 != id2 || !reflect.DeepEqual(c1, c2) || (err1 == nil) != (err2 == nil) || err1 != nil && err1.Reason != err2.Reason {
			t.Errorf("%s: got %d %+v %v in JSON, %d %+v %v in protobuf", inJSON, id1, c1, err1, id2, c2, err2)
		}
	}
}

// messages is one client frame for each command of the contract, and those of readable that have no data.
func messages(t testing.TB) []*millracev1.ClientFrame {
	t.Helper()
	var all []*millracev1.ClientFrame
	kinds := (&millracev1.ClientFrame{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		m := &millracev1.ClientFrame{Id: 1}
		r := m.ProtoReflect()
		r.Set(kinds.Get(i), r.NewField(kinds.Get(i)))
		all = append(all, m)
	}
	for text := range readable {
		m := &millracev1.ClientFrame{}
		if strings.Contains(text, `"data"`) {
			continue
		}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func TestBadFramesAreNamed(t *testing.T) {
	for text, c := range map[string]struct {
		id      uint32
		reason  millrace.Reason
		message string
	}{
		``:                                {0, millrace.ReasonBadRequest, "JSON"},
		`}{`:                              {0, millrace.ReasonBadRequest, "JSON"},
		`[]`:                              {0, millrace.ReasonBadRequest, "JSON object"},
		`null`:                            {0, millrace.ReasonBadRequest, "no command"},
		`{"id":7}`:                        {7, millrace.ReasonBadRequest, "no command"},
		`{"id":7,"dance":{}}`:             {7, millrace.ReasonBadRequest, `"dance"`},
		`{"id":7,"ping":{},"publish":{}}`: {7, millrace.ReasonBadRequest, "both ping and publish"},
		`{"id":-1,"ping":{}}`:             {0, millrace.ReasonBadRequest, "ping"},
		`{"id":7,"ping":null}`:            {7, millrace.ReasonBadRequest, "object"},
		`{"id":7,"publish":[]}`:           {7, millrace.ReasonBadRequest, "object"},
		`{"id":7,"publish":{"topic":5}}`:  {7, millrace.ReasonBadRequest, "publish"},
		`{"id":7,"publish":{"text":"","data":1}}`:              {7, millrace.ReasonBadRequest, "publish"},
		`{"id":7,"publish":{"binary":"*"}}`:                    {7, millrace.ReasonBadRequest, "publish"},
		`{"id":7,"refresh":{"token":"x"}}`:                     {7, millrace.ReasonUnsupported, "refresh"},
		`{"id":7,"join":{"topic":"a","filter":"name="}}`:       {7, millrace.ReasonFilterInvalid, ""},
		`{"id":7,"join":{"topic":"a","members":1}}`:            {7, millrace.ReasonBadRequest, "join"},
		`{"id":7,"join":[]}`:                                   {7, millrace.ReasonBadRequest, "object"},
		`{"id":7,"update":{"topic":"a","data":}}`:              {0, millrace.ReasonBadRequest, "JSON"},
		`{"id":7,"presence":{"topic":"a","limit":-1}}`:         {7, millrace.ReasonBadRequest, "presence"},
		`{"id":7,"subscribe":{"topic":"a","filter":"name="}}`:  {7, millrace.ReasonFilterInvalid, ""},
		`{"id":7,"subscribe":{"topic":"a","maxRate":2000}}`:    {7, millrace.ReasonBadRequest, "rate"},
		`{"id":7,"subscribe":{"cursor":"garbage"}}`:            {7, millrace.ReasonCursorInvalid, ""},
		`{"id":7,"subscribe":{"cursor":"s.x"}}`:                {7, millrace.ReasonCursorInvalid, "no topic"},
		`{"id":7,"subscribe":{"cursor":"--a","topic":"a"}}`:    {7, millrace.ReasonBadRequest, "cursor"},
		"{\"publish\":{\"topic\":\"a\",\"data\":\"\xff\"}}":    {0, millrace.ReasonBadRequest, "UTF-8"},
		`{"publish":{"data":` + strings.Repeat("[", 20000):     {0, millrace.ReasonBadRequest, ""},
		`{"id":1,"publish":{"x":"` + strings.Repeat("y", 9000): {0, millrace.ReasonBadRequest, ""},
	} {
		id, got, err := frame.DecodeJSON([]byte(text))
		if err == nil || got != nil || id != c.id || err.Reason != c.reason || !strings.Contains(err.Message, c.message) {
			t.Errorf("%.100s: got %d %v %v; want %d %s with %q", text, id, got, err, c.id, c.reason, c.message)
		}
		if err != nil && len(err.Message) > 500 {
			t.Errorf("%.100s: the message has %d bytes", text, len(err.Message))
		}
	}
	if _, _, err := frame.DecodeProtobuf([]byte{0xff}); err == nil || err.Reason != millrace.ReasonBadRequest {
		t.Errorf("garbage in protobuf: got %v", err)
	}
}

// check holds what any bytes of strangers must come to: a command or a named error, never both or neither.
func check(t *testing.T, c gateway.Command, err *millrace.Error) {
	t.Helper()
	if (c == nil) == (err == nil) {
		t.Fatalf("got %v and %v", c, err)
	}
	if err != nil && err.Reason.Outcome().Reason != err.Reason {
		t.Fatalf("reason %q is not of the table", err.Reason)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for text := range readable {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"id":7,"dance":{},"publish":{"data":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, c, err := frame.DecodeJSON(b)
		check(t, c, err)
		if j, ok := c.(gateway.Join); ok {
			m := &gateway.MemberChanges{Topic: j.Topic, Joined: []millrace.Member{{Session: "a", Data: j.Data}}}
			same(t, frame.AppendJSONMembers(nil, m), frame.AppendProtobufMembers(nil, m))
		}
		if p, ok := c.(gateway.PublishEvent); ok && millrace.PayloadOf(p.Publish.Event.ContentType) == millrace.PayloadJSON && p.Publish.Event.ContentType == "" {
			if e := p.Publish.Event; len(e.Data) > 0 {
				same(t, frame.AppendJSONEvent(nil, e), frame.AppendProtobufEvent(nil, e))
			}
		}
	})
}

func FuzzDecodeProtobuf(f *testing.F) {
	for _, m := range messages(f) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, c, err := frame.DecodeProtobuf(b)
		check(t, c, err)
	})
}

func BenchmarkDecodeJSON(b *testing.B) {
	text := []byte(`{"id":7,"publish":{"topic":"chat:1","name":"said","data":{"text":"` + strings.Repeat("x", 100) + `"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := frame.DecodeJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}

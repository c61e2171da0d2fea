package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// someEvent returns an event in which each part may be absent.
func someEvent(chance *rand.Rand) *millrace.Event {
	text := func() string {
		if chance.IntN(3) == 0 {
			return ""
		}
		return string(bytes.Repeat([]byte("ü"), chance.IntN(100)))
	}
	e := &millrace.Event{
		Topic:       "chat:1",
		ID:          text(),
		Name:        text(),
		Key:         text(),
		ContentType: text(),
		Sender:      millrace.Sender{Session: text(), Subject: text()},
		NoEcho:      chance.IntN(2) == 0,
	}
	if chance.IntN(4) > 0 {
		e.Position = millrace.Position{Offset: chance.Uint64() >> chance.IntN(64), Mark: chance.Uint64()}
		e.Prev = chance.Uint64()
	}
	if chance.IntN(4) > 0 {
		e.Time = time.UnixMilli(chance.Int64N(1 << 45)).UTC()
	}
	for range chance.IntN(4) {
		e.Headers = append(e.Headers, millrace.Header{Name: text(), Value: text()})
	}
	if chance.IntN(4) > 0 {
		e.Data = bytes.Repeat([]byte{'x'}, chance.IntN(40_000))
	} else {
		e.Tombstone = chance.IntN(2) == 0
	}
	return e
}

func element(e *millrace.Event) []byte { return append(wire.EventEnvelope(e), e.Data...) }

// message is what EventEnvelope writes out, by way of the generated code.
func message(e *millrace.Event) *millracev1.Event {
	m := &millracev1.Event{
		Prev: e.Prev, Id: e.ID, Name: e.Name, Key: e.Key, ContentType: e.ContentType, NoEcho: e.NoEcho, Tombstone: e.Tombstone,
		Data: e.Data,
	}
	if !e.Position.IsZero() {
		m.Position = wire.Position(e.Position)
	}
	if !e.Time.IsZero() {
		m.TimeMs = e.Time.UnixMilli()
	}
	if e.Sender != (millrace.Sender{}) {
		m.Sender = &millracev1.Sender{Session: e.Sender.Session, Subject: e.Sender.Subject}
	}
	for _, h := range e.Headers {
		m.Headers = append(m.Headers, &millracev1.Header{Name: h.Name, Value: h.Value})
	}
	return m
}

func TestAnElementIsWhatTheGeneratedCodeWrites(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		e := someEvent(chance)
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(&millracev1.EventBatch{Events: []*millracev1.Event{message(e)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := element(e); !bytes.Equal(got, want) {
			t.Fatalf("element of %+v is\n%x, want\n%x", message(e), got, want)
		}
	}
}

func TestElementsJoinToABatchAndReadBackAsTheEvents(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	var joined []byte
	var want []*millrace.Event
	for range 100 {
		e := someEvent(chance)
		joined = append(joined, element(e)...)
		want = append(want, e)
	}
	var batch millracev1.EventBatch
	if err := proto.Unmarshal(joined, &batch); err != nil {
		t.Fatal(err)
	}
	got := wire.ParseEvents("chat:1", batch.GetEvents())
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		if len(want[i].Data) == 0 {
			want[i].Data = got[i].Data
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("event %d is %+v, want %+v", i, message(got[i]), message(want[i]))
		}
	}
}

// carried returns m as the other end reads it.
func carried[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out.(M)
}

func TestWordsComeBackAsTheyWere(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	pos := millrace.Position{Offset: 7, Mark: 1 << 63}
	starts := []millrace.Start{
		{},
		{Kind: millrace.StartNow},
		{Kind: millrace.StartEarliest},
		{Kind: millrace.StartLast, Count: 9},
		{Kind: millrace.StartSince, Since: at},
		millrace.After(pos),
		millrace.After(millrace.Position{}),
		(&millrace.Page{Next: pos, Lost: 6}).Resume(),
	}
	for _, s := range starts {
		if got := wire.ParseStart(carried(t, wire.Start(s))); got != s {
			t.Errorf("start %+v comes back as %+v", s, got)
		}
		r := millrace.Range{Start: s, Limit: 3, MaxBytes: 4, Backward: s.Kind == millrace.StartDefault, State: s.Kind == millrace.StartEarliest}
		if got := wire.ParseHistoryRequest(carried(t, wire.HistoryRequest("a", r))); got != r {
			t.Errorf("range %+v comes back as %+v", r, got)
		}
	}
	for cause := millrace.CauseTrimmed; cause <= millrace.CauseDenied; cause++ {
		g := millrace.Gap{Topic: "a", After: pos, Until: millrace.Position{Offset: 9, Mark: 3}, Cause: cause}
		if got := wire.ParseGap(carried(t, wire.Gap(&g))); *got != g {
			t.Errorf("gap %v comes back as %v", &g, got)
		}
	}
	acks := []millrace.Ack{
		{Topic: "a", Position: pos, Time: at},
		{Topic: "a", Position: pos, Time: at, Repeated: true},
		{Topic: "a", Err: &millrace.Error{Reason: millrace.ReasonFull, Message: "no room", RetryAfter: time.Second}},
	}
	for _, a := range acks {
		got := wire.ParseAck(carried(t, wire.Ack(a)))
		if a.Err != nil && (got.Err == nil || *got.Err != *a.Err) {
			t.Errorf("the error of ack %+v comes back as %+v", a, got.Err)
		}
		if got.Err, a.Err = nil, nil; got != a {
			t.Errorf("ack %+v comes back as %+v", a, got)
		}
	}
	p := millrace.Publish{
		Event: &millrace.Event{
			Topic: "a", ID: "1", Name: "n", Key: "k", ContentType: "text/plain", Headers: []millrace.Header{{Name: "h", Value: "v"}},
			Sender: millrace.Sender{Session: "s", Subject: "u"}, NoEcho: true, Data: []byte("hello"),
		},
		Principal: "u",
		Expect:    &millrace.Position{},
	}
	if got := wire.ParseNewEvent(carried(t, wire.NewEvent(p))); !reflect.DeepEqual(got, p) {
		t.Errorf("publish comes back as %+v", got)
	}
	gone := millrace.Publish{Event: &millrace.Event{Topic: "a", Key: "k", Tombstone: true}}
	if got := wire.ParseNewEvent(carried(t, wire.NewEvent(gone))); !reflect.DeepEqual(got, gone) {
		t.Errorf("tombstone comes back as %+v", got)
	}
	for _, s := range []millrace.Subscription{
		{Topic: "a", Start: millrace.After(pos)},
		{Topic: "chat:*", MaxRate: 0.5},
	} {
		if got, err := wire.ParseSubscription(carried(t, wire.Subscription(3, s))); err != nil || got != s {
			t.Errorf("subscription %+v comes back as %+v, %v", s, got, err)
		}
	}
}

func TestAPageComesBackWithWhatItLacks(t *testing.T) {
	page := millrace.Page{
		Gap:   &millrace.Gap{Topic: "a", Until: millrace.Position{Offset: 2, Mark: 2}, Cause: millrace.CauseTrimmed},
		Next:  millrace.Position{Offset: 3, Mark: 3},
		Head:  millrace.Position{Offset: 4, Mark: 4},
		More:  true,
		Class: millrace.ClassLatest,
		Lost:  2,
	}
	e := &millrace.Event{Topic: "a", Position: page.Next, Prev: 2, Data: []byte("1")}
	b, err := proto.Marshal(wire.PageHead(page))
	if err != nil {
		t.Fatal(err)
	}
	var m millracev1.HistoryResponse
	if err := proto.Unmarshal(append(b, element(e)...), &m); err != nil {
		t.Fatal(err)
	}
	page.Events = []*millrace.Event{e}
	if got := wire.ParsePage("a", &m); !reflect.DeepEqual(got, page) {
		t.Errorf("page comes back as %+v, want %+v", got, page)
	}
}

func TestAForwardRangeWithoutStartIsFromTheOldest(t *testing.T) {
	if r := wire.ParseHistoryRequest(&millracev1.HistoryRequest{Topic: "a"}); r.Start.Kind != millrace.StartEarliest {
		t.Errorf("got %+v", r)
	}
	if r := wire.ParseHistoryRequest(&millracev1.HistoryRequest{Topic: "a", Backward: true}); r.Start.Kind != millrace.StartDefault {
		t.Errorf("backward: got %+v", r)
	}
}

func TestEachReasonTravelsInAStatusAndInAMessage(t *testing.T) {
	for _, o := range millrace.Outcomes() {
		e := &millrace.Error{Reason: o.Reason, Message: "why", RetryAfter: 1500 * time.Millisecond, Cause: errors.New("secret")}
		s := wire.Status(e)
		if uint32(s.Code()) != o.GRPC {
			t.Errorf("%s has code %v, want %d", o.Reason, s.Code(), o.GRPC)
		}
		want := millrace.Error{Reason: o.Reason, Message: "why", RetryAfter: 1500 * time.Millisecond}
		if got := wire.ParseStatus(s.Err()); *got != want {
			t.Errorf("%s comes back from a status as %+v", o.Reason, got)
		}
		if got := wire.ParseStatus(fmt.Errorf("receive: %w", s.Err())); got.Reason != o.Reason {
			t.Errorf("%s comes back from a wrapped status as %+v", o.Reason, got)
		}
		if got := wire.ParseError(carried(t, wire.Error(e))); *got != want {
			t.Errorf("%s comes back from a message as %+v", o.Reason, got)
		}
	}
	if wire.ParseStatus(nil) != nil || wire.ParseError(nil) != nil || wire.Error(nil) != nil {
		t.Error("no error comes back as one")
	}
}

func TestAStatusOfOthersIsToldByItsCode(t *testing.T) {
	for code, want := range map[codes.Code]millrace.Reason{
		codes.Unavailable:       millrace.ReasonUnavailable,
		codes.ResourceExhausted: millrace.ReasonTooLarge,
		codes.Canceled:          millrace.ReasonCanceled,
		codes.DeadlineExceeded:  millrace.ReasonDeadline,
		codes.Unauthenticated:   millrace.ReasonUnauthorized,
		codes.PermissionDenied:  millrace.ReasonForbidden,
		codes.Unimplemented:     millrace.ReasonUnsupported,
		codes.Unknown:           millrace.ReasonInternal,
	} {
		err := status.Error(code, "dial tcp 10.0.0.7: connection refused")
		got := wire.ParseStatus(err)
		if got.Reason != want || !errors.Is(got, err) || got.Message == "dial tcp 10.0.0.7: connection refused" {
			t.Errorf("%v becomes %+v", code, got)
		}
	}
	if got := wire.ParseStatus(context.Canceled); got.Reason != millrace.ReasonCanceled {
		t.Errorf("an ended context becomes %+v", got)
	}
}

func TestWordsOfANewerPeerPromiseNothing(t *testing.T) {
	if got := wire.ParseGap(&millracev1.Gap{Cause: "eaten"}); got.Cause != millrace.CauseReset {
		t.Errorf("an unknown cause becomes %v", got.Cause)
	}
	if got := wire.ParseError(&millracev1.Error{Reason: "tired"}); got.Reason != millrace.ReasonInternal {
		t.Errorf("an unknown reason becomes %v", got.Reason)
	}
}

func TestAMessageThatIsNotUTF8StillTravels(t *testing.T) {
	e := &millrace.Error{Reason: millrace.ReasonInternal, Message: "bad \xff byte"}
	if got := wire.ParseStatus(wire.Status(e).Err()); got.Reason != e.Reason || got.Message != "bad \uFFFD byte" {
		t.Errorf("a status becomes %+v", got)
	}
	if got := wire.ParseError(carried(t, wire.Error(e))); got.Message != "bad \uFFFD byte" {
		t.Errorf("a message becomes %+v", got)
	}
}

func BenchmarkEventEnvelope(b *testing.B) {
	e := &millrace.Event{
		Topic: "chat:1", Position: millrace.Position{Offset: 1 << 20, Mark: 1 << 62}, Prev: 1 << 61, Name: "price",
		Time: time.Now(), Data: bytes.Repeat([]byte("x"), 200),
	}
	b.ReportAllocs()
	for b.Loop() {
		wire.EventEnvelope(e)
	}
}

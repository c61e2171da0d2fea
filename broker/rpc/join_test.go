package rpc_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

func TestALinkBeginsWithHelloAndWelcome(t *testing.T) {
	f := serve(t, rpc.Config{Broker: "b-1", MaxMessageBytes: 5 << 20, MaxEventBytes: 3 << 20}, members)
	l := f.open(f.client())
	l.send(&millracev1.Command{Kind: &millracev1.Command_Hello{Hello: &millracev1.Hello{MinVersion: 1, MaxVersion: 9}}}, subscribe(1, "a", millrace.Start{}))
	w := l.next().GetWelcome()
	if w.GetVersion() != 1 || w.GetSession() == "" || w.GetBroker() != "b-1" || w.GetMaxMessageBytes() != 5<<20 || w.GetMaxEventBytes() != 3<<20 || w.GetLeaseMs() != uint32(term.Milliseconds()) {
		t.Errorf("the welcome is %v", w)
	}
	l.attached(1, "a")
	if other := f.join(f.client()); other.session == w.GetSession() {
		t.Error("two links have one session")
	}
	f.greet(f.client(), &millracev1.Hello{}) // as by hand
}

func TestALinkThatBeginsOtherwiseIsEnded(t *testing.T) {
	f := serve(t, rpc.Config{HelloTimeout: 50 * time.Millisecond})
	hello := func(h *millracev1.Hello) *millracev1.Command {
		return &millracev1.Command{Kind: &millracev1.Command_Hello{Hello: h}}
	}
	for _, test := range []struct {
		name     string
		commands []*millracev1.Command
		want     millrace.Reason
	}{
		{"no hello", []*millracev1.Command{subscribe(1, "a", millrace.Start{})}, millrace.ReasonBadRequest},
		{"nothing", nil, millrace.ReasonStale},
		{"a name that is too long", []*millracev1.Command{hello(&millracev1.Hello{Peer: strings.Repeat("p", 250)})}, millrace.ReasonBadRequest},
		{"a version to come", []*millracev1.Command{hello(&millracev1.Hello{MinVersion: 2, MaxVersion: 3})}, millrace.ReasonUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := f.open(f.client())
			if test.commands != nil {
				l.send(test.commands...)
			}
			refused(t, l.end(), test.want)
		})
	}
	for name, c := range map[string]*millracev1.Command{
		"a second hello":   hello(&millracev1.Hello{}),
		"alias 0":          subscribe(0, "b", millrace.Start{}),
		"a broker's alias": subscribe(1<<31, "b", millrace.Start{}),
		"an alias in use":  subscribe(1, "b", millrace.Start{}),
	} {
		t.Run(name, func(t *testing.T) {
			l := f.join(f.client())
			l.send(subscribe(1, "a", millrace.Start{}))
			l.attached(1, "a")
			l.send(c)
			refused(t, l.end(), millrace.ReasonBadRequest)
		})
	}
}

func TestSubscriptionsComeAndGoOnALink(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	pos := l.attached(1, "a")
	f.publish("a", 1)
	pos = l.events(1, pos, 1)[0].Position
	l.send(subscribe(2, "a", millrace.Start{}), subscribe(3, "chat:**:x", millrace.Start{}))
	l.refusedWith(2, millrace.ReasonUnsupported) // one subscription of a topic at a time
	l.refusedWith(3, millrace.ReasonTopicInvalid)
	l.send(unsubscribe(1), unsubscribe(77), subscribe(4, "a", millrace.After(pos)))
	if at := l.attached(4, "a"); at != pos {
		t.Errorf("attached at %v, want %v", at, pos)
	}
	f.publish("a", 1)
	l.events(4, pos, 1)
}

// TestAnAliasNeverCarriesEventsOfAnother subscribes again and again while events stream in: what comes under an alias
// must begin with its attached, at the very start that was asked for, and be whole from there.
func TestAnAliasNeverCarriesEventsOfAnother(t *testing.T) {
	f := serve(t, rpc.Config{})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				f.publish("a", 3)
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	l := f.join(f.client())
	var pos millrace.Position
	alias := uint32(1)
	l.send(subscribe(alias, "a", millrace.Start{}))
	attached := false
	for alias < 200 {
		u := l.next()
		switch {
		case u.GetAlias() != alias:
			if u.GetAlias() > alias {
				t.Fatalf("under a later alias came %v", u)
			}
		case u.GetAttached() != nil:
			at := wire.ParsePosition(u.GetAttached().GetPosition())
			if attached || alias > 1 && at != pos {
				t.Fatalf("alias %d is attached at %v, want %v", alias, at, pos)
			}
			pos, attached = at, true
		default:
			if !attached {
				t.Fatalf("before attached came %v", u)
			}
			if gap := u.GetGap(); gap != nil {
				pos = wire.ParsePosition(gap.GetUntil())
				continue
			}
			for _, e := range wire.ParseEvents("a", u.GetEvents().GetEvents()) {
				if !pos.Precedes(e) {
					t.Fatalf("alias %d: %v does not follow on %v", alias, e.Position, pos)
				}
				pos = e.Position
			}
			l.send(unsubscribe(alias), subscribe(alias+1, "a", millrace.After(pos)))
			alias++
			attached = false
		}
	}
}

func TestALinkPublishesPipelinedAndIsAnsweredInOrder(t *testing.T) {
	f := serve(t, rpc.Config{WindowEvents: 5})
	l := f.join(f.client())
	const events = 1_000
	for i := uint32(1); i <= events; i++ {
		e := &millracev1.NewEvent{Topic: "a", Data: fmt.Append(nil, i), NoEcho: i%2 == 0}
		if i%100 == 0 {
			e.Topic = "a b"
		}
		l.send(publish(i, e), publish(0, &millracev1.NewEvent{Topic: "b", Data: []byte("1")}))
	}
	offset := uint64(0)
	for i := uint32(1); i <= events; i++ {
		ack := wire.ParseAck(l.reply(i).GetAck())
		if i%100 == 0 {
			if ack.Err == nil || ack.Err.Reason != millrace.ReasonTopicInvalid {
				t.Fatalf("event %d is answered %+v", i, ack)
			}
			continue
		}
		offset++
		if ack.Err != nil || ack.Position.Offset != offset {
			t.Fatalf("event %d is answered %+v, want offset %d", i, ack, offset)
		}
	}
	if err := l.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := l.end(); !errors.Is(err, io.EOF) {
		t.Errorf("a link that said all and holds nothing ends with %v", err)
	}
	page, err := f.broker.History(f.ctx, "b", millrace.Range{Backward: true, Limit: 1})
	if err != nil || page.Head.Offset != events {
		t.Errorf("of those without a reply %d were stored, %v", page.Head.Offset, err)
	}
}

func TestALinkThatSaidAllIsServedWhileItHoldsASubscription(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	if err := l.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	pos := l.attached(1, "a")
	f.publish("a", 2)
	l.events(1, pos, 2)
}

func TestAnEventIsWithheldFromTheLinkThatSentIt(t *testing.T) {
	f := serve(t, rpc.Config{})
	l, other := f.join(f.client()), f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	l.attached(1, "a")
	other.send(subscribe(1, "a", millrace.Start{}))
	start := other.attached(1, "a")
	l.send(publish(0, &millracev1.NewEvent{Topic: "a", Data: []byte("1"), NoEcho: true}),
		publish(0, &millracev1.NewEvent{Topic: "a", Data: []byte("2"), NoEcho: true}),
		publish(0, &millracev1.NewEvent{Topic: "a", Data: []byte("3")}))
	events := other.events(1, start, 3)
	if s := events[0].Sender; s.Session != l.session {
		t.Errorf("the sender is %+v, want session %s", s, l.session)
	}
	u := l.next()
	for ; u.GetAdvanced() != nil; u = l.next() {
		start = wire.ParsePosition(u.GetAdvanced().GetPosition())
	}
	if start != events[1].Position {
		t.Errorf("the sender advanced to %v, want %v", start, events[1].Position)
	}
	if got := u.GetEvents().GetEvents(); len(got) != 1 || string(got[0].GetData()) != "3" {
		t.Errorf("the sender got %v", u)
	}
}

func TestWhatALinkDoesNotDoIsAnswered(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.join(f.client())
	l.send(
		&millracev1.Command{Id: 1}, // of a kind to come
		&millracev1.Command{Kind: &millracev1.Command_Receipt{Receipt: &millracev1.Receipt{}}},
	)
	if got := l.reply(1).GetError().GetReason(); got != "unsupported" {
		t.Errorf("it is answered %q", got)
	}
}

func TestCreditBoundsWhatIsSent(t *testing.T) {
	f := serve(t, rpc.Config{})
	f.publish("a", 10)
	page, err := f.broker.History(f.ctx, "a", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(len(wire.EventEnvelope(page.Events[0])) + len(page.Events[0].Data))
	credit := func(n uint64) *millracev1.Command {
		return &millracev1.Command{Kind: &millracev1.Command_Credit{Credit: &millracev1.Credit{Bytes: n}}}
	}
	unknown := func(id uint32) *millracev1.Command { return &millracev1.Command{Id: id} }
	l := f.greet(f.client(), &millracev1.Hello{CreditBytes: 2*size + 1})
	l.send(subscribe(1, "a", millrace.Start{Kind: millrace.StartEarliest}))
	pos := l.attached(1, "a")
	pos = l.events(1, pos, 3)[2].Position // the third overdraws
	l.send(unknown(1))
	l.reply(1) // nothing else came, and the link still answers
	l.send(credit(1))
	l.send(unknown(2))
	l.reply(2)
	l.send(credit(2 * size))
	pos = l.events(1, pos, 2)[1].Position
	l.send(unsubscribe(1), subscribe(2, "a", millrace.After(pos)), credit(100*size))
	if at := l.attached(2, "a"); at != pos {
		t.Errorf("what was held under the old alias came under the new one: attached at %v", at)
	}
	l.events(2, pos, 5)
}

func TestAnEventsDataIsKeptOnceHoweverManyHaveReadIt(t *testing.T) {
	f := serve(t, rpc.Config{}, bounds{log: memlog.Config{Rules: []broker.Rule{{MaxBytes: 64 << 20}}}})
	f.publishData("a", 40, func(int) []byte { return append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 500_000)...), '"') })
	before := heapBytes()
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{Kind: millrace.StartEarliest}))
	l.events(1, l.attached(1, "a"), 40)
	if _, err := f.client().History(f.ctx, &millracev1.HistoryRequest{Topic: "a"}); err != nil {
		t.Fatal(err)
	}
	if after := heapBytes(); after > before+10<<20 {
		t.Errorf("reading 20 MB of events left %d MB more behind", (after-before)>>20)
	}
}

// TestAStalledLinkHarmsNobody lets one link of a connection take nothing, while 40 MB pass.
func TestAStalledLinkHarmsNobody(t *testing.T) {
	f := serve(t, rpc.Config{}, bounds{
		log:    memlog.Config{Rules: []broker.Rule{{MaxEvents: 200, MaxBytes: 64 << 20}}},
		broker: broker.Config{TailBytes: 1 << 20},
	})
	c := f.client()
	stalled, lively := f.join(c), f.join(c)
	stalled.send(subscribe(1, "a", millrace.Start{}))
	lively.send(subscribe(1, "a", millrace.Start{}))
	pos := lively.attached(1, "a")
	stalledAt := stalled.attached(1, "a")
	data := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 100_000)...), '"')
	f.publishData("a", 1, func(int) []byte { return data })
	heap := heapBytes()
	var most uint64
	for range 400 {
		pos = lively.events(1, pos, 1)[0].Position
		f.publishData("a", 1, func(int) []byte { return data })
		most = max(most, heapBytes())
	}
	// The log keeps 20 MB of it, the tail 1 MB; a queue for the stalled link would have 40.
	if most > heap+32<<20 {
		t.Errorf("the heap grew from %d to %d bytes", heap, most)
	}
	// Once it reads, the stalled link is told what the log no longer has, and gets the rest.
	last := lively.events(1, pos, 1)[0].Position
	for at := stalledAt; at != last; {
		u := stalled.next()
		if gap := u.GetGap(); gap != nil {
			if wire.ParsePosition(gap.GetAfter()) != at {
				t.Fatalf("the gap begins after %v, want %v", gap.GetAfter(), at)
			}
			at = wire.ParsePosition(gap.GetUntil())
		}
		for _, e := range wire.ParseEvents("a", u.GetEvents().GetEvents()) {
			if !at.Precedes(e) {
				t.Fatalf("%v does not follow on %v", e.Position, at)
			}
			at = e.Position
		}
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAPeerThatTakesNothingForTooLongIsEnded(t *testing.T) {
	f := serve(t, rpc.Config{SlowTimeout: 100 * time.Millisecond})
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	l.attached(1, "a")
	data := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 500_000)...), '"')
	f.publishData("a", 10, func(int) []byte { return data })
	operator := millracev1.NewAdminServiceClient(f.dial())
	for status := (*millracev1.GetStatusResponse)(nil); status == nil || len(status.GetLinks()) > 0; {
		var err error
		if status, err = operator.GetStatus(f.ctx, &millracev1.GetStatusRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	// What the link's window still holds comes first, then the end.
	_, err := l.recv()
	for err == nil {
		_, err = l.recv()
	}
	refused(t, err, millrace.ReasonSlow)
}

func TestALinkEndsWithItsBroker(t *testing.T) {
	f := serve(t, rpc.Config{})
	l := f.join(f.client())
	l.send(subscribe(1, "a", millrace.Start{}))
	l.attached(1, "a")
	f.broker.Stop()
	refused(t, l.end(), millrace.ReasonDraining)
}

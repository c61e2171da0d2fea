package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// reply returns what answered a command.
func reply(h *house, p *gatewaytest.Peer, re uint32) any {
	h.Helper()
	var frames []any
	for _, l := range p.Lines() {
		if l.Re == re && l.Frame != nil {
			frames = append(frames, l.Frame)
		}
	}
	if len(frames) != 1 {
		h.Fatalf("command %d was answered %d times", re, len(frames))
	}
	return frames[0]
}

// do runs a command and returns its answer.
func do(h *house, p *gatewaytest.Peer, re uint32, c gateway.Command) any {
	h.Helper()
	p.Session.Do(h.Context(), re, c)
	h.settle()
	return reply(h, p, re)
}

func reasonOf(frame any) millrace.Reason {
	switch f := frame.(type) {
	case *gateway.Failed:
		return f.Err.Reason
	case *gateway.Unsubscribed:
		if f.Err != nil {
			return f.Err.Reason
		}
	}
	return ""
}

func text(topic, data string) gateway.PublishEvent {
	return gateway.PublishEvent{Publish: millrace.Publish{Event: &millrace.Event{Topic: topic, Data: []byte(data)}}}
}

func TestCommandsAreAnsweredUnderTheirIDs(t *testing.T) {
	wires(t, gateway.Config{MaxHistoryEvents: 4}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		if f, ok := do(h, p, 1, gateway.Subscribe{Topic: "a"}).(*gateway.Subscribed); !ok || f.Topic != "a" || f.Pending {
			h.Errorf("subscribe: %+v", f)
		}
		f, ok := do(h, p, 2, text("a", "hello")).(*gateway.Published)
		if !ok || f.Ack.Position != h.broker.Head("a") || f.Ack.Repeated {
			h.Errorf("publish: %+v", f)
		}
		h.broker.Put("a", texts(0, 9)...)
		for limit, want := range map[int]int{0: 4, 2: 2, 100: 4} {
			g, ok := do(h, p, uint32(100+limit), gateway.ReadHistory{Topic: "a", Range: millrace.Range{Backward: true, Limit: limit}}).(*gateway.History)
			if !ok || len(g.Page.Events) != want || string(g.Page.Events[0].Data) != "8" || !g.Page.More {
				h.Errorf("history: %+v", g)
			}
		}
		if _, ok := do(h, p, 4, gateway.Ping{}).(*gateway.Pong); !ok {
			h.Error("ping: no pong")
		}
		if g, ok := do(h, p, 5, gateway.WirePing{Payload: []byte("x")}).(*gateway.WirePong); !ok || string(g.Payload) != "x" {
			h.Errorf("wire ping: %+v", g)
		}
		if g, ok := do(h, p, 6, gateway.Subscribe{Topic: "a"}).(*gateway.Subscribed); !ok || g.Position != h.broker.Head("a") {
			h.Errorf("subscribe again: %+v", g)
		}
		if g, ok := do(h, p, 7, gateway.Unsubscribe{Topic: "a"}).(*gateway.Unsubscribed); !ok || g.Topic != "a" || g.Err != nil {
			h.Errorf("unsubscribe: %+v", g)
		}
		before := len(p.Texts("a"))
		h.broker.Put("a", "unseen")
		h.settle()
		if n := len(p.Texts("a")); n != before {
			h.Errorf("an event after unsubscribe")
		}
		p.Session.Refuse(8, millrace.Errorf(millrace.ReasonBadRequest, "not a frame"))
		h.settle()
		if r := reasonOf(reply(h, p, 8)); r != millrace.ReasonBadRequest {
			h.Errorf("refuse: %s", r)
		}
	})
}

func TestWhatIsNotAllowedIsRefusedAndHarmsNothingElse(t *testing.T) {
	grant := &millrace.Grant{Subject: "bob", Rules: []millrace.Rule{
		{Pattern: "read:**", Actions: millrace.ActionSubscribe},
		{Pattern: "all:**", Actions: millrace.ActionAll},
		{Pattern: "$sessions:*", Actions: millrace.ActionAll},
	}}
	conflict := text("all:x", "1")
	conflict.Publish.Expect = &millrace.Position{Offset: 7, Mark: 7}
	cases := []struct {
		name    string
		command gateway.Command
		reason  millrace.Reason
	}{
		{"subscribe without the action", gateway.Subscribe{Topic: "other"}, millrace.ReasonForbidden},
		{"subscribe to what is no topic", gateway.Subscribe{Topic: "a::b"}, millrace.ReasonTopicInvalid},
		{"subscribe to a reserved topic that the grant does not name", gateway.Subscribe{Topic: "$presence:x"}, millrace.ReasonForbidden},
		{"unsubscribe what is not held", gateway.Unsubscribe{Topic: "all:x"}, millrace.ReasonNotFound},
		{"publish without the action", text("read:x", "1"), millrace.ReasonForbidden},
		{"publish to a reserved topic", text("$sessions:1", "1"), millrace.ReasonForbidden},
		{"publish to what is no topic", text("", "1"), millrace.ReasonTopicInvalid},
		{"publish too much", text("all:x", strings.Repeat("x", 101)), millrace.ReasonTooLarge},
		{"publish on a condition that does not hold", conflict, millrace.ReasonConflict},
		{"read history without the action", gateway.ReadHistory{Topic: "read:x"}, millrace.ReasonForbidden},
		{"read the history of what is no topic", gateway.ReadHistory{Topic: "*"}, millrace.ReasonTopicInvalid},
		{"read history backward from another lineage", gateway.ReadHistory{Topic: "all:x", Range: millrace.Range{
			Backward: true, Start: millrace.After(millrace.Position{Offset: 1, Mark: 7}),
		}}, millrace.ReasonCursorInvalid},
	}
	wires(t, gateway.Config{MaxEventBytes: 100}, func(h *house, w *gateway.Wire) {
		p := h.connect(h.seat(w), gateway.Opening{Grant: grant, Topics: []gateway.Subscribe{{Topic: "all:x"}, {Topic: "no:x"}}})
		h.settle()
		if told := gatewaytest.Frames[gateway.Unsubscribed](p); len(told) != 1 || told[0].Topic != "no:x" {
			h.Errorf("told %+v", told)
		}
		do(h, p, 99, gateway.Unsubscribe{Topic: "all:x"})
		for i, c := range cases {
			if got := reasonOf(do(h, p, uint32(i+1), c.command)); got != c.reason {
				h.Errorf("%s: got %q, want %q", c.name, got, c.reason)
			}
		}
		if f, ok := do(h, p, 50, gateway.Subscribe{Topic: "$sessions:1"}).(*gateway.Subscribed); !ok {
			h.Errorf("a reserved topic that the grant names: %+v", f)
		}
		if f, ok := do(h, p, 51, text("all:x", "1")).(*gateway.Published); !ok {
			h.Errorf("publish after all that: %+v", f)
		}
	})
}

func TestAPublishWhileTheBrokerFailsIsRefusedWithItsReason(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		p := h.join(h.wire)
		for i, c := range []struct {
			err    error
			reason millrace.Reason
		}{
			{millrace.Errorf(millrace.ReasonUnavailable, "no broker"), millrace.ReasonUnavailable},
			{fmt.Errorf("append: %w", context.DeadlineExceeded), millrace.ReasonDeadline},
			{fmt.Errorf("secret of ours"), millrace.ReasonInternal},
		} {
			h.broker.Fail(c.err)
			for j, command := range []gateway.Command{text("a", "1"), gateway.ReadHistory{Topic: "a"}} {
				f, ok := do(h, p, uint32(10*i+j+1), command).(*gateway.Failed)
				if !ok || f.Err.Reason != c.reason || strings.Contains(f.Err.Message, "secret") {
					h.Errorf("%v: %+v", c.err, f)
				}
			}
		}
	})
}

// Promise: docs/delivery.md 8.2.
func TestAnEventIDIsStoredOnceForItsSubject(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		publish := func(subject string) millrace.Ack {
			who := gateway.Publisher{Grant: everything(subject)}
			ack, err := h.gateway.Publish(h.Context(), who, millrace.Publish{
				Principal: "a lie", Event: &millrace.Event{Topic: "a", ID: "1", Sender: millrace.Sender{Subject: "a lie"}},
			})
			if err != nil {
				h.Fatal(err)
			}
			return ack
		}
		first, again, other := publish("alice"), publish("alice"), publish("bob")
		if !again.Repeated || again.Position != first.Position || other.Repeated {
			h.Errorf("first %+v, again %+v, another subject's %+v", first, again, other)
		}
		page, err := h.gateway.History(h.Context(), everything(""), "a", millrace.Range{Backward: true})
		if err != nil || len(page.Events) != 2 || page.Events[0].Sender.Subject != "bob" {
			h.Errorf("history %+v, %v", page, err)
		}
	})
}

func TestASessionHasNoMoreTopicsThanAllowed(t *testing.T) {
	wires(t, gateway.Config{MaxTopics: 3}, func(h *house, w *gateway.Wire) {
		if _, err := h.seat(w).Dial(open("a", "b", "c", "d")); millrace.AsError(err).Reason != millrace.ReasonTooManyTopics {
			h.Errorf("opened with too many topics: %v", err)
		}
		p := h.join(w, "a", "b", "c")
		if r := reasonOf(do(h, p, 1, gateway.Subscribe{Topic: "d"})); r != millrace.ReasonTooManyTopics {
			h.Errorf("one more: %q", r)
		}
		do(h, p, 2, gateway.Unsubscribe{Topic: "a"})
		if r := reasonOf(do(h, p, 3, gateway.Subscribe{Topic: "d"})); r != "" {
			h.Errorf("one for another: %q", r)
		}
	})
}

func TestASessionsCursorStaysWithinItsBoundWhereItIsTold(t *testing.T) {
	in(t, gateway.Config{MaxTopics: 1000}, func(h *house) {
		p := h.join(h.lead)
		long := strings.Repeat("x", 200)
		refused := 0
		for i := range 40 {
			if reasonOf(do(h, p, uint32(i+1), gateway.Subscribe{Topic: fmt.Sprint(long, i)})) == millrace.ReasonTooManyTopics {
				refused++
			}
		}
		if refused == 0 || len(p.Cursor()) > millrace.MaxCursorBytes {
			h.Errorf("%d of 40 refused; the cursor has %d bytes", refused, len(p.Cursor()))
		}
		q := h.resume(h.lead, p.Cursor())
		h.settle()
		if n := len(gatewaytest.Frames[gateway.Subscribed](q)); n != 40-refused {
			h.Errorf("%d topics resumed of %d", n, 40-refused)
		}
	})
}

func TestAnOpeningThatCantBeReadIsRefused(t *testing.T) {
	in(t, gateway.Config{MaxSessions: 2}, func(h *house) {
		for name, c := range map[string]struct {
			opening gateway.Opening
			wire    *gateway.Wire
			reason  millrace.Reason
		}{
			"a cursor that is none": {gateway.Opening{Grant: everything(""), Cursor: "nonsense"}, h.wire, millrace.ReasonCursorInvalid},
			"a topic that is none":  {open("a", ""), h.wire, millrace.ReasonTopicInvalid},
			"a wire of another":     {open(), gatewaytest.Wire(), millrace.ReasonUnsupported},
		} {
			if _, err := (gatewaytest.Seat{Broker: h.broker, Gateway: h.gateway, Wire: c.wire}).Dial(c.opening); millrace.AsError(err).Reason != c.reason {
				h.Errorf("%s: %v", name, err)
			}
		}
		first := h.join(h.wire, "a")
		h.join(h.wire, "a")
		if _, err := h.seat(h.wire).Dial(open()); millrace.AsError(err).Reason != millrace.ReasonFull {
			h.Errorf("one too many: %v", err)
		}
		h.cut(first)
		h.join(h.wire)
	})
}

func TestTheCursorsTopicsOverrideTheOpenings(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "a")
		h.settle()
		o := open("b")
		o.Cursor = p.Cursor()
		q := h.connect(h.seat(w), o)
		h.settle()
		o.Cursor, _, _ = strings.Cut(p.Cursor(), ",")
		sealed := h.connect(h.seat(w), o)
		h.settle()
		if told := gatewaytest.Frames[gateway.Subscribed](q); len(told) != 1 || told[0].Topic != "a" {
			h.Errorf("told %+v", told)
		}
		if told := gatewaytest.Frames[gateway.Subscribed](sealed); len(told) != 1 || told[0].Topic != "b" {
			h.Errorf("told %+v", told)
		}
	})
}

// Promise: docs/delivery.md 8.6.
func TestAnEventWithoutEchoIsWithheldFromItsSenderLiveAndInReplay(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		sender, other := h.join(w, "a"), h.join(w, "a")
		h.settle()
		say := func(re uint32, data string, noEcho bool) {
			c := text("a", data)
			c.Publish.Event.NoEcho = noEcho
			do(h, sender, re, c)
		}
		say(1, "echoed", false)
		say(2, "mine", true)
		say(3, "mine too", true)
		check := func(name string, p *gatewaytest.Peer, want ...string) {
			h.Helper()
			p.CheckHead(h, "a")
			if got := p.Texts("a"); !slices.Equal(got, want) {
				h.Errorf("%s: got %q, want %q", name, got, want)
			}
			c, err := millrace.ParseCursor(p.Cursor())
			if err != nil || len(c.Pieces) != 1 || c.Pieces[0].Position != h.broker.Head("a") {
				h.Errorf("%s: cursor %q, the head is %s", name, p.Cursor(), h.broker.Head("a"))
			}
		}
		check("sender", sender, "echoed")
		check("other", other, "echoed", "mine", "mine too")

		h.cut(sender)
		replay := func(name string) {
			h.Helper()
			p := h.connect(h.seat(w), gateway.Opening{Grant: everything("alice"), Cursor: fromTheBeginning(h, sender)})
			h.settle()
			check(name, p, "echoed")
			h.cut(p)
		}
		replay("replay from the tail")
		h.elapse(time.Minute)
		h.cut(other)
		h.elapse(time.Minute)
		replay("replay from the log")
	})
}

// fromTheBeginning is the sender's seal with the position of the topic's beginning.
func fromTheBeginning(h *house, p *gatewaytest.Peer) string {
	c, err := millrace.ParseCursor(p.Cursor())
	if err != nil {
		h.Fatal(err)
	}
	c.Pieces[0].Position = millrace.Position{}
	return c.String()
}

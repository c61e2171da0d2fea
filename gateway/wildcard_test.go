package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// held returns which topics the peer was told to have, each with the pattern that it is held for.
func held(p *gatewaytest.Peer) map[string]string {
	topics := map[string]string{}
	for _, l := range p.Lines() {
		switch f := l.Frame.(type) {
		case *gateway.Subscribed:
			topics[f.Topic] = f.Pattern
		case *gateway.Unsubscribed:
			delete(topics, f.Topic)
			for topic, pattern := range topics {
				switch {
				case pattern != f.Topic:
				case f.Err == nil:
					delete(topics, topic)
				default:
					topics[topic] = ""
				}
			}
		}
	}
	return topics
}

func (h *house) holds(p *gatewaytest.Peer, want string) {
	h.Helper()
	if got := fmt.Sprint(held(p)); got != "map["+want+"]" {
		h.Errorf("the session holds %s, want %s", got, want)
	}
}

// docs/delivery.md 5.1
func TestAPatternIsTheTopicsThatThereAreAndThoseThatAreBorn(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Put("chat:1", "old")
		h.broker.Put("other:1", "old")
		earliest := h.connect(h.seat(w), openAt("chat:*", millrace.Start{Kind: millrace.StartEarliest}))
		now := h.join(w, "chat:*")
		h.settle()
		for _, p := range []*gatewaytest.Peer{earliest, now} {
			h.holds(p, "chat:*: chat:1:chat:*")
			frames := gatewaytest.Frames[gateway.Subscribed](p)
			if last := frames[len(frames)-1]; last.Topic != "chat:*" || last.Pending {
				h.Errorf("last came %+v; want the pattern after its topics", last)
			}
		}
		h.broker.Put("chat:1", "live")
		h.broker.Put("chat:2", "first", "second")
		h.broker.Put("other:2", "first")
		h.settle()
		for _, p := range []*gatewaytest.Peer{earliest, now} {
			p.CheckHead(h, "chat:1")
			p.CheckHead(h, "chat:2")
			if got := p.Texts("chat:2"); !slices.Equal(got, []string{"first", "second"}) {
				h.Errorf("of the topic that was born came %q", got)
			}
		}
		if a, b := len(earliest.Texts("chat:1")), len(now.Texts("chat:1")); a != 2 || b != 1 {
			h.Errorf("of the topic that there was came %d and %d events", a, b)
		}
	})
}

// docs/delivery.md 5.2
func TestACursorWithAPatternResumesExactly(t *testing.T) {
	for name, c := range map[string]gateway.Config{"known": {}, "forgotten": {Linger: time.Second}} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				o := open("chat:*")
				o.Topics[0].Filter = filter(h, `name != "no"`)
				p := h.connect(h.seat(w), o)
				h.settle()
				var want, got []string
				n := 0
				publish := func() {
					for range 10 {
						topic := fmt.Sprintf("chat:%d-%d", n%7, n/20)
						h.broker.Put(topic, fmt.Sprint(n))
						h.named(topic, "no", "filtered")
						want = append(want, fmt.Sprint(n))
						n++
					}
					h.settle()
				}
				collect := func() {
					for _, topic := range p.Topics() {
						p.CheckHead(h, topic)
						got = append(got, p.Texts(topic)...)
					}
				}
				for range 5 {
					publish()
					h.elapse(2 * time.Second)
					collect()
					h.cut(p)
					h.elapse(5 * time.Second)
					publish()
					p = h.resume(w, p.Cursor())
					h.elapse(2 * time.Second)
				}
				collect()
				slices.Sort(want)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					h.Errorf("got  %q\nwant %q", got, want)
				}
			})
		})
	}
}

// docs/delivery.md 5.2
func TestAPatternWhoseTopicsAreNotHeldYetIsPending(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		h.broker.Put("chat:1", "old")
		h.broker.Detach()
		p := h.join(w, "chat:*")
		h.elapse(2 * time.Second)
		if told := gatewaytest.Frames[gateway.Subscribed](p); len(told) != 1 || told[0].Topic != "chat:*" || !told[0].Pending {
			h.Errorf("told %+v", told)
		}
		if !strings.Contains(p.Cursor(), ",--chat:%2A") {
			h.Errorf("the cursor is %q", p.Cursor())
		}
		h.broker.Attach()
		h.settle()
		h.holds(p, "chat:*: chat:1:chat:*")
		if !strings.Contains(p.Cursor(), ",0-0-chat:%2A") {
			h.Errorf("the cursor is %q", p.Cursor())
		}
	})
}

// docs/delivery.md 5.2
func TestATopicThatIsBornDuringAnOutageIsTakenFromItsBirth(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "chat:*")
		h.settle()
		cursor := unsealed(p.Cursor())
		h.broker.Detach()
		h.broker.Put("chat:1", "1", "2")
		q := h.resume(w, cursor)
		h.elapse(2 * time.Second)
		h.broker.Attach()
		h.settle()
		for _, peer := range []*gatewaytest.Peer{p, q} {
			if got := peer.Texts("chat:1"); !slices.Equal(got, []string{"1", "2"}) {
				h.Errorf("got %q", got)
			}
		}
	})
}

// docs/delivery.md 5.3
func TestAPatternThatCoversTooMuchEndsAndLeavesWhatItMatched(t *testing.T) {
	wires(t, gateway.Config{MaxTopics: 4}, func(h *house, w *gateway.Wire) {
		o := open("chat:*", "own")
		o.Topics[0].Filter = filter(h, `name != "no"`)
		p := h.connect(h.seat(w), o)
		h.settle()
		for i := range 6 {
			h.broker.Put(fmt.Sprint("chat:", i), "1")
			h.settle()
		}
		ended := gatewaytest.Frames[gateway.Unsubscribed](p)
		if len(ended) != 1 || ended[0].Topic != "chat:*" || ended[0].Err == nil || ended[0].Err.Reason != millrace.ReasonTooManyTopics {
			h.Fatalf("told %+v", ended)
		}
		h.cut(p)
		q := h.resume(w, p.Cursor())
		h.settle()
		h.holds(q, "chat:0: chat:1: own:")
		h.named("chat:0", "no", "2")
		h.broker.Put("chat:0", "3")
		h.settle()
		if got := q.Texts("chat:0"); !slices.Equal(got, []string{"3"}) {
			h.Errorf("got %q", got)
		}
		if r := reasonOf(do(h, q, 1, gateway.Unsubscribe{Topic: "chat:0"})); r != "" {
			h.Errorf("a topic that its pattern left can't be left: %s", r)
		}
	})
}

// docs/delivery.md 5.3
func TestAPatternThatMatchedTooMuchEndsThoughTheSessionHoldsLess(t *testing.T) {
	wires(t, gateway.Config{MaxTopics: 4}, func(h *house, w *gateway.Wire) {
		o := open("**")
		o.Topics[0].MaxRate = 10 // which keeps out the topics of class log
		p := h.connect(h.seat(w), o)
		h.settle()
		h.broker.Set(prices, "k", "1")
		for i := range 4 {
			h.broker.Put(fmt.Sprint("log:", i), "1")
			h.settle()
		}
		h.broker.Set("latest:born", "k", "1")
		h.settle()
		h.holds(p, prices+":")
		told := gatewaytest.Frames[gateway.Unsubscribed](p)
		i := slices.IndexFunc(told, func(f gateway.Unsubscribed) bool { return f.Topic == "**" })
		if i < 0 || told[i].Err == nil || told[i].Err.Reason != millrace.ReasonTooManyTopics {
			h.Errorf("told %+v", told)
		}
		h.broker.Set(prices, "k", "2")
		h.settle()
		h.elapse(time.Second)
		p.CheckHead(h, prices)
	})
}

func TestAPatternThatMatchedTooMuchIsAskedForAnewOnceNobodyHoldsIt(t *testing.T) {
	wires(t, gateway.Config{MaxTopics: 4}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "chat:*")
		h.settle()
		for i := range 6 {
			h.broker.Put(fmt.Sprint("chat:", i), "1")
			h.settle()
		}
		h.holds(p, "chat:0: chat:1: chat:2:")
		for i := range 4 {
			h.broker.Drop(fmt.Sprint("chat:", i))
		}
		q := h.join(w, "chat:*")
		h.settle()
		h.holds(q, "chat:*: chat:4:chat:* chat:5:chat:*")
	})
}

func TestUnsubscribingAPatternEndsWhatIsHeldForIt(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "chat:own", "chat:*", "chat:**")
		h.settle()
		h.broker.Put("chat:1", "1")
		h.broker.Put("chat:own", "1")
		h.broker.Put("chat:a:b", "1")
		h.settle()
		if r := reasonOf(do(h, p, 1, gateway.Unsubscribe{Topic: "chat:1"})); r != millrace.ReasonConflict {
			h.Errorf("unsubscribing one of a pattern's topics: %q", r)
		}
		do(h, p, 2, gateway.Unsubscribe{Topic: "chat:*"})
		h.holds(p, "chat:**: chat:1:chat:** chat:a:b:chat:** chat:own:")
		do(h, p, 3, gateway.Subscribe{Topic: "chat:1"})
		do(h, p, 4, gateway.Unsubscribe{Topic: "chat:**"})
		h.holds(p, "chat:1: chat:own:")
		if r := reasonOf(do(h, p, 5, gateway.Unsubscribe{Topic: "chat:**"})); r != millrace.ReasonNotFound {
			h.Errorf("unsubscribing it again: %q", r)
		}
		h.broker.Put("chat:2", "1")
		h.broker.Put("chat:1", "2")
		h.settle()
		h.holds(p, "chat:1: chat:own:")
		p.CheckHead(h, "chat:1")
		h.elapse(time.Minute)
		if h.broker.Subscribed("chat:*") || h.broker.Subscribed("chat:a:b") || !h.broker.Subscribed("chat:1") {
			h.Error("the gateway holds what nobody wants, or lets go of what somebody does")
		}
	})
}

func TestAPatternNeedsARuleThatCoversIt(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		o := open()
		o.Grant = &millrace.Grant{Subject: "bob", Rules: []millrace.Rule{
			{Pattern: "chat:*", Actions: millrace.ActionSubscribe}, {Pattern: "read:**", Actions: millrace.ActionHistory},
		}}
		p := h.connect(h.seat(w), o)
		for i, c := range []struct {
			pattern string
			reason  millrace.Reason
		}{
			{"chat:**", millrace.ReasonForbidden},
			{"*", millrace.ReasonForbidden},
			{"read:*", millrace.ReasonForbidden},
			{"**:chat", millrace.ReasonTopicInvalid},
			{"chat:*", ""},
		} {
			if r := reasonOf(do(h, p, uint32(i+1), gateway.Subscribe{Topic: c.pattern})); r != c.reason {
				h.Errorf("%s: %q, want %q", c.pattern, r, c.reason)
			}
		}
		after := millrace.After(millrace.Position{Offset: 1, Mark: 2})
		if r := reasonOf(do(h, p, 9, gateway.Subscribe{Topic: "chat:a:*", Start: after})); r != millrace.ReasonBadRequest {
			h.Errorf("a pattern after a position: %q", r)
		}
	})
}

// docs/delivery.md 5.4
func TestAnEphemeralTopicUnderAPatternIsFollowedOnceItHasEvents(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "ephemeral:*")
		h.settle()
		h.broker.Put(cursors, "the one that tells of the topic")
		h.settle()
		h.broker.Put(cursors, "1", "2")
		h.settle()
		h.holds(p, "ephemeral:*: ephemeral:cursors:ephemeral:*")
		if got := p.Texts(cursors); !slices.Equal(got, []string{"1", "2"}) {
			h.Errorf("got %q", got)
		}
	})
}

func TestAPatternThatTheBrokerRefusesIsToldAndItsTopicsStay(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "chat:*")
		h.settle()
		h.broker.Put("chat:1", "1")
		h.settle()
		h.broker.Deny("chat:*", millrace.Errorf(millrace.ReasonForbidden, "no patterns"))
		h.settle()
		h.holds(p, "chat:1:")
		h.broker.Put("chat:1", "2")
		h.settle()
		p.CheckHead(h, "chat:1")
	})
}

func TestALargeCircleDoesNotHoldUpOthers(t *testing.T) {
	in(t, gateway.Config{Loops: 1, Slice: 4}, func(h *house) {
		var order []string
		note := func(name string) func() { return func() { order = append(order, name) } }
		for range 40 {
			seat := h.seat(h.wire)
			seat.OnTry = note("large")
			h.connect(seat, open("chat:*"))
		}
		seat := h.seat(h.wire)
		seat.OnTry = note("small")
		h.connect(seat, open("small"))
		h.settle()
		order = nil
		h.broker.Put("chat:1", "1")
		h.broker.Put("small", "1")
		h.settle()
		if at := slices.Index(order, "small"); at < 0 || at > 20 {
			h.Errorf("the small topic had its turn after %d writes to the large circle", at)
		}
	})
}

func TestUnsubscribingAPatternLeavesATopicThatACursorHasForItself(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		first := h.join(w, "a:1")
		h.settle()
		h.broker.Put("a:1", "0")
		h.settle()
		cursor := first.Cursor()
		h.cut(first)
		h.elapse(time.Minute) // the topic is subscribed anew
		h.broker.Detach()
		p := h.resume(w, cursor)
		p.Session.Pass(1, gateway.Subscribe{Topic: "a:*"})
		p.Session.Pass(2, gateway.Unsubscribe{Topic: "a:*"})
		h.elapse(2 * time.Second) // it is told as pending
		h.broker.Attach()
		h.broker.Put("a:1", "1")
		h.settle()
		p.CheckHead(h, "a:1")
		if got := p.Texts("a:1"); len(got) != 1 || got[0] != "1" {
			h.Errorf("got %q", got)
		}
	})
}

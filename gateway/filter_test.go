package gateway_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

func filter(t testing.TB, text string) *millrace.Filter {
	t.Helper()
	f, err := millrace.ParseFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// named publishes events of a name.
func (h *house) named(topic, name string, texts ...string) {
	for _, text := range texts {
		h.broker.Store(&millrace.Event{Topic: topic, Name: name, ContentType: "text/plain", Data: []byte(text)})
	}
}

func filtered(h *house, topic, text string) gateway.Opening {
	o := open()
	o.Topics = []gateway.Subscribe{{Topic: topic, Filter: filter(h, text)}}
	return o
}

// docs/delivery.md 4.1
func TestWhatAFilterLeavesOutIsPassedOverAndNeverReadAgain(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p, all := h.connect(h.seat(w), filtered(h, "a", `name == "yes"`)), h.join(w, "a")
		h.settle()
		h.named("a", "no", texts(0, 5)...)
		h.settle()
		if n := len(gatewaytest.Frames[gateway.Advanced](p)); n > 0 {
			h.Errorf("%d frames for events that do not pass", n)
		}
		h.named("a", "yes", "5")
		h.settle()
		if got := gatewaytest.Frames[gateway.Advanced](p); len(got) != 1 || got[0].Position.Offset != 5 || got[0].Conflated != 0 {
			h.Errorf("told %+v before the event", got)
		}
		h.named("a", "no", texts(6, 10)...)
		h.elapse(1100 * time.Millisecond)
		p.CheckHead(h, "a")
		all.CheckHead(h, "a")
		if got := p.Texts("a"); !slices.Equal(got, []string{"5"}) {
			h.Errorf("got %q", got)
		}
		if n := len(all.Texts("a")); n != 10 {
			h.Errorf("the other peer got %d events", n)
		}
	})
}

// docs/delivery.md 4.2
func TestAFilterHoldsInReplayLiveAndOverEveryResume(t *testing.T) {
	for name, c := range map[string]gateway.Config{"from the tail": {}, "from the log": {TailEvents: 2, BatchBytes: 900}} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				var want []string
				publish := func(from int) {
					for i := from; i < from+20; i++ {
						name := "no"
						if i%3 == 0 {
							name = "yes"
							want = append(want, fmt.Sprint(i))
						}
						h.named("a", name, fmt.Sprint(i))
					}
					h.settle()
				}
				publish(0)
				o := filtered(h, "a", `name == "yes"`)
				o.Topics[0].Start.Kind = millrace.StartEarliest
				p := h.connect(h.seat(w), o)
				h.settle()
				var got []string
				for i := range 4 {
					publish(20 + 40*i)
					got = append(got, p.Texts("a")...)
					if !strings.Contains(p.Cursor(), ",o.") {
						h.Fatalf("the cursor %q has no option", p.Cursor())
					}
					h.cut(p)
					publish(40 + 40*i)
					p = h.resume(w, p.Cursor())
					h.elapse(1100 * time.Millisecond)
				}
				p.CheckHead(h, "a")
				if got = append(got, p.Texts("a")...); !slices.Equal(got, want) {
					h.Errorf("got %q\nwant %q", got, want)
				}
			})
		})
	}
}

func TestAGapIsToldWhateverTheFilter(t *testing.T) {
	wires(t, gateway.Config{TailEvents: 2}, func(h *house, w *gateway.Wire) {
		p := h.connect(h.seat(w), filtered(h, "a", `name == "yes"`))
		h.settle()
		h.named("a", "no", texts(0, 3)...)
		h.elapse(time.Second)
		h.cut(p)
		h.named("a", "no", texts(3, 30)...)
		h.broker.Trim("a", 5)
		h.named("a", "yes", "30")
		h.settle() // or the tail may have what was not wanted, and the gap begins behind that
		q := h.resume(w, p.Cursor())
		h.settle()
		q.CheckHead(h, "a")
		if gaps := q.Gaps("a"); len(gaps) != 1 || gaps[0].After.Offset != 3 || gaps[0].Until.Offset != 25 {
			h.Errorf("gaps %v", gaps)
		}
	})
}

func TestTheBeginningOfTheCursorIsToldWheneverItsOptionsChange(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w, "plain")
		h.settle()
		first := gatewaytest.Frames[gateway.Connected](p)[0].Prefix
		if f, _ := do(h, p, 1, gateway.Subscribe{Topic: "a", Filter: filter(h, "name")}).(*gateway.Subscribed); f == nil || !strings.HasPrefix(f.Prefix, first+",o.") {
			h.Errorf("subscribed to one with a filter: %+v", f)
		}
		if f, _ := do(h, p, 2, gateway.Subscribe{Topic: "b"}).(*gateway.Subscribed); f == nil || f.Prefix != "" {
			h.Errorf("subscribed to one without: %+v", f)
		}
		if f, _ := do(h, p, 3, gateway.Unsubscribe{Topic: "b"}).(*gateway.Unsubscribed); f == nil || f.Prefix != "" {
			h.Errorf("unsubscribed from one without: %+v", f)
		}
		if f, _ := do(h, p, 4, gateway.Unsubscribe{Topic: "a"}).(*gateway.Unsubscribed); f == nil || f.Prefix != first {
			h.Errorf("unsubscribed from the one with a filter: %+v", f)
		}
	})
}

func TestWhatAnOpeningWishesGoesBeforeWhatItsCursorSays(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		o := open("a", "b")
		o.Topics[0].Filter = filter(h, `name == "first"`)
		p := h.connect(h.seat(h.wire), o)
		h.settle()
		h.cut(p)
		second := filter(h, `name == "second"`)
		for name, c := range map[string]struct {
			topics []gateway.Subscribe
			wish   millrace.Option
			a, b   string // what passes
		}{
			"nothing wished":         {nil, millrace.Option{}, "first", "first second"},
			"for all":                {nil, millrace.Option{Filter: second}, "second", "second"},
			"for the one that named": {[]gateway.Subscribe{{Topic: "a", Filter: second}}, millrace.Option{Filter: second}, "second", "first second"},
			"named, without a wish":  {[]gateway.Subscribe{{Topic: "a"}}, millrace.Option{}, "first", "first second"},
		} {
			q := h.connect(h.seat(h.wire), gateway.Opening{Grant: everything("alice"), Cursor: p.Cursor(), Topics: c.topics, Wish: c.wish})
			h.settle()
			skip := len(q.Texts("a"))
			for _, topic := range []string{"a", "b"} {
				h.named(topic, "first", "first")
				h.named(topic, "second", "second")
			}
			h.settle()
			a, b := strings.Join(q.Texts("a")[skip:], " "), strings.Join(q.Texts("b"), " ")
			if a != c.a || !strings.HasSuffix(b, c.b) {
				h.Errorf("%s: got %q of a and %q of b, want %q and %q", name, a, b, c.a, c.b)
			}
			h.cut(q)
		}
	})
}

// docs/protocol.md 10.6
func TestOptionsCountInTheLengthOfACursor(t *testing.T) {
	wires(t, gateway.Config{}, func(h *house, w *gateway.Wire) {
		p := h.join(w)
		long := filter(h, fmt.Sprintf("name == %q", strings.Repeat("x", 900)))
		refused := 0
		for i := range 6 {
			if reasonOf(do(h, p, uint32(i+1), gateway.Subscribe{Topic: fmt.Sprint("t", i), Filter: long})) == millrace.ReasonTooManyTopics {
				refused++
			}
		}
		do(h, p, 7, gateway.Unsubscribe{Topic: "t0"})
		if r := reasonOf(do(h, p, 8, gateway.Subscribe{Topic: "t9", Filter: long})); r != "" {
			h.Errorf("where one made room: %q", r)
		}
		if refused != 4 {
			h.Errorf("%d topics were refused", refused)
		}
		h.cut(p)
		q := h.resume(w, p.Cursor())
		h.settle()
		if got := held(q); len(got) != 2 {
			h.Errorf("the cursor brings back %q", got)
		}
	})
}

// docs/protocol.md 11.6
func TestTopicsOfAPatternThatEndsStayAsFarAsTheirOptionsFitACursor(t *testing.T) {
	in(t, gateway.Config{MaxTopics: 30}, func(h *house) {
		o := open()
		o.Topics = []gateway.Subscribe{{Topic: "c:*", Filter: filter(h, fmt.Sprintf("name != %q", strings.Repeat("x", 200)))}}
		p := h.connect(h.seat(h.wire), o)
		h.settle()
		for i := range 40 {
			h.broker.Put(fmt.Sprint("c:", i), "1")
		}
		h.settle()
		stay := held(p)
		told := gatewaytest.Frames[gateway.Unsubscribed](p)
		if len(stay) < 5 || len(stay)+len(told)-1 != 29 {
			h.Errorf("%d topics stay, %d ends were told", len(stay), len(told))
		}
		for _, f := range told {
			if f.Err == nil || f.Err.Reason != millrace.ReasonTooManyTopics {
				h.Errorf("told %+v", f)
			}
		}
		h.cut(p)
		q := h.resume(h.wire, p.Cursor())
		h.settle()
		if got := held(q); fmt.Sprint(got) != fmt.Sprint(stay) {
			h.Errorf("the cursor brings back %q, want %q", got, stay)
		}
	})
}

// docs/protocol.md 4.6
func TestACursorThatIsTooLongComesBackInParts(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		long := filter(h, fmt.Sprintf("name != %q", strings.Repeat("x", 900)))
		p := h.join(h.wire)
		do(h, p, 1, gateway.Subscribe{Topic: "a", Filter: long})
		do(h, p, 2, gateway.Subscribe{Topic: "b", Filter: long})
		do(h, p, 70, gateway.Subscribe{Topic: "c:*", Filter: filter(h, `name != "typing"`)})
		h.broker.Put("c:1", "1")
		for i := range 60 {
			do(h, p, uint32(i+3), gateway.Subscribe{Topic: fmt.Sprint("long:", strings.Repeat("x", 200), i)})
		}
		h.broker.Put("a", "1")
		h.settle()
		whole := p.Cursor()
		if _, err := h.seat(h.wire).Dial(gateway.Opening{Grant: everything("alice"), Cursor: whole}); err == nil {
			h.Errorf("a cursor of %d bytes was taken", len(whole))
		}
		h.cut(p)
		h.broker.Put("a", "2")
		h.named("c:1", "typing", "no")
		h.broker.Put("c:1", "2")
		h.broker.Put("c:2", "1")
		items := strings.Split(whole, ",")
		n := slices.IndexFunc(items, func(item string) bool { return strings.Contains(item, "-") && !strings.Contains(item, ".") })
		beginning, pieces := strings.Join(items[:n], ","), items[n:]
		slices.SortStableFunc(pieces, func(a, b string) int { // patterns come last
			return cmp.Compare(strings.Count(a, "%2A"), strings.Count(b, "%2A"))
		})
		q := h.resume(h.wire, beginning)
		h.settle()
		if q.Session.ID() != p.Session.ID() {
			h.Errorf("the session is another")
		}
		for len(pieces) > 0 {
			part := beginning
			for len(pieces) > 0 && len(part)+1+len(pieces[0]) <= millrace.MaxCursorBytes {
				part, pieces = part+","+pieces[0], pieces[1:]
			}
			c, err := millrace.ParseCursor(part)
			if err != nil {
				h.Fatal(err)
			}
			q.Session.Pass(4, gateway.Resume(c, millrace.Option{}))
		}
		h.settle()
		if got := held(q); len(got) != len(held(p))+1 {
			h.Errorf("the parts bring back %d topics of %d and a new one", len(got), len(held(p)))
		}
		for topic, want := range map[string]string{"a": "2", "c:1": "2", "c:2": "1"} {
			if got := strings.Join(q.Texts(topic), " "); got != want {
				h.Errorf("of %s came %q, want %q", topic, got, want)
			}
		}
	})
}

// docs/delivery.md 8.6
func TestAResumedSessionDoesNotGetItsOwnEventsInReplay(t *testing.T) {
	for name, c := range map[string]gateway.Config{"from the tail": {}, "from the log": {TailEvents: 1}} {
		t.Run(name, func(t *testing.T) {
			wires(t, c, func(h *house, w *gateway.Wire) {
				p, other := h.join(w, "a"), h.join(w, "a")
				h.settle()
				cursor := p.Cursor()
				for _, data := range texts(0, 3) {
					own := text("a", data)
					own.Publish.Event.NoEcho = true
					do(h, p, 1, own)
					h.cut(p)
					h.broker.Put("a", "between")
					p = h.resume(w, cursor)
					h.settle()
				}
				p.CheckHead(h, "a")
				if got := p.Texts("a"); !slices.Equal(got, []string{"between", "between", "between"}) {
					h.Errorf("the session got %q", got)
				}
				if n := len(other.Texts("a")); n != 6 {
					h.Errorf("another session got %d events of 6", n)
				}
			})
		})
	}
}

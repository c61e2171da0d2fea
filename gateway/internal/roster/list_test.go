package roster_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestWhoeverLooksIsToldOfEveryoneAndThenOfWhatChanges(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 250) // several pages
		o := h.look()
		first := o.edition()
		if !first.Reset || len(first.Joined) != 250 || first.Count != 250 || first.Subjects != 125 || first.AsOf != h.broker.Head("$presence:"+topic) {
			t.Errorf("told of %d members: %+v", len(first.Joined), first.AsOf)
		}
		h.join(250, 252)
		h.change(h.broker, millrace.MemberUpdate, session(7), "", `{"n": 1}`)
		h.leave(3, 4)
		h.elapse(interval)
		next := o.edition()
		if next.Reset || len(next.Joined) != 2 || len(next.Updated) != 1 || string(next.Updated[0].Data) != `{"n":1}` || len(next.Left) != 1 {
			t.Errorf("told %+v", next)
		}
		o.quiet()
		late := h.look()
		if c := late.edition(); !c.Reset || c.Count != 251 || len(c.Joined) != 251 {
			t.Errorf("told %+v", c)
		}
		late.quiet()
	})
}

func TestATopicWithoutMembersIsToldAsSuch(t *testing.T) {
	in(t, 10, func(h *house) {
		o := h.look()
		if c := o.edition(); !c.Reset || c.Count != 0 || len(c.Joined) != 0 {
			t.Errorf("told %+v", c)
		}
		h.join(0, 1)
		h.elapse(interval)
		o.wants()
		h.leave(0, 1)
		h.elapse(interval)
		o.wants()
	})
}

func TestTheFirstChangeAfterAQuietTimeIsToldAtOnceAndTheOthersByIntervals(t *testing.T) {
	in(t, 1000, func(h *house) {
		o := h.look()
		o.edition()
		h.elapse(time.Second)
		for i := range 100 {
			h.join(i, i+1)
			h.elapse(10 * time.Millisecond)
			if i == 0 {
				o.edition()
			}
		}
		h.elapse(interval)
		if n := o.turns.Load(); n < 10 || n > 13 {
			t.Errorf("100 changes in a second came in %d editions", n)
		}
		o.wants()
	})
}

func TestTheMoreAreToldTheFewerEditionsThereAre(t *testing.T) {
	in(t, 1000, func(h *house) {
		o := h.look()
		o.list.Count(9999)
		h.elapse(time.Second)
		before := o.turns.Load()
		for i := range 500 {
			h.join(i, i+1)
			h.elapse(10 * time.Millisecond)
		}
		if n := o.turns.Load() - before; n < 4 || n > 7 {
			t.Errorf("500 changes in five seconds came in %d editions", n)
		}
		h.elapse(2 * time.Second)
		o.wants()
	})
}

func TestWhatIsUndoneWithinAnEditionIsNotTold(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 2)
		o := h.look()
		o.edition()
		h.elapse(time.Second)
		h.join(2, 3) // and so begins an interval
		h.elapse(10 * time.Millisecond)
		o.edition()
		h.join(5, 6)
		h.leave(5, 6)
		h.elapse(time.Second)
		o.quiet()
		h.change(h.broker, millrace.MemberUpdate, session(0), "", `1`)
		h.change(h.broker, millrace.MemberUpdate, session(0), "", `{"n":0}`)
		h.elapse(time.Second)
		o.quiet()
		h.leave(1, 2)
		h.elapse(time.Millisecond) // so that it joins at another time
		h.join(1, 2)
		h.elapse(time.Second)
		if c := o.edition(); len(c.Updated) != 1 || len(c.Joined)+len(c.Left) != 0 {
			t.Errorf("told %+v", c)
		}
		o.wants()
	})
}

func TestWhoFellBehindIsToldWhatTheEditionsAddUpToOrEveryone(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 50)
		slow, slower, steady := h.look(), h.look(), h.look()
		for _, o := range []*onlooker{slow, slower, steady} {
			o.edition()
		}
		for i := range 6 {
			h.join(50+i, 51+i)
			h.change(h.broker, millrace.MemberUpdate, session(50), "", `{"i":`+session(i)[1:]+`}`)
			h.elapse(time.Second)
			steady.edition()
			if i == 4 {
				h.leave(52, 54)
			}
		}
		if c := slow.edition(); c.Reset || len(c.Joined) != 4 || len(c.Left)+len(c.Updated) != 0 {
			t.Errorf("told %+v", c)
		}
		again, _ := slower.list.Since(slower.number)
		if other, _ := steady.list.Since(slower.number); again != other {
			t.Error("what those who stand together are told is not shared")
		}
		for range 20 {
			h.leave(50, 51)
			h.elapse(time.Second)
			h.join(50, 51)
			h.elapse(time.Second)
		}
		if c := slower.edition(); !c.Reset || c.Count != 54 {
			t.Errorf("told %+v", c)
		}
		for _, o := range []*onlooker{slow, slower, steady} {
			o.wants()
		}
	})
}

func TestMoreChangesThanMembersAreToldAsEveryone(t *testing.T) {
	in(t, 1000, func(h *house) {
		o := h.look()
		o.edition()
		for i := range 4 {
			h.join(10*i, 10*i+10)
			h.elapse(time.Second)
			if i == 0 {
				o.edition()
			}
			h.leave(10*i, 10*i+9)
			h.elapse(time.Second)
		}
		if c := o.edition(); !c.Reset || c.Count != 4 {
			t.Errorf("told %+v", c)
		}
		o.wants()
	})
}

func TestAboveTheLimitOnlyCountsAreToldAndWellBelowEveryoneAgain(t *testing.T) {
	in(t, 20, func(h *house) {
		h.join(0, 20)
		o := h.look()
		if c := o.edition(); !c.Reset || c.Count != 20 {
			t.Errorf("told %+v", c)
		}
		h.join(20, 22)
		h.elapse(time.Second)
		if c := o.edition(); !c.CountOnly || c.Reset || c.Count != 22 || c.Subjects != 11 {
			t.Errorf("told %+v", c)
		}
		late := h.look()
		if c := late.edition(); !c.CountOnly || c.Count != 22 {
			t.Errorf("told %+v", c)
		}
		h.change(h.broker, millrace.MemberUpdate, session(0), "", `1`)
		h.elapse(time.Second)
		o.quiet()
		h.leave(0, 4)
		h.elapse(time.Second)
		if c := o.edition(); !c.CountOnly || c.Count != 18 {
			t.Errorf("told %+v", c)
		}
		h.leave(4, 5)
		h.elapse(time.Second)
		for _, who := range []*onlooker{o, late} {
			if c := who.edition(); !c.Reset || c.CountOnly || c.Count != 17 {
				t.Errorf("told %+v", c)
			}
			who.wants()
		}
		h.join(100, 200)
		h.elapse(time.Second)
		o.wants()
		h.leave(100, 200)
		h.elapse(time.Second)
		o.wants()
		late.wants()
	})
}

func TestAListThatNobodyLooksAtIsLetGo(t *testing.T) {
	in(t, 10, func(h *house) {
		h.join(0, 3)
		a, b := h.look(), h.look()
		if a.list != b.list {
			t.Error("there are two lists of one topic")
		}
		a.end()
		h.join(3, 4)
		h.elapse(time.Second)
		b.wants()
		b.end()
		h.settle()
		h.clock.Store(9)
		h.sources.Sweep(9)
		if !h.broker.Subscribed(millrace.PresenceTopic(topic)) {
			t.Error("let go before its time")
		}
		again := h.look()
		again.wants()
		again.end()
		h.settle()
		h.sources.Sweep(19)
		if h.broker.Subscribed(millrace.PresenceTopic(topic)) {
			t.Error("still subscribed")
		}
	})
}

func TestBytesAreMadeOnceForAll(t *testing.T) {
	in(t, 10, func(h *house) {
		h.join(0, 3)
		a, b := h.look(), h.look()
		first, _ := a.list.Since(0)
		second, _ := b.list.Since(0)
		one, two := first.Bytes(1, encode), second.Bytes(1, encode)
		if &one[0] != &two[0] {
			t.Error("encoded twice")
		}
	})
}

package roster_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

const log = "$presence:" + topic

func TestABrokerThatComesBackWithoutMemoryIsNotToldIfNothingChanged(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 100)
		o := h.look()
		o.edition()
		for range 3 {
			h.restart()
			h.elapse(10 * time.Second)
			o.quiet()
		}
		h.join(100, 101)
		h.elapse(time.Second)
		if c := o.edition(); c.Reset || len(c.Joined) != 1 || len(c.Updated)+len(c.Left) > 0 {
			t.Errorf("told %+v", c)
		}
		o.wants()
	})
}

func TestGatewaysThatTellTheirMembersLateAreWaitedFor(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 10)
		for i := 10; i < 20; i++ {
			h.change(h.other, millrace.MemberJoin, session(i), subject(i), `{}`)
		}
		o := h.look()
		o.edition()
		h.other.Detach()
		h.broker.Detach()
		h.settle()
		h.other.Expire()
		h.restart()
		h.elapse(700 * time.Millisecond)
		h.join(30, 31) // so the log has not come to rest
		h.elapse(700 * time.Millisecond)
		h.other.Attach()
		h.elapse(10 * time.Second)
		if c := o.edition(); len(c.Joined) != 1 || len(c.Updated)+len(c.Left) > 0 {
			t.Errorf("told %+v", c)
		}
		o.wants()
		h.restart()
		for range 100 { // and so it never does
			h.join(40, 41)
			h.leave(40, 41)
			h.elapse(100 * time.Millisecond)
		}
		o.wants()
	})
}

func TestWhoHasLeftDuringARestartIsTold(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 100)
		o := h.look()
		o.edition()
		h.broker.Detach()
		h.leave(10, 15)
		h.settle()
		h.broker.Expire()
		h.broker.Reset(log)
		h.broker.Attach()
		h.elapse(10 * time.Second)
		if c := o.edition(); c.Reset || len(c.Left) != 5 || len(c.Joined)+len(c.Updated) > 0 {
			t.Errorf("told %+v", c)
		}
		o.wants()
	})
}

func TestWhatTheLogNoLongerHasIsReadAnewAndTheDifferenceTold(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 100)
		o := h.look()
		o.edition()
		h.broker.Detach()
		h.settle()
		for i := 200; i < 220; i++ {
			h.change(h.other, millrace.MemberJoin, session(i), subject(i), `{}`)
		}
		h.broker.Trim(log, 3)
		h.broker.Attach()
		h.elapse(interval) // there is nothing that would have to come to rest
		if c := o.edition(); c.Reset || len(c.Joined) != 20 || len(c.Updated)+len(c.Left) > 0 {
			t.Errorf("told %+v", c)
		}
		h.broker.Lose(log, 2)
		h.join(300, 303)
		h.elapse(interval)
		o.edition()
		o.wants()
	})
}

func TestWhileTheBrokerIsAwayTheListStands(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 10)
		o := h.look()
		o.edition()
		h.broker.Detach()
		h.elapse(time.Hour)
		o.quiet()
		late := h.look()
		if c := late.edition(); c.Count != 10 || !c.Reset {
			t.Errorf("told %+v", c)
		}
		h.broker.Attach()
		h.join(10, 11)
		h.elapse(interval)
		if c := o.edition(); len(c.Joined) != 1 {
			t.Errorf("told %+v", c)
		}
		if n := h.failures.Load(); n > 0 {
			t.Errorf("%d attempts failed", n)
		}
	})
}

func TestAListThatCanNotBeReadYetIsToldOnceItCan(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.broker.Detach()
		o := h.look()
		h.elapse(time.Minute)
		o.quiet()
		h.broker.FailMembers(millrace.Errorf(millrace.ReasonUnavailable, "away"))
		h.broker.Attach()
		for i := range 10 {
			h.change(h.other, millrace.MemberJoin, session(i), subject(i), "1")
		}
		h.elapse(time.Minute)
		o.quiet()
		if n := h.failures.Load(); n < 5 || n > 20 {
			t.Errorf("%d attempts in a minute", n)
		}
		h.broker.FailMembers(nil)
		h.elapse(5 * time.Second)
		o.wants()
	})
}

func TestASourceThatIsRefusedIsAskedForAgain(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 10)
		o := h.look()
		o.edition()
		h.broker.Deny(log, millrace.Errorf(millrace.ReasonUnavailable, "not now"))
		h.elapse(time.Minute)
		o.quiet()
		h.join(10, 12)
		h.broker.Deny(log, nil)
		h.elapse(6 * time.Second)
		if c := o.edition(); len(c.Joined) != 2 {
			t.Errorf("told %+v", c)
		}
		o.wants()
	})
}

func TestAListThatIsClosedWhileItIsReadIsLetGo(t *testing.T) {
	in(t, 1000, func(h *house) {
		release := h.broker.HoldMembers()
		first := h.look()
		first.end()
		h.settle()
		second := h.look()
		h.settle()
		release()
		h.join(0, 10)
		h.elapse(time.Second)
		second.wants()
		second.end()
		h.settle()
		h.sources.Sweep(100)
		if h.broker.Subscribed(log) {
			t.Error("still subscribed")
		}
	})
}

// While the members are read the log goes on, further than the source keeps.
func TestAReadThatIsOvertakenIsMadeAgain(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 10)
		h.broker.Detach()
		o := h.look()
		release := h.broker.HoldMembers()
		h.broker.Attach()
		for i := 10; i < 200; i++ { // at the end that does not wait
			h.change(h.other, millrace.MemberJoin, session(i), subject(i), "1")
		}
		h.settle()
		release()
		h.elapse(time.Second)
		o.wants()
	})
}

// Each event has the counts, so those of a topic above the limit need nothing of what the source no longer has: neither when
// the members were read nor later. While they can't be read, what is told shows that.
func TestCountsAreToldOfATopicThatIsBusierThanTheSourceKeeps(t *testing.T) {
	in(t, 20, func(h *house) {
		h.join(0, 30)
		release := h.broker.HoldMembers()
		o := h.look()
		h.rush(30, 500)
		release()
		h.elapse(10 * time.Millisecond)
		o.wants()
		release = h.broker.HoldMembers()
		defer release()
		for n := 500; n < 1500; n += 500 {
			h.rush(n, n+500)
			h.elapse(interval)
			if c := o.edition(); !c.CountOnly || c.Count != n+500 || c.Subjects != (n+500)/2 {
				t.Errorf("told %+v", c)
			}
		}
	})
}

// The pages of a list are of several moments. Until the log has come to where the last was read, they are no list.
func TestAListIsToldOnlyWhenItIsOfOneMoment(t *testing.T) {
	in(t, 1000, func(h *house) {
		h.join(0, 6)
		h.page, h.pause = 2, 100*time.Millisecond
		o := h.look()
		h.elapse(150 * time.Millisecond) // one page of three is read
		h.lag = 3 * time.Second
		h.leave(0, 1)
		h.join(6, 7)
		h.elapse(time.Second)
		o.quiet()
		h.elapse(3 * time.Second)
		if c := o.edition(); !c.Reset || c.Count != 6 {
			t.Errorf("told %+v", c)
		}
		o.wants()
	})
}

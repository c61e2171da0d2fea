package enrol_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/enrol"
)

// upstream does what it is asked, unless it is told to fail or to wait.
type upstream struct {
	mu    sync.Mutex
	calls [][]string // the changes of each
	fail  func(call int, c millrace.MemberChange) *millrace.Error
	err   error
	hold  chan struct{}
}

func (u *upstream) Enroll(ctx context.Context, changes []millrace.MemberChange) ([]millrace.MemberAck, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if hold := u.hold; hold != nil {
		u.mu.Unlock()
		select {
		case <-hold:
		case <-ctx.Done():
		}
		u.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	var call []string
	acks := make([]millrace.MemberAck, len(changes))
	for i, c := range changes {
		call = append(call, text(c))
		if u.fail != nil {
			acks[i].Err = u.fail(len(u.calls), c)
		}
	}
	u.calls = append(u.calls, call)
	return acks, u.err
}

func (u *upstream) asked() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(slices.Concat(u.calls...), " ")
}

func (u *upstream) set(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
}

func text(c millrace.MemberChange) string {
	return fmt.Sprintf("%s:%s:%d:%s", []string{"", "join", "resume", "update", "leave"}[c.Kind], c.Member.Session, c.Generation, c.Member.Data)
}

// owner books what it is told.
type owner struct {
	mu   sync.Mutex
	told []string
}

func (o *owner) Enrolled(c millrace.MemberChange, ack millrace.MemberAck) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := text(c)
	if ack.Err != nil {
		t += "=" + string(ack.Err.Reason)
	}
	o.told = append(o.told, t)
}

func (o *owner) heard() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.told, " ")
}

// with runs body beside an enroller.
func with(t *testing.T, body func(t *testing.T, e *enrol.Enroller, u *upstream)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
		e := enrol.New(u)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { e.Run(ctx) })
		body(t, e, u)
		cancel()
		running.Wait()
	})
}

func change(kind millrace.MemberChangeKind, session string, generation uint32, data string, o enrol.Owner) enrol.Change {
	return enrol.Change{Owner: o, MemberChange: millrace.MemberChange{
		Kind: kind, Topic: "room", Generation: generation, Member: millrace.Member{Session: session, Data: []byte(data)},
	}}
}

func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func want(t *testing.T, what, got, wanted string) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: %q, want %q", what, got, wanted)
	}
}

func unavailable() *millrace.Error { return millrace.Errorf(millrace.ReasonUnavailable, "away") }

func TestChangesOfManyAreAskedInBatches(t *testing.T) {
	with(t, func(t *testing.T, e *enrol.Enroller, u *upstream) {
		o := &owner{}
		release := make(chan struct{})
		u.set(func() { u.hold = release })
		for i := range 1000 {
			e.Submit(change(millrace.MemberJoin, fmt.Sprint(i), 1, "", o))
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		for i, call := range u.calls {
			if len(call) > 256 {
				t.Errorf("call %d has %d changes", i, len(call))
			}
		}
		if len(u.calls) > 5 || len(o.told) != 1000 {
			t.Errorf("%d calls; %d were answered", len(u.calls), len(o.told))
		}
	})
}

func TestOfASeatTheNewestWaitsBehindWhatIsUnderWay(t *testing.T) {
	with(t, func(t *testing.T, e *enrol.Enroller, u *upstream) {
		first, second, third := &owner{}, &owner{}, &owner{}
		release := make(chan struct{})
		u.set(func() { u.hold = release })
		e.Submit(change(millrace.MemberJoin, "a", 1, "", first))
		synctest.Wait()
		e.Submit(change(millrace.MemberLeave, "a", 1, "", second))
		e.Submit(change(millrace.MemberResume, "a", 2, "", third))
		e.Submit(change(millrace.MemberLeave, "a", 1, "", second)) // too late
		synctest.Wait()
		close(release)
		synctest.Wait()
		want(t, "asked", u.asked(), "join:a:1: resume:a:2:")
		want(t, "first", first.heard(), "join:a:1:")
		want(t, "second", second.heard(), "")
		want(t, "third", third.heard(), "resume:a:2:")
		e.Submit(change(millrace.MemberLeave, "a", 2, "", nil))
		synctest.Wait()
		want(t, "asked", u.asked(), "join:a:1: resume:a:2: leave:a:2:")
	})
}

func TestWhatPersistsIsAskedAgainUntilItIsAnswered(t *testing.T) {
	with(t, func(t *testing.T, e *enrol.Enroller, u *upstream) {
		o := &owner{}
		u.set(func() { u.fail = func(int, millrace.MemberChange) *millrace.Error { return unavailable() } })
		resume := change(millrace.MemberResume, "a", 1, "", o)
		resume.Persists = true
		e.Submit(resume)
		e.Submit(change(millrace.MemberLeave, "b", 1, "", o))
		e.Submit(change(millrace.MemberJoin, "c", 1, "", o))
		synctest.Wait()
		want(t, "told", o.heard(), "join:c:1:=unavailable")
		elapse(10 * time.Minute)
		if n := len(u.calls); n < 20 || n > 100 {
			t.Errorf("asked %d times in 10 minutes", n)
		}
		u.set(func() {
			u.fail = func(_ int, c millrace.MemberChange) *millrace.Error {
				if c.Member.Session == "b" {
					return millrace.Errorf(millrace.ReasonConflict, "elsewhere")
				}
				return nil
			}
		})
		elapse(time.Minute)
		want(t, "told", o.heard(), "join:c:1:=unavailable resume:a:1: leave:b:1:=conflict")
		n := len(u.calls)
		elapse(10 * time.Minute)
		if len(u.calls) != n {
			t.Error("asked again though it was answered")
		}
	})
}

func TestWhatFailsIsNotAskedAgainOnceANewerTakesItsPlace(t *testing.T) {
	with(t, func(t *testing.T, e *enrol.Enroller, u *upstream) {
		o := &owner{}
		down := true
		u.set(func() {
			u.fail = func(int, millrace.MemberChange) *millrace.Error {
				if down {
					return unavailable()
				}
				return nil
			}
		})
		e.Submit(change(millrace.MemberLeave, "a", 1, "", o))
		elapse(time.Second)
		u.set(func() { down, u.calls = false, nil })
		e.Submit(change(millrace.MemberResume, "a", 2, "", o))
		elapse(time.Minute)
		want(t, "asked", u.asked(), "resume:a:2:")
		want(t, "told", o.heard(), "resume:a:2:")
	})
}

func TestACallThatFailsOrHangsAnswersAllOfIt(t *testing.T) {
	with(t, func(t *testing.T, e *enrol.Enroller, u *upstream) {
		o := &owner{}
		u.set(func() { u.err = errors.New("secret") })
		e.Submit(change(millrace.MemberJoin, "a", 1, "", o))
		synctest.Wait()
		u.set(func() { u.err, u.hold = nil, make(chan struct{}) })
		e.Submit(change(millrace.MemberJoin, "b", 1, "", o))
		elapse(time.Minute)
		want(t, "told", o.heard(), "join:a:1:=internal join:b:1:=deadline")
	})
}

// TestTheLastWordCounts submits at random while calls fail and hang; what is asked last for each seat is what was submitted
// last, and of each seat the order is kept.
func TestTheLastWordCounts(t *testing.T) {
	for seed := range uint64(100) {
		with(t, func(t *testing.T, e *enrol.Enroller, u *upstream) {
			r, faults := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			calm := false
			u.set(func() {
				u.fail = func(int, millrace.MemberChange) *millrace.Error {
					if !calm && faults.IntN(3) == 0 {
						return unavailable()
					}
					return nil
				}
			})
			last := map[string]string{}
			for i := range 300 {
				session := fmt.Sprint(r.IntN(5))
				c := change(millrace.MemberJoin, session, 1, fmt.Sprintf("%03d", i), nil)
				c.Persists = true
				e.Submit(c)
				last[session] = text(c.MemberChange)
				switch r.IntN(6) {
				case 0:
					elapse(time.Duration(r.IntN(1000)) * time.Millisecond)
				case 1:
					hold := make(chan struct{})
					u.set(func() { u.hold = hold })
					time.AfterFunc(time.Duration(r.IntN(7000))*time.Millisecond, func() { close(hold) })
				case 2:
					u.set(func() { u.hold = nil })
				}
			}
			u.set(func() { calm, u.hold = true, nil })
			elapse(5 * time.Minute)
			got := map[string]string{}
			for _, c := range slices.Concat(u.calls...) {
				session := strings.Split(c, ":")[1]
				if got[session] > c {
					t.Fatalf("seed %d: %s after %s", seed, c, got[session])
				}
				got[session] = c
			}
			for session, c := range last {
				want(t, fmt.Sprintf("seed %d: the last of %s", seed, session), got[session], c)
			}
		})
	}
}

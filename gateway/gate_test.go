package gateway_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// rush opens sessions at once, each in a goroutine of its own as its wire's handler would.
type rush struct {
	house   *house
	openers sync.WaitGroup

	mu     sync.Mutex
	opened []gateway.Opening         // in the order in which they were let in
	back   map[time.Duration]int     // of those that were refused: when they are to come back
	others map[millrace.Reason]error // refusals for other reasons
}

func (h *house) rush(n int, o func(i int) gateway.Opening) *rush {
	r := &rush{house: h, back: map[time.Duration]int{}, others: map[millrace.Reason]error{}}
	for i := range n {
		r.openers.Go(func() { r.open(o(i)) })
	}
	h.settle()
	return r
}

func (r *rush) open(o gateway.Opening) {
	p, err := r.house.seat(r.house.wire).Dial(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch refusal := millrace.AsError(err); {
	case err == nil:
		r.opened = append(r.opened, o)
		r.house.peers = append(r.house.peers, p)
	case refusal.Reason == millrace.ReasonFull:
		r.back[refusal.RetryAfter]++
	default:
		r.others[refusal.Reason] = err
	}
}

// counts returns how many openings were let in and refused so far.
func (r *rush) counts() (opened, refused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.back {
		refused += n
	}
	return len(r.opened), refused
}

func resuming(cursor string) gateway.Opening {
	return gateway.Opening{Grant: everything("alice"), Cursor: cursor}
}

// Promise: docs/delivery.md 7.5.
func TestOpeningsAreLetInAtTheRateAndThoseThatResumeFirst(t *testing.T) {
	in(t, gateway.Config{AdmitRate: 100, MaxAdmitWait: 3 * time.Second}, func(h *house) {
		first := h.join(h.wire, "a")
		h.settle()
		cursor := first.Cursor()
		h.elapse(time.Second)
		r := h.rush(200, func(i int) gateway.Opening {
			if i%2 == 0 {
				return open("a")
			}
			return resuming(cursor)
		})
		if n, refused := r.counts(); n != 10 || refused != 0 {
			h.Errorf("at once %d were let in and %d refused; want a tenth of a second's", n, refused)
		}
		resumed := 0
		for i := range 4 {
			h.elapse(500 * time.Millisecond)
			n, refused := r.counts()
			if want := min(10+50*(i+1), 200); n < want-5 || n > want+5 || refused != 0 {
				h.Errorf("after %v %d were let in and %d refused; want about %d", time.Duration(i+1)*500*time.Millisecond, n, refused, want)
			}
		}
		r.openers.Wait()
		for i, o := range r.opened {
			if o.Cursor != "" {
				resumed = i + 1
			}
		}
		if resumed > 100+10 { // those that came first of all did not wait
			h.Errorf("the last of 100 resumes was number %d", resumed)
		}
		if len(r.others) > 0 {
			h.Errorf("refused: %v", r.others)
		}
	})
}

// Promise: docs/delivery.md 7.5.
func TestWhoWouldWaitTooLongIsRefusedWithATimeOfItsOwn(t *testing.T) {
	in(t, gateway.Config{AdmitRate: 100, MaxAdmitWait: time.Second}, func(h *house) {
		r := h.rush(1000, func(int) gateway.Opening { return open("a") })
		n, refused := r.counts()
		if n != 10 || refused < 880 || refused > 900 {
			h.Errorf("at once %d were let in and %d refused; want those who need not wait longer than a second to wait", n, refused)
		}
		h.elapse(1100 * time.Millisecond)
		r.openers.Wait()
		if n, _ := r.counts(); n < 100 || n > 120 {
			h.Errorf("within the longest wait %d were let in", n)
		}
		slices := map[time.Duration]int{}
		for back, n := range r.back {
			if back < time.Second || back > 11*time.Second {
				h.Errorf("one was refused for %v", back)
			}
			slices[back.Truncate(time.Second)] += n
		}
		for slice, n := range slices {
			if n > 150 {
				h.Errorf("%d were told to come back between %v and %v", n, slice, slice+time.Second)
			}
		}
		if len(slices) < 9 || len(r.others) > 0 {
			h.Errorf("they come back within %v; refused otherwise: %v", slices, r.others)
		}
	})
}

func TestOpeningsBelowTheRateAreNotHeldUp(t *testing.T) {
	in(t, gateway.Config{}, func(h *house) {
		began := time.Now()
		for range 100 {
			h.join(h.wire, "a")
		}
		if took := time.Since(began); took != 0 {
			h.Errorf("a hundred peers waited for %v", took)
		}
	})
}

func TestAnOpeningThatGivesUpIsNotWaitedFor(t *testing.T) {
	in(t, gateway.Config{AdmitRate: 1, MaxAdmitWait: time.Minute}, func(h *house) {
		h.join(h.wire, "a")
		gone := errors.New("the peer is gone")
		ctx, cancel := context.WithCancelCause(h.Context())
		refused := make(chan error, 20)
		for range 20 {
			go func() {
				_, err := h.gateway.Open(ctx, open("a"), h.wire, gatewaytest.NewPipe(100, nil))
				refused <- err
			}()
		}
		h.settle()
		cancel(gone)
		for range 20 {
			if err := <-refused; !errors.Is(err, gone) {
				h.Errorf("refused with %v", err)
			}
		}
		began := time.Now()
		h.join(h.wire, "a")
		if took := time.Since(began); took > 1100*time.Millisecond {
			h.Errorf("the next one waited %v for those who gave up", took)
		}
	})
}

func TestWhoWaitsIsRefusedWhenTheGatewayGoesAway(t *testing.T) {
	for name, end := range map[string]func(g *gateway.Gateway){
		"closed":  (*gateway.Gateway).Close,
		"drained": func(g *gateway.Gateway) { g.StartDrain(0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, gateway.Config{AdmitRate: 1, MaxAdmitWait: 10 * time.Second}, func(h *house) {
				r := h.rush(5, func(int) gateway.Opening { return open("a") })
				end(h.gateway)
				r.openers.Wait()
				if n, _ := r.counts(); n != 1 || len(r.others) != 1 || r.others[millrace.ReasonDraining] == nil {
					h.Errorf("%d of 5 were let in; refused: %v", n, r.others)
				}
			})
		})
	}
}

func TestAFullOrFaultyOpeningTakesNobodysTurn(t *testing.T) {
	in(t, gateway.Config{AdmitRate: 10, MaxSessions: 2}, func(h *house) {
		h.join(h.wire, "a")
		h.elapse(time.Second)
		for range 20 {
			if _, err := h.seat(h.wire).Dial(open("a b")); millrace.AsError(err).Reason != millrace.ReasonTopicInvalid {
				h.Errorf("opened with %v", err)
			}
		}
		began := time.Now()
		h.join(h.wire, "a")
		for range 20 {
			if _, err := h.seat(h.wire).Dial(open("a")); millrace.AsError(err).Reason != millrace.ReasonFull {
				h.Errorf("opened with %v", err)
			}
		}
		if took := time.Since(began); took != 0 {
			h.Errorf("they waited for %v", took)
		}
	})
}

package sdk_test

import (
	"errors"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

var (
	away  = millrace.Errorf(millrace.ReasonUnavailable, "away")
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func at(d time.Duration) time.Time { return epoch.Add(d) }

func TestWaitsAreARandomShareOfABoundThatDoublesUpToTheCap(t *testing.T) {
	for _, c := range []struct {
		failures int
		chance   float64
		want     time.Duration
	}{
		{1, 0, 0},
		{1, 0.5, 250 * time.Millisecond},
		{2, 0.5, 500 * time.Millisecond},
		{3, 0.5, time.Second},
		{6, 0.5, 8 * time.Second},
		{7, 0.5, 15 * time.Second},
		{8, 0.5, 15 * time.Second},
		{1_000_000, 0.5, 15 * time.Second},
		{1_000_000, 0, 0},
	} {
		if got := sdk.Delay(sdk.Backoff{}, c.failures, c.chance); got != c.want {
			t.Errorf("after %d failures, chance %v: waits %s, want %s", c.failures, c.chance, got, c.want)
		}
	}
}

func TestAllFaultsOfABackoffAreToldAtOnce(t *testing.T) {
	err := sdk.Backoff{Base: -1, Cap: -1, Hold: -1, Tries: -1}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 4 {
		t.Errorf("four faults are told as %v", err)
	}
	if (sdk.Backoff{Base: time.Minute, Cap: time.Second}).Validate() == nil {
		t.Error("a cap below the base is taken")
	}
	if err := (sdk.Backoff{}).Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestAMachineGoesFromIdleOverConnectingAndLiveToResumingAndBack(t *testing.T) {
	m := sdk.NewMachine(sdk.Backoff{})
	want(t, m, sdk.StateIdle, nil)
	m, act := m.Open(at(0))
	want(t, m, sdk.StateConnecting, nil)
	wantAct(t, act, "dial", time.Time{})
	m, act = m.Lost(at(0), away, 0.5)
	want(t, m, sdk.StateConnecting, away)
	wantAct(t, act, "wait", at(250*time.Millisecond))
	m, act = m.Due(at(250 * time.Millisecond))
	wantAct(t, act, "dial", time.Time{})
	m, _ = m.Connected(at(300 * time.Millisecond))
	want(t, m, sdk.StateLive, nil)
	m, act = m.Lost(at(400*time.Millisecond), away, 0.5)
	want(t, m, sdk.StateResuming, away)
	wantAct(t, act, "wait", at(900*time.Millisecond)) // the stream did not hold, so this is the second failure
	m, _ = m.Due(at(900 * time.Millisecond))
	m, _ = m.Connected(at(time.Second))
	want(t, m, sdk.StateLive, nil)
	m, act = m.Lost(at(11*time.Second), away, 0.5)
	wantAct(t, act, "wait", at(11*time.Second+250*time.Millisecond)) // it held for ten seconds
	m, act = m.Close(at(12 * time.Second))
	wantAct(t, act, "stop", time.Time{})
	if m.State() != sdk.StateClosed || !errors.Is(m.Reason(), sdk.ErrClosed) {
		t.Errorf("closed by its owner it is %v: %v", m.State(), m.Reason())
	}
	if m, act = m.Lost(at(13*time.Second), away, 0); m.State() != sdk.StateClosed || act.Word != "stop" {
		t.Errorf("what was closed is %v and does %q", m.State(), act.Word)
	}
}

func TestAServersAdviceIsNeverUndercut(t *testing.T) {
	m, _ := sdk.NewMachine(sdk.Backoff{}).Open(at(0))
	advice := &millrace.Error{Reason: millrace.ReasonDraining, RetryAfter: time.Minute}
	_, act := m.Lost(at(0), advice, 0)
	wantAct(t, act, "wait", at(time.Minute))
	_, act = m.Lost(at(0), advice, 0.5)
	wantAct(t, act, "wait", at(time.Minute+250*time.Millisecond))
}

func TestAStreamThatIsAskedToGoMovesAtItsOwnMomentOfTheWindow(t *testing.T) {
	live, _ := sdk.NewMachine(sdk.Backoff{}).Open(at(0))
	live, _ = live.Connected(at(0))
	leaving, act := live.Goaway(at(0), 2*time.Second, 10*time.Second, 0.3)
	wantAct(t, act, "wait", at(5*time.Second))
	if leaving.State() != sdk.StateLive || leaving.Reason().Reason != millrace.ReasonDraining {
		t.Errorf("while it still serves the stream is %v: %v", leaving.State(), leaving.Reason())
	}

	t.Run("and is live throughout if another takes its place", func(t *testing.T) {
		m, act := leaving.Due(at(5 * time.Second))
		wantAct(t, act, "dial", time.Time{})
		m, _ = m.Connected(at(6 * time.Second))
		want(t, m, sdk.StateLive, nil)
	})
	t.Run("and tries again while it still serves", func(t *testing.T) {
		m, act := leaving.Unmoved(at(5*time.Second), away, 0.5)
		want(t, m, sdk.StateLive, away)
		wantAct(t, act, "wait", at(5*time.Second+250*time.Millisecond))
	})
	t.Run("and does not come earlier if it is cut off before", func(t *testing.T) {
		m, act := leaving.Lost(at(time.Second), away, 0)
		want(t, m, sdk.StateResuming, away)
		wantAct(t, act, "wait", at(5*time.Second))
		if m.Failures() != 0 {
			t.Errorf("an announced end counts as failure")
		}
	})
	t.Run("and comes at once if it is cut off after", func(t *testing.T) {
		_, act := leaving.Lost(at(7*time.Second), away, 0.9)
		wantAct(t, act, "dial", time.Time{})
	})
}

func TestWhatWillNotGetBetterEndsAtOnce(t *testing.T) {
	for _, o := range millrace.Outcomes() {
		m, _ := sdk.NewMachine(sdk.Backoff{}).Open(at(0))
		m, act := m.Lost(at(0), millrace.Errorf(o.Reason, "no"), 0)
		goesOn := o.Retryable || o.Reason == millrace.ReasonTokenExpired
		if goesOn != (act.Word == "wait") || goesOn == (m.State() == sdk.StateClosed) {
			t.Errorf("after %s: %q, %s", o.Reason, act.Word, m.State())
		}
		if m.Reason().Reason != o.Reason {
			t.Errorf("after %s the reason is %v", o.Reason, m.Reason())
		}
	}
}

func TestTriesAreBoundedIfOneWants(t *testing.T) {
	m, _ := sdk.NewMachine(sdk.Backoff{Tries: 3}).Open(at(0))
	words := []string{}
	for range 3 {
		var act sdk.Act
		m, act = m.Lost(at(0), away, 0)
		words = append(words, act.Word)
	}
	if words[0] != "wait" || words[1] != "wait" || words[2] != "stop" || m.State() != sdk.StateClosed {
		t.Errorf("three tries: %v, then %s", words, m.State())
	}
}

func want(t *testing.T, m sdk.Machine, state sdk.State, reason *millrace.Error) {
	t.Helper()
	if m.State() != state || m.Reason() != reason {
		t.Errorf("the machine is %s (%v), want %s (%v)", m.State(), m.Reason(), state, reason)
	}
}

func wantAct(t *testing.T, act sdk.Act, word string, at time.Time) {
	t.Helper()
	if act.Word != word || !act.At.Equal(at) {
		t.Errorf("the machine says %s at %v, want %s at %v", act.Word, act.At, word, at)
	}
}

package turn_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace/gateway/internal/turn"
)

// turns runs a pace by its own clock from now on, and returns when each turn came.
func turns(p *turn.Pace) []time.Duration {
	var at []time.Duration
	for next, ok := p.Next(); ok; next, ok = p.Next() {
		for range p.Take(next) {
			at = append(at, next)
		}
	}
	return at
}

func TestTurnsAreSpreadEvenlyOverTheWindow(t *testing.T) {
	for _, c := range []struct {
		window time.Duration
		turns  int
		step   time.Duration
	}{
		{10 * time.Second, 1000, 10 * time.Millisecond},
		{time.Minute, 1_000_000, 60 * time.Microsecond},
		{10 * time.Second, 3, 10 * time.Millisecond}, // at least 100 a second
		{time.Hour, 1, 10 * time.Millisecond},
		{0, 5, 0},
		{-time.Second, 5, 0},
		{time.Second, 0, 0},
	} {
		const start = 7 * time.Second
		p := turn.NewPace(start, c.window, c.turns, 100)
		got := turns(&p)
		if len(got) != c.turns {
			t.Fatalf("%d turns in %v: %d came", c.turns, c.window, len(got))
		}
		for i, at := range got {
			if want := start + time.Duration(i)*c.step; at != want {
				t.Fatalf("%d turns in %v: turn %d came at %v, want %v", c.turns, c.window, i, at, want)
			}
		}
	}
}

func TestWhoLooksLateGetsTheTurnsThatCameMeanwhile(t *testing.T) {
	p := turn.NewPace(0, time.Second, 100, 1)
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 1}, {5 * time.Millisecond, 0}, {10 * time.Millisecond, 1}, {105 * time.Millisecond, 9}, {time.Hour, 89}, {2 * time.Hour, 0}} {
		if got := p.Take(c.at); got != c.want {
			t.Errorf("at %v came %d turns, want %d", c.at, got, c.want)
		}
	}
}

func TestTheScheduleThatEndsSoonerCounts(t *testing.T) {
	p := turn.NewPace(0, 10*time.Second, 100, 1)
	p.Take(5 * time.Second) // 51 came
	p.Hurry(5*time.Second, time.Minute)
	if next, _ := p.Next(); next != 5100*time.Millisecond {
		t.Errorf("a longer window moved the next turn to %v", next)
	}
	p.Hurry(5*time.Second, 490*time.Millisecond)
	got := turns(&p)
	if len(got) != 49 || got[0] != 5010*time.Millisecond || got[48] != 5490*time.Millisecond {
		t.Errorf("hurried, %d turns came from %v to %v", len(got), got[0], got[len(got)-1])
	}
	over := turn.Pace{}
	over.Hurry(0, time.Second)
	if n := over.Take(time.Hour); n != 0 {
		t.Errorf("hurried without turns, %d came", n)
	}
}

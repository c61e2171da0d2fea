package turn_test

import (
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/gateway/internal/turn"
)

const step = 10 * time.Millisecond // of a line that lets in 100 a second

func TestWhoComesWithinTheRateDoesNotWait(t *testing.T) {
	l := turn.NewLine[int](100, 5, time.Second)
	now := time.Hour
	for round := range 3 {
		for i := range 5 {
			if in, _, _ := l.Enter(now, turn.Second, i, 0); !in {
				t.Fatalf("round %d: number %d of a burst of 5 has to wait", round, i)
			}
		}
		if in, p, _ := l.Enter(now, turn.Second, 5, 0); in || p == nil || !l.Leave(p) {
			t.Fatalf("round %d: the sixth does not wait", round)
		}
		now += 5 * step // then there is a burst again
	}
	for i := range 1000 {
		if in, _, _ := l.Enter(now, turn.Second, i, 0); !in {
			t.Fatalf("number %d at the very rate has to wait", i)
		}
		now += step
	}
}

func TestThoseOfTheFirstClassGoFirst(t *testing.T) {
	l := turn.NewLine[int](100, 1, time.Second)
	l.Enter(0, turn.Second, -1, 0)
	for i := range 10 {
		if _, p, _ := l.Enter(0, turn.Second, 100+i, 0); p == nil {
			t.Fatal("no place for one of the second class")
		}
	}
	for i := range 10 {
		if _, p, _ := l.Enter(0, turn.First, i, 0); p == nil {
			t.Fatal("no place for one of the first class")
		}
	}
	var got []int
	for now, ok := l.Next(); ok; now, ok = l.Next() {
		in, away := l.Turn(now)
		if len(away) > 0 {
			t.Fatalf("%d were sent away", len(away))
		}
		for _, p := range in {
			got = append(got, p.Who)
		}
	}
	want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109}
	if !slices.Equal(got, want) {
		t.Errorf("the order is %v", got)
	}
}

// TestNobodyWaitsLongerThanAllowed fills the line, and then its first class, before which the second has to give way.
func TestNobodyWaitsLongerThanAllowed(t *testing.T) {
	const rate, wait = 100, time.Second
	l := turn.NewLine[int](rate, 1, wait)
	l.Enter(0, turn.Second, 0, 0)
	places := map[turn.Class]int{}
	for _, class := range []turn.Class{turn.Second, turn.First} {
		for range 3 * rate {
			in, p, back := l.Enter(0, class, 0, 0)
			switch {
			case in:
				t.Fatal("one was let in before its turn")
			case p != nil:
				places[class]++
			case back <= wait:
				t.Fatalf("one was sent away for %v, for which it could have waited", back)
			}
		}
	}
	if places[turn.First] != rate || places[turn.Second] != rate {
		t.Errorf("the places are %v; want as many as %v take for each class", places, wait)
	}
	in, away := 0, 0
	for now, ok := l.Next(); ok; now, ok = l.Next() {
		if now > wait {
			t.Fatalf("somebody still waits after %v", now)
		}
		some, others := l.Turn(now)
		in += len(some)
		for _, p := range others {
			away++
			if back := l.Back(now, p, 0); back <= 0 {
				t.Errorf("one was sent away for %v", back)
			}
		}
	}
	if in != rate || away != rate {
		t.Errorf("%d were let in and %d sent away", in, away)
	}
}

// TestAStormThatFollowsTheAdviceComesInAtTheRate has everyone come back exactly when told.
func TestAStormThatFollowsTheAdviceComesInAtTheRate(t *testing.T) {
	const rate, storm, wait = 100, 3000, time.Second
	l := turn.NewLine[int](rate, 10, wait)
	type coming struct {
		at    time.Duration
		class turn.Class
		tries int
	}
	var all []coming
	for i := range storm {
		class := turn.Second
		if i%3 == 0 {
			class = turn.First
		}
		all = append(all, coming{class: class})
	}
	var lastFirst, last time.Duration
	var tries, in int
	chance := 0.0
	add := func(c coming) {
		i, _ := slices.BinarySearchFunc(all, c.at, func(a coming, at time.Duration) int { return int(a.at - at) })
		all = slices.Insert(all, i, c)
	}
	classOf := map[int]coming{}
	for id := 0; len(all) > 0; {
		next, waits := l.Next()
		if waits && next <= all[0].at {
			some, others := l.Turn(next)
			for _, p := range some {
				in++
				last = next
				if classOf[p.Who].class == turn.First {
					lastFirst = next
				}
			}
			for _, p := range others {
				c := classOf[p.Who]
				tries = max(tries, c.tries+1)
				add(coming{at: next + l.Back(next, p, chance), class: c.class, tries: c.tries + 1})
			}
			continue
		}
		c := all[0]
		all = all[1:]
		id++
		chance = float64(id%10) / 10
		ok, p, back := l.Enter(c.at, c.class, id, chance)
		switch {
		case ok:
			in++
			last = c.at
		case p != nil:
			classOf[id] = c
		default:
			tries = max(tries, c.tries+1)
			add(coming{at: c.at + back, class: c.class, tries: c.tries + 1})
		}
	}
	for next, waits := l.Next(); waits; next, waits = l.Next() {
		some, _ := l.Turn(next)
		in += len(some)
		last = next
	}
	const whole = storm * time.Second / rate
	if in != storm || last > whole+whole/4 {
		t.Errorf("%d of %d were in after %v; at the rate it takes %v", in, storm, last, whole)
	}
	if lastFirst > whole/2 {
		t.Errorf("the last of the first class, a third of all, waited in line until %v", lastFirst)
	}
	if tries > 5 {
		t.Errorf("somebody was sent away %d times, though all followed the advice", tries)
	}
	t.Logf("all in after %v, those of the first class in line until %v; %d tries at most", last, lastFirst, tries)
}

func TestPromisesAreBoundedAndStaySpread(t *testing.T) {
	l := turn.NewLine[int](1, 1, time.Second)
	told := map[time.Duration]int{}
	for i := range 10_000 {
		_, p, back := l.Enter(0, turn.Second, i, float64(i%1000)/1000)
		if p != nil || i == 0 {
			continue
		}
		if back > time.Minute+3*time.Second {
			t.Fatalf("number %d was sent away for %v", i, back)
		}
		told[back.Truncate(time.Second)]++
	}
	if len(told) < 50 {
		t.Errorf("all were told to come back within the same %d seconds", len(told))
	}
}

func TestAPlaceThatWasGivenUpDelaysNobody(t *testing.T) {
	l := turn.NewLine[int](100, 1, time.Second)
	l.Enter(0, turn.First, 0, 0)
	var places []*turn.Place[int]
	for i := range 50 {
		_, p, _ := l.Enter(0, turn.First, i, 0)
		places = append(places, p)
	}
	for _, p := range places[:49] {
		if !l.Leave(p) || l.Leave(p) {
			t.Fatal("a place can be left once")
		}
	}
	next, _ := l.Next()
	in, _ := l.Turn(next)
	if next != step || len(in) != 1 || in[0].Who != 49 {
		t.Errorf("at %v were let in %v", next, in)
	}
	if l.Leave(in[0]) {
		t.Error("a place was left after its turn")
	}
	l.Enter(next, turn.First, 0, 0)
	if all := l.Clear(); len(all) != 1 {
		t.Errorf("%d were waiting", len(all))
	}
	if _, waits := l.Next(); waits {
		t.Error("somebody waits after all were taken out")
	}
}

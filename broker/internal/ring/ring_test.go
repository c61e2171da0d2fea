package ring_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace-dev/millrace/broker/internal/ring"
)

func TestARingHoldsWhatASliceWould(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var r ring.Ring[int]
	var want []int
	for step := range 20_000 {
		// The bias turns over, so that the ring grows far and shrinks to nothing several times.
		grow := step/2_000%2 == 0
		if chance.IntN(10) < 6 == grow {
			r.Push(step)
			want = append(want, step)
		} else if len(want) > 0 {
			if got := r.Pop(); got != want[0] {
				t.Fatalf("step %d: popped %d, want %d", step, got, want[0])
			}
			want = want[1:]
		}
		if r.Len() != len(want) {
			t.Fatalf("step %d: length %d, want %d", step, r.Len(), len(want))
		}
		if step%97 == 0 {
			i := chance.IntN(len(want) + 1)
			if got := r.AppendTo(nil, i, len(want)); !slices.Equal(got, want[i:]) {
				t.Fatalf("step %d: items from %d are %v, want %v", step, i, got, want[i:])
			}
		}
	}
	r.Clear()
	if r.Len() != 0 {
		t.Fatalf("a cleared ring has %d items", r.Len())
	}
}

func TestReadingOutsideARingPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	var r ring.Ring[int]
	r.Push(1)
	r.At(1)
}

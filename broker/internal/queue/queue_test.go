package queue_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace-dev/millrace/broker/internal/queue"
)

type item struct{ link queue.Link[item] }

func linkOf(i *item) *queue.Link[item] { return &i.link }

func TestAQueueHoldsEachItemOnceInTheOrderInWhichTheyCame(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	items := make([]item, 20)
	q := queue.New(linkOf)
	var want []*item
	for step := range 20_000 {
		one := &items[chance.IntN(len(items))]
		stands := slices.Index(want, one)
		switch chance.IntN(3) {
		case 0:
			if added := q.Push(one); added != (stands < 0) {
				t.Fatalf("step %d: pushed %v, and it stood at %d", step, added, stands)
			}
			if stands < 0 {
				want = append(want, one)
			}
		case 1:
			q.Remove(one)
			if stands >= 0 {
				want = slices.Delete(want, stands, stands+1)
			}
		default:
			var first *item
			if len(want) > 0 {
				first, want = want[0], want[1:]
			}
			if got := q.Pop(); got != first {
				t.Fatalf("step %d: popped %p, want %p", step, got, first)
			}
		}
	}
}

func TestAConsumerIsToldOnceOfWhatIsReady(t *testing.T) {
	items := make([]item, 2)
	q := queue.NewReady(linkOf)
	q.Push(&items[0])
	q.Push(&items[1])
	q.Push(&items[0])
	<-q.Signal()
	q.Remove(&items[0])
	if got := q.Pop(); got != &items[1] {
		t.Fatalf("popped %p, want %p", got, &items[1])
	}
	if got := q.Pop(); got != nil {
		t.Fatalf("popped %p of an empty queue", got)
	}
	select {
	case <-q.Signal():
		t.Fatal("the consumer is told again, and nothing was pushed")
	default:
	}
}

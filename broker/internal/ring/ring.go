// Package ring holds a queue in a ring buffer that grows and shrinks with what stands in it, so that a million quiet
// topics cost little.
package ring

// Ring is a queue whose items can also be read by their place. The zero Ring is empty. It is not safe for concurrent
// use, and bounding it is the user's matter.
type Ring[T any] struct {
	items []T // its length is zero or a power of two
	first int
	count int
}

const smallest = 4

// Len returns how many items there are.
func (r *Ring[T]) Len() int { return r.count }

// At returns the item at place i, counted from the oldest, which is at 0.
func (r *Ring[T]) At(i int) T {
	if uint(i) >= uint(r.count) {
		panic("ring: place out of range")
	}
	return r.items[(r.first+i)&(len(r.items)-1)]
}

// Push adds an item behind the newest.
func (r *Ring[T]) Push(item T) {
	if r.count == len(r.items) {
		r.resize(max(smallest, 2*len(r.items)))
	}
	r.items[(r.first+r.count)&(len(r.items)-1)] = item
	r.count++
}

// Pop removes the oldest item and returns it.
func (r *Ring[T]) Pop() T {
	item := r.At(0)
	var zero T
	r.items[r.first] = zero
	r.first = (r.first + 1) & (len(r.items) - 1)
	r.count--
	if len(r.items) > 4*smallest && r.count <= len(r.items)/4 {
		r.resize(len(r.items) / 2)
	}
	return item
}

// Clear removes all items and lets go of the memory.
func (r *Ring[T]) Clear() { *r = Ring[T]{} }

// AppendTo appends the items from place i up to, but not including, place j to dst.
func (r *Ring[T]) AppendTo(dst []T, i, j int) []T {
	for ; i < j; i++ {
		dst = append(dst, r.At(i))
	}
	return dst
}

func (r *Ring[T]) resize(n int) {
	items := make([]T, n)
	for i := range r.count {
		items[i] = r.At(i)
	}
	r.items, r.first = items, 0
}

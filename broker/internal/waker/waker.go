// Package waker sees to what is behind news, away from where the news came.
package waker

import (
	"context"
	"sync"
)

// Waker wakes those who have news. Its methods may be called concurrently, Run by one goroutine.
type Waker[T comparable] struct {
	signal chan struct{} // has an item if news is not empty

	mu   sync.Mutex
	news map[T]struct{} // protected by mu; those who have some
}

// New returns a waker with nobody to be woken.
func New[T comparable]() *Waker[T] {
	return &Waker[T]{signal: make(chan struct{}, 1), news: map[T]struct{}{}}
}

// Add says that one has news. It does not wait.
func (w *Waker[T]) Add(one T) {
	w.mu.Lock()
	w.news[one] = struct{}{}
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// Run wakes those who have news, each once for all that came before, until ctx ends.
func (w *Waker[T]) Run(ctx context.Context, wake func(T)) {
	var those []T
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		}
		w.mu.Lock()
		for one := range w.news {
			those = append(those, one)
		}
		clear(w.news)
		w.mu.Unlock()
		for _, one := range those {
			wake(one)
		}
		clear(those)
		those = those[:0]
	}
}

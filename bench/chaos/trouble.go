package main

import (
	"fmt"
	"sync"
)

// troubles is what went wrong that no ledger can see: refusals, words of a server that can't be read, a crash. Its methods
// may be called concurrently.
type troubles struct {
	mu    sync.Mutex
	count int
	first []string
}

// shownTroubles is how many are described. All are counted.
const shownTroubles = 10

func (t *troubles) addf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if len(t.first) < shownTroubles {
		t.first = append(t.first, fmt.Sprintf(format, args...))
	}
}

func (t *troubles) all() (int, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count, t.first
}

package socket

import "sync"

// Readers counts the goroutines that read connections which were taken over from an HTTP server, so that someone waits for
// their end. The server itself does not, nor for the handlers that start them. The zero value is ready. All methods may
// be called concurrently.
type Readers struct {
	mu      sync.Mutex
	closed  bool // protected by mu
	running sync.WaitGroup
}

// Enter counts one more, before its connection is taken over. It reports false after Close; otherwise the caller, or the
// goroutine that it starts, must call Leave.
func (r *Readers) Enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.running.Add(1)
	}
	return !r.closed
}

// Leave ends what Enter began.
func (r *Readers) Leave() { r.running.Done() }

// Close lets no more enter and waits until all have left.
func (r *Readers) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}

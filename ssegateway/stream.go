package ssegateway

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// stream is a transport over a response whose connection is shared, as on HTTP/2. All its writes may wait, so the session
// leaves them to a flusher. The handler must not return before wait does: after that the response is gone.
type stream struct {
	// Static.
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration

	mu     sync.Mutex
	closed bool          // protected by mu
	busy   chan struct{} // protected by mu; nil, or closed when the write under way ends
}

func newStream(w http.ResponseWriter, stall time.Duration) *stream {
	return &stream{w: w, control: http.NewResponseController(w), stall: stall}
}

// TryWrite implements gateway.Transport.
func (t *stream) TryWrite([]byte) (int, error) { return 0, nil }

// chunk is the most that is written under one deadline, in bytes.
const chunk = 64 << 10

// Write implements gateway.Transport.
func (t *stream) Write(b []byte) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return fmt.Errorf("write to peer: %w", net.ErrClosed)
	}
	busy := make(chan struct{})
	t.busy = busy
	t.mu.Unlock()
	defer close(busy)
	for len(b) > 0 {
		n := min(len(b), chunk)
		if err := t.put(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return t.deadline(time.Time{}) // one that passes later would end the stream
}

func (t *stream) put(b []byte) error {
	if err := t.deadline(time.Now().Add(t.stall)); err != nil {
		return err
	}
	_, err := t.w.Write(b)
	if err == nil {
		err = t.control.Flush()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return millrace.Errorf(millrace.ReasonSlow, "the peer took nothing for %v", t.stall).WithCause(err)
	}
	if err != nil {
		return fmt.Errorf("write to peer: %w", err)
	}
	return nil
}

// deadline sets the write deadline, unless the stream was closed and has its last one. A response that has no deadlines,
// of some server in between, does without.
func (t *stream) deadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if err := t.control.SetWriteDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set deadline: %w", err)
	}
	return nil
}

// Close implements gateway.Transport. A write under way is ended; otherwise all that was handed over is with the server.
func (t *stream) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	select {
	case <-t.busy:
	default:
		if t.busy != nil {
			_ = t.control.SetWriteDeadline(time.Now()) // fails where there are no deadlines; the peer's end is then waited for
		}
	}
}

// wait waits for the write under way to end. After it none begins.
func (t *stream) wait() {
	t.Close()
	t.mu.Lock()
	busy := t.busy
	t.mu.Unlock()
	if busy != nil {
		<-busy
	}
}

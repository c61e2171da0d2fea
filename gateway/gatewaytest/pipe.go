package gatewaytest

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/millrace-dev/millrace/gateway"
)

// ErrCut is what a transport fails with once its connection is cut.
var ErrCut = errors.New("the connection is cut")

// PipePatience is how long a pipe's Write waits for a peer that takes nothing before it breaks the connection.
const PipePatience = time.Minute

// Pipe is a connection in memory: a Transport at one end, a reader at the other, and between them as many bytes as the
// pipe holds. A peer that does not read is a stalled one. All methods may be called concurrently.
type Pipe struct {
	onTry func() // called before each TryWrite; nil for nothing

	mu       sync.Mutex
	moved    sync.Cond
	capacity int
	bytes    []byte
	stall    bool
	closed   bool // by the gateway
	cut      bool
	partial  bool // something was not taken whole yet
	torn     bool // it was closed then
	most     int  // the largest b that Write was given
	tries    int
}

var _ gateway.Transport = (*Pipe)(nil)

// NewPipe returns a pipe that holds so many bytes. onTry, if it is not nil, is called before each TryWrite, on the
// goroutine that writes.
func NewPipe(capacity int, onTry func()) *Pipe {
	p := &Pipe{capacity: capacity, onTry: onTry}
	p.moved.L = &p.mu
	return p
}

func (p *Pipe) err() error {
	if p.cut {
		return ErrCut
	}
	if p.closed {
		return io.ErrClosedPipe
	}
	return nil
}

// take appends what there is room for.
func (p *Pipe) take(b []byte) int {
	n := max(0, min(len(b), p.capacity-len(p.bytes)))
	p.bytes = append(p.bytes, b[:n]...)
	if n > 0 {
		p.moved.Broadcast()
	}
	return n
}

// TryWrite implements Transport.
func (p *Pipe) TryWrite(b []byte) (int, error) {
	if p.onTry != nil {
		p.onTry()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	if err := p.err(); err != nil {
		return 0, err
	}
	n := p.take(b)
	p.partial = n < len(b)
	return n, nil
}

// Write implements Transport.
func (p *Pipe) Write(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = max(p.most, len(b))
	timer := time.AfterFunc(PipePatience, func() { p.set(func() { p.cut = true }) })
	defer timer.Stop()
	for {
		if err := p.err(); err != nil {
			return err
		}
		n := p.take(b)
		if b = b[n:]; n > 0 {
			timer.Reset(PipePatience)
		}
		if len(b) == 0 {
			p.partial = false
			return nil
		}
		p.moved.Wait()
	}
}

// Close implements Transport. What was written before can still be read.
func (p *Pipe) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.torn = p.torn || p.partial
	p.moved.Broadcast()
}

// Read is the peer's end: it waits for bytes while the peer does not stall, and ends with io.EOF once the gateway closed
// the connection, with io.ErrUnexpectedEOF if it did so in the midst of a Write, or with ErrCut.
func (p *Pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.cut && (p.stall || len(p.bytes) == 0 && !p.closed) {
		p.moved.Wait()
	}
	switch {
	case p.cut:
		return 0, ErrCut
	case len(p.bytes) == 0 && p.torn:
		return 0, io.ErrUnexpectedEOF
	case len(p.bytes) == 0:
		return 0, io.EOF
	}
	n := copy(b, p.bytes)
	p.bytes = p.bytes[n:]
	p.moved.Broadcast()
	return n, nil
}

// Stall makes the peer stop reading.
func (p *Pipe) Stall() { p.set(func() { p.stall = true }) }

// Flow makes the peer read again.
func (p *Pipe) Flow() { p.set(func() { p.stall = false }) }

// Resize makes the pipe hold so many bytes from now on. What it holds already stays.
func (p *Pipe) Resize(capacity int) { p.set(func() { p.capacity = capacity }) }

// Cut breaks the connection: what was under way is lost.
func (p *Pipe) Cut() { p.set(func() { p.cut, p.bytes = true, nil }) }

func (p *Pipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.moved.Broadcast()
}

// Closed reports whether the gateway closed the connection.
func (p *Pipe) Closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Tries returns how often TryWrite was called.
func (p *Pipe) Tries() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// Most returns the size of the largest b that Write was given, in bytes.
func (p *Pipe) Most() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

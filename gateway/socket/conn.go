// Package socket turns a connection that was taken over from an HTTP server into the sending half of a session's
// transport: writes that do not wait, writes that wait as long as the peer takes something, and an end that lets the
// last words arrive.
//
// On a TCP connection a write that does not wait is one system call on the socket, which is non-blocking anyway. Through
// net.Conn it can't be had: its Write waits in the poller. Other connections (TLS, pipes) take the plain path, where every
// write may wait.
package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/millrace-dev/millrace"
)

// Config is what a connection can be told. Zero fields take their defaults.
type Config struct {
	// StallTimeout is how long Write waits for a peer that takes nothing. Default 60 s.
	StallTimeout time.Duration

	// Linger is how long the peer may take to end its side after Close. Default 5 s.
	Linger time.Duration
}

// Conn is a connection's sending half. TryWrite and Write are for one goroutine at a time, Close for any. It implements
// gateway.Transport. Who reads the connection closes it, after its last read failed.
type Conn struct {
	// Static.
	conn   net.Conn
	raw    syscall.RawConn // nil: the connection takes the plain path
	step   func(fd uintptr) bool
	config Config

	closed atomic.Bool

	// Owned by who writes: the arguments and results of step.
	b   []byte
	n   int
	err error
}

// New returns the sending half of a connection. It lifts the deadlines that the HTTP server left on it.
func New(conn net.Conn, c Config) (*Conn, error) {
	if c.StallTimeout <= 0 {
		c.StallTimeout = time.Minute
	}
	if c.Linger <= 0 {
		c.Linger = 5 * time.Second
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("lift deadlines: %w", err)
	}
	s := &Conn{conn: conn, config: c}
	if tcp, ok := conn.(*net.TCPConn); ok {
		raw, err := tcp.SyscallConn()
		if err != nil {
			return nil, fmt.Errorf("get the socket: %w", err)
		}
		s.raw, s.step = raw, s.write // made once: a closure a write would be an allocation a delivery
	}
	return s, nil
}

// TryWrite hands over as much of b as the socket takes without waiting, and returns how much that was: 0 and nil if
// nothing, which is always so on the plain path.
func (s *Conn) TryWrite(b []byte) (int, error) {
	if s.raw == nil || len(b) == 0 {
		return 0, nil
	}
	s.b, s.n, s.err = b, 0, nil
	err := s.raw.Write(s.step)
	s.b = nil
	if err == nil {
		err = s.err
	}
	if err != nil {
		return s.n, fmt.Errorf("write to peer: %w", err)
	}
	return s.n, nil
}

// write is one write(2). It returns true, so that the poller is not waited for.
func (s *Conn) write(fd uintptr) bool {
	s.n, s.err = writeNow(fd, s.b)
	return true
}

// stallChunk is the most that is handed to the connection under one deadline: what a peer must make room for within the
// stall timeout.
const stallChunk = 64 << 10

// Write hands over all of b. It waits as long as the peer takes something within each stall timeout; if it does not, the
// error is a *millrace.Error with ReasonSlow. Close ends the wait.
func (s *Conn) Write(b []byte) error {
	for len(b) > 0 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(s.config.StallTimeout)); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		if s.closed.Load() { // after the deadline is set, which may have replaced that of Close
			return fmt.Errorf("write to peer: %w", net.ErrClosed)
		}
		n, err := s.conn.Write(b[:min(len(b), stallChunk)])
		b = b[n:]
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("write to peer: %w", err)
		case n == 0 && !s.closed.Load():
			return millrace.Errorf(millrace.ReasonSlow, "the peer took nothing for %v", s.config.StallTimeout).WithCause(err)
		}
	}
	if err := s.conn.SetWriteDeadline(time.Time{}); err != nil { // a deadline that passes later would fail TryWrite
		return fmt.Errorf("lift deadline: %w", err)
	}
	return nil
}

// Close ends the sending half once what was handed over is on its way, and gives the peer the linger time to end its own;
// then a read of the connection fails. On the plain path, where ending one half may have to wait, reads fail at once. It
// does not wait.
func (s *Conn) Close() {
	if s.closed.Swap(true) {
		return
	}
	deadline := time.Now()
	if tcp, ok := s.conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		deadline = deadline.Add(s.config.Linger)
	}
	// These fail only on a connection that is closed already, for which there is nothing left to do.
	_ = s.conn.SetWriteDeadline(time.Now())
	_ = s.conn.SetReadDeadline(deadline)
}

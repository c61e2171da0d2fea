package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pipe is one connection through a proxy.
type pipe struct {
	// Static.
	client, server net.Conn
	ended          chan struct{}
	once           sync.Once

	rate atomic.Int64 // bytes a second each way; 0: no bound

	mu   sync.Mutex
	open chan struct{} // protected by mu; closed while bytes may pass
}

func newPipe(client, server net.Conn) *pipe {
	for _, c := range []net.Conn{client, server} {
		if t, ok := c.(*net.TCPConn); ok {
			// What fails here fails again, with a better error, when it is read or written.
			_ = t.SetReadBuffer(bufferBytes)
			_ = t.SetWriteBuffer(bufferBytes)
		}
	}
	c := &pipe{client: client, server: server, ended: make(chan struct{}), open: make(chan struct{})}
	close(c.open)
	return c
}

// run forwards both ways until both have ended. One that ends in order lets the other go on.
func (c *pipe) run(tap Tap) {
	var ways sync.WaitGroup
	ways.Go(func() { c.pump(c.server, c.client, nil) })
	c.pump(c.client, c.server, tap)
	ways.Wait()
	c.end()
}

// pump forwards what comes from one side.
func (c *pipe) pump(to, from net.Conn, tap Tap) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b[:c.portion(len(b))])
		if !c.pass() {
			return
		}
		if n > 0 {
			out := b[:n]
			if tap != nil {
				out = tap(out)
			}
			if _, err := to.Write(out); err != nil {
				c.end()
				return
			}
			c.pace(n)
		}
		switch {
		case errors.Is(err, io.EOF):
			if t, ok := to.(*net.TCPConn); ok {
				_ = t.CloseWrite() // if it fails the connection is gone, which the other way finds out too
			}
			return
		case err != nil:
			c.end()
			return
		}
	}
}

// slices is into how many parts a second of a slow connection is cut.
const slices = 20

func (c *pipe) portion(most int) int {
	rate := int(c.rate.Load())
	if rate == 0 {
		return most
	}
	return max(1, min(most, rate/slices))
}

// pace waits as long as n bytes take, or until the connection is slow no more.
func (c *pipe) pace(n int) {
	for rate := int(c.rate.Load()); rate > 0 && n > 0; rate = int(c.rate.Load()) {
		timer := time.NewTimer(time.Second / slices)
		select {
		case <-timer.C:
			n -= max(1, rate/slices)
		case <-c.ended:
			timer.Stop()
			return
		}
	}
}

// pass waits while the connection hangs, and reports false once it has ended.
func (c *pipe) pass() bool {
	c.mu.Lock()
	open := c.open
	c.mu.Unlock()
	select {
	case <-open:
		return true
	case <-c.ended:
		return false
	}
}

func (c *pipe) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.open:
		c.open = make(chan struct{})
	default:
	}
}

func (c *pipe) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.open:
	default:
		close(c.open)
	}
}

// end resets both sides.
func (c *pipe) end() {
	c.once.Do(func() {
		close(c.ended)
		for _, conn := range []net.Conn{c.client, c.server} {
			if t, ok := conn.(*net.TCPConn); ok {
				_ = t.SetLinger(0) // else it is closed in order, which does as well
			}
			conn.Close()
		}
	})
}

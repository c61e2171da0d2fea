// Package proxy is a bad network: it forwards TCP connections on loopback, and cuts, hangs and slows them when told to.
package proxy

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bufferBytes is what each socket of a proxy buffers at most, so that who writes to somebody slow feels it soon.
const bufferBytes = 32 << 10

// Tap rewrites what one connection's target sends, as it passes: it is given what came and returns what goes on. It is
// called by one goroutine.
type Tap func(b []byte) []byte

// Config is how a proxy is made.
type Config struct {
	// Tap is asked for the tap of each connection; nil, and a nil Tap, change nothing. It may be called concurrently.
	Tap func() Tap
}

// Proxy forwards connections to a target that may change. Its methods may be called concurrently.
type Proxy struct {
	// Static.
	config   Config
	listener net.Listener
	running  sync.WaitGroup

	target atomic.Pointer[string]

	mu     sync.Mutex
	pipes  map[*pipe]struct{} // protected by mu
	closed bool               // protected by mu
}

// Listen opens a proxy on a free port of loopback. It has no target yet: until Aim, connections to it are closed.
func Listen(c Config) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for proxy: %w", err)
	}
	p := &Proxy{config: c, listener: l, pipes: map[*pipe]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Aim sets where new connections go, as host:port. "" is nowhere: they are closed.
func (p *Proxy) Aim(target string) { p.target.Store(&target) }

// Close cuts everything and waits until nothing of the proxy runs.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.Cut(All)
	p.running.Wait()
}

// Choice says whether a connection is meant; it is called once for each, in no particular order.
type Choice func() bool

// All means every connection.
func All() bool { return true }

// Cut ends connections at once, as a reset of both sides, and returns how many.
func (p *Proxy) Cut(which Choice) int {
	chosen := p.choose(which)
	for _, c := range chosen {
		c.end()
	}
	return len(chosen)
}

// Hang makes connections half-open: nothing passes any more in either direction, and nobody is told. Heal must be called
// to let them go on.
func (p *Proxy) Hang(which Choice) *Ailing {
	a := &Ailing{pipes: p.choose(which)}
	for _, c := range a.pipes {
		c.hold()
	}
	return a
}

// Slow lets so many bytes a second pass each way of each connection, until Heal.
func (p *Proxy) Slow(which Choice, bytesPerSecond int) *Ailing {
	a := &Ailing{pipes: p.choose(which)}
	for _, c := range a.pipes {
		c.rate.Store(int64(bytesPerSecond))
	}
	return a
}

func (p *Proxy) choose(which Choice) []*pipe {
	p.mu.Lock()
	defer p.mu.Unlock()
	var chosen []*pipe
	for c := range p.pipes {
		if which() {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// Ailing is the connections that something was done to.
type Ailing struct{ pipes []*pipe }

// Len returns how many there are.
func (a *Ailing) Len() int { return len(a.pipes) }

// Heal makes the connections forward again as they should.
func (a *Ailing) Heal() {
	for _, c := range a.pipes {
		c.rate.Store(0)
		c.release()
	}
}

// Cut ends the connections.
func (a *Ailing) Cut() {
	for _, c := range a.pipes {
		c.end()
	}
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(conn) })
	}
}

// serve forwards one connection until it ends.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	target := p.target.Load()
	if target == nil || *target == "" {
		return
	}
	server, err := net.DialTimeout("tcp", *target, time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	c := newPipe(client, server)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.pipes[c] = struct{}{}
	p.mu.Unlock()
	var tap Tap
	if p.config.Tap != nil {
		tap = p.config.Tap()
	}
	c.run(tap)
	p.mu.Lock()
	delete(p.pipes, c)
	p.mu.Unlock()
}

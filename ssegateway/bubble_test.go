package ssegateway_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
)

// inBubble runs a test over connections in memory, where time passes only when nobody has anything left to do: a peer that
// reads is never taken for one that does not, however busy the machine is.
func inBubble(t *testing.T, p plan, body func(t *testing.T, h *house)) {
	t.Helper()
	p.memory = true
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		p.http2 = http2
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { body(t, build(t, p)) })
		})
	}
}

// inMemory returns a running server whose client reaches it by pipes.
func inMemory(handler http.Handler, http2 bool) *httptest.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler, Protocols: &protocols}}
	s.Start()
	s.Client().Transport = &http.Transport{DialContext: l.dial, Protocols: &protocols}
	return s
}

// listener is a net.Listener in memory.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "memory" }

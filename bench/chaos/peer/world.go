// Package peer is those who use a backbone: publishers that enter in a ledger what they publish, and subscribers that
// enter what they see. They are written by hand from the protocol's text, except where they are backends in Go, which
// use the SDK. Whatever ends their connections, they come back.
package peer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace/bench/ledger"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// World is what peers live in. It is shared by all and not changed once they run.
type World struct {
	Book      *ledger.Book
	WebSocket []string // gateways for WebSocket, as host:port
	SSE       []string // gateways for event streams
	Broker    string   // where backends find the broker
	Token     string   // of subscribers

	// Complain is told of what no ledger can see: refusals, and words that can't be read. It may be called concurrently.
	Complain func(format string, args ...any)

	Counts Counts
}

// Counts is what peers do, over all of them.
type Counts struct {
	Connects [transports]atomic.Uint64 // connections that were opened, by Transport
	Failures atomic.Uint64             // connections that could not be
	Retries  atomic.Uint64             // publishes that were tried again by hand
}

// Transport is a way to subscribe.
type Transport int

// The transports.
const (
	WebSocket Transport = iota
	SSE
	GRPC
	transports
)

// String returns the transport's name.
func (t Transport) String() string { return [...]string{"WebSocket", "SSE", "gRPC"}[t] }

// dial returns a client of the broker that comes back fast.
func (w *World) dial(token string) (*sdk.Client, error) {
	return sdk.Dial(w.Broker, sdk.WithInsecurePlaintext(), sdk.WithToken(sdk.StaticToken(token)), sdk.WithQueueBytes(64<<10),
		sdk.WithBackoff(sdk.Backoff{Base: 50 * time.Millisecond, Cap: time.Second}), sdk.WithConnectTimeout(2*time.Second),
		sdk.WithLogger(slog.New(slog.DiscardHandler)))
}

// connectTimeout bounds a connection with its handshake, and answerTimeout the answer to a publish.
const (
	connectTimeout = 3 * time.Second
	answerTimeout  = 3 * time.Second
)

// smallBuffer is the receive buffer of sockets of which writers are to feel early that nobody reads, in bytes. With much
// less TCP on loopback, whose segments are large, falls back to one probe each 0.2 s.
const smallBuffer = 32 << 10

// open opens a connection.
func open(ctx context.Context, addr string, small bool) (net.Conn, error) {
	d := net.Dialer{Timeout: connectTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if t, ok := conn.(*net.TCPConn); ok && small {
		if err := t.SetReadBuffer(smallBuffer); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// connect opens a connection that ends with ctx.
func connect(ctx context.Context, addr string, small bool) (net.Conn, func(), error) {
	conn, err := open(ctx, addr, small)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() {
		stop()
		conn.Close()
	}, nil
}

// pause waits, and reports false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pick returns one of several at random.
func pick[T any](chance *rand.Rand, all []T) T { return all[chance.IntN(len(all))] }

// Package sdk is how a backend, a bot or a gateway speaks to a Millrace broker over gRPC.
//
// A [Client] publishes, subscribes, and reads history and members. A [Publisher] is a stream of publishes for those who have
// many. A [Subscription] is the events of topics and patterns, in order, with every hole told as a gap, and a [MemberWatch]
// the list of a topic's members, which stays true. A [Link] is subscriptions and memberships that come and go, as a gateway
// or a bot has them.
//
// Everything comes back by itself: whatever is cut off is opened anew after a wait (see [Backoff]), with the positions
// that it had reached. What a server sends is checked by position before it is passed on. An event that does not follow
// on is never passed on in silence: the stream is opened anew from the last position that was right, and the broker then
// sends what is missing or says that it can't.
package sdk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
)

const (
	// pingAfter is the silence after which a connection is asked for a sign of life, and pingTimeout how long that may
	// take. So a broker that is gone without a word is found within half a minute.
	pingAfter   = 20 * time.Second
	pingTimeout = 10 * time.Second

	// maxReceiveBytes bounds one message of the broker, far above what a broker batches.
	maxReceiveBytes = 64 << 20
)

// Client is one connection to a broker, shared by all that is made of it. Its methods may be called concurrently.
type Client struct {
	// Static.
	target string
	config config
	dial   []grpc.DialOption
	ctx    context.Context // ends with the client
	end    context.CancelCauseFunc
	users  sync.WaitGroup // subscriptions, links and publishers

	mu         sync.Mutex
	connection *connection // protected by mu; nil until it is needed
	closed     bool        // protected by mu
}

// connection is one gRPC channel and what runs over it.
type connection struct {
	channel *grpc.ClientConn
	uses    int  // protected by Client.mu
	retired bool // protected by Client.mu; it is closed after its last use
}

// Dial returns a client of the broker at target, an address host:port or another target of gRPC. It does not wait for
// the connection, which is made when it is needed. The error is a bad option, all of them at once.
func Dial(target string, opts ...Option) (*Client, error) {
	c := config{agent: "millrace-go", connect: 10 * time.Second, queue: 4 << 20, log: slog.Default()}
	for _, o := range opts {
		o(&c)
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("dial broker: %w", err)
	}
	creds := insecure.NewCredentials()
	if !c.plaintext {
		if c.tls == nil {
			c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		creds = credentials.NewTLS(c.tls)
	}
	k := &Client{target: target, config: c}
	k.dial = append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(c.agent),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceiveBytes)),
		// When to try again is for Backoff to say, so a channel that failed is replaced, and tries little by itself. gRPC
		// takes the first delay for the least time to connect, too, so it can't be longer.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: c.connect, Multiplier: 1, Jitter: 0.2, MaxDelay: c.connect},
			MinConnectTimeout: c.connect,
		}),
		grpc.WithDisableServiceConfig(),
	}, c.dial...)
	channel, err := grpc.NewClient(target, k.dial...)
	if err != nil {
		return nil, fmt.Errorf("dial broker: %w", err)
	}
	k.connection = &connection{channel: channel}
	k.ctx, k.end = context.WithCancelCause(context.Background())
	return k, nil
}

// Close ends the client and all that was made of it, and waits for their goroutines. It may be called more than once.
func (c *Client) Close() {
	c.end(closed("the client"))
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.users.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retire(c.connection)
	c.connection = nil
}

// enlist counts a goroutine that Close waits for, or says that the client is closed.
func (c *Client) enlist(run func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return context.Cause(c.ctx)
	}
	c.users.Go(run)
	return nil
}

// stubs are a broker's services over one connection.
type stubs struct {
	millracev1.BrokerServiceClient
	millracev1.AdminServiceClient
}

// try gives one try of a call the context to make it with, which has a fresh token, and the stubs. Done must be called at
// its end.
func (c *Client) try(ctx context.Context) (_ context.Context, _ stubs, done func(), _ error) {
	if c.config.token != nil {
		token, err := c.config.token(ctx)
		if err != nil {
			return nil, stubs{}, nil, tokenError(err)
		}
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
	}
	conn, err := c.acquire()
	if err != nil {
		return nil, stubs{}, nil, err
	}
	return ctx, stubs{millracev1.NewBrokerServiceClient(conn.channel), millracev1.NewAdminServiceClient(conn.channel)}, func() { c.release(conn) }, nil
}

// acquire returns the connection for one use. A channel that could not connect is replaced by a new one, which tries at
// once, and once: calls over it wait for the outcome.
func (c *Client) acquire() (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, context.Cause(c.ctx)
	}
	if old := c.connection; old == nil || old.failed() {
		channel, err := grpc.NewClient(c.target, c.dial...)
		if err != nil {
			return nil, unavailable("the broker's address can't be used", err)
		}
		c.connection = &connection{channel: channel}
		c.retire(old)
	}
	c.connection.uses++
	return c.connection, nil
}

// release gives a use back. A channel that nobody uses is only kept if it is connected, so that one that failed does not
// try again before its time: gRPC fails its calls a moment before it says so of the channel.
func (c *Client) release(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.uses--
	switch {
	case conn.retired:
		c.retire(conn)
	case conn.uses == 0 && conn.channel.GetState() != connectivity.Ready:
		c.connection = nil
		c.retire(conn)
	}
}

// retire closes a connection, now or after its last use. c.mu is held.
func (c *Client) retire(conn *connection) {
	if conn == nil {
		return
	}
	conn.retired = true
	if conn.uses > 0 {
		return
	}
	if err := conn.channel.Close(); err != nil {
		c.config.log.Warn("a connection could not be closed", "error", err)
	}
}

func (c *connection) failed() bool { return c.channel.GetState() == connectivity.TransientFailure }

// once makes a call once. The error is a *millrace.Error.
func (c *Client) once(ctx context.Context, call func(context.Context, stubs) error) error {
	ctx, stop := c.bind(ctx)
	defer stop()
	err := c.unary(ctx, call)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return endOf(ctx).WithCause(err)
	}
	return streamError(err)
}

func (c *Client) unary(ctx context.Context, call func(context.Context, stubs) error) error {
	ctx, broker, done, err := c.try(ctx)
	if err != nil {
		return err
	}
	defer done()
	return call(ctx, broker)
}

// retry makes a call until it does not fail as unavailable, ctx ends or the backoff's tries are used up. The error is a
// *millrace.Error.
func (c *Client) retry(ctx context.Context, call func(context.Context, stubs) error) error {
	ctx, stop := c.bind(ctx)
	defer stop()
	for m := (drive.Machine{Policy: drive.WithDefaults(c.config.backoff), State: StateConnecting}); ; {
		err := c.unary(ctx, call)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return endOf(ctx).WithCause(err)
		}
		failure := streamError(err)
		if !worthRetrying(failure) {
			return failure
		}
		var act drive.Action
		m, act = m.Step(drive.Input{Kind: drive.Lost, Err: failure}, time.Now(), chance())
		if act.Kind == drive.Stop {
			return failure
		}
		if !drive.WaitUntil(ctx, act.At) {
			return endOf(ctx).WithCause(failure)
		}
	}
}

// bind returns a context that also ends with the client.
func (c *Client) bind(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// worthRetrying reports whether an answer says no more than that the broker can't be reached right now.
func worthRetrying(err *millrace.Error) bool {
	return err.Reason.Outcome().GRPC == millrace.ReasonUnavailable.Outcome().GRPC
}

// tokenError says that the source had no token. It is tried again unless the source says that there is no use.
func tokenError(err error) *millrace.Error {
	if e, ok := errors.AsType[*millrace.Error](err); ok {
		return e
	}
	return unavailable("there is no token to come with", err)
}

// History reads a part of a topic's log, whole, or fails with a *millrace.Error. While the broker can't be reached it
// tries again until ctx ends. Page.Next is where to go on.
func (c *Client) History(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error) {
	return c.history(ctx, topic, r, c.retry)
}

func (c *Client) history(ctx context.Context, topic string, r millrace.Range, by caller) (millrace.Page, error) {
	request := wire.HistoryRequest(topic, r)
	var page millrace.Page
	err := by(ctx, func(ctx context.Context, broker stubs) error {
		response, err := broker.History(ctx, request)
		if err != nil {
			return err
		}
		page = wire.ParsePage(topic, response)
		if page.Gap != nil {
			page.Gap.Topic = topic
		}
		return nil
	})
	return page, err
}

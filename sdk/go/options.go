package sdk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
)

// Backoff says how long to wait between tries: each time a random share of a bound that begins at Base and doubles with
// every failure up to Cap (exponential backoff with full jitter), so that peers that were cut off together do not come
// back together. What the server advises comes first: no try is earlier than that. Zero fields take their defaults.
type Backoff = drive.Backoff

// Status is how a stream to the broker stands, and why.
type Status = drive.Status

// State says how a stream to the broker stands.
type State = drive.State

// The states: idle → connecting → live ⇄ resuming → closed.
const (
	StateIdle       = drive.StateIdle       // nothing was asked for yet
	StateConnecting = drive.StateConnecting // on the way to live for the first time
	StateLive       = drive.StateLive       // the broker answers
	StateResuming   = drive.StateResuming   // was live, was cut off, and is on its way back with its positions
	StateClosed     = drive.StateClosed     // ended, for good
)

// TokenSource returns the token to come with, "" for none. It is asked before every try, so that a stream that was cut
// off because its token expired comes back with a fresh one. It may be called concurrently.
type TokenSource func(ctx context.Context) (string, error)

// StaticToken is a source of always the same token.
func StaticToken(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// Option changes how a client dials.
type Option func(*config)

type config struct {
	token     TokenSource
	tls       *tls.Config
	plaintext bool
	agent     string
	backoff   Backoff
	connect   time.Duration
	queue     int
	log       *slog.Logger
	dial      []grpc.DialOption
}

// WithToken names the client to the broker. Default: no token.
func WithToken(source TokenSource) Option { return func(c *config) { c.token = source } }

// WithTLS sets how the broker is verified and, if it wants that, the client's certificate. The config is not changed
// from then on. Default: the system's roots.
func WithTLS(t *tls.Config) Option { return func(c *config) { c.tls = t } }

// WithInsecurePlaintext speaks without TLS: token and events can be read and changed by everyone on the way. It is for
// the own machine and for networks that are encrypted beneath.
func WithInsecurePlaintext() Option { return func(c *config) { c.plaintext = true } }

// WithAgent says what the client is, for people: software and version. Default: "millrace-go".
func WithAgent(agent string) Option { return func(c *config) { c.agent = agent } }

// WithBackoff sets how long to wait between tries. Default: see Backoff.
func WithBackoff(b Backoff) Option { return func(c *config) { c.backoff = b } }

// WithConnectTimeout bounds the time to connect to one address of the broker, and to be welcomed there. Default: 10 s.
func WithConnectTimeout(d time.Duration) Option { return func(c *config) { c.connect = d } }

// WithQueueBytes bounds what one subscription or link holds for an application that does not take it, give or take one
// message of the broker. Default: 4 MiB.
func WithQueueBytes(n int) Option { return func(c *config) { c.queue = n } }

// WithLogger sets where changes of state are logged. Default: slog.Default().
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.log = l } }

// WithDialOptions adds options of gRPC, after the client's own. It is for tests and for what this package does not know.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(c *config) { c.dial = append(c.dial, opts...) }
}

// validate reports every fault at once.
func (c *config) validate() error {
	var faults []error
	if err := c.backoff.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("backoff: %w", err))
	}
	if c.plaintext && c.tls != nil {
		faults = append(faults, errors.New("WithTLS and WithInsecurePlaintext exclude each other"))
	}
	if c.connect <= 0 {
		faults = append(faults, fmt.Errorf("connect timeout is %s; it must be positive", c.connect))
	}
	if c.queue <= 0 {
		faults = append(faults, fmt.Errorf("queue has %d bytes; they must be positive", c.queue))
	}
	if c.log == nil {
		faults = append(faults, errors.New("logger is nil"))
	}
	return errors.Join(faults...)
}

package sdk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
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

// SubscribeOption adds topics to a subscription, or says where they begin.
type SubscribeOption func(*request)

// Topics subscribes to topics: from where a cursor of Resume has them, and else from now on.
func Topics(names ...string) SubscribeOption {
	return func(r *request) {
		for _, name := range names {
			r.add(name, nil)
		}
	}
}

// TopicsFrom subscribes to topics from a start on, whatever a cursor of Resume says of them.
func TopicsFrom(start millrace.Start, names ...string) SubscribeOption {
	return func(r *request) {
		for _, name := range names {
			r.add(name, &start)
		}
	}
}

// Resume subscribes to the topics of a cursor, each from its position. The cursor may come from any door of Millrace;
// an empty one has no topics. That of a subscription may have more topics than the doors of a gateway take in one.
func Resume(cursor string) SubscribeOption {
	return func(r *request) {
		if cursor == "" {
			return
		}
		// Piece by piece: it is not sent anywhere, so what bounds a cursor in a header or URL does not bound this one.
		for item := range strings.SplitSeq(cursor, ",") {
			c, err := millrace.ParseCursor(item)
			if err != nil {
				r.faults = append(r.faults, err)
				return
			}
			for _, p := range c.Pieces {
				r.add(p.Topic, nil)
				delete(r.held, p.Topic)
				if p.Attached {
					r.held[p.Topic] = p.Position
				}
			}
		}
	}
}

// request is the topics of a subscription in the order in which they were named.
type request struct {
	names  []string
	starts map[string]*millrace.Start // nil: not said
	held   map[string]millrace.Position
	faults []error
}

func (r *request) add(name string, start *millrace.Start) {
	before, known := r.starts[name]
	if !known {
		if err := millrace.ValidateTopic(name); err != nil {
			r.faults = append(r.faults, err)
		}
		r.names = append(r.names, name)
	}
	if start == nil {
		start = before
	}
	r.starts[name] = start
}

// tracksOf returns what the options ask for. The error is every fault of it; each is a *millrace.Error.
func tracksOf(opts []SubscribeOption) ([]*track, error) {
	r := request{starts: map[string]*millrace.Start{}, held: map[string]millrace.Position{}}
	for _, o := range opts {
		o(&r)
	}
	if len(r.names) == 0 && len(r.faults) == 0 {
		r.faults = append(r.faults, millrace.Errorf(millrace.ReasonBadRequest, "a subscription needs a topic"))
	}
	if len(r.faults) > 0 {
		return nil, errors.Join(r.faults...)
	}
	tracks := make([]*track, 0, len(r.names))
	for _, name := range r.names {
		t := &track{topic: name}
		position, held := r.held[name]
		switch start := r.starts[name]; {
		case start != nil && start.Kind == millrace.StartAfter:
			t.attached, t.position = true, start.After
		case start != nil:
			t.start = *start
		case held:
			t.attached, t.position = true, position
		}
		tracks = append(tracks, t)
	}
	return tracks, nil
}

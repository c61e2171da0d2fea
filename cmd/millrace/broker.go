package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/auth"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

const aboutBroker = `Keeps the topics and their logs, in memory, and serves them over gRPC.

Without a key it takes whoever reaches it for a trusted backend, so it then listens only where this machine alone can
reach it. With a key each caller needs a token (millrace token), and the subjects of --trusted, such as the gateways',
may speak for others.

The file can hold rules, which say by pattern how topics are kept; the first that matches counts:

  rules:
    - {pattern: "chat:**", max_events: 10000, max_age: 24h, max_bytes: 64MiB}
    - {pattern: "price:*", class: latest, max_events: 500}
    - {pattern: "pointer:*", class: ephemeral}

In class log, which is that of all other topics, every event is kept for a while, and each subscriber is owed each. In
class latest it is the newest event of each key, and max_events bounds the keys. In class ephemeral nothing is kept:
an event goes to those who are there.
`

// brokerJob is the broker in a process of its own.
type brokerJob struct {
	listen  address
	key     key
	trusted []string
	open    bool
	grace   time.Duration
	age     time.Duration
	storage storage
	logging logging
}

func newBroker() job {
	return &brokerJob{
		listen: address{setting: "listen", text: defaultBroker}, grace: 3 * time.Second, age: 30 * time.Minute, storage: newStorage(), logging: newLogging(),
	}
}

func (j *brokerJob) settings() []settings.Setting {
	rows := []settings.Setting{j.listen.row("where gRPC is served")}
	rows = append(rows, j.key.settings()...)
	rows = append(rows,
		settings.Setting{Name: "trusted", Value: settings.List(&j.trusted, "SUBJECT,…"), Doc: "subjects that may speak for others: those of gateways"},
		settings.Setting{Name: "insecure-open-broker", Value: settings.Bool(&j.open), Doc: "without a key, take whoever reaches the broker for a trusted backend"},
		settings.Setting{Name: "drain-grace", Value: settings.Duration(&j.grace, time.Millisecond), Doc: "when it stops, how long open streams may go on"},
		settings.Setting{
			Name: "stream-age", Value: settings.Duration(&j.age, 10*time.Millisecond),
			Doc: "how old a stream may become, give or take a tenth, before its peer is told to go on with another; nothing is lost by it",
		},
	)
	rows = append(rows, j.storage.settings()...)
	return append(rows, j.logging.settings()...)
}

func (j *brokerJob) check(t *settings.Table) error {
	faults := []error{j.key.load(t), j.storage.check(t)}
	loopback, err := j.listen.check(t)
	faults = append(faults, err)
	told := t.Told("key") || t.Told("key-file")
	if err == nil && !told && !j.open && !loopback {
		faults = append(faults, fmt.Errorf("%s: others than this machine can reach %s, so a key is needed, by --key, MILLRACE_KEY or --key-file; "+
			"to let all of them in, say --insecure-open-broker", t.Where("listen"), j.listen.text))
	}
	if string(j.key.secret) == auth.DevKey && !loopback {
		faults = append(faults, errPublicKey)
	}
	return errors.Join(faults...)
}

func (j *brokerJob) run(ctx context.Context, _ []string, std streams) (err error) {
	log := j.logging.logger(std.err)
	b, stop, err := j.storage.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	c := rpc.Config{Trusted: j.trusted, DrainGrace: j.grace, StreamAge: j.age, MaxEventBytes: j.storage.maxEventBytes}
	if len(j.key.secret) > 0 {
		if c.Authenticator, err = auth.NewVerifier(auth.Config{Key: j.key.secret}); err != nil {
			return err
		}
	} else {
		c.Anonymous = everything()
	}
	grpc, _, err := grpcPart(j.listen.text, b, c, log)
	if err != nil {
		return err
	}
	return serve(ctx, "broker", std.out, log, grpc)
}

// everything is the grant of callers without a token where the network is trusted.
func everything() *millrace.Grant {
	return &millrace.Grant{Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}}
}

// grpcPart serves a broker.
func grpcPart(addr string, b *broker.Broker, c rpc.Config, log *slog.Logger) (part, *rpc.Server, error) {
	c.Version, c.Log = version, log
	c.MaxMessageBytes = max(4<<20, c.MaxEventBytes+1<<20)
	server, err := rpc.New(c, b)
	if err != nil {
		return part{}, nil, err
	}
	return part{
		what:  "grpc",
		addr:  addr,
		serve: server.Serve,
		stop: func() {
			// Shutdown bounds itself by DrainGrace.
			if err := server.Shutdown(context.Background()); err != nil {
				log.Warn("streams were cut off", "error", err)
			}
		},
	}, server, nil
}

// storage is what a broker keeps, and how much of it.
type storage struct {
	fallback      broker.Rule // for topics that no rule covers
	rules         []*broker.Rule
	maxEventBytes int
	maxTopics     int
	maxTotalBytes int64
	lease         time.Duration
}

func newStorage() storage {
	return storage{fallback: broker.Rule{}.WithDefaults(), maxEventBytes: 1 << 20, maxTopics: 1_000_000, maxTotalBytes: 1 << 30, lease: 15 * time.Second}
}

func (s *storage) settings() []settings.Setting {
	r := &s.fallback
	return []settings.Setting{
		{Name: "topic-max-events", Value: settings.Int(&r.MaxEvents, 1), Doc: "events kept of a topic that no rule covers"},
		{Name: "topic-max-age", Value: settings.Duration(&r.MaxAge, time.Second), Doc: "how long they are kept"},
		{Name: "topic-max-bytes", Value: settings.Bytes(&r.MaxBytes, 1), Doc: "memory that they may take"},
		{Name: "rules", Value: settings.Records(s.rule), Doc: "a sequence of classes and bounds for the topics of a pattern, of which the first that matches " +
			"counts: pattern, class, max_events, max_age, max_bytes, dedup_window, dedup_ids, head_retention"},
		{Name: "max-event-bytes", Value: settings.Bytes(&s.maxEventBytes, 1), Doc: "largest data of an event"},
		{Name: "max-topics", Value: settings.Int(&s.maxTopics, 1), Doc: "topics at a time"},
		{Name: "lease", Value: settings.Duration(&s.lease, time.Second), Doc: "how long members outlive the link of their gateway, unless they are told by another"},
		{Name: "max-total-bytes", Value: settings.Bytes(&s.maxTotalBytes, 1), Doc: "memory that all topics together may take"},
	}
}

// rule returns the settings of one more rule.
func (s *storage) rule() []settings.Setting {
	r := &broker.Rule{}
	s.rules = append(s.rules, r)
	pattern := func(text string) error {
		r.Pattern = millrace.Pattern(text)
		if r.Pattern.Validate() != nil {
			return errors.New(`a pattern such as chat:** or user:*:inbox`)
		}
		return nil
	}
	class := func(text string) error {
		c, ok := millrace.ParseClass(text)
		if r.Class = c; !ok || text == "" {
			return errors.New("log, latest or ephemeral")
		}
		return nil
	}
	return []settings.Setting{
		{Name: "pattern", Value: settings.Func(pattern, "", "")},
		{Name: "class", Value: settings.Func(class, "", "")},
		{Name: "max-events", Value: settings.Int(&r.MaxEvents, 1)},
		{Name: "max-age", Value: settings.Duration(&r.MaxAge, time.Second)},
		{Name: "max-bytes", Value: settings.Bytes(&r.MaxBytes, 1)},
		{Name: "dedup-window", Value: settings.Duration(&r.DedupWindow, time.Second)},
		{Name: "dedup-ids", Value: settings.Int(&r.DedupIDs, 1)},
		{Name: "head-retention", Value: settings.Duration(&r.HeadRetention, time.Second)},
	}
}

func (s *storage) check(t *settings.Table) error {
	var faults []error
	for i, r := range s.rules {
		if r.Pattern == "" {
			faults = append(faults, fmt.Errorf("%s: rule %d has no pattern", t.Where("rules"), i+1))
		} else if err := r.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", t.Where("rules"), err))
		}
	}
	return errors.Join(faults...)
}

// open returns a running broker over a log in memory, and what stops both.
func (s *storage) open() (*broker.Broker, func() error, error) {
	rules := make([]broker.Rule, 0, len(s.rules)+1)
	for _, r := range s.rules {
		rules = append(rules, *r)
	}
	last := s.fallback
	last.Pattern = "**"
	last.HeadRetention = max(last.HeadRetention, last.MaxAge)
	log, err := memlog.New(memlog.Config{Rules: append(rules, last), MaxTopics: s.maxTopics, MaxBytes: s.maxTotalBytes})
	if err != nil {
		return nil, nil, err
	}
	b, err := broker.New(broker.Config{MaxEventBytes: s.maxEventBytes, LeaseTerm: s.lease}, log, memlog.NewRoster(log))
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return b, func() error {
		b.Stop()
		return log.Close()
	}, nil
}

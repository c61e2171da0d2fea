package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// steering is what commands to live sessions have in common: whom they are for, and how they are asked.
type steering struct {
	upstream upstream
	timeout  time.Duration
	target   millrace.Target
}

func newSteering() steering { return steering{upstream: newUpstream(), timeout: 10 * time.Second} }

func (s *steering) settings(own ...settings.Setting) []settings.Setting {
	rows := append(s.upstream.settings(), []settings.Setting{
		{Name: "timeout", Value: settings.Duration(&s.timeout, time.Millisecond), Doc: "how long to try"},
		{Name: "session", Value: settings.Text(&s.target.Session, "ID"), Doc: "the session that is meant", FlagOnly: true},
		{Name: "subject", Value: settings.Text(&s.target.Subject, "NAME"), Doc: subjectDoc, FlagOnly: true},
	}...)
	return append(rows, own...)
}

func (s *steering) check(t *settings.Table) error {
	faults := []error{s.upstream.check(t)}
	switch told := t.Told("session"); {
	case told && t.Told("subject"):
		faults = append(faults, errors.New("--session and --subject: want one of them"))
	case !told && !t.Told("subject"):
		faults = append(faults, errors.New("--session or --subject is needed, to say whose sessions are meant"))
	default:
		if err := s.target.Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// reach makes a call, and prints how many sessions it reached.
func (s *steering) reach(ctx context.Context, std streams, call func(ctx context.Context, c *sdk.Client) (sdk.Reached, error)) error {
	client, err := s.upstream.dial(quiet(std.err))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	reached, err := call(ctx, client)
	if err != nil {
		return fmt.Errorf("ask %s: %w", s.upstream.addr, err)
	}
	return report(std.out, reached)
}

// report prints how many sessions were reached. That gateways did not answer is an error.
func report(out io.Writer, reached sdk.Reached) error {
	fmt.Fprintln(out, reached.Sessions)
	if len(reached.Missing) > 0 {
		return fmt.Errorf("no answer of %s; their sessions may not have been reached", strings.Join(reached.Missing, ", "))
	}
	return nil
}

// subjectDoc says what --subject is, wherever there is one.
const subjectDoc = "who is meant: whom a token names, or whose sessions a command is for, all of them"

const aboutSession = `Makes live sessions subscribe, unsubscribe, join or leave without their asking, and prints how many did. Their grants are
not looked at: what a backend gives a session it keeps when it comes back with its cursor.

  millrace session subscribe chat:1 --subject alice
  millrace session subscribe 'orders:*' --session Zx3hYb0mQ5qvC0dWzCkq0w --start last=10
  millrace session join room:7 --subject alice --data '{"name":"Alice"}'
  millrace session leave room:7 --subject alice
  millrace session unsubscribe chat:1 --subject alice

subscribe takes --start, --filter and --max-rate, and join --data. unsubscribe ends a membership too; leave keeps the
subscription. millrace presence lists sessions.
`

// sessionJob is one command to live sessions.
type sessionJob struct {
	steering
	wish wish
	data string

	told func(name string) bool
}

func newSession() job { return &sessionJob{steering: newSteering()} }

func (j *sessionJob) settings() []settings.Setting {
	return j.steering.settings(append(j.wish.settings(),
		settings.Setting{Name: "data", Value: settings.Text(&j.data, "JSON"), Doc: "what those who join show of themselves", FlagOnly: true})...)
}

func (j *sessionJob) check(t *settings.Table) error {
	j.told = t.Told
	err := errors.Join(j.steering.check(t), j.wish.check())
	if j.data != "" && !json.Valid([]byte(j.data)) {
		err = errors.Join(err, errors.New("--data: want JSON"))
	}
	return err
}

// actions are what a session can be made to do, with the settings that it takes.
var actions = map[string]struct {
	takes []string
	do    func(ctx context.Context, c *sdk.Client, j *sessionJob, topic string) (sdk.Reached, error)
}{
	"subscribe": {[]string{"start", "filter", "max-rate"}, func(ctx context.Context, c *sdk.Client, j *sessionJob, topic string) (sdk.Reached, error) {
		filter, err := millrace.ParseFilter(j.wish.filter)
		if err != nil {
			return sdk.Reached{}, err
		}
		return c.SubscribeSessions(ctx, j.target, millrace.Subscription{Topic: topic, Start: j.wish.start, Filter: filter, MaxRate: j.wish.rate})
	}},
	"unsubscribe": {nil, func(ctx context.Context, c *sdk.Client, j *sessionJob, topic string) (sdk.Reached, error) {
		return c.UnsubscribeSessions(ctx, j.target, topic)
	}},
	"join": {[]string{"data"}, func(ctx context.Context, c *sdk.Client, j *sessionJob, topic string) (sdk.Reached, error) {
		return c.JoinSessions(ctx, j.target, topic, []byte(j.data))
	}},
	"leave": {nil, func(ctx context.Context, c *sdk.Client, j *sessionJob, topic string) (sdk.Reached, error) {
		return c.LeaveSessions(ctx, j.target, topic)
	}},
}

func (j *sessionJob) run(ctx context.Context, args []string, std streams) error {
	action, ok := actions[args[0]]
	if !ok {
		return fmt.Errorf("%q: want subscribe, unsubscribe, join or leave", args[0])
	}
	for _, name := range []string{"start", "filter", "max-rate", "data"} {
		if j.told(name) && !slices.Contains(action.takes, name) {
			return fmt.Errorf("--%s: %s does not take it", name, args[0])
		}
	}
	topic := args[1]
	if err := millrace.Pattern(topic).Validate(); err != nil {
		return err
	}
	return j.reach(ctx, std, func(ctx context.Context, c *sdk.Client) (sdk.Reached, error) { return action.do(ctx, c, j, topic) })
}

const aboutDisconnect = `Ends live sessions, tells their peers why, and prints how many there were.

A peer that is told forbidden, which is the default, stays away; its token stays good, so whoever begins anew is let in
again. One that is told draining comes back within a second with its cursor, perhaps to another gateway, and loses
nothing. docs/protocol.md has the other reasons.

  millrace disconnect --subject alice
  millrace disconnect --session Zx3hYb0mQ5qvC0dWzCkq0w --reason draining
  millrace disconnect --subject alice --message 'your account is closed'
`

// disconnectJob ends live sessions.
type disconnectJob struct {
	steering
	reason  millrace.Reason
	message string
}

func newDisconnect() job {
	return &disconnectJob{steering: newSteering(), reason: millrace.ReasonForbidden}
}

func (j *disconnectJob) settings() []settings.Setting {
	reason := func(text string) error {
		j.reason = millrace.Reason(text)
		if j.reason.Outcome().Reason != j.reason {
			return errors.New("a reason such as forbidden or draining (docs/protocol.md, section 7)")
		}
		return nil
	}
	return j.steering.settings(
		settings.Setting{Name: "reason", Value: settings.Func(reason, "WORD", string(j.reason)), Doc: "what the peers are told", FlagOnly: true},
		settings.Setting{Name: "message", Value: settings.Text(&j.message, "TEXT"), Doc: "for the peers' developers", FlagOnly: true},
	)
}

func (j *disconnectJob) run(ctx context.Context, _ []string, std streams) error {
	return j.reach(ctx, std, func(ctx context.Context, c *sdk.Client) (sdk.Reached, error) {
		return c.Disconnect(ctx, j.target, j.reason, j.message)
	})
}

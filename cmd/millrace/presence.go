package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/cmd/millrace/output"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

const aboutPresence = `Shows who is in a topic: a table of the sessions that joined it, the oldest first, with what they show of themselves. Of the
topic $sessions it is all live sessions of all gateways, with their gateway and transport.

  millrace presence room:7
  millrace presence room:7 --watch
  millrace presence '$sessions' --count-only
  millrace presence '$sessions' --json | jq -r .subject
`

// presenceJob shows the members of a topic.
type presenceJob struct {
	upstream upstream
	count    bool
	lines    bool
	watch    bool
	limit    int
	timeout  time.Duration
}

func newPresence() job {
	return &presenceJob{upstream: newUpstream(), limit: 1000, timeout: 10 * time.Second}
}

func (j *presenceJob) settings() []settings.Setting {
	return append(j.upstream.settings(), []settings.Setting{
		{Name: "count-only", Value: settings.Bool(&j.count), Doc: "show only how many there are", FlagOnly: true},
		{Name: "json", Value: settings.Bool(&j.lines), Doc: "print each member as one line of JSON", FlagOnly: true},
		{Name: "watch", Value: settings.Bool(&j.watch), Doc: "go on with who comes, changes and goes", FlagOnly: true},
		{Name: "timeout", Value: settings.Duration(&j.timeout, time.Millisecond), Doc: "how long to try"},
		{Name: "limit", Value: settings.Int(&j.limit, 1), Doc: "most members that a table has", FlagOnly: true},
	}...)
}

func (j *presenceJob) check(t *settings.Table) error {
	err := j.upstream.check(t)
	if j.count && j.watch {
		return errors.New("--count-only and --watch: want one of them")
	}
	return err
}

func (j *presenceJob) run(ctx context.Context, args []string, std streams) error {
	topic := args[0]
	if err := millrace.ValidateTopic(topic); err != nil {
		return err
	}
	client, err := j.upstream.dial(quiet(std.err))
	if err != nil {
		return err
	}
	defer client.Close()
	if !j.watch {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, j.timeout)
		defer cancel()
	}
	switch {
	case j.count:
		err = j.counts(ctx, client, topic, std.out)
	case j.watch:
		err = j.follow(ctx, client, topic, std.out)
	case j.lines:
		err = printLines(ctx, client, topic, std.out)
	default:
		err = j.table(ctx, client, topic, std.out)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil // the user ended it
	}
	return err
}

func (j *presenceJob) counts(ctx context.Context, c *sdk.Client, topic string, out io.Writer) error {
	members, subjects, err := c.MemberCounts(ctx, topic)
	switch {
	case err != nil:
		return err
	case j.lines:
		return json.NewEncoder(out).Encode(output.Counts(members, subjects))
	}
	_, err = fmt.Fprintln(out, output.CountText(members, subjects))
	return err
}

// lineWriter prints lines of JSON.
func lineWriter(out io.Writer) *json.Encoder {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	return lines
}

func printLines(ctx context.Context, c *sdk.Client, topic string, out io.Writer) error {
	lines := lineWriter(out)
	for m, err := range c.Members(ctx, topic) {
		if err == nil {
			err = lines.Encode(output.Member(m))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *presenceJob) table(ctx context.Context, c *sdk.Client, topic string, out io.Writer) error {
	members, subjects, err := c.MemberCounts(ctx, topic)
	if err != nil {
		return err
	}
	var list []millrace.Member
	for m, err := range c.Members(ctx, topic) {
		if err != nil {
			return err
		}
		if list = append(list, m); len(list) == j.limit {
			break
		}
	}
	return tabulate(out, list, max(members, len(list)), subjects)
}

// tabulate prints a table of members, or of some of them.
func tabulate(out io.Writer, list []millrace.Member, members, subjects int) error {
	if len(list) > 0 {
		if err := output.Table(out, list, time.Now()); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	text := output.CountText(members, subjects)
	if len(list) < members {
		text = fmt.Sprintf("%d of %s (--limit shows more, --json all)", len(list), text)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// follow prints everyone, and then what changes, until ctx ends.
func (j *presenceJob) follow(ctx context.Context, c *sdk.Client, topic string, out io.Writer) error {
	watch, err := c.WatchMembers(ctx, topic)
	if err != nil {
		return err
	}
	defer watch.Close()
	lines := lineWriter(out)
	tell := func(kind millrace.MemberEventKind, list []millrace.Member) error {
		for _, m := range list {
			var err error
			if j.lines {
				err = lines.Encode(output.Change(kind, m))
			} else {
				_, err = fmt.Fprintln(out, output.ChangeText(kind, m, time.Now()))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	for first := true; ; first = false {
		change, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		if first && !j.lines {
			members, subjects := watch.Counts()
			if err := tabulate(out, change.Joined[:min(len(change.Joined), j.limit)], members, subjects); err != nil {
				return err
			}
			continue
		}
		if err := errors.Join(tell(millrace.MemberJoined, change.Joined), tell(millrace.MemberUpdated, change.Updated), tell(millrace.MemberLeft, change.Left)); err != nil {
			return err
		}
	}
}

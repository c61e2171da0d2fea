package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/cmd/millrace/output"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

const aboutSubscribe = `Prints each event of the topics as one line of JSON, as it comes, with its position and with the cursor that resumes
behind it. A pattern is all topics that it covers, those too that are born later: * stands for one segment of a name,
and ** at the end for one or more.

  millrace subscribe chat:1 chat:2
  millrace subscribe chat:1 --start last=10 --count 10
  millrace subscribe 'orders:*' --filter 'name in ("paid","shipped") && header.region ^= "eu-"'
  millrace subscribe 'price:**' --max-rate 2
  millrace subscribe --cursor 42-1311768467463790320-chat:1

What can't be had is a line of its own, {"gap":…}: the events between two positions, or in class ephemeral their number.
In class latest older events of a key may be left out, which {"conflated":…} counts before the event that follows.
`

// wish is how a command wants the topics that it names.
type wish struct {
	start  millrace.Start
	filter string
	rate   float64
}

func (w *wish) settings() []settings.Setting {
	start := func(text string) (err error) {
		w.start, err = parseStart(text)
		return err
	}
	rate := func(text string) (err error) {
		w.rate, err = parseRate(text)
		return err
	}
	return []settings.Setting{
		{
			Name: "start", Value: settings.Func(start, "now|earliest|last=N|since=TIME", "now or, in class latest, the state"), FlagOnly: true,
			Doc: "where to begin, but in topics of a cursor; TIME is such as 2006-01-02T15:04:05Z, or 10m for ten minutes ago",
		},
		{
			Name: "filter", Value: settings.Text(&w.filter, "FILTER"), FlagOnly: true,
			Doc: "only the events that it chooses by name, key, content_type, subject or header.NAME, with ==, !=, ^= (begins with), <, <=, >, >= and in, joined by &&, || and !",
		},
		{
			Name: "max-rate", Value: settings.Func(rate, "N", ""), FlagOnly: true,
			Doc: "at most so many events a second of a topic, newer ones in place of older ones, from 0.001 to 1000; not for class log, which owes every event",
		},
	}
}

func (w *wish) check() error {
	if _, err := millrace.ParseFilter(w.filter); err != nil {
		return fmt.Errorf("--filter: %w", err)
	}
	return nil
}

// subscribeJob prints events.
type subscribeJob struct {
	upstream upstream
	wish     wish
	cursor   string
	filtered bool // there is a filter, if only an empty one
	rated    bool
	count    int
}

func newSubscribe() job { return &subscribeJob{upstream: newUpstream()} }

func (j *subscribeJob) settings() []settings.Setting {
	rows := append(j.upstream.settings(), j.wish.settings()...)
	return append(rows,
		settings.Setting{Name: "cursor", Value: settings.Text(&j.cursor, "CURSOR"), Doc: "resume behind it, in all of its topics", FlagOnly: true},
		settings.Setting{Name: "count", Value: settings.Int(&j.count, 0), Doc: "end after so many events; 0 is never", FlagOnly: true},
	)
}

// parseStart reads where a subscription begins.
func parseStart(text string) (millrace.Start, error) {
	wanted := errors.New("now, earliest, last=N or since=TIME")
	kind, value, _ := strings.Cut(text, "=")
	switch {
	case text == "now":
		return millrace.Start{Kind: millrace.StartNow}, nil
	case text == "earliest":
		return millrace.Start{Kind: millrace.StartEarliest}, nil
	case kind == "last":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return millrace.Start{}, wanted
		}
		return millrace.Start{Kind: millrace.StartLast, Count: int(n)}, nil
	case kind == "since":
		since, err := time.Parse(time.RFC3339, value)
		if ago, agoErr := time.ParseDuration(value); agoErr == nil {
			since, err = time.Now().Add(-ago), nil
		}
		if err != nil {
			return millrace.Start{}, wanted
		}
		return millrace.Start{Kind: millrace.StartSince, Since: since}, nil
	}
	return millrace.Start{}, wanted
}

// parseRate reads how many events a second are wanted.
func parseRate(text string) (float64, error) {
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || millrace.ValidateMaxRate(rate) != nil {
		return 0, errors.New("a number from 0.001 to 1000, or 0 for no limit")
	}
	return rate, nil
}

func (j *subscribeJob) check(t *settings.Table) error {
	faults := []error{j.upstream.check(t), j.wish.check()}
	j.filtered, j.rated = t.Told("filter"), t.Told("max-rate")
	if _, err := heldBy(j.cursor); err != nil {
		faults = append(faults, fmt.Errorf("--cursor: %w", err))
	}
	return errors.Join(faults...)
}

func (j *subscribeJob) run(ctx context.Context, args []string, std streams) error {
	if len(args) == 0 && j.cursor == "" {
		return errors.New("there is no topic; want topics as arguments or by --cursor")
	}
	client, err := j.upstream.dial(quiet(std.err))
	if err != nil {
		return err
	}
	defer client.Close()
	request := []sdk.SubscribeOption{sdk.Resume(j.cursor)}
	if topics := j.fresh(args); len(topics) > 0 {
		request = append(request, sdk.TopicsFrom(j.wish.start, topics...))
	}
	if j.filtered {
		request = append(request, sdk.WithFilter(j.wish.filter))
	}
	if j.rated {
		request = append(request, sdk.MaxRate(j.wish.rate))
	}
	sub, err := client.Subscribe(ctx, request...)
	if err != nil {
		return err
	}
	defer sub.Close()
	return j.print(ctx, sub, std.out)
}

// heldBy returns the topics that a cursor has. It is read piece by piece, since what subscribe prints has no bound.
func heldBy(cursor string) (map[string]bool, error) {
	held := map[string]bool{}
	if cursor == "" {
		return held, nil
	}
	for item := range strings.SplitSeq(cursor, ",") {
		c, err := millrace.ParseCursor(item)
		if err != nil {
			return nil, err
		}
		for _, p := range c.Pieces {
			held[p.Topic] = true
		}
	}
	return held, nil
}

// fresh returns the topics that the cursor does not have.
func (j *subscribeJob) fresh(args []string) []string {
	held, err := heldBy(j.cursor)
	if err != nil {
		panic("subscribe: a cursor that was checked can't be read: " + err.Error())
	}
	var topics []string
	for _, topic := range args {
		if !held[topic] {
			topics = append(topics, topic)
		}
	}
	return topics
}

func (j *subscribeJob) print(ctx context.Context, sub *sdk.Subscription, out io.Writer) error {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	conflated := map[string]uint64{} // as printed, by topic
	printed := 0
	for e, err := range sub.All(ctx) {
		var line any
		if gap, ok := errors.AsType[*sdk.GapError](err); ok {
			line = output.Gap(&gap.Gap, sub.Cursor())
		} else if err != nil {
			if ctx.Err() != nil {
				return nil // the user ended it
			}
			return err
		} else {
			if n := sub.Conflated(e.Topic); n > conflated[e.Topic] {
				if err := lines.Encode(output.Conflated(e.Topic, n-conflated[e.Topic])); err != nil {
					return fmt.Errorf("print conflation: %w", err)
				}
				conflated[e.Topic] = n
			}
			printed++
			line = output.Event(e, sub.Cursor())
		}
		if err := lines.Encode(line); err != nil {
			return fmt.Errorf("print event: %w", err)
		}
		if j.count > 0 && printed == j.count {
			return nil
		}
	}
	return nil
}

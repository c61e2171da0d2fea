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
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

const aboutSubscribe = `Prints each event of the topics as one line of JSON, as it comes, with its position and with the cursor that resumes
behind it. What can't be had is a line of its own: {"gap":…}.

  millrace subscribe chat:1 chat:2
  millrace subscribe chat:1 --start last=10 --count 10
  millrace subscribe --cursor 42-1311768467463790320-chat:1
`

// subscribeJob prints events.
type subscribeJob struct {
	upstream upstream
	start    millrace.Start
	cursor   string
	count    int
}

func newSubscribe() job { return &subscribeJob{upstream: newUpstream()} }

func (j *subscribeJob) settings() []settings.Setting {
	return append(j.upstream.settings(), []settings.Setting{
		{
			Name: "start", Value: settings.Func(j.parseStart, "now|earliest|last=N|since=TIME", "now"), FlagOnly: true,
			Doc: "where to begin in topics that the cursor does not have; TIME is such as 2006-01-02T15:04:05Z, or 10m for ten minutes ago",
		},
		{Name: "cursor", Value: settings.Text(&j.cursor, "CURSOR"), Doc: "resume behind it, in all of its topics", FlagOnly: true},
		{Name: "count", Value: settings.Int(&j.count, 0), Doc: "end after so many events; 0 is never", FlagOnly: true},
	}...)
}

func (j *subscribeJob) parseStart(text string) error {
	wanted := errors.New("now, earliest, last=N or since=TIME")
	kind, value, _ := strings.Cut(text, "=")
	switch {
	case text == "now":
		j.start = millrace.Start{Kind: millrace.StartNow}
	case text == "earliest":
		j.start = millrace.Start{Kind: millrace.StartEarliest}
	case kind == "last":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return wanted
		}
		j.start = millrace.Start{Kind: millrace.StartLast, Count: int(n)}
	case kind == "since":
		since, err := time.Parse(time.RFC3339, value)
		if ago, agoErr := time.ParseDuration(value); agoErr == nil {
			since, err = time.Now().Add(-ago), nil
		}
		if err != nil {
			return wanted
		}
		j.start = millrace.Start{Kind: millrace.StartSince, Since: since}
	default:
		return wanted
	}
	return nil
}

func (j *subscribeJob) check(t *settings.Table) error {
	faults := []error{j.upstream.check(t)}
	if j.cursor != "" {
		if _, err := millrace.ParseCursor(j.cursor); err != nil {
			faults = append(faults, fmt.Errorf("--cursor: %w", err))
		}
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
		request = append(request, sdk.TopicsFrom(j.start, topics...))
	}
	sub, err := client.Subscribe(ctx, request...)
	if err != nil {
		return err
	}
	defer sub.Close()
	return j.print(ctx, sub, std.out)
}

// fresh returns the topics that the cursor does not have.
func (j *subscribeJob) fresh(args []string) []string {
	held := map[string]bool{}
	if cursor, err := millrace.ParseCursor(j.cursor); err == nil {
		for _, p := range cursor.Pieces {
			held[p.Topic] = true
		}
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
	printed := 0
	for e, err := range sub.All(ctx) {
		var line any
		if gap, ok := errors.AsType[*sdk.GapError](err); ok {
			line = gapLine{Gap: wireGap(&gap.Gap), Cursor: sub.Cursor()}
		} else if err != nil {
			if ctx.Err() != nil {
				return nil // the user ended it
			}
			return err
		} else {
			printed++
			line = lineOf(e, sub.Cursor())
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

// eventLine is an event as subscribe prints it: the fields of the client protocol's event frame, and the cursor.
type eventLine struct {
	Topic       string          `json:"topic"`
	Position    position        `json:"position"`
	ID          string          `json:"id,omitempty"`
	Name        string          `json:"name,omitempty"`
	Key         string          `json:"key,omitempty"`
	ContentType string          `json:"contentType,omitempty"`
	Headers     []header        `json:"headers,omitempty"`
	Sender      *sender         `json:"sender,omitempty"`
	TimeMs      string          `json:"timeMs"`
	Data        json.RawMessage `json:"data,omitempty"`
	Text        *string         `json:"text,omitempty"`
	Binary      []byte          `json:"binary,omitempty"`
	Cursor      string          `json:"cursor"`
}

type gapLine struct {
	Gap    gap    `json:"gap"`
	Cursor string `json:"cursor"`
}

type gap struct {
	Topic string   `json:"topic"`
	After position `json:"after"`
	Until position `json:"until"`
	Cause string   `json:"cause"`
}

// position has its numbers as text, as in the client protocol: JavaScript's numbers end at 53 bits.
type position struct {
	Offset uint64 `json:"offset,string"`
	Mark   uint64 `json:"mark,string"`
}

type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type sender struct {
	Session string `json:"session,omitempty"`
	Subject string `json:"subject,omitempty"`
}

func wireGap(g *millrace.Gap) gap {
	return gap{Topic: g.Topic, After: position(g.After), Until: position(g.Until), Cause: g.Cause.String()}
}

func lineOf(e *millrace.Event, cursor string) eventLine {
	line := eventLine{
		Topic: e.Topic, Position: position(e.Position), ID: e.ID, Name: e.Name, Key: e.Key, ContentType: e.ContentType,
		TimeMs: strconv.FormatInt(e.Time.UnixMilli(), 10), Cursor: cursor,
	}
	for _, h := range e.Headers {
		line.Headers = append(line.Headers, header(h))
	}
	if e.Sender != (millrace.Sender{}) {
		s := sender(e.Sender)
		line.Sender = &s
	}
	switch millrace.PayloadOf(e.ContentType) {
	case millrace.PayloadJSON:
		line.Data = e.Data
	case millrace.PayloadText:
		text := string(e.Data)
		line.Text = &text
	case millrace.PayloadBinary:
		line.Binary = e.Data
	}
	return line
}

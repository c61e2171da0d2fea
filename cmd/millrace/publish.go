package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

const aboutPublish = `Publishes one event and prints the position at which it is stored, as offset and mark.

  millrace publish chat:1 '{"text":"hello"}' --name said
  millrace publish notes:1 'plain words' --content-type text/plain
  date | millrace publish notes:1 - --content-type text/plain
  millrace publish price:acme '{"last":12.5}' --event-key bid
  millrace publish price:acme --event-key bid --tombstone

Data is JSON unless --content-type says otherwise. An id makes it safe to publish again: the same id of the same publisher
is stored once. With --expect the event is stored only if nothing was published since the position that it names, and is
else refused as conflict; 0-0 is a topic that nobody published to.
`

// publishJob publishes one event.
type publishJob struct {
	upstream upstream
	timeout  time.Duration
	event    millrace.Event
	headers  []string
	dataFile string
	expect   *millrace.Position
}

func newPublish() job { return &publishJob{upstream: newUpstream(), timeout: 10 * time.Second} }

func (j *publishJob) settings() []settings.Setting {
	e := &j.event
	return append(j.upstream.settings(), []settings.Setting{
		{Name: "timeout", Value: settings.Duration(&j.timeout, time.Millisecond), Doc: "how long to try"},
		{Name: "name", Value: settings.Text(&e.Name, "NAME"), Doc: "the application's type of event", FlagOnly: true},
		{Name: "id", Value: settings.Text(&e.ID, "ID"), Doc: "id of the event; the same one again is stored once", FlagOnly: true},
		{Name: "event-key", Value: settings.Text(&e.Key, "KEY"), Doc: "what the event is about, for topics of class latest", FlagOnly: true},
		{Name: "content-type", Value: settings.Text(&e.ContentType, "TYPE"), Doc: "media type of the data", FlagOnly: true},
		{Name: "header", Value: settings.Texts(&j.headers, "NAME=VALUE"), Doc: "a header of the event; may stand several times", FlagOnly: true},
		{Name: "tombstone", Value: settings.Bool(&e.Tombstone), Doc: "in class latest, delete the key; there are no data then", FlagOnly: true},
		{Name: "expect", Value: settings.Func(j.parseExpect, "POSITION", ""), Doc: "store it only if the topic stands there", FlagOnly: true},
		{Name: "data-file", Value: settings.Text(&j.dataFile, "FILE"), Doc: "read the data from a file; - is standard input", FlagOnly: true},
	}...)
}

func (j *publishJob) parseExpect(text string) error {
	p, err := millrace.ParsePosition(text)
	if err != nil {
		return errors.New("a position such as publish prints: offset and mark, joined by a hyphen")
	}
	j.expect = &p
	return nil
}

func (j *publishJob) check(t *settings.Table) error {
	faults := []error{j.upstream.check(t)}
	if j.event.Tombstone && j.event.Key == "" {
		faults = append(faults, errors.New("--tombstone: the key to delete is missing; want --event-key"))
	}
	for _, h := range j.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			faults = append(faults, fmt.Errorf("--header: %q is not what it should be; want NAME=VALUE", h))
		}
		j.event.Headers = append(j.event.Headers, millrace.Header{Name: name, Value: value})
	}
	return errors.Join(faults...)
}

func (j *publishJob) run(ctx context.Context, args []string, std streams) error {
	e := &j.event
	e.Topic = args[0]
	if err := millrace.ValidateTopic(e.Topic); err != nil {
		return err
	}
	var err error
	if e.Data, err = j.data(args[1:], std.in); err != nil {
		return err
	}
	client, err := j.upstream.dial(quiet(std.err))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	acks, err := client.PublishBatch(ctx, []millrace.Publish{{Event: e, Expect: j.expect}})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", j.upstream.addr, err)
	}
	ack := acks[0]
	if ack.Err != nil {
		return fmt.Errorf("publish to %s: %w", j.upstream.addr, ack.Err)
	}
	if ack.Repeated {
		fmt.Fprintln(std.err, "the id was seen before; this is where the event is stored since then")
	}
	if ack.Position.IsZero() {
		fmt.Fprintln(std.err, "the topic is ephemeral: the event was passed on and is not stored")
		return nil
	}
	fmt.Fprintln(std.out, ack.Position)
	return nil
}

// data returns what the event says, from one of the places that may have it.
func (j *publishJob) data(args []string, in io.Reader) ([]byte, error) {
	switch none := len(args) == 0 && j.dataFile == ""; {
	case j.event.Tombstone && none:
		return nil, nil
	case j.event.Tombstone:
		return nil, errors.New("a tombstone has no data")
	case len(args) > 0 && j.dataFile != "":
		return nil, errors.New("there are data in the arguments and by --data-file; want one of them")
	case none:
		return nil, errors.New("there are no data; want them as an argument or by --data-file")
	case j.dataFile == "-" || len(args) > 0 && args[0] == "-":
		return io.ReadAll(in)
	case j.dataFile != "":
		return os.ReadFile(j.dataFile)
	}
	return []byte(args[0]), nil
}

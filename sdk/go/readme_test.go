package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// hello is the README's code; it is compiled, and compared with the README.
//
//nolint:forbidigo // readers of the README have a terminal
func hello(ctx context.Context) error {
	client, err := sdk.Dial("127.0.0.1:7400", sdk.WithInsecurePlaintext())
	if err != nil {
		return err
	}
	defer client.Close()

	sub, err := client.Subscribe(ctx, sdk.TopicsFrom(millrace.Start{Kind: millrace.StartEarliest}, "chat:1"))
	if err != nil {
		return err
	}
	if _, err := client.Publish(ctx, &millrace.Event{Topic: "chat:1", Data: []byte(`{"text":"hello"}`)}); err != nil {
		return err
	}
	for event, err := range sub.All(ctx) {
		if err != nil {
			return err
		}
		fmt.Println(event.Position, string(event.Data))
	}
	return nil
}

func resume(ctx context.Context, client *sdk.Client, cursor string, reload func(topic string)) error {
	sub, err := client.Subscribe(ctx, sdk.Topics("chat:1"), sdk.Resume(cursor))
	if err != nil {
		return err
	}
	for event, err := range sub.All(ctx) {
		if gap, ok := errors.AsType[*sdk.GapError](err); ok {
			reload(gap.Gap.Topic) // the events after gap.Gap.After, up to gap.Gap.Until, can't be had
			continue
		}
		// …
		if err != nil || event.Topic != "chat:1" {
			return err
		}
	}
	return nil
}

func watch(ctx context.Context, client *sdk.Client) error {
	sub, err := client.Subscribe(ctx, sdk.Topics("orders:*"), sdk.WithFilter(`name == "paid" && header.region ^= "eu-"`))
	if err != nil {
		return err
	}
	prices := map[string][]byte{}
	for event, err := range sub.All(ctx) {
		switch _, gap := errors.AsType[*sdk.GapError](err); {
		case gap:
			clear(prices) // the state begins anew
		case err != nil:
			return err
		case event.Tombstone:
			delete(prices, event.Key)
		default:
			prices[event.Key] = event.Data
		}
	}
	return nil
}

func together(ctx context.Context, client *sdk.Client, debit, credit, next *millrace.Event, reconsider func() error) error {
	acks, err := client.PublishAtomic(ctx, debit, credit)
	if err != nil {
		return err
	}
	head := acks[len(acks)-1].Position
	_, err = client.PublishBatch(ctx, []millrace.Publish{{Event: next, Expect: &head}})
	if e, ok := errors.AsType[*millrace.Error](err); ok && e.Reason == millrace.ReasonConflict {
		return reconsider() // somebody else was first
	}
	return err
}

func reachInto(ctx context.Context, client *sdk.Client) error {
	alice := millrace.Target{Subject: "alice"}
	if _, err := client.JoinSessions(ctx, alice, "room:7", []byte(`{"name":"Alice"}`)); err != nil {
		return err
	}
	reached, err := client.Disconnect(ctx, alice, millrace.ReasonForbidden, "the account is closed")
	if err == nil && len(reached.Missing) > 0 {
		return fmt.Errorf("no answer of %v", reached.Missing)
	}
	return err
}

var _, _, _, _, _ = hello, resume, watch, together, reachInto

func TestTheCodeInTheREADMEIsCompiled(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(string(compiled)) {
		lines[strings.TrimSpace(line)] = true
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) != 8 {
		t.Errorf("the README has %d blocks of Go", len(blocks))
	}
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		for line := range strings.Lines(code) {
			if line = strings.TrimSpace(line); !lines[line] {
				t.Errorf("the README says %q, which is not compiled", line)
			}
		}
	}
}

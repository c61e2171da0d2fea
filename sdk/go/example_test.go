package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/millrace-dev/millrace"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// Publishing, one event a call. The call is tried again while the broker can't be reached, for as long as ctx lasts, and
// the event is stored once.
func ExampleClient_Publish() {
	client, err := sdk.Dial("127.0.0.1:7400", sdk.WithInsecurePlaintext())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	acks, err := client.Publish(context.Background(), &millrace.Event{
		Topic: "chat:1",
		Name:  "message",
		Data:  []byte(`{"text":"hello"}`),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("stored at", acks[0].Position)
}

// Subscribing, with a cursor kept in a file: when the program is started again it gets what it missed.
func ExampleClient_Subscribe() {
	client, err := sdk.Dial("127.0.0.1:7400", sdk.WithInsecurePlaintext())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	saved, err := os.ReadFile("cursor")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	ctx := context.Background()
	sub, err := client.Subscribe(ctx, sdk.Topics("chat:1", "chat:2"), sdk.Resume(string(saved)))
	if err != nil {
		panic(err)
	}
	for event, err := range sub.All(ctx) {
		if gap, ok := errors.AsType[*sdk.GapError](err); ok {
			fmt.Println("missed:", gap) // and go on
			continue
		} else if err != nil {
			panic(err)
		}
		fmt.Println(event.Topic, event.Position, string(event.Data))
		if err := os.WriteFile("cursor", []byte(sub.Cursor()), 0o600); err != nil {
			panic(err)
		}
	}
}

// Publishing many events without waiting for each ack.
func ExampleClient_Publisher() {
	client, err := sdk.Dial("127.0.0.1:7400", sdk.WithInsecurePlaintext())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	publisher, err := client.Publisher()
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	var sent []*sdk.Pending
	for i := range 1000 {
		p, err := publisher.Publish(ctx, millrace.Publish{Event: &millrace.Event{Topic: "ticks", Data: fmt.Append(nil, i)}})
		if err != nil {
			panic(err)
		}
		sent = append(sent, p)
	}
	for _, p := range sent {
		if _, err := p.Ack(ctx); err != nil {
			fmt.Println("not stored:", err)
		}
	}
}

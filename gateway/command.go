package gateway

import "github.com/millrace-dev/millrace"

// Command is what a peer asks of its session, whatever the wire.
type Command interface{ command() }

// The commands.
type (
	// Subscribe adds a topic to the session. It is answered by Subscribed.
	Subscribe struct {
		Topic string
		Start millrace.Start
	}

	// Unsubscribe takes a topic from the session. It is answered by Unsubscribed.
	Unsubscribe struct{ Topic string }

	// PublishEvent stores an event. It is answered by Published.
	PublishEvent struct{ Publish millrace.Publish }

	// ReadHistory reads a part of a topic's log. It is answered by History.
	ReadHistory struct {
		Topic string
		Range millrace.Range
	}

	// Ping asks for a Pong.
	Ping struct{}
)

func (Subscribe) command()    {}
func (Unsubscribe) command()  {}
func (PublishEvent) command() {}
func (ReadHistory) command()  {}
func (Ping) command()         {}

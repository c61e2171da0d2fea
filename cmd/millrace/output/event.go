// Package output is what commands print: events, members and what is told of them, each as a line of JSON, and members as a
// table for people.
package output

import (
	"encoding/json"
	"strconv"

	"github.com/millrace-dev/millrace"
)

// event is an event as subscribe prints it: the fields of the client protocol's event frame, and the cursor.
type event struct {
	Topic       string          `json:"topic"`
	Position    *position       `json:"position,omitempty"` // absent in class ephemeral
	ID          string          `json:"id,omitempty"`
	Name        string          `json:"name,omitempty"`
	Key         string          `json:"key,omitempty"`
	ContentType string          `json:"contentType,omitempty"`
	Headers     []header        `json:"headers,omitempty"`
	Sender      *sender         `json:"sender,omitempty"`
	TimeMs      string          `json:"timeMs"`
	Tombstone   bool            `json:"tombstone,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Text        *string         `json:"text,omitempty"`
	Binary      []byte          `json:"binary,omitempty"`
	Cursor      string          `json:"cursor"`
}

type gapLine struct {
	Gap    gap    `json:"gap"`
	Cursor string `json:"cursor"`
}

// gap has no positions in class ephemeral, and for a pattern.
type gap struct {
	Topic string    `json:"topic"`
	After *position `json:"after,omitempty"`
	Until *position `json:"until,omitempty"`
	Cause string    `json:"cause"`
	Count uint64    `json:"count,omitempty,string"`
}

// conflatedLine has no cursor: that of the event which follows includes it.
type conflatedLine struct {
	Conflated conflation `json:"conflated"`
}

type conflation struct {
	Topic string `json:"topic"`
	Count uint64 `json:"count,string"`
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

// Gap returns the line of a gap, with the cursor that resumes behind it.
func Gap(g *millrace.Gap, cursor string) any {
	line := gap{Topic: g.Topic, Cause: g.Cause.String(), Count: g.Count}
	if !g.After.IsZero() || !g.Until.IsZero() {
		after, until := position(g.After), position(g.Until)
		line.After, line.Until = &after, &until
	}
	return gapLine{Gap: line, Cursor: cursor}
}

// Conflated returns the line that tells how many older events of their key were left out.
func Conflated(topic string, count uint64) any {
	return conflatedLine{Conflated: conflation{Topic: topic, Count: count}}
}

// Event returns the line of an event, with the cursor that resumes behind it.
func Event(e *millrace.Event, cursor string) any {
	line := event{
		Topic: e.Topic, ID: e.ID, Name: e.Name, Key: e.Key, ContentType: e.ContentType,
		TimeMs: strconv.FormatInt(e.Time.UnixMilli(), 10), Tombstone: e.Tombstone, Cursor: cursor,
	}
	if !e.Position.IsZero() {
		p := position(e.Position)
		line.Position = &p
	}
	for _, h := range e.Headers {
		line.Headers = append(line.Headers, header(h))
	}
	if e.Sender != (millrace.Sender{}) {
		s := sender(e.Sender)
		line.Sender = &s
	}
	if e.Tombstone {
		return line
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

package millrace

import (
	"mime"
	"strings"
	"sync/atomic"
	"time"
)

// Header is one name and value that a publisher attached to an event. Names are compared as written.
type Header struct {
	Name  string
	Value string
}

// Sender says which peer published an event: its session, if it came through a gateway or a link, and its subject.
// Both are empty for an anonymous backend.
type Sender struct {
	Session string
	Subject string
}

// Event is what is published. A publisher fills everything but Position, Prev and Time; the broker fills those when it
// stores the event. From then on the event and all that it refers to are immutable and shared by any number of
// goroutines. Events are handled by pointer; they must not be copied.
type Event struct {
	Topic       string
	Position    Position // zero until stored
	Prev        uint64   // mark of the event before this one in its topic
	ID          string   // chosen by the publisher; names the event for dedup
	Name        string   // application's type of event, for example "price"
	Key         string   // what the event is about, for topics of class latest
	ContentType string   // media type of Data; empty means application/json
	Headers     []Header
	Sender      Sender
	NoEcho      bool      // withheld from the session that sent it
	Tombstone   bool      // in class latest: the key is gone as of this event, which has no data
	Time        time.Time // when it was stored, to the millisecond
	Data        []byte

	envelope atomic.Pointer[[]byte]
}

// Envelope returns what stands before the event's data on the wire that its holder speaks, made by encode at the first
// call and kept with the event. The data is left out, so that it is not kept twice. Each process uses one such form. The
// bytes are immutable. It may be called concurrently; encode may then run more than once and must be a pure function of
// the event.
func (e *Event) Envelope(encode func(*Event) []byte) []byte {
	if p := e.envelope.Load(); p != nil {
		return *p
	}
	b := encode(e)
	e.envelope.Store(&b)
	return b
}

// What an event occupies beside its strings and data, approximately.
const (
	eventOverhead  = 320 // with the envelope's fixed parts
	headerOverhead = 40
)

// Size returns the memory that the event is charged for, in bytes. What its envelope repeats counts twice, whether it
// was made yet or not, so that the charge never changes.
func (e *Event) Size() int {
	texts := len(e.ID) + len(e.Name) + len(e.Key) + len(e.ContentType) + len(e.Sender.Session) + len(e.Sender.Subject)
	for _, h := range e.Headers {
		texts += headerOverhead/2 + len(h.Name) + len(h.Value)
	}
	return eventOverhead + len(e.Topic) + 2*texts + len(e.Data)
}

// Before returns the position that a subscriber holds who has everything up to, but not including, the event.
func (e *Event) Before() Position {
	return Position{Offset: e.Position.Offset - 1, Mark: e.Prev}
}

// Payload is how an event's data is represented where the wire distinguishes.
type Payload int

// The kinds of payload.
const (
	PayloadJSON   Payload = iota // one JSON text in UTF-8
	PayloadText                  // UTF-8 text
	PayloadBinary                // anything else
)

// PayloadOf tells the kind of payload that a content type announces. An empty type is JSON; text types whose charset is
// not UTF-8, and types that can't be parsed, are binary.
func PayloadOf(contentType string) Payload {
	switch contentType {
	case "", "application/json":
		return PayloadJSON
	case "text/plain":
		return PayloadText
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return PayloadBinary
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") && !strings.EqualFold(cs, "us-ascii") {
		return PayloadBinary
	}
	switch {
	case media == "application/json", strings.HasSuffix(media, "+json"):
		return PayloadJSON
	case strings.HasPrefix(media, "text/"):
		return PayloadText
	}
	return PayloadBinary
}

// Publish is a request to store one event. The broker takes ownership of Event.
type Publish struct {
	Event *Event

	// Principal scopes the dedup of Event.ID: the publisher's identity, the same over its reconnects.
	Principal string

	// Expect, if set, makes the publish conditional: it is refused with ReasonConflict unless the topic's head is there.
	Expect *Position

	// Tied stores the event only together with the one before it in the batch, which must be of the same topic: either
	// all of such a run are stored, one right after the other, or none is, and each is answered with the reason.
	Tied bool
}

// Ack answers one Publish. Acked means stored.
type Ack struct {
	Topic    string
	Position Position
	Time     time.Time // when the event was stored
	Repeated bool      // the id was seen inside the dedup window; Position and Time are those of the first
	Err      *Error    // the event was not stored, and why; nil on success
}

package peer

import (
	"encoding/json"
	"time"

	"github.com/millrace-dev/millrace"
)

// frame is a server frame of the client protocol in JSON, as far as peers here look. On an event stream each member comes
// as an event of its name.
type frame struct {
	Re           uint32     `json:"re"`
	Connected    *connected `json:"connected"`
	Subscribed   *place     `json:"subscribed"`
	Unsubscribed *place     `json:"unsubscribed"`
	Event        *place     `json:"event"`
	Gap          *gap       `json:"gap"`
	Advanced     *place     `json:"advanced"`
	Published    *place     `json:"published"`
	Goaway       *trouble   `json:"goaway"`
	Error        *trouble   `json:"error"`
}

type connected struct {
	Session   string `json:"session"`
	Cursor    string `json:"cursor"`
	TimeoutMs int64  `json:"timeoutMs"`
}

type place struct {
	Topic     string          `json:"topic"`
	Position  position        `json:"position"`
	Pending   bool            `json:"pending"`
	Cursor    string          `json:"cursor"`
	Pattern   string          `json:"pattern"`
	Class     string          `json:"class"`
	ID        string          `json:"id"`
	Key       string          `json:"key"`
	Tombstone bool            `json:"tombstone"`
	Conflated uint64          `json:"conflated,string"`
	Data      json.RawMessage `json:"data"`
	Error     *trouble        `json:"error"`
}

type gap struct {
	Topic string   `json:"topic"`
	After position `json:"after"`
	Until position `json:"until"`
	Cause string   `json:"cause"`
	Count uint64   `json:"count,string"`
}

type position struct {
	Offset uint64 `json:"offset,string"`
	Mark   uint64 `json:"mark,string"`
}

type trouble struct {
	Reason       millrace.Reason `json:"reason"`
	Message      string          `json:"message"`
	RetryAfterMs int64           `json:"retryAfterMs"`
}

func (t *trouble) after() time.Duration {
	if t == nil {
		return 0
	}
	return time.Duration(t.RetryAfterMs) * time.Millisecond
}

// retryable reports whether coming back unchanged may help.
func (t *trouble) retryable() bool { return t != nil && t.Reason.Outcome().Retryable }

// readMember reads the data of an event of an event stream as the frame that it is one of.
func readMember(name string, data []byte) (frame, error) {
	var f frame
	var member any
	switch name {
	case "connected":
		f.Connected = &connected{}
		member = f.Connected
	case "subscribed":
		f.Subscribed = &place{}
		member = f.Subscribed
	case "unsubscribed":
		f.Unsubscribed = &place{}
		member = f.Unsubscribed
	case "tombstone":
		f.Event = &place{}
		member = f.Event
	case "gap":
		f.Gap = &gap{}
		member = f.Gap
	case "advanced":
		f.Advanced = &place{}
		member = f.Advanced
	case "goaway":
		f.Goaway = &trouble{}
		member = f.Goaway
	case "error":
		f.Error = &trouble{}
		member = f.Error
	default:
		return f, nil
	}
	return f, json.Unmarshal(data, member)
}

package millrace

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// MemberEventKind says what a MemberEvent tells.
type MemberEventKind string

// The kinds of lifecycle event. They are the names of the events, but that sessions are connected and disconnected.
const (
	MemberJoined  MemberEventKind = "joined"
	MemberUpdated MemberEventKind = "updated"
	MemberLeft    MemberEventKind = "left"
	TopicOccupied MemberEventKind = "occupied" // follows the joined of the first member
	TopicVacated  MemberEventKind = "vacated"  // follows the left of the last member
	sessionOpened                 = "connected"
	sessionEnded                  = "disconnected"
)

// The reasons of a leave that are not those of an Error.
const (
	LeftClosed = "closed" // the peer ended its session
	LeftAsked  = "asked"  // the peer left the topic and stayed
	LeftLost   = "lost"   // the connection was lost, and the session did not come back in time
	LeftLease  = "lease"  // the gateway died, and the session did not come back in time
)

// MemberEvent is one event of a lifecycle log: a topic's membership changed.
type MemberEvent struct {
	Kind     MemberEventKind
	Member   Member // as it is now; without data in a left, and zero in occupied and vacated
	Reason   string // in a left: why, one of the Left words or a Reason
	Count    int    // members after the event
	Subjects int    // distinct subjects of them
}

// memberText is what the event's data says, as the contract's LifecycleEvent has it.
type memberText struct {
	Session  string          `json:"session,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	JoinedMs string          `json:"joinedMs,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Count    int             `json:"count"`
	Subjects int             `json:"subjects"`
}

// Event returns the event of a topic's lifecycle log, as it is to be appended.
func (m MemberEvent) Event(topic string) (*Event, error) {
	text := memberText{
		Session: m.Member.Session, Subject: m.Member.Subject, Data: m.Member.Data, Reason: m.Reason, Count: m.Count, Subjects: m.Subjects,
	}
	if !m.Member.Joined.IsZero() {
		text.JoinedMs = strconv.FormatInt(m.Member.Joined.UnixMilli(), 10)
	}
	// The data of a member that the event tells is the one in the list, byte for byte: it is not escaped for HTML.
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return nil, Errorf(ReasonEventInvalid, "the member's data is not JSON").WithCause(err)
	}
	return &Event{
		Topic:  PresenceTopic(topic),
		Name:   m.Kind.name(topic),
		Key:    m.Member.Session,
		Sender: Sender{Session: m.Member.Session, Subject: m.Member.Subject},
		Data:   bytes.TrimSuffix(data.Bytes(), []byte("\n")),
	}, nil
}

func (k MemberEventKind) name(topic string) string {
	switch {
	case topic == SessionsTopic && k == MemberJoined:
		return sessionOpened
	case topic == SessionsTopic && k == MemberLeft:
		return sessionEnded
	}
	return string(k)
}

// ParseMemberEvent reads an event of a lifecycle log. A kind that is not known, from a newer broker, is returned as it is.
// The error is a *Error with ReasonEventInvalid.
func ParseMemberEvent(e *Event) (MemberEvent, error) {
	var text memberText
	if err := json.Unmarshal(e.Data, &text); err != nil {
		return MemberEvent{}, Errorf(ReasonEventInvalid, "the event of %q is none of a lifecycle log", e.Topic).WithCause(err)
	}
	m := MemberEvent{
		Kind:   MemberEventKind(e.Name),
		Member: Member{Session: text.Session, Subject: text.Subject, Data: text.Data},
		Reason: text.Reason, Count: text.Count, Subjects: text.Subjects,
	}
	switch e.Name {
	case sessionOpened:
		m.Kind = MemberJoined
	case sessionEnded:
		m.Kind = MemberLeft
	}
	if text.JoinedMs != "" {
		ms, err := strconv.ParseInt(text.JoinedMs, 10, 64)
		if err != nil {
			return MemberEvent{}, Errorf(ReasonEventInvalid, "the event of %q has no time of joining that can be read", e.Topic).WithCause(err)
		}
		m.Member.Joined = time.UnixMilli(ms)
	}
	return m, nil
}

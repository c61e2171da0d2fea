package gatewaytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// Wire returns a wire of readable lines. An event's line carries its topic's own piece of the cursor.
//
//	event <topic> <position> <mark before> <session of the sender or -> <key or -> <name or -> <data>
//	gap <topic> <after> <until> <cause> <count>
//	advanced <topic> <position> <conflated>
//	<kind of frame> <id of the command> <the frame as JSON>
//	close <the error as JSON>
//	ping
func Wire() *gateway.Wire {
	return &gateway.Wire{
		Name:        "lines",
		AppendEvent: appendEvent,
		AppendGap: func(dst []byte, g *millrace.Gap) []byte {
			return fmt.Appendf(dst, "gap %s %s %s %s %d\n", g.Topic, g.After, g.Until, g.Cause, g.Count)
		},
		AppendAdvanced: func(dst []byte, a *gateway.Advanced) []byte {
			return fmt.Appendf(dst, "advanced %s %s %d\n", a.Topic, a.Position, a.Conflated)
		},
		AppendMembers: func(dst []byte, m *gateway.MemberChanges) []byte { return appendFrame(dst, 0, *m) },
		AppendFrame:   func(dst []byte, re uint32, f gateway.Frame, _ []byte) []byte { return appendFrame(dst, re, f) },
		AppendClose: func(dst []byte, err *millrace.Error) []byte {
			return append(appendJSON(append(dst, "close "...), public(err)), '\n')
		},
		Ping:         []byte("ping\n"),
		PingInterval: 25 * time.Second,
	}
}

// LeadWire is Wire with the session's whole cursor: "others <cursor but for the event's topic>" stands before the line of
// an event, a gap or what was passed over, and "cursor <cursor>" before that of a frame.
func LeadWire() *gateway.Wire {
	w := Wire()
	w.Name = "lines with cursors"
	w.AppendLead = func(dst, others []byte) []byte {
		return append(append(append(dst, "others "...), others...), '\n')
	}
	w.AppendFrame = func(dst []byte, re uint32, f gateway.Frame, cursor []byte) []byte {
		dst = append(append(append(dst, "cursor "...), cursor...), '\n')
		return appendFrame(dst, re, f)
	}
	return w
}

func appendEvent(dst []byte, e *millrace.Event) []byte {
	session := "-"
	if e.NoEcho {
		session = e.Sender.Session
	}
	return fmt.Appendf(dst, "event %s %s %d %s %s %s %s\n", e.Topic, e.Position, e.Prev, session, dash(e.Key), dash(e.Name), strconv.Quote(string(e.Data)))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func undash(s string) string { return strings.TrimPrefix(s, "-") }

func appendFrame(dst []byte, re uint32, f gateway.Frame) []byte {
	return append(appendJSON(fmt.Appendf(dst, "%s %d ", reflect.TypeOf(f).Name(), re), withoutCause(f)), '\n')
}

// withoutCause returns a frame without what stays at home: the cause of its error.
func withoutCause(f gateway.Frame) gateway.Frame {
	switch f := f.(type) {
	case gateway.Unsubscribed:
		f.Err = public(f.Err)
		return f
	case gateway.Left:
		f.Err = public(f.Err)
		return f
	case gateway.Failed:
		f.Err = public(f.Err)
		return f
	case gateway.Goaway:
		f.Err = public(f.Err)
		return f
	}
	return f
}

func public(err *millrace.Error) *millrace.Error {
	if err == nil {
		return nil
	}
	return err.WithCause(nil)
}

func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // the test's wire can't carry what the gateway says
	}
	return append(dst, b...)
}

// Line is one thing that a peer was told.
type Line struct {
	Event  *millrace.Event
	Gap    *millrace.Gap
	Re     uint32
	Frame  any             // a pointer to one of package gateway's frames
	Close  *millrace.Error // with Closed; nil for an ordinary end
	Closed bool
	Ping   bool
	Cursor string // the session's cursor after it, on a wire that tells it
}

// String describes the line for people.
func (l Line) String() string {
	switch {
	case l.Event != nil:
		return fmt.Sprintf("event %s of %s", l.Event.Position, l.Event.Topic)
	case l.Gap != nil:
		return l.Gap.String()
	case l.Frame != nil:
		return fmt.Sprintf("%s in answer to %d: %s", reflect.TypeOf(l.Frame).Elem().Name(), l.Re, appendJSON(nil, l.Frame))
	case l.Closed:
		return "the close"
	}
	return "a ping"
}

func frameOf(kind string) (any, bool) {
	for _, f := range []gateway.Frame{
		gateway.Connected{},
		gateway.Subscribed{},
		gateway.Unsubscribed{},
		gateway.Published{},
		gateway.History{},
		gateway.Joined{},
		gateway.Left{},
		gateway.MemberChanges{},
		gateway.Presence{},
		gateway.Done{},
		gateway.Failed{},
		gateway.Goaway{},
		gateway.Heartbeat{},
		gateway.Pong{},
		gateway.WirePong{},
	} {
		if t := reflect.TypeOf(f); t.Name() == kind {
			return reflect.New(t).Interface(), true
		}
	}
	return nil, false
}

// parse reads one line; cursor and others lines are the caller's.
func parse(text []byte) (Line, error) {
	kind, rest, _ := bytes.Cut(text, []byte(" "))
	switch string(kind) {
	case "ping":
		return Line{Ping: true}, nil
	case "close":
		l := Line{Closed: true}
		return l, json.Unmarshal(rest, &l.Close)
	case "event":
		return parseEvent(string(rest))
	case "gap":
		return parseGap(string(rest))
	case "advanced":
		return parseAdvanced(string(rest))
	}
	f, ok := frameOf(string(kind))
	re, body, _ := bytes.Cut(rest, []byte(" "))
	n, err := strconv.ParseUint(string(re), 10, 32)
	if !ok || err != nil {
		return Line{}, fmt.Errorf("line %q: not of this wire", text)
	}
	return Line{Re: uint32(n), Frame: f}, json.Unmarshal(body, f)
}

func parseEvent(text string) (Line, error) {
	parts := strings.SplitN(text, " ", 7)
	if len(parts) != 7 {
		return Line{}, fmt.Errorf("event %q: want 7 parts", text)
	}
	pos, err := millrace.ParsePosition(parts[1])
	if err != nil {
		return Line{}, fmt.Errorf("parse event: %w", err)
	}
	prev, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return Line{}, fmt.Errorf("parse event: %w", err)
	}
	data, err := strconv.Unquote(parts[6])
	if err != nil {
		return Line{}, fmt.Errorf("parse event's data %q: %w", parts[6], err)
	}
	e := &millrace.Event{Topic: parts[0], Position: pos, Prev: prev, Key: undash(parts[4]), Name: undash(parts[5]), Data: []byte(data)}
	if parts[3] != "-" {
		e.NoEcho, e.Sender.Session = true, parts[3]
	}
	return Line{Event: e}, nil
}

func parseGap(text string) (Line, error) {
	parts := strings.Split(text, " ")
	if len(parts) != 5 {
		return Line{}, fmt.Errorf("gap %q: want 5 parts", text)
	}
	after, err := millrace.ParsePosition(parts[1])
	if err != nil {
		return Line{}, fmt.Errorf("parse gap: %w", err)
	}
	until, err := millrace.ParsePosition(parts[2])
	if err != nil {
		return Line{}, fmt.Errorf("parse gap: %w", err)
	}
	cause, ok := millrace.ParseCause(parts[3])
	if !ok {
		return Line{}, fmt.Errorf("gap %q: unknown cause", text)
	}
	n, err := strconv.ParseUint(parts[4], 10, 64)
	if err != nil {
		return Line{}, fmt.Errorf("parse gap: %w", err)
	}
	return Line{Gap: &millrace.Gap{Topic: parts[0], After: after, Until: until, Cause: cause, Count: n}}, nil
}

func parseAdvanced(text string) (Line, error) {
	parts := strings.Split(text, " ")
	if len(parts) != 3 {
		return Line{}, fmt.Errorf("advanced %q: want 3 parts", text)
	}
	at, err := millrace.ParsePosition(parts[1])
	if err != nil {
		return Line{}, fmt.Errorf("parse advanced: %w", err)
	}
	n, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return Line{}, fmt.Errorf("parse advanced: %w", err)
	}
	return Line{Frame: &gateway.Advanced{Topic: parts[0], Position: at, Conflated: n}}, nil
}

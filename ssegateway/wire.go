package ssegateway

import (
	"encoding/base64"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
)

// NewWire returns the wire of event streams, with a comment as heartbeat at an interval (0: 30 s). The gateway must be
// made with it.
//
// The field id is the cursor of the whole session, so it differs from peer to peer. It stands first in a block: the lead
// is its beginning, all topics but the event's own, and the shared bytes go on with the event's own piece.
func NewWire(heartbeat time.Duration) *gateway.Wire {
	if heartbeat <= 0 {
		heartbeat = 30 * time.Second
	}
	return &gateway.Wire{
		Name:           "sse",
		AppendLead:     func(dst, others []byte) []byte { return append(append(dst, "id: "...), others...) },
		AppendEvent:    appendEvent,
		AppendGap:      appendGap,
		AppendAdvanced: appendAdvanced,
		AppendMembers:  appendMembers,
		AppendFrame:    appendFrame,
		AppendClose:    appendClose,
		Ping:           []byte(": \n\n"),
		PingInterval:   heartbeat,
	}
}

// appendPiece ends the line that the lead began. In class ephemeral there is no position.
func appendPiece(dst []byte, topic string, at millrace.Position, ephemeral bool) []byte {
	dst = append(dst, ',')
	dst = millrace.AppendPiece(dst, millrace.Piece{Topic: topic, Position: at, Attached: !ephemeral})
	return append(dst, '\n')
}

func appendEvent(dst []byte, e *millrace.Event) []byte {
	dst = appendPiece(dst, e.Topic, e.Position, e.Position.IsZero())
	if e.Tombstone {
		return appendBody(appendName(dst, kindTombstone), frame.AppendEventBody(nil, e))
	}
	if name := eventName(e.Name); name != "" {
		dst = appendName(dst, name)
	}
	if millrace.PayloadOf(e.ContentType) == millrace.PayloadBinary {
		dst = append(dst, "data: "...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Data)
		dst = append(dst, '\n')
	} else {
		dst = appendData(dst, e.Data)
	}
	return append(dst, '\n')
}

func appendGap(dst []byte, g *millrace.Gap) []byte {
	dst = appendPiece(dst, g.Topic, g.Until, g.After == g.Until)
	return appendBody(appendName(dst, frame.KindGap), frame.AppendGapBody(nil, g))
}

// appendAdvanced appends a block that moves the id on and, but for events that were left out as older ones of their key, is
// no event.
func appendAdvanced(dst []byte, a *gateway.Advanced) []byte {
	dst = appendPiece(dst, a.Topic, a.Position, false)
	if a.Conflated == 0 {
		return append(dst, '\n')
	}
	return appendBody(appendName(dst, frame.Kind(*a)), frame.AppendBody(nil, *a))
}

// appendMembers appends a block without an id: what it tells does not move the cursor.
func appendMembers(dst []byte, m *gateway.MemberChanges) []byte {
	return appendBody(appendName(dst, frame.KindMembers), frame.AppendMembersBody(nil, m))
}

func appendFrame(dst []byte, re uint32, f gateway.Frame, cursor []byte) []byte {
	switch f := f.(type) {
	case gateway.WirePong:
		return dst
	case gateway.Heartbeat:
		return append(dst, ": \n\n"...)
	case gateway.Connected:
		dst = appendRetry(dst, reconnect(f.Session))
	case gateway.Goaway:
		dst = appendRetry(dst, f.Err.RetryAfter)
	}
	return appendControl(appendID(dst, cursor), re, f)
}

// appendControl appends the rest of a block that is of the stream's own: the kind as its name and what it says as data.
// What answers a command has its id in it, as re.
func appendControl(dst []byte, re uint32, f gateway.Frame) []byte {
	var body []byte
	if re == 0 {
		body = frame.AppendBody(nil, f)
	} else {
		body = strconv.AppendUint([]byte(`{"re":`), uint64(re), 10)
		at := len(body) // of what is a brace by itself, and goes on as a list of members here
		body = frame.AppendBody(body, f)
		body[at] = ','
		if len(body) == at+len("{}") {
			body = append(body[:at], '}')
		}
	}
	return appendBody(appendName(dst, frame.Kind(f)), body)
}

// appendClose says why a session ends, unless a goaway did. An EventSource then comes back, and what the answer is then
// decides whether it ends.
func appendClose(dst []byte, err *millrace.Error) []byte {
	if err == nil || err.Reason == millrace.ReasonDraining {
		return dst
	}
	if err.RetryAfter > 0 {
		dst = appendRetry(dst, err.RetryAfter)
	}
	return appendControl(dst, 0, gateway.Failed{Err: err})
}

// appendRefusal is a whole stream: it says that there is none now and when to come back. The cursor that the peer came
// with is repeated, since an EventSource may forget it when a stream has no id.
func appendRefusal(dst []byte, cursor string, err *millrace.Error) []byte {
	dst = appendRetry(dst, err.RetryAfter)
	if c, bad := millrace.ParseCursor(cursor); bad == nil && len(c.Pieces) > 0 {
		dst = appendID(dst, []byte(millrace.Cursor{Seal: sealText(c.Seal), Options: c.Options, Parts: c.Parts, Pieces: c.Pieces}.String()))
	}
	return appendControl(dst, 0, gateway.Goaway{Err: err})
}

// sealText returns a seal as it may stand in a line. One with anything else in it is not ours.
func sealText(seal string) string {
	for _, c := range []byte(seal) {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return seal
}

// reconnect is how long a peer is to wait before it comes back after a lost connection: one to two seconds, by its
// session's id, so that peers which are cut off together do not come back together.
func reconnect(session string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(session))
	return time.Second + time.Duration(h.Sum32()%1000)*time.Millisecond
}

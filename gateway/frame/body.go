package frame

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// The kinds of frame that a gateway sends, beside those of package gateway's frames.
const (
	KindEvent = "event"
	KindGap   = "gap"
)

// IsKind reports whether a name is that of a kind of frame which a server may send, now or later.
func IsKind(name string) bool {
	switch name {
	case "connected", "subscribed", "unsubscribed", KindEvent, KindGap, "advanced", "published", "history", "joined",
		KindMembers, "left", "presence", "refreshed", "done", "error", "goaway", "pong", "heartbeat":
		return true
	}
	return false
}

// Kind returns the name of a frame's kind, "" for a [gateway.WirePong], which is not of these wires.
func Kind(f gateway.Frame) string {
	switch f.(type) {
	case gateway.Connected:
		return "connected"
	case gateway.Subscribed:
		return "subscribed"
	case gateway.Unsubscribed:
		return "unsubscribed"
	case gateway.Advanced:
		return "advanced"
	case gateway.Published:
		return "published"
	case gateway.History:
		return "history"
	case gateway.Joined:
		return "joined"
	case gateway.Left:
		return "left"
	case gateway.Presence:
		return "presence"
	case gateway.Done:
		return "done"
	case gateway.Failed:
		return "error"
	case gateway.Goaway:
		return "goaway"
	case gateway.Pong:
		return "pong"
	case gateway.Heartbeat:
		return "heartbeat"
	}
	return ""
}

// AppendBody appends what a frame says as a JSON object, without its kind.
func AppendBody(dst []byte, f gateway.Frame) []byte {
	switch f := f.(type) {
	case gateway.Connected:
		return appendConnected(dst, f)
	case gateway.Subscribed:
		dst = appendTopic(dst, f.Topic)
		if f.HasPosition() {
			dst = append(dst, `,"position":`...)
			dst = appendPosition(dst, f.Position)
		}
		dst = appendTrue(dst, "pending", f.Pending)
		dst = appendMember(dst, "class", class(f.Class))
		dst = appendMember(dst, "cursor", f.Prefix)
		dst = appendMember(dst, "pattern", f.Pattern)
	case gateway.Unsubscribed:
		return appendEnd(dst, f.Topic, f.Err, f.Prefix)
	case gateway.Advanced:
		dst = appendTopic(dst, f.Topic)
		dst = append(dst, `,"position":`...)
		dst = appendPosition(dst, f.Position)
		dst = appendDigits(dst, "conflated", f.Conflated)
	case gateway.Published:
		dst = appendTopic(dst, f.Ack.Topic)
		dst = appendPlace(dst, f.Ack.Position)
		dst = appendTime(dst, "timeMs", f.Ack.Time)
		dst = appendTrue(dst, "repeated", f.Ack.Repeated)
	case gateway.History:
		return appendPage(dst, f)
	case gateway.Joined:
		return appendJoined(dst, f)
	case gateway.Left:
		return appendEnd(dst, f.Topic, f.Err, f.Prefix)
	case gateway.Presence:
		return appendPresence(dst, f)
	case gateway.Failed:
		return AppendError(dst, f.Err)
	case gateway.Goaway:
		return appendGoaway(dst, f)
	default:
		dst = append(dst, '{')
	}
	return append(dst, '}')
}

// appendEnd appends what is said of a subscription or a membership that ended.
func appendEnd(dst []byte, topic string, err *millrace.Error, prefix string) []byte {
	dst = appendTopic(dst, topic)
	if err != nil {
		dst = append(dst, `,"error":`...)
		dst = AppendError(dst, err)
	}
	return append(appendMember(dst, "cursor", prefix), '}')
}

// AppendGapBody appends what a gap's frame says as a JSON object, without its kind.
func AppendGapBody(dst []byte, g *millrace.Gap) []byte {
	dst = appendTopic(dst, g.Topic)
	if hasPositions(g) {
		dst = append(dst, `,"after":`...)
		dst = appendPosition(dst, g.After)
		dst = append(dst, `,"until":`...)
		dst = appendPosition(dst, g.Until)
	}
	dst = appendMember(dst, "cause", g.Cause.String())
	dst = appendDigits(dst, "count", g.Count)
	return append(dst, '}')
}

// hasPositions reports whether a gap is between positions: in class ephemeral there are none.
func hasPositions(g *millrace.Gap) bool { return g.After != g.Until }

// class returns a class's word, nothing for the one that is understood.
func class(c millrace.Class) string {
	if c == millrace.ClassLog {
		return ""
	}
	return c.String()
}

// AppendError appends an error as a JSON object.
func AppendError(dst []byte, err *millrace.Error) []byte {
	dst = append(dst, '{')
	dst = appendFirst(dst, "reason", string(err.Reason))
	dst = appendMember(dst, "message", err.Message)
	dst = appendNumber(dst, "retryAfterMs", millis(err.RetryAfter))
	return append(dst, '}')
}

func appendConnected(dst []byte, f gateway.Connected) []byte {
	dst = append(dst, '{')
	dst = appendFirst(dst, "session", f.Session)
	dst = appendMember(dst, "subject", f.Subject)
	dst = appendMember(dst, "cursor", f.Prefix)
	dst = appendNumber(dst, "pingIntervalMs", millis(f.PingInterval))
	dst = appendNumber(dst, "timeoutMs", millis(timeout(f)))
	dst = appendNumber(dst, "maxFrameBytes", uint64(max(f.MaxFrameBytes, 0)))
	dst = appendNumber(dst, "maxTopics", uint64(max(f.MaxTopics, 0)))
	dst = appendTime(dst, "expiresMs", f.Expires)
	dst = appendTrue(dst, "resumed", f.Resumed)
	return append(dst, '}')
}

// timeout is after what silence a peer may take the gateway for dead: the next sign of life may be late by as much again.
func timeout(f gateway.Connected) time.Duration { return 2 * f.PingInterval }

func appendPage(dst []byte, f gateway.History) []byte {
	p := &f.Page
	dst = appendTopic(dst, f.Topic)
	dst = append(dst, `,"events":[`...)
	for i, e := range p.Events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendEvent(dst, e)
	}
	dst = append(dst, ']')
	if p.Gap != nil {
		dst = append(dst, `,"gap":`...)
		dst = AppendGapBody(dst, p.Gap)
	}
	dst = append(dst, `,"next":`...)
	dst = appendPosition(dst, p.Next)
	dst = append(dst, `,"head":`...)
	dst = appendPosition(dst, p.Head)
	dst = appendTrue(dst, "more", p.More)
	return append(dst, '}')
}

func appendGoaway(dst []byte, f gateway.Goaway) []byte {
	dst = append(dst, '{')
	dst = appendFirst(dst, "reason", string(f.Err.Reason))
	dst = appendMember(dst, "message", f.Err.Message)
	dst = appendNumber(dst, "retryAfterMs", millis(f.Err.RetryAfter))
	return append(dst, '}')
}

// appendTopic begins an object with the topic.
func appendTopic(dst []byte, topic string) []byte {
	return appendFirst(append(dst, '{'), "topic", topic)
}

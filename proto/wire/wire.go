// Package wire turns the words of Millrace into messages of the contract and back, for both ends of the gRPC wire.
//
// A function that is named for a message makes it from words; its twin with Parse reads it. Absent parts of a message are
// zero words, so what an older peer leaves out has its default.
package wire

import (
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Position makes the message of a position.
func Position(p millrace.Position) *millracev1.Position {
	return &millracev1.Position{Offset: p.Offset, Mark: p.Mark}
}

// ParsePosition reads a position; an absent one is zero.
func ParsePosition(m *millracev1.Position) millrace.Position {
	return millrace.Position{Offset: m.GetOffset(), Mark: m.GetMark()}
}

// Start makes the message of a start. That of the class has no place set.
func Start(s millrace.Start) *millracev1.Start {
	switch s.Kind {
	case millrace.StartEarliest:
		return &millracev1.Start{Place: &millracev1.Start_Earliest{Earliest: true}}
	case millrace.StartLast:
		return &millracev1.Start{Place: &millracev1.Start_Last{Last: bound(s.Count)}}
	case millrace.StartSince:
		return &millracev1.Start{Place: &millracev1.Start_SinceMs{SinceMs: unixMillis(s.Since)}}
	case millrace.StartAfter:
		return &millracev1.Start{Place: &millracev1.Start_After{After: Position(s.After)}, Lost: s.Lost}
	case millrace.StartNow:
		return &millracev1.Start{Place: &millracev1.Start_Now{Now: true}}
	default:
		return &millracev1.Start{}
	}
}

// ParseStart reads a start; an absent one is that of the topic's class.
func ParseStart(m *millracev1.Start) millrace.Start {
	switch place := m.GetPlace().(type) {
	case *millracev1.Start_Earliest:
		return millrace.Start{Kind: millrace.StartEarliest}
	case *millracev1.Start_Last:
		return millrace.Start{Kind: millrace.StartLast, Count: int(place.Last)}
	case *millracev1.Start_SinceMs:
		return millrace.Start{Kind: millrace.StartSince, Since: moment(place.SinceMs)}
	case *millracev1.Start_After:
		return millrace.Start{Kind: millrace.StartAfter, After: ParsePosition(place.After), Lost: m.GetLost()}
	case *millracev1.Start_Now:
		return millrace.Start{Kind: millrace.StartNow}
	default:
		return millrace.Start{}
	}
}

// Class makes the value of a class.
func Class(c millrace.Class) millracev1.DeliveryClass {
	switch c {
	case millrace.ClassLatest:
		return millracev1.DeliveryClass_DELIVERY_CLASS_LATEST
	case millrace.ClassEphemeral:
		return millracev1.DeliveryClass_DELIVERY_CLASS_EPHEMERAL
	default:
		return millracev1.DeliveryClass_DELIVERY_CLASS_LOG
	}
}

// ParseClass reads a class; one that this version does not know is log, the strictest.
func ParseClass(c millracev1.DeliveryClass) millrace.Class {
	switch c {
	case millracev1.DeliveryClass_DELIVERY_CLASS_LATEST:
		return millrace.ClassLatest
	case millracev1.DeliveryClass_DELIVERY_CLASS_EPHEMERAL:
		return millrace.ClassEphemeral
	default:
		return millrace.ClassLog
	}
}

// Gap makes the message of a gap.
func Gap(g *millrace.Gap) *millracev1.Gap {
	return &millracev1.Gap{Topic: g.Topic, After: Position(g.After), Until: Position(g.Until), Cause: g.Cause.String(), Count: g.Count}
}

// ParseGap reads a gap. A cause that this version does not know becomes CauseReset, which promises the least.
func ParseGap(m *millracev1.Gap) *millrace.Gap {
	cause, ok := millrace.ParseCause(m.GetCause())
	if !ok {
		cause = millrace.CauseReset
	}
	return &millrace.Gap{
		Topic: m.GetTopic(),
		After: ParsePosition(m.GetAfter()),
		Until: ParsePosition(m.GetUntil()),
		Cause: cause,
		Count: m.GetCount(),
	}
}

// unixMillis returns t in milliseconds since 1970 UTC; 0 for the zero time.
func unixMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment reads what unixMillis wrote.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

package wire

import (
	"math"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// HistoryRequest makes the message that asks for a range.
func HistoryRequest(topic string, r millrace.Range) *millracev1.HistoryRequest {
	return &millracev1.HistoryRequest{
		Topic:    topic,
		Start:    Start(r.Start),
		Backward: r.Backward,
		Limit:    bound(r.Limit),
		MaxBytes: bound(r.MaxBytes),
		State:    r.State,
	}
}

// bound puts a number of things into the 32 bits that the contract has for it. No page comes near that many.
func bound(n int) uint32 {
	return uint32(min(max(n, 0), math.MaxInt32))
}

// ParseHistoryRequest reads the range that is asked for. Going forward an absent start is the oldest event.
func ParseHistoryRequest(m *millracev1.HistoryRequest) millrace.Range {
	r := millrace.Range{
		Start:    ParseStart(m.GetStart()),
		Backward: m.GetBackward(),
		Limit:    int(min(m.GetLimit(), math.MaxInt32)),
		MaxBytes: int(min(m.GetMaxBytes(), math.MaxInt32)),
		State:    m.GetState(),
	}
	if !r.Backward && m.GetStart().GetPlace() == nil {
		r.Start.Kind = millrace.StartEarliest
	}
	return r
}

// PageHead makes the message of a page, all but its events, whose elements are to be joined to it.
func PageHead(p millrace.Page) *millracev1.HistoryResponse {
	m := &millracev1.HistoryResponse{
		Next:  Position(p.Next),
		Head:  Position(p.Head),
		More:  p.More,
		Class: Class(p.Class),
		Lost:  p.Lost,
	}
	if p.Gap != nil {
		m.Gap = Gap(p.Gap)
	}
	return m
}

// ParsePage reads a page of a topic's log. Its events share the message's data, so the message must not be changed.
func ParsePage(topic string, m *millracev1.HistoryResponse) millrace.Page {
	p := millrace.Page{
		Events: ParseEvents(topic, m.GetEvents()),
		Next:   ParsePosition(m.GetNext()),
		Head:   ParsePosition(m.GetHead()),
		More:   m.GetMore(),
		Class:  ParseClass(m.GetClass()),
		Lost:   m.GetLost(),
	}
	if m.GetGap() != nil {
		p.Gap = ParseGap(m.GetGap())
	}
	return p
}

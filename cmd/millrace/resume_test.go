package main_test

import (
	"net/url"
	"testing"

	"github.com/millrace-dev/millrace"
)

// A cursor handed out on one wire resumes on every other, without hole or repeat.
// Promise: docs/delivery.md 1.4.
func TestACursorResumesAtEveryDoor(t *testing.T) {
	s := startSplit(t)
	broker := dialBroker(t, s.broker.addr("grpc"))
	const topic = "chat:42"

	ws := dialWS(t, s.ws.addr("http"), "topic="+topic)
	ws.until("subscribed")
	before := publish(t, broker, topic, 0, 10)
	cursor := ws.wantEvents(topic, 0, before).cursor
	ws.end()

	missed := publish(t, broker, topic, 10, 500)
	sse := openSSE(t, s.sse.addr("http"), "cursor="+url.QueryEscape(cursor), "")
	half := sse.wantEvents(topic, 10, missed[:250]).cursor
	sse.wantEvents(topic, 260, missed[250:])
	sse.end()

	sub := subscribeGRPC(t, broker, half)
	last := sub.wantEvents(topic, 260, missed[250:])
	again := subscribeGRPC(t, broker, cursor)
	again.wantEvents(topic, 10, missed)

	live := publish(t, broker, topic, 510, 3)
	sub.wantEvents(topic, 510, live)
	again.wantEvents(topic, 510, live)

	piece := millrace.Cursor{Pieces: []millrace.Piece{{Topic: topic, Position: last.at, Attached: true}}}
	back := dialWS(t, s.ws.addr("http"), "cursor="+url.QueryEscape(piece.String()))
	back.wantEvents(topic, 510, live)
}

// The cursor is handed out at attach, before any event, so that quiet topics resume too.
// Promise: docs/delivery.md 1.4.
func TestAQuietTopicResumes(t *testing.T) {
	s := startSplit(t)
	broker := dialBroker(t, s.broker.addr("grpc"))
	const topic = "quiet:1"
	ws := dialWS(t, s.ws.addr("http"), "topic="+topic)
	cursor := ws.until("subscribed").cursor
	ws.end()
	sent := publish(t, broker, topic, 0, 3)
	openSSE(t, s.sse.addr("http"), "", cursor).wantEvents(topic, 0, sent)
}

// Several topics stand in one cursor, and one stream resumes them all.
func TestOneStreamResumesSeveralTopics(t *testing.T) {
	s := startSplit(t)
	broker := dialBroker(t, s.broker.addr("grpc"))
	sse := openSSE(t, s.sse.addr("http"), "topic=a:1&topic=b:1", "")
	sse.until("subscribed")
	sse.until("subscribed")
	sse.wantEvents("a:1", 0, publish(t, broker, "a:1", 0, 5))
	cursor := sse.wantEvents("b:1", 0, publish(t, broker, "b:1", 0, 5)).cursor
	sse.end()
	want := map[string][]millrace.Position{"a:1": publish(t, broker, "a:1", 5, 40), "b:1": publish(t, broker, "b:1", 5, 40)}
	back := openSSE(t, s.sse.addr("http"), "topic=a:1&topic=b:1", cursor)
	for range 80 {
		got := back.next()
		for got.kind != "event" {
			got = back.next()
		}
		if len(want[got.topic]) == 0 || got.at != want[got.topic][0] {
			t.Fatalf("got %s in %s; still due: %v", got.at, got.topic, want[got.topic])
		}
		want[got.topic] = want[got.topic][1:]
	}
}

// What the log no longer has is told with its exact range and cause, in band and on every wire, and
// the subscription is live behind it.
// Promise: docs/delivery.md 1.2.
func TestACursorOlderThanTheLogIsToldAsAGap(t *testing.T) {
	s := startSplit(t)
	broker := dialBroker(t, s.broker.addr("grpc"))
	const topic = "busy:1"
	const kept = 1000 // events that a topic keeps by default
	first := publish(t, broker, topic, 0, 3)
	later := publish(t, broker, topic, 3, kept+200)
	cursor := millrace.Cursor{Pieces: []millrace.Piece{{Topic: topic, Position: first[2], Attached: true}}}.String()
	until := later[199]
	doors := map[string]*peer{
		"WebSocket": dialWS(t, s.ws.addr("http"), "cursor="+url.QueryEscape(cursor)),
		"SSE":       openSSE(t, s.sse.addr("http"), "", cursor),
		"gRPC":      subscribeGRPC(t, broker, cursor),
	}
	for door, p := range doors {
		gap := p.next()
		for gap.kind == "connected" || gap.kind == "subscribed" || gap.kind == "pending" {
			gap = p.next()
		}
		if gap.kind != "gap" || gap.topic != topic || gap.after != first[2] || gap.at != until || gap.cause != "trimmed" {
			t.Fatalf("%s: got %+v; want a gap after %s until %s: trimmed", door, gap, first[2], until)
		}
		p.wantEvents(topic, 203, later[200:])
	}
	live := publish(t, broker, topic, 3+kept+200, 2)
	for _, p := range doors {
		p.wantEvents(topic, 3+kept+200, live)
	}
}

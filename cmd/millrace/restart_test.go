package main_test

import (
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// A broker that is killed or stopped and comes back with its memory lost disconnects no peer. Each subscriber is told
// that the lineage it read is gone (promise 5), and is live in the new one.
// Promise: docs/delivery.md 1.5, 7.1.
func TestABrokerThatComesBackIsToldAsAResetAndDisconnectsNobody(t *testing.T) {
	t.Run("killed", func(t *testing.T) { restartBroker(t, (*process).kill) })
	t.Run("stopped", func(t *testing.T) { restartBroker(t, (*process).interrupt) })
}

func restartBroker(t *testing.T, end func(b *process)) {
	addr := freePort(t)
	b := start(t, "broker", "--listen", addr)
	gateway := func(role string) *process {
		return start(t, role, "--listen", "127.0.0.1:0", "--broker", addr, "--anonymous")
	}
	ws, sse := gateway("wsgateway"), gateway("ssegateway")
	broker := dialBroker(t, addr)
	const topic = "orders"
	peers := []*peer{
		dialWS(t, ws.addr("http"), "topic="+topic), dialWS(t, ws.addr("http"), "topic="+topic),
		openSSE(t, sse.addr("http"), "topic="+topic, ""), openSSE(t, sse.addr("http"), "topic="+topic, ""),
	}
	for _, p := range peers {
		p.until("subscribed")
	}
	before := publish(t, broker, topic, 0, 20)
	for _, p := range peers {
		p.wantEvents(topic, 0, before)
	}

	end(b)
	start(t, "broker", "--listen", addr)
	after := publish(t, waitForBroker(t, addr), topic, 20, 5)
	for i, p := range peers {
		gap := p.next()
		if gap.kind != "gap" || gap.cause != "reset" || gap.after != before[19] {
			t.Fatalf("peer %d: got %+v; want a gap after %s: reset", i, gap, before[19])
		}
		if gap.at.Offset != 0 {
			t.Fatalf("peer %d: the new lineage is taken up at %s, not at its beginning", i, gap.at)
		}
		p.wantEvents(topic, 20, after)
	}
	live := publish(t, waitForBroker(t, addr), topic, 25, 3)
	for _, p := range peers {
		p.wantEvents(topic, 25, live)
	}
}

// waitForBroker returns a client once the broker at addr answers.
func waitForBroker(t *testing.T, addr string) millracev1.BrokerServiceClient {
	t.Helper()
	broker := dialBroker(t, addr)
	deadline := time.After(patience)
	for {
		_, err := broker.History(t.Context(), &millracev1.HistoryRequest{Topic: "probe", Limit: 1})
		if err == nil {
			return broker
		}
		select {
		case <-deadline:
			t.Fatalf("the broker does not answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A gateway that ends tells its peers to come back, and their cursors hold elsewhere.
// Promise: docs/delivery.md 7.2.
func TestAGatewayThatEndsSendsItsPeersAway(t *testing.T) {
	s := startSplit(t)
	broker := dialBroker(t, s.broker.addr("grpc"))
	const topic = "drain:1"
	ws, sse := dialWS(t, s.ws.addr("http"), "topic="+topic), openSSE(t, s.sse.addr("http"), "topic="+topic, "")
	ws.until("subscribed")
	sse.until("subscribed")
	sent := publish(t, broker, topic, 0, 4)
	cursors := map[string]string{"ws": ws.wantEvents(topic, 0, sent).cursor, "sse": sse.wantEvents(topic, 0, sent).cursor}
	s.ws.interrupt()
	s.sse.interrupt()
	ws.until("goaway")
	if end := ws.next(); end.kind != "closed" || end.close != 1012 {
		t.Errorf("the WebSocket ended with %+v, not with 1012", end)
	}
	sse.until("goaway")
	missed := publish(t, broker, topic, 4, 6)
	elsewhere := start(t, "wsgateway", "--listen", "127.0.0.1:0", "--broker", s.broker.addr("grpc"), "--anonymous", "--seal-key", sealKey)
	for wire, cursor := range cursors {
		back := dialWS(t, elsewhere.addr("http"), "cursor="+cursor)
		back.wantEvents(topic, 4, missed)
		t.Logf("the %s peer lost nothing", wire)
	}
}

// An event published again with its id is stored once.
// Promise: docs/delivery.md 8.2.
func TestARepeatedIDIsStoredOnce(t *testing.T) {
	b := start(t, "broker", "--listen", "127.0.0.1:0")
	broker := dialBroker(t, b.addr("grpc"))
	req := &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: "once", Id: "a", Data: []byte(`1`)}}}
	var at []millrace.Position
	for i := range 2 {
		resp, err := broker.Publish(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		ack := resp.GetAcks()[0]
		if ack.GetRepeated() != (i == 1) {
			t.Errorf("publish %d: repeated is %v", i+1, ack.GetRepeated())
		}
		at = append(at, millrace.Position{Offset: ack.GetPosition().GetOffset(), Mark: ack.GetPosition().GetMark()})
	}
	if at[0] != at[1] {
		t.Errorf("the same event has two positions: %v", at)
	}
}

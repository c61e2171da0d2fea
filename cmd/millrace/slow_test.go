package main_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

const (
	bigEvents = 800
	bigEvent  = 26 << 10 // 800 of them are 20.8 MB
)

// publishBig stores events of 26 KiB.
func publishBig(t *testing.T, broker millracev1.BrokerServiceClient, topic string, from, n int) {
	t.Helper()
	for i := range n {
		data := fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, from+i, bytes.Repeat([]byte("x"), bigEvent))
		resp, err := broker.Publish(t.Context(), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: topic, Data: data}}})
		if err != nil {
			t.Fatal(err)
		}
		if e := resp.GetAcks()[0].GetError(); e != nil {
			t.Fatalf("publish refused: %v", e)
		}
	}
}

// wantBig checks that exactly the big events come, in order, from an offset on.
func (p *peer) wantBig(firstOffset uint64, n int) {
	p.t.Helper()
	for i := range n {
		got := p.next()
		for got.kind == "connected" || got.kind == "subscribed" || got.kind == "pending" {
			got = p.next()
		}
		if got.kind != "event" || got.at.Offset != firstOffset+uint64(i) {
			p.t.Fatalf("event %d: got %.120v, want offset %d", i+1, got, firstOffset+uint64(i))
		}
	}
}

// sip is a connection of which little is read at a time.
type sip struct {
	net.Conn
	tick *time.Ticker
}

func (s sip) Read(b []byte) (int, error) {
	<-s.tick.C
	return s.Conn.Read(b[:min(len(b), 32<<10)])
}

// dialSlow connects a WebSocket whose peer has a small receive buffer, and reads a little at each tick.
func dialSlow(t *testing.T, addr, query string, tick *time.Ticker) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{
		ReadBufferSize: 64 << 10,
		NetDial: func(network, addr string) (net.Conn, error) {
			c, err := net.Dial(network, addr)
			if err != nil {
				return nil, err
			}
			if err := c.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
				return nil, err
			}
			return sip{Conn: c, tick: tick}, nil
		},
	}
	conn, resp, err := d.Dial("ws://"+addr+"/v1/ws?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A replay larger than any queue simply works, at the peer's own speed.
// Promise: docs/delivery.md 1.6.
func TestAReplayOf20MBReachesASlowReaderWhole(t *testing.T) {
	s := splitWith(t, []string{"--topic-max-bytes", "64MiB"}, nil)
	broker := dialBroker(t, s.broker.addr("grpc"))
	const topic = "big:1"
	publishBig(t, broker, topic, 0, bigEvents)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	p := readWS(t, dialSlow(t, s.ws.addr("http"), "topic="+topic+"&start=earliest", tick))
	p.wantBig(1, bigEvents)
	publishBig(t, broker, topic, bigEvents, 3)
	p.wantBig(bigEvents+1, 3)
}

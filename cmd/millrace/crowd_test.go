package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// member is one of many bare peers, so that it may cost no more than a goroutine and a small buffer, and those only
// while it reads. Between its handshake and its first read it takes nothing off its socket.
type member struct {
	conn net.Conn
	r    *bufio.Reader
	next func(*member) (item, error)
	buf  []byte
	pace *time.Ticker        // nil: reads as fast as it can
	got  map[string]*account // by topic
}

// account is what a member was told of a topic.
type account struct {
	at     millrace.Position // where it stands
	events []millrace.Position
	gaps   []item
}

// segment is what a TCP segment holds on the networks that peers come by. On loopback it is 64 KiB, and the kernel then
// takes 2.5 MB for each peer that reads nothing, where it would take some 100 KB.
const segment = 1460

// crowd connects n peers to a path of a gateway.
func crowd(t *testing.T, addr, path string, n int, next func(*member) (item, error)) []*member {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		var failure error
		err := raw.Control(func(fd uintptr) {
			failure = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, segment)
		})
		return errors.Join(err, failure)
	}}
	members := make([]*member, n)
	for i := range members {
		conn, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connect peer %d: %v", i+1, err)
		}
		t.Cleanup(func() { conn.Close() })
		m := &member{conn: conn, next: next, got: map[string]*account{}}
		m.r = bufio.NewReaderSize(m, 4<<10)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, addr)
		resp, err := http.ReadResponse(m.r, nil)
		if err != nil {
			t.Fatalf("connect peer %d: %v", i+1, err)
		}
		if resp.StatusCode != http.StatusSwitchingProtocols && resp.StatusCode != http.StatusOK {
			t.Fatalf("peer %d is answered %s", i+1, resp.Status)
		}
		members[i] = m
	}
	return members
}

func (m *member) Read(b []byte) (int, error) {
	if m.pace != nil {
		<-m.pace.C
	}
	return m.conn.Read(b)
}

// read takes what comes until the member stands at these positions or behind them.
func (m *member) read(heads map[string]millrace.Position) error {
	if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for !m.stands(heads) {
		i, err := m.next(m)
		if err == nil {
			err = m.take(i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *member) stands(heads map[string]millrace.Position) bool {
	for topic, head := range heads {
		if a := m.got[topic]; a == nil || a.at.Offset < head.Offset {
			return false
		}
	}
	return true
}

// readTo lets members read, each on its own, until all stand at these positions.
func readTo(t *testing.T, members []*member, heads map[string]millrace.Position) {
	t.Helper()
	var reading sync.WaitGroup
	failures := make([]error, len(members))
	for i, m := range members {
		reading.Go(func() { failures[i] = m.read(heads) })
	}
	reading.Wait()
	for i, err := range failures {
		if err != nil {
			t.Fatalf("peer %d of %d: %v", i+1, len(members), err)
		}
	}
}

// take holds what came against where the member stands.
func (m *member) take(i item) error {
	switch i.kind {
	case "subscribed":
		m.got[i.topic] = &account{at: i.at}
		return nil
	case "event", "gap":
	case "closed", "unreadable", "error", "goaway":
		return fmt.Errorf("got %+v", i)
	default:
		return nil
	}
	a := m.got[i.topic]
	switch {
	case a == nil:
		return fmt.Errorf("%s of %q came before the topic's position", i.kind, i.topic)
	case i.kind == "gap" && i.after != a.at:
		return fmt.Errorf("a gap of %s after %s; the peer is at %s", i.topic, i.after, a.at)
	case i.kind == "gap":
		a.gaps = append(a.gaps, i)
	case i.at.Offset != a.at.Offset+1:
		return fmt.Errorf("%s of %s came after %s", i.at, i.topic, a.at)
	default:
		a.events = append(a.events, i.at)
	}
	a.at = i.at
	return nil
}

// check holds each event that a member got against those that were published, and returns how many it did not get, each
// told by a gap.
func (m *member) check(topic string, published []millrace.Position) (missed int, err error) {
	a := m.got[topic]
	got, told := 0, 0
	for i, p := range published {
		for told < len(a.gaps) && a.gaps[told].at.Offset < p.Offset {
			told++
		}
		switch {
		case got < len(a.events) && a.events[got] == p:
			got++
		case told < len(a.gaps) && a.gaps[told].after.Offset < p.Offset && a.gaps[told].cause == "trimmed":
			missed++
		default:
			return missed, fmt.Errorf("event %d of %s, at %s, neither came nor was told as trimmed", i+1, topic, p)
		}
	}
	if got != len(a.events) {
		return missed, fmt.Errorf("%d events came of %s that were not published", len(a.events)-got, topic)
	}
	return missed, nil
}

// headsOf returns the newest of the positions of each topic.
func headsOf(published map[string][]millrace.Position) map[string]millrace.Position {
	heads := map[string]millrace.Position{}
	for topic, all := range published {
		heads[topic] = all[len(all)-1]
	}
	return heads
}

// publishEach stores n events of a size in each topic, by turns, and adds their positions to those of their topic.
func publishEach(t *testing.T, broker millracev1.BrokerServiceClient, all map[string][]millrace.Position, sizes map[string]int, n int) {
	t.Helper()
	for range n {
		req := &millracev1.PublishRequest{}
		for topic, size := range sizes {
			data := fmt.Appendf(nil, `{"pad":"%s"}`, bytes.Repeat([]byte("x"), size))
			req.Events = append(req.Events, &millracev1.NewEvent{Topic: topic, Data: data})
		}
		resp, err := broker.Publish(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range resp.GetAcks() {
			if a.GetError() != nil {
				t.Fatalf("publish refused: %v", a.GetError())
			}
			topic := req.GetEvents()[i].GetTopic()
			all[topic] = append(all[topic], millrace.Position{Offset: a.GetPosition().GetOffset(), Mark: a.GetPosition().GetMark()})
		}
	}
}

// webSocket reads one frame of a server, which carries no mask.
func webSocket(m *member) (item, error) {
	var head [8]byte
	if _, err := io.ReadFull(m.r, head[:2]); err != nil {
		return item{}, fmt.Errorf("read frame: %w", err)
	}
	opcode, size := head[0]&0x0f, int(head[1])
	if n := map[int]int{126: 2, 127: 8}[size]; n > 0 {
		if _, err := io.ReadFull(m.r, head[:n]); err != nil {
			return item{}, fmt.Errorf("read frame: %w", err)
		}
		size = 0
		for _, b := range head[:n] {
			size = size<<8 | int(b)
		}
	}
	if cap(m.buf) < size {
		m.buf = make([]byte, size)
	}
	m.buf = m.buf[:size]
	if _, err := io.ReadFull(m.r, m.buf); err != nil {
		return item{}, fmt.Errorf("read frame: %w", err)
	}
	if opcode != 1 {
		return item{kind: map[byte]string{8: "closed", 9: "ping"}[opcode]}, nil
	}
	if i, ok := m.event(m.buf); ok {
		return i, nil
	}
	return readFrame(m.buf), nil
}

// event reads the topic and position of an event, which is all that counts here: to read the whole JSON of so many is what
// would take the time.
func (m *member) event(b []byte) (item, bool) {
	rest, ok := bytes.CutPrefix(b, []byte(`{"event":{"topic":"`))
	topic, rest, found := bytes.Cut(rest, []byte(`","position":{"offset":"`))
	offset, rest, followed := bytes.Cut(rest, []byte(`","mark":"`))
	mark, _, ended := bytes.Cut(rest, []byte(`"}`))
	i := item{kind: "event"}
	for name := range m.got { // shares the text of those that are known
		if name == string(topic) {
			i.topic = name
		}
	}
	for _, digit := range offset {
		i.at.Offset = i.at.Offset*10 + uint64(digit-'0')
	}
	for _, digit := range mark {
		i.at.Mark = i.at.Mark*10 + uint64(digit-'0')
	}
	return i, ok && found && followed && ended
}

// eventStream reads one event of an event stream.
func eventStream(m *member) (item, error) {
	id, name, data := "", "", ""
	for {
		line, err := m.r.ReadString('\n')
		if err != nil {
			return item{}, fmt.Errorf("read line: %w", err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		case "":
			if data == "" {
				continue
			}
			if name != "subscribed" {
				return sseItem(id, name, data), nil
			}
			var p placed
			if err := json.Unmarshal([]byte(data), &p); err != nil {
				return item{}, fmt.Errorf("read %q: %w", data, err)
			}
			return item{kind: name, topic: p.Topic, at: p.Position.position()}, nil
		}
	}
}

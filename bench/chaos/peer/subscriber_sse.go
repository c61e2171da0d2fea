package peer

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// silence is after how long without a byte an event stream is given up. Gateways here say something each second.
const silence = 4 * time.Second

// stream is one event stream, read as an EventSource does.
func (s *Subscriber) stream(ctx context.Context) (time.Duration, error) {
	conn, closed, err := connect(ctx, pick(s.chance, s.world.SSE), s.small)
	if err != nil {
		return 0, err
	}
	defer closed()
	query := s.query()
	if s.cursor != "" {
		query = ""
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+conn.RemoteAddr().String()+"/v1/events?"+query, http.NoBody)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+s.world.Token)
	if s.cursor != "" {
		r.Header.Set("Last-Event-ID", s.cursor)
	}
	if err := conn.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return 0, err
	}
	if err := r.Write(conn); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 2<<10), r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		s.world.Complain("%s was answered %s: %s (%v)", s.name, resp.Status, b, err)
		return time.Second, nil
	}
	s.world.Counts.Connects[SSE].Add(1)
	lines := bufio.NewReaderSize(resp.Body, 2<<10)
	var b block
	for s.gate.pass(ctx) {
		if err := conn.SetDeadline(time.Now().Add(silence)); err != nil {
			return b.retry, nil
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return b.retry, nil
		}
		if !b.add(strings.TrimSuffix(line, "\n")) {
			continue
		}
		after, err := s.block(&b)
		b.clear()
		if err != nil {
			return max(after, b.retry), nil
		}
	}
	return 0, nil
}

// block enters a block of the stream.
func (s *Subscriber) block(b *block) (time.Duration, error) {
	moved := b.id != "" && b.id != s.cursor
	if moved {
		s.cursor = b.id
	}
	switch {
	case !b.filled && moved:
		s.advance(b.id)
		return 0, nil
	case !b.filled:
		return 0, nil
	}
	data := []byte(strings.Join(b.data, "\n"))
	f, err := readMember(b.name, data)
	if err != nil {
		s.world.Complain("%s can't read the event %s %.200q: %v", s.name, b.name, data, err)
		return 0, nil
	}
	if f != (frame{}) || b.name == "heartbeat" {
		return s.take(&f)
	}
	p, ok := lastPiece(b.id)
	if !ok || p.Attached == (ClassOf(p.Topic) == ledger.Ephemeral) {
		s.world.Complain("%s got the event %q with the id %q, which has no position", s.name, b.name, b.id)
		return 0, nil
	}
	s.event(&millrace.Event{Topic: p.Topic, Position: p.Position, Data: data})
	return 0, nil
}

// advance enters that the cursor moved on without an event.
func (s *Subscriber) advance(cursor string) {
	c, err := millrace.ParseCursor(cursor)
	if err != nil {
		s.world.Complain("%s can't read the cursor %q: %v", s.name, cursor, err)
		return
	}
	for _, p := range c.Pieces {
		if strings.Contains(p.Topic, "*") {
			continue
		}
		s.on(p.Topic, func(c *ledger.Chain) {
			if p.Attached && c.Held() != p.Position {
				c.Advance(p.Position, 0)
			}
		})
	}
}

// lastPiece returns the piece at the end of a cursor, which is that of the event which it came with.
func lastPiece(cursor string) (millrace.Piece, bool) {
	c, err := millrace.ParseCursor(cursor[strings.LastIndexByte(cursor, ',')+1:])
	if err != nil || len(c.Pieces) != 1 {
		return millrace.Piece{}, false
	}
	return c.Pieces[0], true
}

// block is the fields of an event stream between two blank lines (WHATWG HTML, section 9.2.6).
type block struct {
	id     string // stays until another comes
	name   string
	data   []string
	filled bool // there was data
	retry  time.Duration
}

// add takes a line and reports whether it ends the block.
func (b *block) add(line string) bool {
	if line == "" {
		return true
	}
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "id":
		b.id = value
	case "event":
		b.name = value
	case "data":
		b.data, b.filled = append(b.data, value), true
	case "retry":
		if ms, err := strconv.Atoi(value); err == nil { // what is no number is passed over, as the standard says
			b.retry = time.Duration(ms) * time.Millisecond
		}
	}
	return false
}

func (b *block) clear() { b.name, b.data, b.filled = "", b.data[:0], false }

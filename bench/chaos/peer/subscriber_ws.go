package peer

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
)

// websocket is one WebSocket, whose cursor the peer puts together (protocol, section 4).
func (s *Subscriber) websocket(ctx context.Context, c millrace.Cursor) (time.Duration, error) {
	jar := newJar(c, s.topics)
	conn, closed, err := dialWebSocket(ctx, pick(s.chance, s.world.WebSocket), s.query(), s.world.Token, s.small)
	if err != nil {
		s.refused(err)
		return 0, err
	}
	defer closed()
	s.world.Counts.Connects[WebSocket].Add(1)
	defer func() {
		if jar.told {
			s.cursor = jar.cursor()
		}
	}()
	timeout := 10 * time.Second
	for s.gate.pass(ctx) {
		if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return 0, nil
		}
		_, text, err := conn.ReadMessage()
		if err != nil {
			return s.closed(err), nil
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			s.world.Complain("%s can't read the frame %.200q: %v", s.name, text, err)
			continue
		}
		if f.Connected != nil {
			timeout = time.Duration(f.Connected.TimeoutMs) * time.Millisecond
			s.voice.enter(f.Connected.Session)
		}
		s.voice.hear(&f)
		if f.Re != 0 && f.Error != nil {
			continue // the answer to something said: that is not known to be stored, and harms nobody
		}
		after, err := s.take(&f)
		jar.keep(&f)
		if err != nil {
			return after, nil
		}
		if f.Event != nil {
			if err := s.voice.speak(conn); err != nil {
				return 0, nil
			}
		}
	}
	return 0, nil
}

// query is how the peer asks for what it wants.
func (s *Subscriber) query() string {
	q := url.Values{"heartbeats": {"1"}, "topic": s.topics}
	if s.cursor != "" {
		q.Set("cursor", s.cursor) // its topics count, and where they have no position yet the others say where to begin
	}
	if s.choice.Filter != "" {
		q.Set("filter", s.choice.Filter)
	}
	if s.maxRate > 0 {
		q.Set("maxRate", strconv.FormatFloat(s.maxRate, 'g', -1, 64))
	}
	if s.start != "" {
		q.Set("start", s.start)
	}
	return q.Encode()
}

// refused tells of a handshake that was refused for good.
func (s *Subscriber) refused(err error) {
	if status, ok := errors.AsType[statusError](err); ok {
		s.world.Complain("%s was refused with status %d", s.name, int(status))
	}
}

// closed tells of a close code that says not to come back, and returns when else to.
func (s *Subscriber) closed(err error) time.Duration {
	e, ok := errors.AsType[*websocket.CloseError](err)
	if !ok {
		return 0
	}
	if e.Code >= 4000 && e.Code < 4500 || e.Code == websocket.CloseMessageTooBig {
		s.world.Complain("%s was closed with %d %s", s.name, e.Code, e.Text)
	}
	_, advice, _ := strings.Cut(e.Text, "; retryAfterMs=")
	if advice == "" {
		return 0
	}
	d, err := time.ParseDuration(advice + "ms")
	if err != nil {
		s.world.Complain("%s was closed with the advice %q", s.name, e.Text)
	}
	return d
}

// statusError is a handshake that was refused with a status that is not said to be temporary.
type statusError int

// Error names the status.
func (e statusError) Error() string { return http.StatusText(int(e)) }

// dialWebSocket opens a WebSocket that ends with ctx. Its close function must be called.
func dialWebSocket(ctx context.Context, addr, query, token string, small bool) (*websocket.Conn, func(), error) {
	closed := func() {}
	d := websocket.Dialer{
		HandshakeTimeout: connectTimeout,
		ReadBufferSize:   2 << 10,
		WriteBufferSize:  2 << 10,
		NetDialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return open(ctx, addr, small)
		},
	}
	conn, resp, err := d.DialContext(ctx, "ws://"+addr+"/v1/ws?"+query, http.Header{"Authorization": {"Bearer " + token}})
	if resp != nil {
		resp.Body.Close()
	}
	if err != nil {
		if errors.Is(err, websocket.ErrBadHandshake) && resp.StatusCode != http.StatusServiceUnavailable {
			return nil, closed, statusError(resp.StatusCode)
		}
		return nil, closed, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() {
		stop()
		conn.Close()
	}, nil
}

package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
)

// frameSender publishes by frames over a WebSocket, at one gateway until the connection fails.
type frameSender struct {
	world  *World
	token  string
	chance *rand.Rand

	conn   *websocket.Conn // nil if there is none
	hangUp func()
	number uint32 // of the frame that was sent last
}

func newFrameSender(w *World, token string, chance *rand.Rand) *frameSender {
	return &frameSender{world: w, token: token, chance: chance}
}

func (s *frameSender) send(ctx context.Context, batch []publication) {
	for i := range batch {
		s.world.persist(ctx, s.chance, &batch[i], s.publish)
	}
}

func (s *frameSender) publish(ctx context.Context, e *publication) (millrace.Position, *millrace.Error) {
	if s.conn == nil {
		conn, hangUp, err := dialWebSocket(ctx, pick(s.chance, s.world.WebSocket), "", s.token, false)
		if err != nil {
			return millrace.Position{}, cut(err)
		}
		s.conn, s.hangUp = conn, hangUp
	}
	at, err := s.ask(e)
	if err != nil {
		s.close()
	}
	return at, err
}

// frame returns the event as a client frame; mute is that the session that sends it does not want it back.
func (e *publication) frame(number uint32, mute bool) []byte {
	text := fmt.Appendf(nil, `{"id":%d,"publish":{"topic":%q,"name":%q`, number, e.Topic, e.kind())
	if !e.once() { // with an id the gateway may send it again
		text = fmt.Appendf(text, `,"id":%q`, e.name())
	}
	if e.Key != "" {
		text = fmt.Appendf(text, `,"key":%q`, e.Key)
	}
	if lane := e.lane(); lane != "" {
		text = fmt.Appendf(text, `,"headers":[{"name":"lane","value":%q}]`, lane)
	}
	if mute {
		text = append(text, `,"echo":false`...)
	}
	if e.Tombstone {
		return append(text, `,"tombstone":true}}`...)
	}
	return fmt.Appendf(text, `,"data":%s}}`, e.data)
}

// ask sends an event and waits for the answer.
func (s *frameSender) ask(e *publication) (millrace.Position, *millrace.Error) {
	s.number++
	text := e.frame(s.number, e.Serial%4 == 0)
	if err := s.conn.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return millrace.Position{}, cut(err)
	}
	if err := s.conn.WriteMessage(websocket.TextMessage, text); err != nil {
		return millrace.Position{}, cut(err)
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return millrace.Position{}, cut(err)
	}
	for {
		_, text, err := s.conn.ReadMessage()
		if err != nil {
			return millrace.Position{}, cut(err)
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			return millrace.Position{}, millrace.Errorf(millrace.ReasonBadRequest, "the frame %.200q can't be read: %v", text, err)
		}
		switch {
		case f.Goaway != nil:
			return millrace.Position{}, f.Goaway.error()
		case f.Error != nil:
			return millrace.Position{}, f.Error.error()
		case f.Published != nil && f.Re == s.number:
			return millrace.Position(f.Published.Position), nil
		}
	}
}

func (s *frameSender) close() {
	if s.conn != nil {
		s.hangUp()
		s.conn = nil
	}
}

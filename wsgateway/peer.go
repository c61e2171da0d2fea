package wsgateway

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/gateway/socket"
)

// peer is the reading half of one connection. One goroutine runs it until the end.
type peer struct {
	handler   *Handler
	conn      *muted
	ws        *websocket.Conn
	transport *socket.Conn
	wire      *gateway.Wire
	form      form // of the wire, and of the messages that the peer may send
}

// open opens the session, unless the peer is refused already.
func (p *peer) open(o gateway.Opening, refusal *millrace.Error) (*gateway.Session, *millrace.Error) {
	if refusal != nil {
		return nil, refusal
	}
	s, err := p.handler.gateway.Open(o, p.wire, p.transport)
	return s, millrace.AsError(err)
}

// serve reads until the connection ends, if there is a session, or tells the peer why there is none.
func (p *peer) serve(s *gateway.Session, refusal *millrace.Error) {
	defer p.conn.Close() // whatever it fails with, the connection is gone
	if refusal == nil {
		p.read(s)
		s.Gone()
		return
	}
	if p.transport.Write(p.form.appendRefusal(nil, httpapi.Advised(refusal))) != nil {
		return
	}
	p.transport.Close()
	p.drain()
}

// read does what the peer says until it says no more.
func (p *peer) read(s *gateway.Session) {
	p.ws.SetReadLimit(int64(p.handler.gateway.MaxFrameBytes()))
	p.ws.SetPongHandler(func(string) error {
		s.Heard()
		return nil
	})
	p.ws.SetPingHandler(func(payload string) error {
		s.Heard()
		s.Do(p.handler.ctx, 0, gateway.WirePing{Payload: []byte(payload)})
		return nil
	})
	p.ws.SetCloseHandler(func(int, string) error { return nil }) // the session answers
	for {
		kind, message, err := p.ws.NextReader()
		if err == nil {
			s.Heard()
			err = p.obey(s, kind, message)
		}
		if err != nil {
			p.end(s, err)
			return
		}
		select {
		case <-s.Done():
			p.drain()
			return
		default:
		}
	}
}

// obey runs one message of the peer. The error is that of reading it.
func (p *peer) obey(s *gateway.Session, kind int, message io.Reader) error {
	if kind != int(p.form.opcode) {
		s.Refuse(0, millrace.Errorf(millrace.ReasonBadRequest, "this session's frames are %s messages", p.form.messages()))
		return nil
	}
	b, ok := p.handler.messages.Get().(*bytes.Buffer)
	if !ok {
		b = new(bytes.Buffer)
	}
	defer p.handler.messages.Put(b)
	b.Reset()
	if _, err := b.ReadFrom(message); err != nil {
		return err
	}
	id, c, refusal := p.form.decode(b.Bytes())
	if refusal != nil {
		s.Refuse(id, refusal)
		return nil
	}
	ctx, cancel := context.WithTimeout(p.handler.ctx, p.handler.config.Timeout)
	defer cancel()
	s.Do(ctx, id, c)
	return nil
}

// end ends a session whose reading ended: by the peer's close frame, by what it may not send, or with the connection.
func (p *peer) end(s *gateway.Session, err error) {
	said, closed := errors.AsType[*websocket.CloseError](err)
	switch {
	case closed && said.Code != websocket.CloseAbnormalClosure: // which nobody says: the library's word for a lost connection
		s.End(nil)
	case errors.Is(err, websocket.ErrReadLimit):
		s.End(millrace.Errorf(millrace.ReasonTooLarge, "a frame may have at most %d bytes", p.handler.gateway.MaxFrameBytes()))
	case p.conn.complained:
		s.End(millrace.Errorf(millrace.ReasonBadRequest, "the peer broke the WebSocket protocol"))
	default:
		return
	}
	p.drain()
}

// drain lets the last words arrive: a connection that is closed with bytes unread is reset, and the words with it. It ends
// with the peer's end, or with the linger time after that of the session.
func (p *peer) drain() {
	_, _ = io.Copy(io.Discard, p.conn.Conn) // ends with an error or without: both are the end
}

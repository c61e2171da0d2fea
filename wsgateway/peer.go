package wsgateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/gateway/socket"
)

// peer is the reading half of one connection. One goroutine runs it until the end.
type peer struct {
	handler   *Handler
	conn      net.Conn
	transport *socket.Conn
	wire      *gateway.Wire
	form      form // of the wire, and of the messages that the peer may send
	session   *gateway.Session
	reader    reader
}

// open opens the session, unless the peer is refused already.
func (p *peer) open(o gateway.Opening, refusal *millrace.Error) *millrace.Error {
	if refusal != nil {
		return refusal
	}
	s, err := p.handler.gateway.Open(p.handler.ctx, o, p.wire, p.transport)
	if err != nil {
		return millrace.AsError(err)
	}
	p.session = s
	p.reader = reader{source: p.conn, most: uint64(p.handler.gateway.MaxFrameBytes()), control: p.control}
	return nil
}

// serve reads until the connection ends, if there is a session, or tells the peer why there is none.
func (p *peer) serve(refusal *millrace.Error) {
	defer p.conn.Close() // whatever it fails with, the connection is gone
	if refusal == nil {
		p.read()
		p.session.Gone()
		return
	}
	if p.transport.Write(p.form.appendRefusal(nil, httpapi.Advised(refusal))) != nil {
		return
	}
	p.transport.Close()
	p.drain()
}

// read does what the peer says until it says no more.
func (p *peer) read() {
	for {
		err := p.reader.wait()
		if err == nil {
			err = p.take()
		}
		if err != nil {
			p.end(err)
			return
		}
		select {
		case <-p.session.Done():
			p.drain()
			return
		default:
		}
	}
}

// take reads and runs the peer's next message, or what comes in place of one.
func (p *peer) take() error {
	var message *bytes.Buffer
	opcode, err := p.reader.next(func() *bytes.Buffer {
		message = p.handler.message()
		return message
	})
	if message == nil {
		return err
	}
	defer p.handler.messages.Put(message)
	if err == nil {
		p.session.Heard()
		p.obey(opcode, message.Bytes())
	}
	return err
}

// control deals with the peer's ping or pong.
func (p *peer) control(opcode byte, body []byte) {
	p.session.Heard()
	if opcode == websocket.PingMessage {
		p.session.Do(p.handler.ctx, 0, gateway.WirePing{Payload: bytes.Clone(body)})
	}
}

// obey runs one message of the peer.
func (p *peer) obey(opcode byte, message []byte) {
	if opcode != p.form.opcode {
		p.session.Refuse(0, millrace.Errorf(millrace.ReasonBadRequest, "this session's frames are %s messages", p.form.messages()))
		return
	}
	id, c, refusal := p.form.decode(message)
	if refusal != nil {
		p.session.Refuse(id, refusal)
		return
	}
	ctx, cancel := context.WithTimeout(p.handler.ctx, p.handler.config.Timeout)
	defer cancel()
	p.session.Do(ctx, id, c)
}

// end ends a session whose reading ended: by the peer's close frame, by what it may not send, or with the connection.
func (p *peer) end(err error) {
	broken, ok := errors.AsType[*millrace.Error](err)
	switch {
	case ok:
		p.session.End(broken)
	case errors.Is(err, errFinished):
		p.session.Closed()
	case errors.Is(err, errClosed):
		p.session.End(nil)
	default:
		return
	}
	p.drain()
}

// drain lets the last words arrive: a connection that is closed with bytes unread is reset, and the words with it. It ends
// with the peer's end, or with the linger time after that of the session.
func (p *peer) drain() {
	_, _ = io.Copy(io.Discard, p.conn) // ends with an error or without: both are the end
}

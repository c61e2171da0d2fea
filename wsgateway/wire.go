package wsgateway

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
)

// Subprotocols of the handshake.
const (
	ProtocolJSON     = "millrace.v1.json" // if a peer asks for none
	ProtocolProtobuf = "millrace.v1.protobuf"
)

// Wires are the two forms that WebSocket peers may choose from. The gateway must be made with them.
type Wires struct {
	JSON     *gateway.Wire
	Protobuf *gateway.Wire
}

// NewWires returns the wires of a gateway that pings its peers at an interval (0: 25 s) and takes one for stale that then
// is silent for a timeout (0: 20 s).
func NewWires(interval, timeout time.Duration) Wires {
	if interval <= 0 {
		interval = 25 * time.Second
	}
	if timeout <= 0 {
		timeout = 20 * time.Second
	}
	return Wires{
		JSON:     formJSON().wire("websocket-json", interval, timeout),
		Protobuf: formProtobuf().wire("websocket-protobuf", interval, timeout),
	}
}

// form is how frames become WebSocket messages, and messages commands. The bytes of a wire have the WebSocket frame's header in them already, so
// that what goes to many is framed once. A server's frames carry no mask (RFC 6455 section 5.1).
type form struct {
	opcode  byte
	frame   func(dst []byte, re uint32, f gateway.Frame) []byte
	event   func(dst []byte, e *millrace.Event) []byte
	gap     func(dst []byte, g *millrace.Gap) []byte
	members func(dst []byte, m *gateway.MemberChanges) []byte
	decode  func(b []byte) (id uint32, c gateway.Command, err *millrace.Error)
}

func formJSON() form {
	return form{
		opcode: websocket.TextMessage,
		frame:  frame.AppendJSON, event: frame.AppendJSONEvent, gap: frame.AppendJSONGap, members: frame.AppendJSONMembers,
		decode: frame.DecodeJSON,
	}
}

func formProtobuf() form {
	return form{
		opcode: websocket.BinaryMessage,
		frame:  frame.AppendProtobuf, event: frame.AppendProtobufEvent, gap: frame.AppendProtobufGap, members: frame.AppendProtobufMembers,
		decode: frame.DecodeProtobuf,
	}
}

// messages names the kind of WebSocket message that frames of this form are.
func (f form) messages() string {
	if f.opcode == websocket.TextMessage {
		return "text"
	}
	return "binary"
}

func (f form) wire(name string, interval, timeout time.Duration) *gateway.Wire {
	return &gateway.Wire{
		Name: name,
		AppendEvent: func(dst []byte, e *millrace.Event) []byte {
			return seal(f.event(reserve(dst), e), len(dst), f.opcode)
		},
		AppendGap: func(dst []byte, g *millrace.Gap) []byte {
			return seal(f.gap(reserve(dst), g), len(dst), f.opcode)
		},
		AppendMembers: func(dst []byte, m *gateway.MemberChanges) []byte {
			return seal(f.members(reserve(dst), m), len(dst), f.opcode)
		},
		AppendAdvanced: func(dst []byte, a *gateway.Advanced) []byte { return f.append(dst, 0, *a) },
		AppendFrame:    func(dst []byte, re uint32, fr gateway.Frame, _ []byte) []byte { return f.append(dst, re, fr) },
		AppendClose:    f.appendClose,
		Ping:           appendControl(nil, websocket.PingMessage, nil),
		PingInterval:   interval,
		PongTimeout:    timeout,
	}
}

func (f form) append(dst []byte, re uint32, fr gateway.Frame) []byte {
	if pong, ok := fr.(gateway.WirePong); ok {
		return appendControl(dst, websocket.PongMessage, pong.Payload)
	}
	return seal(f.frame(reserve(dst), re, fr), len(dst), f.opcode)
}

// appendClose ends a session: an error says why in a frame of its own, unless a goaway did, and then in the close frame.
func (f form) appendClose(dst []byte, err *millrace.Error) []byte {
	if err == nil {
		return appendControl(dst, websocket.CloseMessage, binary.BigEndian.AppendUint16(nil, websocket.CloseNormalClosure))
	}
	if err.Reason != millrace.ReasonDraining {
		dst = f.append(dst, 0, gateway.Failed{Err: err})
	}
	return appendClosing(dst, err)
}

// appendRefusal ends a connection that did not become a session. Whoever is not known is told nothing but that.
func (f form) appendRefusal(dst []byte, err *millrace.Error) []byte {
	switch err.Reason {
	case millrace.ReasonUnauthorized, millrace.ReasonTokenExpired:
		return appendClosing(dst, err)
	case millrace.ReasonDraining:
		dst = f.append(dst, 0, gateway.Goaway{Err: err})
	}
	return f.appendClose(dst, err)
}

// appendClosing appends a close frame with the error's close code and, as text, its reason and when to come back: well
// below the 123 bytes that there are.
func appendClosing(dst []byte, err *millrace.Error) []byte {
	outcome := err.Reason.Outcome()
	body := binary.BigEndian.AppendUint16(nil, uint16(outcome.Close))
	body = append(body, outcome.Reason...)
	if err.RetryAfter > 0 {
		body = fmt.Appendf(body, "; retryAfterMs=%d", err.RetryAfter.Milliseconds())
	}
	return appendControl(dst, websocket.CloseMessage, body)
}

// Sizes of RFC 6455 section 5.2.
const (
	final      = 0x80 // bit of the first byte: the message ends with this frame
	maxHeader  = 10   // without a mask
	maxControl = 125  // bytes of a control frame's body, and of any whose length fits the second byte
	maxShort   = 1<<16 - 1
	length16   = 126
	length64   = 127
)

// reserve appends room for the longest header.
func reserve(dst []byte) []byte {
	var room [maxHeader]byte
	return append(dst, room[:]...)
}

// seal puts the header in front of a message that was appended behind reserved room, which begins at start, and closes
// the rest of the room.
func seal(b []byte, start int, opcode byte) []byte {
	body := b[start+maxHeader:]
	header := b[:start]
	header = append(header, final|opcode)
	switch n := len(body); {
	case n <= maxControl:
		header = append(header, byte(n))
	case n <= maxShort:
		header = binary.BigEndian.AppendUint16(append(header, length16), uint16(n))
	default:
		header = binary.BigEndian.AppendUint64(append(header, length64), uint64(n))
	}
	return append(header, body...) // within b, toward its beginning
}

func appendControl(dst []byte, opcode byte, body []byte) []byte {
	body = body[:min(len(body), maxControl)]
	dst = append(dst, final|opcode, byte(len(body)))
	return append(dst, body...)
}

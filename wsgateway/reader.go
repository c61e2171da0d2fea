package wsgateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
)

// errClosed says that the peer sent a close frame, and errFinished that it said by its code that it is done: a page that is left
// or reloaded says another.
var (
	errClosed   = errors.New("the peer closed the WebSocket")
	errFinished = fmt.Errorf("%w for good", errClosed)
)

// continuation is the opcode of all frames of a message but the first.
const continuation = 0

// masked is the bit of the second byte that every frame of a client has (RFC 6455 section 5.1).
const masked = 0x80

// reader reads a client's WebSocket frames (RFC 6455 section 5). It has its own small buffer and reads what is longer
// into the message, so that an idle connection costs little: the library's reader takes three times the memory. It
// writes nothing, since only the session may; what the peer broke is returned as a *millrace.Error. One goroutine uses it.
type reader struct {
	source  io.Reader
	most    uint64 // bytes of a message
	control func(opcode byte, body []byte)

	buffer [readBuffer]byte
	from   int // the unread part of the buffer
	to     int
}

// readBuffer holds any control frame whole, and a small command.
const readBuffer = 256

// header is what stands before a frame's body.
type header struct {
	final  bool
	opcode byte
	length uint64
	mask   [4]byte
}

// wait waits until there is something to read. It is apart from next so that a goroutine which waits does so high on its
// stack: an idle connection then never needs more than the smallest one.
func (r *reader) wait() error {
	if r.from < r.to {
		return nil
	}
	n, err := r.source.Read(r.buffer[:])
	r.from, r.to = 0, n
	if n > 0 {
		return nil // an error comes again with the next read
	}
	return err
}

// next reads one message, puts it into the buffer that it asks of b, and returns its opcode. It hands pings and pongs
// within the message to control, and also one in place of a message, with which it returns.
func (r *reader) next(b func() *bytes.Buffer) (opcode byte, err error) {
	var message *bytes.Buffer
	for {
		h, err := r.header()
		if err != nil {
			return 0, err
		}
		switch h.opcode {
		case websocket.PingMessage, websocket.PongMessage, websocket.CloseMessage:
			if err := r.take(h); err != nil || message == nil {
				return h.opcode, err
			}
			continue
		case continuation:
			if message == nil {
				return 0, broken("a message began with a continuation")
			}
		case websocket.TextMessage, websocket.BinaryMessage:
			if message != nil {
				return 0, broken("a message began within another")
			}
			opcode, message = h.opcode, b()
		default:
			return 0, broken("there is no opcode %d", h.opcode)
		}
		if h.length > r.most-uint64(message.Len()) {
			return 0, millrace.Errorf(millrace.ReasonTooLarge, "a frame may have at most %d bytes", r.most)
		}
		if err := r.body(message, h); err != nil {
			return 0, err
		}
		if h.final {
			return opcode, nil
		}
	}
}

func broken(format string, args ...any) *millrace.Error {
	return millrace.Errorf(millrace.ReasonBadRequest, "the WebSocket protocol is broken: "+format, args...)
}

// Parts of a header.
const (
	shortHeader = 2
	reserved    = 0x70
	opcodeBits  = 0x0f
	lengthBits  = 0x7f
	controlBit  = 0x8
)

func (r *reader) header() (h header, err error) {
	b, err := r.bytes(shortHeader)
	if err != nil {
		return h, err
	}
	h.final, h.opcode, h.length = b[0]&final != 0, b[0]&opcodeBits, uint64(b[1]&lengthBits)
	switch {
	case b[0]&reserved != 0:
		return h, broken("a reserved bit is set")
	case b[1]&masked == 0:
		return h, broken("a frame has no mask")
	case h.opcode&controlBit != 0 && (!h.final || h.length > maxControl):
		return h, broken("a control frame is in parts, or longer than %d bytes", maxControl)
	}
	switch h.length {
	case length16:
		if b, err = r.bytes(2); err == nil {
			h.length = uint64(binary.BigEndian.Uint16(b))
		}
	case length64:
		if b, err = r.bytes(8); err == nil {
			h.length = binary.BigEndian.Uint64(b)
		}
	}
	if err != nil {
		return h, err
	}
	b, err = r.bytes(len(h.mask))
	copy(h.mask[:], b)
	return h, err
}

// take reads a control frame.
func (r *reader) take(h header) error {
	b, err := r.bytes(int(h.length))
	if err != nil {
		return err
	}
	unmask(b, h.mask, 0)
	if h.opcode != websocket.CloseMessage {
		r.control(h.opcode, b)
		return nil
	}
	switch {
	case len(b) == 0:
	case len(b) == 1, !utf8.Valid(b[2:]), !sendable(int(binary.BigEndian.Uint16(b))):
		return broken("a close frame has no code and text")
	case binary.BigEndian.Uint16(b) == websocket.CloseNormalClosure:
		return errFinished
	}
	return errClosed
}

// sendable reports whether a peer may send a close code (RFC 6455 section 7.4, and the registry of IANA).
func sendable(code int) bool {
	return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006 || code >= 3000 && code <= 4999
}

// body appends a frame's body to the message: first what is in the buffer, then straight from the connection. The message
// grows with what has come, not with what the peer says will come.
func (r *reader) body(message *bytes.Buffer, h header) error {
	const most = 4096
	for read := 0; read < int(h.length); {
		message.Grow(min(int(h.length)-read, most))
		b := message.AvailableBuffer()
		b = b[:min(int(h.length)-read, cap(b))]
		n := copy(b, r.buffer[r.from:r.to])
		r.from += n
		if n == 0 {
			var err error
			if n, err = r.source.Read(b); n == 0 && err != nil {
				return err
			}
		}
		unmask(b[:n], h.mask, read)
		message.Write(b[:n]) // where it already is
		read += n
	}
	return nil
}

// bytes returns the next n bytes, at most as many as the buffer holds. They are valid until the next read.
func (r *reader) bytes(n int) ([]byte, error) {
	if r.to-r.from < n {
		r.to = copy(r.buffer[:], r.buffer[r.from:r.to])
		r.from = 0
	}
	for r.to < n+r.from {
		got, err := r.source.Read(r.buffer[r.to:])
		r.to += got
		if err != nil && r.to-r.from < n {
			return nil, err
		}
	}
	b := r.buffer[r.from : r.from+n]
	r.from += n
	return b, nil
}

// unmask takes the mask off bytes that stand at an offset in their frame (RFC 6455 section 5.3).
func unmask(b []byte, mask [4]byte, offset int) {
	for i := range b {
		b[i] ^= mask[(offset+i)&3]
	}
}

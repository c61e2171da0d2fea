package wsgateway

import (
	"bytes"
	"io"
)

// Received is a message or control frame.
type Received struct {
	Opcode byte
	Body   string
}

// ErrClosed is what ReadFrames returns behind a close frame.
var ErrClosed = errClosed

// ReadFrames reads what a client sends until it can't.
func ReadFrames(source io.Reader, most uint64) (all []Received, err error) {
	control := func(opcode byte, body []byte) { all = append(all, Received{opcode, string(body)}) }
	r := reader{source: source, most: most, control: control}
	for {
		if err := r.wait(); err != nil {
			return all, err
		}
		var message *bytes.Buffer
		opcode, err := r.next(func() *bytes.Buffer {
			message = new(bytes.Buffer)
			return message
		})
		if err != nil {
			return all, err
		}
		if message != nil {
			all = append(all, Received{opcode, message.String()})
		}
	}
}

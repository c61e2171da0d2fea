package main

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"github.com/millrace-dev/millrace/bench/chaos/proxy"
)

// surgery changes one frame among all that gateways send over WebSockets, together with the one right behind it. Where
// that is of another kind than wanted, the next place is tried: if it tells what a filter passed over, the change would break
// another promise than it means to.
type surgery struct {
	begins string // how the frame's text begins
	next   string // how that of the one behind it begins
	after  int64  // how many such frames pass first
	cut    func(frame, next []byte) []byte
	seen   atomic.Int64
}

// tap cuts the stream of one connection into frames.
func (s *surgery) tap() proxy.Tap {
	var rest, held []byte
	upgraded := false
	return func(b []byte) []byte {
		rest = append(rest, b...)
		var out []byte
		if !upgraded {
			end := bytes.Index(rest, []byte("\r\n\r\n"))
			if end < 0 {
				return nil
			}
			upgraded = bytes.HasPrefix(rest, []byte("HTTP/1.1 101"))
			if !upgraded { // an answer to a POST
				out, rest = rest, nil
				return out
			}
			out, rest = append(out, rest[:end+4]...), rest[end+4:]
		}
		for {
			text, size := readFrame(rest)
			if size == 0 {
				rest = bytes.Clone(rest)
				return out
			}
			frame := bytes.Clone(rest[:size])
			rest = rest[size:]
			if held != nil {
				if bytes.HasPrefix(text, []byte(s.next)) {
					frame = s.cut(held, frame)
				} else {
					frame = append(held, frame...)
					s.seen.Store(s.after)
				}
				held = nil
			} else if bytes.HasPrefix(text, []byte(s.begins)) && s.seen.Add(1) == s.after+1 {
				held = frame
				continue
			}
			out = append(out, frame...)
		}
	}
}

// readFrame returns the payload of the first frame of a server (RFC 6455, section 5.2) and its size with the header; 0
// while it is not whole.
func readFrame(b []byte) (payload []byte, size int) {
	if len(b) < 2 {
		return nil, 0
	}
	head, n := 2, int(b[1]&0x7f)
	switch {
	case n == 126 && len(b) >= 4:
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	case n == 127 && len(b) >= 10:
		head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
	case n >= 126:
		return nil, 0
	}
	if len(b) < head+n {
		return nil, 0
	}
	return b[head : head+n], head + n
}

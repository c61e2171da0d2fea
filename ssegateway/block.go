package ssegateway

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace/gateway/frame"
)

// A stream is blocks of fields, each ended by an empty line (WHATWG HTML, section 9.2.6).

func appendID(dst, cursor []byte) []byte {
	dst = append(dst, "id: "...)
	dst = append(dst, cursor...)
	return append(dst, '\n')
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, name...)
	return append(dst, '\n')
}

func appendRetry(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, max(d.Milliseconds(), 0), 10)
	return append(dst, '\n')
}

// appendData appends a payload, one field a line. A line ends with LF, CR or CR LF; the receiver joins them with LF. There
// is always one field, without which a block is no event.
func appendData(dst, data []byte) []byte {
	for {
		i := bytes.IndexAny(data, "\r\n")
		line := data
		if i >= 0 {
			line = data[:i]
		}
		dst = append(dst, "data: "...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		if i < 0 {
			return dst
		}
		if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			i++
		}
		data = data[i+1:]
	}
}

// appendBody ends a block of the stream's own with what it says. It is one line, but for what members show of themselves,
// where line ends may stand between the tokens of the JSON.
func appendBody(dst, body []byte) []byte { return append(appendData(dst, body), '\n') }

// kindTombstone names the event that says which key is gone: an event without data would be none.
const kindTombstone = "tombstone"

// escape starts the names of events that would else be taken for something that they are not.
const escape = "~"

// eventName returns the field event for an application's name: the name, but with escape before it if the stream's own
// events or those of EventSource (open, error) have it, or if it begins with escape itself. So no publisher can pass for
// the gateway, and a name is told from an escaped one. What would end the line becomes a space.
func eventName(name string) string {
	if strings.ContainsAny(name, "\r\n") {
		name = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(name)
	}
	if name == "open" || name == kindTombstone || strings.HasPrefix(name, escape) || frame.IsKind(name) {
		return escape + name
	}
	return name
}

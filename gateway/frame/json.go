package frame

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// AppendJSON appends a frame in JSON. re is the id of the command that it answers, 0 if none. A frame that this form
// lacks, [gateway.WirePong], is left out.
func AppendJSON(dst []byte, re uint32, f gateway.Frame) []byte {
	kind := Kind(f)
	if kind == "" {
		return dst
	}
	dst = append(dst, '{')
	if re != 0 {
		dst = append(dst, `"re":`...)
		dst = strconv.AppendUint(dst, uint64(re), 10)
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, kind...)
	dst = append(dst, `":`...)
	dst = AppendBody(dst, f)
	return append(dst, '}')
}

// AppendJSONEvent appends an event's frame in JSON. Data of a JSON type must be one JSON text, as the broker makes sure of.
func AppendJSONEvent(dst []byte, e *millrace.Event) []byte {
	dst = append(dst, `{"event":`...)
	dst = appendEvent(dst, e)
	return append(dst, '}')
}

// AppendEventBody appends what an event's frame says as a JSON object, without its kind.
func AppendEventBody(dst []byte, e *millrace.Event) []byte { return appendEvent(dst, e) }

// AppendJSONGap appends a gap's frame in JSON.
func AppendJSONGap(dst []byte, g *millrace.Gap) []byte {
	dst = append(dst, `{"gap":`...)
	dst = AppendGapBody(dst, g)
	return append(dst, '}')
}

func appendEvent(dst []byte, e *millrace.Event) []byte {
	dst = append(dst, `{"topic":`...)
	dst = appendString(dst, e.Topic)
	dst = appendPlace(dst, e.Position)
	dst = appendMember(dst, "id", e.ID)
	dst = appendMember(dst, "name", e.Name)
	dst = appendMember(dst, "key", e.Key)
	dst = appendMember(dst, "contentType", contentType(e))
	dst = appendHeaders(dst, e.Headers)
	if e.Sender != (millrace.Sender{}) {
		dst = append(dst, `,"sender":{`...)
		dst = appendFirst(dst, "session", e.Sender.Session)
		dst = appendMember(dst, "subject", e.Sender.Subject)
		dst = append(dst, '}')
	}
	dst = appendTime(dst, "timeMs", e.Time)
	if e.Tombstone {
		dst = appendTrue(dst, "tombstone", true)
	} else {
		dst = appendPayload(dst, e)
	}
	return append(dst, '}')
}

// contentType leaves out what is understood.
func contentType(e *millrace.Event) string {
	if e.ContentType == "application/json" {
		return ""
	}
	return e.ContentType
}

func appendHeaders(dst []byte, headers []millrace.Header) []byte {
	for i, h := range headers {
		if i == 0 {
			dst = append(dst, `,"headers":[{`...)
		} else {
			dst = append(dst, `,{`...)
		}
		dst = appendFirst(dst, "name", h.Name)
		dst = appendMember(dst, "value", h.Value)
		dst = append(dst, '}')
	}
	if len(headers) > 0 {
		dst = append(dst, ']')
	}
	return dst
}

// payload tells in which form an event's data stands in a frame: as its content type says, unless it is not what the type
// says, which no frame in text could carry.
func payload(e *millrace.Event) millrace.Payload {
	p := millrace.PayloadOf(e.ContentType)
	if p == millrace.PayloadText && !utf8.Valid(e.Data) {
		return millrace.PayloadBinary
	}
	return p
}

func appendPayload(dst []byte, e *millrace.Event) []byte {
	switch payload(e) {
	case millrace.PayloadJSON:
		if len(e.Data) > 0 {
			dst = append(dst, `,"data":`...)
			dst = append(dst, e.Data...)
		}
	case millrace.PayloadText:
		dst = append(dst, `,"text":`...)
		dst = appendString(dst, e.Data)
	case millrace.PayloadBinary:
		dst = append(dst, `,"binary":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Data)
		dst = append(dst, '"')
	}
	return dst
}

func appendPosition(dst []byte, p millrace.Position) []byte {
	dst = append(dst, `{"offset":"`...)
	dst = strconv.AppendUint(dst, p.Offset, 10)
	dst = append(dst, `","mark":"`...)
	dst = strconv.AppendUint(dst, p.Mark, 10)
	return append(dst, `"}`...)
}

// appendPlace appends where an event stands, unless it stands nowhere: in class ephemeral.
func appendPlace(dst []byte, p millrace.Position) []byte {
	if p.IsZero() {
		return dst
	}
	return appendPosition(append(dst, `,"position":`...), p)
}

// appendTime appends a member in milliseconds, unless the time is zero.
func appendTime(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	dst = appendName(dst, name)
	dst = append(dst, '"')
	dst = strconv.AppendInt(dst, t.UnixMilli(), 10)
	return append(dst, '"')
}

// appendMember appends a member that is not the first of its object, unless its value is empty.
func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(appendName(dst, name), value)
}

// appendFirst appends a first member, be its value empty or not.
func appendFirst(dst []byte, name, value string) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return appendString(dst, value)
}

func appendNumber(dst []byte, name string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(appendName(dst, name), n, 10)
}

// appendDigits is appendNumber for 64 bits, which are a string.
func appendDigits(dst []byte, name string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	dst = append(appendName(dst, name), '"')
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, '"')
}

func appendTrue(dst []byte, name string, value bool) []byte {
	if !value {
		return dst
	}
	return append(appendName(dst, name), "true"...)
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

// appendString appends a JSON string (RFC 8259 section 7). What is not UTF-8 becomes U+FFFD.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	plain := 0 // where what was not yet appended begins
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			if c >= ' ' && c != '"' && c != '\\' {
				continue
			}
			dst = append(dst, s[plain:i-1]...)
			plain = i
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			continue
		}
		// A rune has at most 4 bytes, so that converting a slice this short allocates nothing.
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[plain:i]...)
			dst = append(dst, "\uFFFD"...)
			plain = i + 1
		}
		i += n
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}

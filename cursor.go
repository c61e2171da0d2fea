package millrace

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
)

// MaxCursorBytes bounds a cursor, and with it the topics of one session that is resumed by a header or URL.
const MaxCursorBytes = 4096

const (
	cursorSeparator = ","
	sealPrefix      = "s."
	optionPrefix    = "o."
	joinedPrefix    = "j." // a member that is told of the others
	quietPrefix     = "q." // a member that is not
	watchingPrefix  = "m." // told of the members without being one
	permitPrefix    = "p."
	optionSeparator = "\x00" // no topic, number or filter has it
)

// Piece is one topic's part of a cursor. One of a pattern has the zero position: where each topic stands that the pattern
// covers and no piece names, since it was born after the cursor was made.
type Piece struct {
	Topic    string // or a pattern
	Position Position
	Attached bool // false: the session holds the topic, but was not attached yet, so there is no position to resume from
}

// Option is how a session wants a topic of its cursor, beside the position.
type Option struct {
	Topic   string // or a pattern
	Filter  *Filter
	MaxRate float64
}

// AppendOption appends the option's text to dst.
func AppendOption(dst []byte, o Option) []byte {
	text := o.Topic + optionSeparator + strconv.FormatFloat(o.MaxRate, 'g', -1, 64) + optionSeparator + o.Filter.String()
	dst = append(dst, optionPrefix...)
	return base64.RawURLEncoding.AppendEncode(dst, []byte(text))
}

// Part is how a session takes part in a topic of its cursor, beside getting its events: it is a member, is told of the
// members, or both.
type Part struct {
	Topic  string
	Joined bool // it is a member
	Told   bool // it is told who is
}

// AppendPart appends the part's text to dst. One that is neither is nothing.
func AppendPart(dst []byte, p Part) []byte {
	switch {
	case p.Joined && p.Told:
		dst = append(dst, joinedPrefix...)
	case p.Joined:
		dst = append(dst, quietPrefix...)
	case p.Told:
		dst = append(dst, watchingPrefix...)
	default:
		return dst
	}
	return appendName(dst, p.Topic)
}

// AppendPiece appends the piece's text to dst: offset, mark and the percent-encoded topic, joined by hyphens.
// A piece without a position has neither number.
func AppendPiece(dst []byte, p Piece) []byte {
	if p.Attached {
		dst = append(dst, p.Position.String()...)
	} else {
		dst = append(dst, '-')
	}
	return appendName(append(dst, '-'), p.Topic)
}

// appendName appends a topic, percent-encoded.
func appendName(dst []byte, topic string) []byte {
	for i := range len(topic) {
		c := topic[i]
		if unreserved(c) {
			dst = append(dst, c)
		} else {
			const hex = "0123456789ABCDEF"
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ':' || c == '-' || c == '_' || c == '.' || c == '~'
}

// Cursor is all positions of a session. Its text is what a peer keeps and hands back, at any door: the seal, if there
// is one, the permits, the options, the parts and the pieces, joined by commas. Where two pieces name one topic the later counts, so a
// peer may also append each piece that it is told.
type Cursor struct {
	Seal    string   // what only gateways read: "s." and base64url; empty in a cursor made by hand or by a backend
	Permits []string // what only gateways read, of topics that an operator gave the session: "p." and base64url each
	Options []Option
	Parts   []Part
	Pieces  []Piece
}

// String returns the cursor's text.
func (c Cursor) String() string {
	b := []byte(c.Seal)
	for _, p := range c.Permits {
		if len(b) > 0 {
			b = append(b, cursorSeparator...)
		}
		b = append(b, p...)
	}
	for _, o := range c.Options {
		if len(b) > 0 {
			b = append(b, cursorSeparator...)
		}
		b = AppendOption(b, o)
	}
	for _, p := range c.Parts {
		if len(b) > 0 {
			b = append(b, cursorSeparator...)
		}
		b = AppendPart(b, p)
	}
	for _, p := range c.Pieces {
		if len(b) > 0 {
			b = append(b, cursorSeparator...)
		}
		b = AppendPiece(b, p)
	}
	return string(b)
}

// ParseCursor reads a cursor's text. Each topic of the result stands once, in the order of its first appearance. The
// error is a *Error with ReasonCursorInvalid. Neither seal nor permits are verified.
func ParseCursor(text string) (Cursor, error) {
	var c Cursor
	if len(text) > MaxCursorBytes {
		return c, Errorf(ReasonCursorInvalid, "the cursor has %d bytes; at most %d are allowed", len(text), MaxCursorBytes)
	}
	index := map[string]int{}
	for item := range strings.SplitSeq(text, cursorSeparator) {
		if strings.HasPrefix(item, sealPrefix) {
			c.Seal = item
			continue
		}
		if strings.HasPrefix(item, permitPrefix) {
			if !isPermit(item) {
				return Cursor{}, Errorf(ReasonCursorInvalid, "the cursor has a permit that can't be read: %.64q", item)
			}
			c.Permits = append(c.Permits, item)
			continue
		}
		if strings.HasPrefix(item, optionPrefix) {
			o, err := parseOption(item)
			if err != nil {
				return Cursor{}, err
			}
			c.Options = append(c.Options, o)
			continue
		}
		if part, ok, err := parsePart(item); err != nil {
			return Cursor{}, err
		} else if ok {
			c.Parts = append(c.Parts, part)
			continue
		}
		p, err := parsePiece(item)
		if err != nil {
			return Cursor{}, err
		}
		if i, ok := index[p.Topic]; ok {
			c.Pieces[i] = p
			continue
		}
		index[p.Topic] = len(c.Pieces)
		c.Pieces = append(c.Pieces, p)
	}
	return c, nil
}

// maxPermitBytes is more than a permit has.
const maxPermitBytes = 64

func isPermit(item string) bool {
	text := strings.TrimPrefix(item, permitPrefix)
	_, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && text != "" && len(item) <= maxPermitBytes && !strings.ContainsAny(text, "\r\n")
}

func parseOption(item string) (Option, error) {
	unreadable := Errorf(ReasonCursorInvalid, "the cursor has an option that can't be read: %.64q", item)
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(item, optionPrefix))
	if err != nil {
		return Option{}, unreadable
	}
	parts := strings.SplitN(string(text), optionSeparator, 3)
	if len(parts) != 3 || Pattern(parts[0]).Validate() != nil {
		return Option{}, unreadable
	}
	rate, err := strconv.ParseFloat(parts[1], 64)
	if err != nil || ValidateMaxRate(rate) != nil {
		return Option{}, unreadable
	}
	filter, err := ParseFilter(parts[2])
	if err != nil {
		return Option{}, unreadable
	}
	return Option{Topic: parts[0], Filter: filter, MaxRate: rate}, nil
}

// parsePart reads an item, if it is a part.
func parsePart(item string) (_ Part, ok bool, _ error) {
	if len(item) < len(joinedPrefix) {
		return Part{}, false, nil
	}
	var p Part
	switch item[:len(joinedPrefix)] {
	case joinedPrefix:
		p.Joined, p.Told = true, true
	case quietPrefix:
		p.Joined = true
	case watchingPrefix:
		p.Told = true
	default:
		return Part{}, false, nil
	}
	topic, err := url.PathUnescape(item[len(joinedPrefix):])
	if err != nil || ValidateTopic(topic) != nil {
		return Part{}, false, Errorf(ReasonCursorInvalid, "the cursor has a part whose topic can't be read: %.64q", item)
	}
	p.Topic = topic
	return p, true, nil
}

func parsePiece(item string) (Piece, error) {
	parts := strings.SplitN(item, "-", 3)
	if len(parts) != 3 {
		return Piece{}, Errorf(ReasonCursorInvalid, "the cursor has a piece that can't be read: %.64q", item)
	}
	topic, err := url.PathUnescape(parts[2])
	if err != nil || Pattern(topic).Validate() != nil {
		return Piece{}, Errorf(ReasonCursorInvalid, "the cursor has a piece whose topic can't be read: %.64q", item)
	}
	if parts[0] == "" && parts[1] == "" {
		return Piece{Topic: topic}, nil
	}
	pos, err := ParsePosition(parts[0] + "-" + parts[1])
	if err != nil {
		return Piece{}, Errorf(ReasonCursorInvalid, "the cursor has a piece whose position can't be read: %.64q", item)
	}
	return Piece{Topic: topic, Position: pos, Attached: true}, nil
}

package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
)

const (
	minSealKey  = 16
	sealVersion = 1
	sealMAC     = 16
	idBytes     = 16
	sealBody    = 1 + idBytes + 8
	sealPrefix  = "s."
)

// sealer makes and opens seals: the part of a cursor that says which session it belongs to and when it was made, bound to
// the subject by a MAC that all gateways share. A seal lets a session go on under its id at any gateway.
type sealer struct{ key []byte }

func (s sealer) seal(id sessionID, subject string, at time.Time) string {
	b := make([]byte, 0, sealBody+sealMAC)
	b = append(b, sealVersion)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.Unix()))
	b = append(b, s.mac(b, subject)...)
	return sealPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// open returns the session of a seal that was made for subject by a gateway with the same key.
func (s sealer) open(seal, subject string) (id sessionID, at time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(seal, sealPrefix))
	if err != nil || len(b) != sealBody+sealMAC || b[0] != sealVersion {
		return id, at, false
	}
	if !hmac.Equal(b[sealBody:], s.mac(b[:sealBody], subject)) {
		return id, at, false
	}
	copy(id[:], b[1:])
	return id, time.Unix(int64(binary.BigEndian.Uint64(b[1+idBytes:])), 0), true
}

func (s sealer) mac(body []byte, subject string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(body)
	h.Write([]byte(subject))
	return h.Sum(nil)[:sealMAC]
}

// sessionID is a session's id: random, and public.
type sessionID [idBytes]byte

func (id sessionID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// appendCursor appends the session's cursor, but for one topic (or none). It runs on the session's loop.
func (s *Session) appendCursor(dst []byte, without *subscription) []byte {
	dst = append(dst, s.prefix...)
	for _, sub := range s.subs {
		if sub == without {
			continue
		}
		dst = append(dst, ',')
		dst = millrace.AppendPiece(dst, sub.piece())
	}
	for _, w := range s.wildcards {
		dst = append(dst, ',')
		dst = millrace.AppendPiece(dst, w.piece())
	}
	return dst
}

// piece is the subscription's part of the session's cursor. One that resumes keeps the position that it came with until
// it is attached, so that a peer which is cut off meanwhile has lost nothing.
func (sub *subscription) piece() millrace.Piece {
	if !sub.attached && sub.start.Kind == millrace.StartAfter {
		return millrace.Piece{Topic: sub.topic(), Position: sub.start.After, Attached: true}
	}
	if !sub.attached || sub.audience.class == millrace.ClassEphemeral {
		return millrace.Piece{Topic: sub.topic()}
	}
	return millrace.Piece{Topic: sub.topic(), Position: sub.position(), Attached: true}
}

// appendLead appends what stands before the bytes of the subscription's next event or gap. The session keeps the lead
// until another of its topics moves.
func (sub *subscription) appendLead(dst []byte) []byte {
	s := sub.session
	if s.moved != sub {
		s.moved = sub
		l := s.loop
		l.cursor = s.appendCursor(l.cursor[:0], sub)
		s.lead = s.wire.AppendLead(s.lead[:0], l.cursor)
	}
	return append(dst, s.lead...)
}

// pieceBound is the longest that a topic's piece of a cursor can be, separator included.
func pieceBound(topic string) int {
	const numbers = len(",18446744073709551615-18446744073709551615-")
	return numbers + len(millrace.AppendPiece(nil, millrace.Piece{Topic: topic}))
}

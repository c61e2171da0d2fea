// Package seal makes the part of a cursor that says which session it belongs to, how often that had come back and when it was
// made, bound to the subject by a MAC that all gateways share. A seal lets a session go on under its id at any gateway; it grants nothing beside that,
// and who has another subject's seal has nothing.
package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// MinKey is how many bytes a key must have at least.
const MinKey = 16

const (
	version  = 2
	macBytes = 16
	idBytes  = 16
	body     = 1 + idBytes + 4 + 8
	prefix   = "s."
)

// Sealer makes and opens seals. Its methods may be called concurrently.
type Sealer struct{ key []byte }

// New returns a sealer of a key, which it keeps.
func New(key []byte) Sealer { return Sealer{key: key} }

// Holder is who a seal says that its peer is.
type Holder struct {
	ID         ID
	Generation uint32    // of the session: 1, and one more each time that it comes back
	At         time.Time // when that was, to the second
}

// Seal returns the seal of a session.
func (s Sealer) Seal(h Holder, subject string) string {
	b := make([]byte, 0, body+macBytes)
	b = append(b, version)
	b = append(b, h.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Generation)
	b = binary.BigEndian.AppendUint64(b, uint64(h.At.Unix()))
	b = append(b, s.mac(b, subject)...)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// Open returns whose a seal is, if it was made for subject by a gateway with the same key.
func (s Sealer) Open(seal, subject string) (h Holder, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(seal, prefix))
	if err != nil || len(b) != body+macBytes || b[0] != version {
		return Holder{}, false
	}
	if !hmac.Equal(b[body:], s.mac(b[:body], subject)) {
		return Holder{}, false
	}
	rest := b[1+copy(h.ID[:], b[1:]):]
	h.Generation = binary.BigEndian.Uint32(rest)
	h.At = time.Unix(int64(binary.BigEndian.Uint64(rest[4:])), 0)
	return h, true
}

func (s Sealer) mac(b []byte, subject string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(b)
	h.Write([]byte(subject))
	return h.Sum(nil)[:macBytes]
}

// ID is a session's id: random, and public.
type ID [idBytes]byte

// String returns the id as peers get it.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

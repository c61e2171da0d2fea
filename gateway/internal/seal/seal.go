// Package seal makes the part of a cursor that says which session it belongs to and when it was made, bound to the subject
// by a MAC that all gateways share. A seal lets a session go on under its id at any gateway; it grants nothing beside that,
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
	version  = 1
	macBytes = 16
	idBytes  = 16
	body     = 1 + idBytes + 8
	prefix   = "s."
)

// Sealer makes and opens seals. Its methods may be called concurrently.
type Sealer struct{ key []byte }

// New returns a sealer of a key, which it keeps.
func New(key []byte) Sealer { return Sealer{key: key} }

// Seal returns the seal of a session.
func (s Sealer) Seal(id ID, subject string, at time.Time) string {
	b := make([]byte, 0, body+macBytes)
	b = append(b, version)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.Unix()))
	b = append(b, s.mac(b, subject)...)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// Open returns the session of a seal that was made for subject by a gateway with the same key.
func (s Sealer) Open(seal, subject string) (id ID, at time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(seal, prefix))
	if err != nil || len(b) != body+macBytes || b[0] != version {
		return id, at, false
	}
	if !hmac.Equal(b[body:], s.mac(b[:body], subject)) {
		return id, at, false
	}
	copy(id[:], b[1:])
	return id, time.Unix(int64(binary.BigEndian.Uint64(b[1+idBytes:])), 0), true
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

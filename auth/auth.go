// Package auth turns a peer's token into a grant.
//
// A token is a JWT (RFC 7519) signed with HS256 and one key that the gateways share with whoever issues tokens. The
// algorithm is fixed here and never taken from the token, so neither "none" nor a public key that is passed off as a
// secret gets anywhere. A [Verifier] reads tokens; a [Signer] issues them, for backends in Go and for the command line.
//
// Nothing that this package says of a token, in an error or elsewhere, repeats any part of it.
package auth

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

const (
	// MinKeyBytes is the shortest key: RFC 7518 section 3.2 wants one as long as the hash.
	MinKeyBytes = 32

	// MaxTokenBytes bounds a token before anything in it is looked at.
	MaxTokenBytes = 8 << 10

	// MaxSubjectBytes bounds a subject.
	MaxSubjectBytes = 128

	// DevKey is the key of `millrace dev`. It is public: whoever can reach a server that uses it may be anyone.
	DevKey = "millrace-dev-key-is-public-never-use-it-in-production"
)

func validateKey(key []byte) error {
	if len(key) < MinKeyBytes {
		return fmt.Errorf("the key has %d bytes; at least %d are needed", len(key), MinKeyBytes)
	}
	return nil
}

// ValidateSubject reports whether s can name a peer: 1 to 128 bytes of UTF-8 that can be printed. The error does not
// repeat s.
func ValidateSubject(s string) error {
	switch {
	case s == "":
		return errors.New("the subject is empty")
	case len(s) > MaxSubjectBytes:
		return fmt.Errorf("the subject has %d bytes; at most %d are allowed", len(s), MaxSubjectBytes)
	}
	for _, r := range s {
		// A JSON reader puts U+FFFD in place of what was not UTF-8, so that two subjects could become one.
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return errors.New("the subject has a character that can't be printed")
		}
	}
	return nil
}

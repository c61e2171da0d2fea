package auth

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Signer issues tokens. It may be used concurrently.
type Signer struct{ key []byte }

// NewSigner makes a Signer with the key that the gateways have.
func NewSigner(key []byte) (*Signer, error) {
	if err := validateKey(key); err != nil {
		return nil, fmt.Errorf("configure signer: %w", err)
	}
	return &Signer{key: slices.Clone(key)}, nil
}

// Sign returns a token that names the subject from now on for ttl, in whole seconds. It fails with every fault at once.
func (s *Signer) Sign(subject string, ttl time.Duration) (string, error) {
	faults := []error{ValidateSubject(subject)}
	if ttl < time.Second {
		faults = append(faults, errors.New("a token must hold for at least a second"))
	}
	if err := errors.Join(faults...); err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   subject,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	})
	text, err := token.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text, nil
}

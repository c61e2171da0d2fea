package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/millrace-dev/millrace"
)

// Config is what a Verifier can be told.
type Config struct {
	Key       []byte        // secret of HS256, at least 32 bytes. Without one no token holds; then Anonymous must be set
	Anonymous bool          // admit peers that show no token, without a subject; default false
	Leeway    time.Duration // how far the clocks of issuer and verifier may differ; default 30 s
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	switch {
	case len(c.Key) > 0:
		if err := validateKey(c.Key); err != nil {
			faults = append(faults, err)
		}
	case !c.Anonymous:
		faults = append(faults, errors.New("there is neither a key nor leave for anonymous peers, so nobody could come in"))
	}
	if c.Leeway < 0 {
		faults = append(faults, fmt.Errorf("Leeway is %v; it can't be negative", c.Leeway))
	}
	return errors.Join(faults...)
}

// Verifier turns tokens into grants. It may be used concurrently.
type Verifier struct {
	config Config
	parser *jwt.Parser
}

// NewVerifier makes a Verifier.
func NewVerifier(c Config) (*Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configure verifier: %w", err)
	}
	if c.Leeway == 0 {
		c.Leeway = 30 * time.Second
	}
	return &Verifier{
		config: c,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithLeeway(c.Leeway),
			jwt.WithStrictDecoding(),
		),
	}, nil
}

// claims is what a token may say. Those that it does not name are passed over.
type claims struct{ jwt.RegisteredClaims }

// Authenticate returns the grant of a token: its subject, all actions on all topics that are not reserved, and the end of
// its time (leeway included, since that is how long the token holds). An empty token is that of an anonymous peer. The
// error is a *millrace.Error: ReasonTokenExpired for a token that held once, else ReasonUnauthorized.
func (v *Verifier) Authenticate(_ context.Context, token string) (*millrace.Grant, error) {
	if token == "" {
		if !v.config.Anonymous {
			return nil, unauthorized("a token is needed")
		}
		return grant(&claims{}, 0), nil
	}
	if len(v.config.Key) == 0 {
		return nil, unauthorized("this server takes no tokens; come without one")
	}
	if len(token) > MaxTokenBytes {
		return nil, unauthorized("the token has more than 8 KiB")
	}
	c := new(claims)
	parsed, err := v.parser.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return v.config.Key, nil })
	if err != nil {
		return nil, refusal(err)
	}
	// RFC 7515 section 4.1.11: extensions that must be understood, and none is.
	if _, ok := parsed.Header["crit"]; ok {
		return nil, unauthorized("the token has a critical extension, which is not known here")
	}
	if err := ValidateSubject(c.Subject); err != nil {
		return nil, unauthorized("the token's sub can't be used: " + err.Error())
	}
	return grant(c, v.config.Leeway), nil
}

// grant is the one place where claims become rights. A token that claims none has them all.
func grant(c *claims, leeway time.Duration) *millrace.Grant {
	g := &millrace.Grant{
		Subject: c.Subject,
		Rules:   []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}},
	}
	if c.ExpiresAt != nil {
		g.Expires = c.ExpiresAt.Add(leeway)
	}
	return g
}

// refusal says in our own words what is wrong with a token. What the parser says may hold pieces of it, so that does not
// even become the cause.
func refusal(err error) *millrace.Error {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return millrace.Errorf(millrace.ReasonTokenExpired, "the token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return unauthorized("the token does not hold yet")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return unauthorized("the token is not signed by HS256 with this server's key")
	}
	return unauthorized("the token can't be read as a JWT signed by HS256")
}

func unauthorized(message string) *millrace.Error {
	return &millrace.Error{Reason: millrace.ReasonUnauthorized, Message: message}
}

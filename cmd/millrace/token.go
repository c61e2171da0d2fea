package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-dev/millrace/auth"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

const aboutToken = `Prints a token that names a subject: a JWT signed by HS256. Without a key it is signed with the public
one of millrace dev, and of use only there.

  millrace token --subject alice
  MILLRACE_KEY=… millrace token --subject alice --ttl 15m
`

// tokenJob makes a token.
type tokenJob struct {
	key     key
	subject string
	ttl     time.Duration
}

func newToken() job { return &tokenJob{ttl: time.Hour} }

func (j *tokenJob) settings() []settings.Setting {
	return append(j.key.settings(),
		settings.Setting{Name: "subject", Value: settings.Text(&j.subject, "NAME"), Doc: subjectDoc, FlagOnly: true},
		settings.Setting{Name: "ttl", Value: settings.Duration(&j.ttl, time.Second), Doc: "how long the token holds", FlagOnly: true},
	)
}

func (j *tokenJob) check(t *settings.Table) error {
	faults := []error{j.key.load(t)}
	if err := auth.ValidateSubject(j.subject); err != nil {
		faults = append(faults, fmt.Errorf("--subject: %w", err))
	}
	return errors.Join(faults...)
}

func (j *tokenJob) run(_ context.Context, _ []string, std streams) error {
	secret := j.key.secret
	if len(secret) == 0 {
		fmt.Fprintln(std.err, "signed with the public key of millrace dev; --key or --key-file names another")
		secret = []byte(auth.DevKey)
	}
	signer, err := auth.NewSigner(secret)
	if err != nil {
		return err
	}
	token, err := signer.Sign(j.subject, j.ttl)
	if err != nil {
		return err
	}
	fmt.Fprintln(std.out, token)
	return nil
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
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

// key is the secret that tokens are signed with, as a command is told of it.
type key struct {
	text string
	path string

	secret []byte // set by load; empty if there is none
}

func (k *key) settings() []settings.Setting {
	take := func(text string) error {
		if len(text) < auth.MinKeyBytes {
			return fmt.Errorf("at least %d bytes", auth.MinKeyBytes)
		}
		k.text = text
		return nil
	}
	return []settings.Setting{
		{
			Name: "key", Value: settings.Func(take, "SECRET", ""), Secret: true,
			Doc: "secret that tokens are signed with by HS256, at least 32 bytes; rather by MILLRACE_KEY than by the flag, which others can see",
		},
		{Name: "key-file", Value: settings.Text(&k.path, "FILE"), Doc: "file with that secret"},
	}
}

// load finds the secret. White space around it in a file is not part of it.
func (k *key) load(t *settings.Table) error {
	switch {
	case k.path == "":
		k.secret = []byte(k.text)
		return nil
	case t.Told("key"):
		return fmt.Errorf("%s: there is %s too; want one of them", t.Where("key-file"), t.Where("key"))
	}
	text, err := os.ReadFile(k.path)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Where("key-file"), err)
	}
	k.secret = bytes.TrimSpace(text)
	if len(k.secret) < auth.MinKeyBytes {
		return fmt.Errorf("%s: %w", t.Where("key-file"), errors.New("the file holds a key of less than 32 bytes"))
	}
	return nil
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// defaultBroker is where a broker listens unless told otherwise.
const defaultBroker = "127.0.0.1:7400"

// connectTimeout is how long a try to reach the broker may take. A try that hangs, as one does while a broker is frozen or
// a firewall swallows its packets, is not to hold back the next: whole gateways wait for it.
const connectTimeout = 3 * time.Second

// upstream is how a command reaches a broker, and as whom.
type upstream struct {
	addr      string
	token     string
	tokenFile string
}

func newUpstream() upstream { return upstream{addr: defaultBroker} }

func (u *upstream) settings() []settings.Setting {
	return []settings.Setting{
		{Name: "broker", Value: settings.Text(&u.addr, "ADDR"), Doc: "gRPC address of the broker"},
		{Name: "broker-token", Value: settings.Text(&u.token, "TOKEN"), Secret: true, Doc: "token for a broker that has a key"},
		{Name: "broker-token-file", Value: settings.Text(&u.tokenFile, "FILE"), Doc: "file with that token, read each time that it is needed"},
	}
}

func (u *upstream) check(t *settings.Table) error {
	if t.Told("broker-token") && t.Told("broker-token-file") {
		return fmt.Errorf("%s: there is %s too; want one of them", t.Where("broker-token-file"), t.Where("broker-token"))
	}
	return nil
}

// source returns where the token comes from.
func (u *upstream) source() sdk.TokenSource {
	if u.tokenFile == "" {
		return sdk.StaticToken(u.token)
	}
	return func(context.Context) (string, error) {
		token, err := os.ReadFile(u.tokenFile)
		return string(bytes.TrimSpace(token)), err
	}
}

func (u *upstream) dial(log *slog.Logger) (*sdk.Client, error) {
	return sdk.Dial(u.addr, sdk.WithToken(u.source()), sdk.WithInsecurePlaintext(), sdk.WithAgent("millrace "+version), sdk.WithLogger(log),
		sdk.WithConnectTimeout(connectTimeout))
}

// quiet is what a command for people logs: only what they should know.
func quiet(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.String(a.Key, a.Value.Time().Format(time.TimeOnly))
		}
		return a
	}}))
}

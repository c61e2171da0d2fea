package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"
	"unicode/utf8"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/auth"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// minSealKeyBytes is the shortest seal key that gateway.Config takes.
const minSealKeyBytes = 16

// edge is what every gateway can be told, whatever its wire.
type edge struct {
	key     key
	origins []string
	sealKey string
	drain   time.Duration
	gateway gateway.Config
}

func newEdge() edge {
	return edge{
		drain: 5 * time.Second,
		gateway: gateway.Config{
			MaxSessions: 1_000_000, MaxTopics: 128, MaxFrameBytes: 64 << 10, MaxEventBytes: 64 << 10, MaxOutboxBytes: 1 << 20,
			TailEvents: 512, TailBytes: 512 << 10, Linger: 10 * time.Second,
			AdmitRate: 10_000, MaxAdmitWait: 2 * time.Second, Grace: 5 * time.Second, MaxListedMembers: 1_000, PersonalTopics: true,
		},
	}
}

func (e *edge) settings() []settings.Setting {
	seal := func(text string) error {
		if len(text) < minSealKeyBytes {
			return fmt.Errorf("at least %d bytes", minSealKeyBytes)
		}
		e.sealKey = text
		return nil
	}
	g := &e.gateway
	return append(e.key.settings(), []settings.Setting{
		{Name: "origins", Value: settings.List(&e.origins, "ORIGIN,…"), Doc: "pages of other origins that may connect, such as https://app.example.com; " +
			"* is any. Pages of the gateway's own origin always may"},
		{
			Name: "seal-key", Value: settings.Func(seal, "SECRET", ""), Secret: true,
			Doc: "secret that all gateways share, at least 16 bytes, so that a session stays the same one when it comes back to another gateway; " +
				"without it each gateway has a key of its own",
		},
		{Name: "max-sessions", Value: settings.Int(&g.MaxSessions, 1), Doc: "connections at a time"},
		{Name: "max-session-topics", Value: settings.Int(&g.MaxTopics, 1), Doc: "topics of one session"},
		{Name: "max-frame-bytes", Value: settings.Bytes(&g.MaxFrameBytes, 1), Doc: "largest frame or request that a peer may send"},
		{Name: "max-publish-bytes", Value: settings.Bytes(&g.MaxEventBytes, 1), Doc: "largest data of an event that a peer may publish"},
		{Name: "max-outbox-bytes", Value: settings.Bytes(&g.MaxOutboxBytes, 1), Doc: "answers that may wait for a peer that does not read"},
		{Name: "tail-events", Value: settings.Int(&g.TailEvents, 1), Doc: "newest events kept at hand of each followed topic"},
		{Name: "tail-bytes", Value: settings.Bytes(&g.TailBytes, 1), Doc: "memory that they may take"},
		{Name: "linger", Value: settings.Duration(&g.Linger, time.Second), Doc: "how long a topic is followed that no session wants any more"},
		{Name: "drain-window", Value: settings.Duration(&e.drain, 0), Doc: "when it stops, the time over which its peers are told to come back elsewhere, one after the other; " +
			"with few peers it takes less"},
		{Name: "max-session-age", Value: settings.Duration(&g.MaxSessionAge, 0), Doc: "how old a connection may become, give or take a tenth, before its peer is told to come back; " +
			"0 is without limit"},
		{Name: "personal-topics", Value: settings.Bool(&g.PersonalTopics), Doc: "subscribe each session that has a subject to user:SUBJECT, without its asking (default true)"},
		{Name: "grace", Value: settings.Duration(&g.Grace, time.Millisecond), Doc: "how long a session whose connection was lost stays a member, so that who comes back in time has not left; of use up to the broker's --lease"},
		{Name: "max-listed-members", Value: settings.Int(&g.MaxListedMembers, 1), Doc: "members of a topic up to which they are told one by one; of more only the numbers are told"},
		{Name: "admit-rate", Value: settings.Int(&g.AdmitRate, 1), Doc: "connections that are opened a second, and a tenth of it at once; others wait, those that resume go first"},
		{Name: "admit-wait", Value: settings.Duration(&g.MaxAdmitWait, time.Millisecond), Doc: "how long they may wait; who would wait longer is told when to come back"},
	}...)
}

// check finds the faults that the values alone don't show.
func (e *edge) check(t *settings.Table) error {
	faults := []error{e.key.load(t)}
	if _, err := httpapi.NewOrigins(e.origins); err != nil {
		faults = append(faults, fmt.Errorf("%s: %w", t.Where("origins"), err))
	}
	return errors.Join(faults...)
}

// door is one way into a gateway: its wires, and what serves them once the gateway is there.
type door struct {
	wires []*gateway.Wire
	path  string
	serve func(g *gateway.Gateway, origins *httpapi.Origins, v *auth.Verifier) (handler http.Handler, closed func())
}

// front is a running gateway with its HTTP handlers.
type front struct {
	gateway *gateway.Gateway
	mux     *http.ServeMux
	window  time.Duration
	closers []func()
}

// open starts a gateway over an upstream, which stays the caller's to close after it.
func (e *edge) open(up gateway.Upstream, v *auth.Verifier, log *slog.Logger, doors ...door) (*front, error) {
	origins, err := httpapi.NewOrigins(e.origins)
	if err != nil {
		return nil, err
	}
	c := e.gateway
	c.SealKey, c.Log = []byte(e.sealKey), log
	var wires []*gateway.Wire
	for _, d := range doors {
		wires = append(wires, d.wires...)
	}
	g, err := gateway.New(c, up, wires...)
	if err != nil {
		return nil, err
	}
	f := &front{gateway: g, mux: http.NewServeMux(), window: e.drain}
	for _, d := range doors {
		handler, closed := d.serve(g, origins, v)
		f.mux.Handle(d.path, handler)
		f.closers = append(f.closers, closed)
	}
	httpapi.New(httpapi.Config{Origins: origins}, g, v).Mount(f.mux)
	return f, nil
}

// part serves a handler around the front's mux. When it is to stop, its peers are sent away first.
func (f *front) part(addr string, handler http.Handler, log *slog.Logger) part {
	p := httpPart(addr, handler, log)
	shutdown := p.stop
	p.stop = func() {
		f.gateway.Drain(context.Background(), f.window) // which bounds its own time
		shutdown()
	}
	return p
}

// obey does what an operator asks of the gateway through the broker.
func (f *front) obey(c sdk.Command, log *slog.Logger) (sdk.Outcome, error) {
	d, ok := c.Ask.(sdk.Drain)
	if !ok {
		return sdk.Outcome{}, millrace.Errorf(millrace.ReasonUnsupported, "this gateway does not do that")
	}
	n := f.gateway.StartDrain(cmp.Or(d.Window, f.window), d.Within)
	log.Info("draining", "operator", c.Operator, "sessions", n)
	return sdk.Outcome{Sessions: n}, nil
}

// close ends what is left of the front. It is for after its part was served.
func (f *front) close() {
	f.gateway.Close()
	for _, closed := range f.closers {
		closed()
	}
}

// standalone is a gateway in a process of its own.
type standalone struct {
	name     string
	peer     string
	listen   address
	upstream upstream
	admitted admission
	edge     edge
	logging  logging
}

func newStandalone(name, listen string) standalone {
	return standalone{
		name: name, listen: address{setting: "listen", text: listen}, upstream: newUpstream(), edge: newEdge(), logging: newLogging(),
	}
}

func (s *standalone) settings(own ...settings.Setting) []settings.Setting {
	rows := []settings.Setting{s.listen.row("where HTTP is served")}
	rows = append(rows, s.upstream.settings()...)
	rows = append(rows, settings.Setting{
		Name: "peer", Value: settings.Func(s.named, "ID", ""), Doc: "id of this gateway, unlike that of any other, by which operators know it (millrace drain); default: a random one",
	})
	rows = append(rows, s.admitted.settings()...)
	rows = append(rows, s.edge.settings()...)
	rows = append(rows, own...)
	return append(rows, s.logging.settings()...)
}

func (s *standalone) check(t *settings.Table) error {
	loopback, err := s.listen.check(t)
	return errors.Join(err, s.upstream.check(t), s.edge.check(t), s.admitted.check(t, s.edge.key.secret, err != nil || loopback))
}

// maxPeerBytes bounds an id, which stands in logs and in what operators are shown.
const maxPeerBytes = 128

// named takes the gateway's id.
func (s *standalone) named(text string) error {
	if text == "" || len(text) > maxPeerBytes || !utf8.ValidString(text) {
		return fmt.Errorf("1 to %d bytes of UTF-8", maxPeerBytes)
	}
	s.peer = text
	return nil
}

func (s *standalone) run(ctx context.Context, std streams, d door) error {
	log := s.logging.logger(std.err)
	v, err := s.admitted.verifier(s.edge.key.secret)
	if err != nil {
		return err
	}
	client, err := s.upstream.dial(log)
	if err != nil {
		return err
	}
	defer client.Close()
	var f *front
	opened := make(chan struct{})
	obey := func(ctx context.Context, c sdk.Command) (sdk.Outcome, error) {
		select {
		case <-opened:
			return f.obey(c, log)
		case <-ctx.Done():
			return sdk.Outcome{}, context.Cause(ctx)
		}
	}
	peer := cmp.Or(s.peer, rand.Text())
	link, err := client.Link(sdk.AsGateway(), sdk.WithPeer(peer), sdk.HandleCommands(obey))
	if err != nil {
		return err
	}
	defer link.Close()
	if f, err = s.edge.open(link, v, log, d); err != nil {
		return err
	}
	defer f.close()
	close(opened)
	log.Info("starting", "command", s.name, "peer", peer)
	var handler http.Handler = f.mux
	if s.admitted.local() {
		handler = localHosts(handler)
	}
	return serve(ctx, s.name, std.out, log, f.part(s.listen.text, handler, log))
}

var errPublicKey = errors.New("--key: the key of millrace dev is public; where others than this machine can connect it must not be used")

// admission is who may connect.
type admission struct {
	anonymous bool
	insecure  bool
}

func (a *admission) settings() []settings.Setting {
	return []settings.Setting{
		{Name: "anonymous", Value: settings.Bool(&a.anonymous), Doc: "admit peers without a token, where only this machine can reach the gateway, as localhost"},
		{Name: "insecure-anonymous", Value: settings.Bool(&a.insecure), Doc: "admit peers without a token, whoever can reach the gateway"},
	}
}

func (a *admission) check(t *settings.Table, secret []byte, loopback bool) error {
	var faults []error
	switch {
	case a.anonymous && !a.insecure && !loopback:
		faults = append(faults, fmt.Errorf("%s: others than this machine can reach the gateway; to let all of them in without a token, say --insecure-anonymous",
			t.Where("anonymous")))
	case len(secret) == 0 && !t.Told("key") && !t.Told("key-file") && !a.anonymous && !a.insecure:
		faults = append(faults, errors.New("--key: a key is needed to check tokens, by --key, MILLRACE_KEY or --key-file; or --anonymous, to need none"))
	}
	if string(secret) == auth.DevKey && !loopback {
		faults = append(faults, errPublicKey)
	}
	return errors.Join(faults...)
}

// local reports whether peers without a token must be of this machine.
func (a *admission) local() bool { return a.anonymous && !a.insecure }

func (a *admission) verifier(secret []byte) (*auth.Verifier, error) {
	return auth.NewVerifier(auth.Config{Key: secret, Anonymous: a.anonymous || a.insecure})
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

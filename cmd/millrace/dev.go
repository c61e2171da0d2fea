package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/auth"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc"
	"github.com/millrace-dev/millrace/cmd/millrace/console"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

const aboutDev = `Serves everything from one process, for development: the broker over gRPC, both gateways over HTTP, and a live console
with a chat room at http://127.0.0.1:7480/. Topics under typing: are of class ephemeral, unless a rule says otherwise.

Everyone may do everything, with a token or without, so it can only be reached from this machine. Tokens are signed with
a key that is public (millrace token makes them), unless another is given.
`

// devDrain is how long open streams may go on when dev stops. Whoever stops it waits for it.
const devDrain = 500 * time.Millisecond

// devJob is everything in one process.
type devJob struct {
	listen     address
	grpcListen address
	storage    storage
	edge       edge
	websockets websockets
	streams    eventStreams
	stall      stall
	logging    logging
}

func newDev() job {
	j := &devJob{
		listen:     address{setting: "listen", text: "127.0.0.1:7480"},
		grpcListen: address{setting: "grpc-listen", text: defaultBroker},
		storage:    newStorage(), edge: newEdge(), websockets: newWebsockets(), streams: newEventStreams(), stall: newStall(), logging: newLogging(),
	}
	j.edge.drain = time.Second
	return j
}

// typingRule is how the topics are kept that the chat room tells by who is typing. It stands behind the operator's rules.
func typingRule() *broker.Rule {
	return &broker.Rule{Pattern: "typing:**", Class: millrace.ClassEphemeral}
}

func (j *devJob) settings() []settings.Setting {
	rows := []settings.Setting{j.listen.row("where HTTP is served"), j.grpcListen.row("where gRPC is served")}
	rows = append(rows, j.storage.settings()...)
	rows = append(rows, j.edge.settings()...)
	rows = append(rows, j.websockets.settings()...)
	rows = append(rows, j.streams.settings()...)
	return append(append(rows, j.stall.row()), j.logging.settings()...)
}

func (j *devJob) check(t *settings.Table) error {
	faults := []error{j.edge.check(t), j.storage.check(t)}
	for _, a := range []address{j.listen, j.grpcListen} {
		loopback, err := a.check(t)
		if err == nil && !loopback {
			err = fmt.Errorf("%s: others than this machine can reach %s, and dev lets everyone do everything; want a loopback address, or broker and gateways "+
				"in processes of their own", t.Where(a.setting), a.text)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// inProcess is the broker as the gateway's upstream.
type inProcess struct {
	*broker.Broker
	*broker.Feed
	*broker.Holder
}

// holder is the name under which dev's members are held.
const holder = "dev"

func (j *devJob) run(ctx context.Context, _ []string, std streams) (err error) {
	log := j.logging.logger(std.err)
	secret := j.edge.key.secret
	if len(secret) == 0 {
		secret = []byte(auth.DevKey)
		log.Info("tokens are signed with the public development key", "key", auth.DevKey)
	}
	v, err := auth.NewVerifier(auth.Config{Key: secret, Anonymous: true})
	if err != nil {
		return err
	}
	page, err := console.Handler()
	if err != nil {
		return err
	}
	j.storage.rules = append(j.storage.rules, typingRule())
	b, stop, err := j.storage.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	feed := b.NewFeed()
	defer feed.Close()
	members, err := b.Hold(ctx, holder)
	if err != nil {
		return err
	}
	defer members.Close()

	j.websockets.stall, j.streams.stall = j.stall, j.stall
	f, err := j.edge.open(inProcess{b, feed, members}, v, log, j.websockets.door(), j.streams.door())
	if err != nil {
		return err
	}
	defer f.close()
	f.mux.Handle("/", page)

	config := rpc.Config{Authenticator: v, Anonymous: everything(), DrainGrace: devDrain, MaxEventBytes: j.storage.maxEventBytes}
	grpc, err := grpcPart(j.grpcListen.text, b, config, log)
	if err != nil {
		return err
	}
	return serve(ctx, "dev", std.out, log, f.part(j.listen.text, localHosts(f.mux), log), grpc)
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// operator is how a command asks a broker's AdminService. The SDK is for those who publish and subscribe.
type operator struct {
	upstream upstream
	timeout  time.Duration
}

func newOperator() operator { return operator{upstream: newUpstream(), timeout: 10 * time.Second} }

func (o *operator) settings() []settings.Setting {
	return append(o.upstream.settings(), settings.Setting{
		Name: "timeout", Value: settings.Duration(&o.timeout, time.Millisecond), Doc: "how long to try",
	})
}

// ask makes a call. Its error is a *millrace.Error, or says that the token can't be had.
func (o *operator) ask(ctx context.Context, call func(ctx context.Context, admin millracev1.AdminServiceClient) error) error {
	token, err := o.upstream.source()(ctx)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(o.upstream.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("millrace "+version))
	if err != nil {
		return fmt.Errorf("dial broker: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	err = call(ctx, millracev1.NewAdminServiceClient(conn))
	if refusal := wire.ParseStatus(err); refusal != nil {
		err = fmt.Errorf("ask %s: %w", o.upstream.addr, refusal)
	}
	return errors.Join(err, conn.Close())
}

const aboutDrain = `Makes a gateway send its peers elsewhere, one after the other, and prints how many there are. PEER is the gateway's id, as
its --peer says; millrace status lists them. Peers come back with their cursors and lose nothing.

From then on the gateway is not ready and takes no new peers, but its process stays until it is stopped. A second drain
can make it faster, not slower.

  millrace drain gateway-7 --window 1m
`

// drainJob drains a gateway.
type drainJob struct {
	operator operator
	window   time.Duration
	within   time.Duration
}

func newDrain() job { return &drainJob{operator: newOperator()} }

func (j *drainJob) settings() []settings.Setting {
	return append(j.operator.settings(), []settings.Setting{
		{Name: "window", Value: settings.Duration(&j.window, 0), Doc: "the time over which the peers are told, evenly; 0 leaves it to the gateway (its --drain-window)", FlagOnly: true},
		{Name: "within", Value: settings.Duration(&j.within, 0), Doc: "when those are cut off that have not gone by then; 0 is 5 s after the window", FlagOnly: true},
	}...)
}

func (j *drainJob) check(t *settings.Table) error { return j.operator.upstream.check(t) }

func (j *drainJob) run(ctx context.Context, args []string, std streams) error {
	if args[0] == "" {
		return errors.New("PEER is empty; want a gateway's id")
	}
	request := &millracev1.DrainRequest{Peer: args[0], WindowMs: wire.Millis(j.window), EndsInMs: wire.Millis(j.within)}
	return j.operator.ask(ctx, func(ctx context.Context, admin millracev1.AdminServiceClient) error {
		m, err := admin.Drain(ctx, request)
		if err == nil {
			fmt.Fprintln(std.out, m.GetCount())
		}
		return err
	})
}

const aboutStatus = `Prints how a broker is, in JSON: its topics and bytes in sum, and the links of gateways with their ids.

  millrace status
`

// statusJob shows the state of a broker.
type statusJob struct{ operator operator }

func newStatus() job { return &statusJob{operator: newOperator()} }

func (j *statusJob) settings() []settings.Setting { return j.operator.settings() }

func (j *statusJob) check(t *settings.Table) error { return j.operator.upstream.check(t) }

func (j *statusJob) run(ctx context.Context, _ []string, std streams) error {
	return j.operator.ask(ctx, func(ctx context.Context, admin millracev1.AdminServiceClient) error {
		m, err := admin.GetStatus(ctx, &millracev1.GetStatusRequest{})
		if err != nil {
			return err
		}
		text, err := protojson.Marshal(m)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", "  "); err != nil { // protojson's own form is not the same twice
			return err
		}
		fmt.Fprintln(std.out, b.String())
		return nil
	})
}

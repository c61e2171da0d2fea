package main

import (
	"context"
	"net/http"
	"time"

	"github.com/millrace-dev/millrace/auth"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/gateway/socket"
	"github.com/millrace-dev/millrace/ssegateway"
	"github.com/millrace-dev/millrace/wsgateway"
)

const aboutWSGateway = `Holds the WebSockets of browsers (/v1/ws), and serves publish and history over HTTP (/v1/topics/TOPIC/events), health
(/healthz) and readiness (/readyz).

Peers show a token that is signed with the key (millrace token). The broker may be away: the gateway holds its peers and
goes on with it when it is back.

  MILLRACE_KEY=… millrace wsgateway --broker 127.0.0.1:7400
  millrace wsgateway --anonymous
`

// websockets is the door for WebSocket.
type websockets struct {
	pingInterval time.Duration
	pingTimeout  time.Duration
	stall        stall
}

func newWebsockets() websockets {
	return websockets{pingInterval: 25 * time.Second, pingTimeout: 20 * time.Second, stall: newStall()}
}

func (w *websockets) settings() []settings.Setting {
	return []settings.Setting{
		{Name: "ping-interval", Value: settings.Duration(&w.pingInterval, time.Second), Doc: "how often a WebSocket is pinged, in whole seconds"},
		{Name: "ping-timeout", Value: settings.Duration(&w.pingTimeout, time.Second), Doc: "how long a WebSocket may then be silent before it is closed"},
	}
}

func (w *websockets) door() door {
	wires := wsgateway.NewWires(w.pingInterval, w.pingTimeout)
	return door{
		wires: []*gateway.Wire{wires.JSON, wires.Protobuf},
		path:  "/v1/ws",
		serve: func(g *gateway.Gateway, origins *httpapi.Origins, v *auth.Verifier) (http.Handler, func()) {
			h := wsgateway.New(wsgateway.Config{Origins: origins, Socket: w.stall.socket()}, g, wires, v)
			return h, h.Close
		},
	}
}

// stall is how long a peer may take nothing.
type stall struct{ timeout time.Duration }

func newStall() stall { return stall{timeout: time.Minute} }

func (s *stall) row() settings.Setting {
	return settings.Setting{
		Name: "stall-timeout", Value: settings.Duration(&s.timeout, time.Second), Doc: "how long a peer may take nothing of what is written to it before it is cut off",
	}
}

func (s *stall) socket() socket.Config { return socket.Config{StallTimeout: s.timeout} }

// wsGatewayJob is the WebSocket gateway in a process of its own.
type wsGatewayJob struct {
	standalone
	websockets
}

func newWSGateway() job {
	return &wsGatewayJob{standalone: newStandalone("wsgateway", "127.0.0.1:7401"), websockets: newWebsockets()}
}

func (j *wsGatewayJob) settings() []settings.Setting {
	return j.standalone.settings(append(j.websockets.settings(), j.stall.row())...)
}

func (j *wsGatewayJob) run(ctx context.Context, _ []string, std streams) error {
	return j.standalone.run(ctx, std, j.door())
}

const aboutSSEGateway = `Holds the event streams of browsers (/v1/events), takes their commands by POST, and serves publish and history over HTTP
(/v1/topics/TOPIC/events), health (/healthz) and readiness (/readyz).

Peers show a token that is signed with the key (millrace token). The broker may be away: the gateway holds its peers and
goes on with it when it is back.

  MILLRACE_KEY=… millrace ssegateway --broker 127.0.0.1:7400
  millrace ssegateway --anonymous
`

// eventStreams is the door for Server-Sent Events.
type eventStreams struct {
	heartbeat time.Duration
	stall     stall
}

func newEventStreams() eventStreams {
	return eventStreams{heartbeat: 30 * time.Second, stall: newStall()}
}

func (e *eventStreams) settings() []settings.Setting {
	return []settings.Setting{
		{Name: "heartbeat", Value: settings.Duration(&e.heartbeat, time.Second), Doc: "how often an event stream gets a comment, in whole seconds"},
	}
}

func (e *eventStreams) door() door {
	wire := ssegateway.NewWire(e.heartbeat)
	return door{
		wires: []*gateway.Wire{wire},
		path:  "/v1/events",
		serve: func(g *gateway.Gateway, origins *httpapi.Origins, v *auth.Verifier) (http.Handler, func()) {
			h := ssegateway.New(ssegateway.Config{Origins: origins, Socket: e.stall.socket()}, g, wire, v)
			return h, h.Close
		},
	}
}

// sseGatewayJob is the gateway for event streams in a process of its own.
type sseGatewayJob struct {
	standalone
	eventStreams
}

func newSSEGateway() job {
	return &sseGatewayJob{standalone: newStandalone("ssegateway", "127.0.0.1:7402"), eventStreams: newEventStreams()}
}

func (j *sseGatewayJob) settings() []settings.Setting {
	return j.standalone.settings(append(j.eventStreams.settings(), j.stall.row())...)
}

func (j *sseGatewayJob) run(ctx context.Context, _ []string, std streams) error {
	return j.standalone.run(ctx, std, j.door())
}

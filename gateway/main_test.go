package gateway_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a gateway with its broker, in a bubble where time passes only when all is quiet.
type house struct {
	*testing.T
	broker  *gatewaytest.Broker
	gateway *gateway.Gateway
	wire    *gateway.Wire
	lead    *gateway.Wire
	peers   []*gatewaytest.Peer
}

// in runs body with a house, closes it and checks the books of all peers.
func in(t *testing.T, c gateway.Config, body func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := build(t, c, gatewaytest.Wire(), gatewaytest.LeadWire())
		t.Cleanup(h.close)
		body(h)
	})
}

func build(t *testing.T, c gateway.Config, wire, lead *gateway.Wire) *house {
	t.Helper()
	return buildOn(t, gatewaytest.NewBroker(), c, wire, lead)
}

// buildOn is build on an end of a broker.
func buildOn(t *testing.T, b *gatewaytest.Broker, c gateway.Config, wire, lead *gateway.Wire) *house {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	h := &house{T: t, broker: b, wire: wire, lead: lead}
	g, err := gateway.New(c, h.broker, h.wire, h.lead)
	if err != nil {
		t.Fatal(err)
	}
	h.gateway = g
	return h
}

// beside builds another gateway of the same broker.
func (h *house) beside(c gateway.Config) *house {
	h.Helper()
	other := buildOn(h.T, h.broker.Beside(), c, h.wire, h.lead)
	h.Cleanup(other.close)
	return other
}

func (h *house) close() {
	h.Helper()
	h.gateway.Close()
	h.broker.Close()
	for _, p := range h.peers {
		<-p.Session.Done()
		p.Flow()
		<-p.Over()
		p.Check(h)
	}
}

// settle waits until everyone is.
func (h *house) settle() { synctest.Wait() }

// elapse lets time pass, and waits until everyone is settled.
func (h *house) elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// seat is a place on a wire.
func (h *house) seat(w *gateway.Wire) gatewaytest.Seat {
	return gatewaytest.Seat{Broker: h.broker, Gateway: h.gateway, Wire: w}
}

// connect opens a session that the house looks after.
func (h *house) connect(s gatewaytest.Seat, o gateway.Opening) *gatewaytest.Peer {
	h.Helper()
	p := s.Connect(h, o)
	h.peers = append(h.peers, p)
	return p
}

// join opens a session on a wire from now on.
func (h *house) join(w *gateway.Wire, topics ...string) *gatewaytest.Peer {
	h.Helper()
	return h.connect(h.seat(w), open(topics...))
}

// resume opens a session with a cursor.
func (h *house) resume(w *gateway.Wire, cursor string) *gatewaytest.Peer {
	h.Helper()
	return h.connect(h.seat(w), gateway.Opening{Grant: everything("alice"), Cursor: cursor})
}

// unsealed is a cursor for another session that goes on from the same positions.
func unsealed(cursor string) string {
	_, rest, _ := strings.Cut(cursor, ",")
	return rest
}

// cut breaks a peer's connection and waits until the gateway knows.
func (h *house) cut(p *gatewaytest.Peer) {
	p.Cut()
	<-p.Session.Done()
	<-p.Over()
}

func everything(subject string) *millrace.Grant {
	return &millrace.Grant{Subject: subject, Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}}
}

func open(topics ...string) gateway.Opening {
	o := gateway.Opening{Grant: everything("alice")}
	for _, topic := range topics {
		o.Topics = append(o.Topics, gateway.Subscribe{Topic: topic})
	}
	return o
}

func openAt(topic string, start millrace.Start) gateway.Opening {
	return gateway.Opening{Grant: everything("alice"), Topics: []gateway.Subscribe{{Topic: topic, Start: start}}}
}

// wires runs a test on both kinds of wire.
func wires(t *testing.T, c gateway.Config, body func(h *house, w *gateway.Wire)) {
	t.Run("pieces", func(t *testing.T) { in(t, c, func(h *house) { body(h, h.wire) }) })
	t.Run("cursors", func(t *testing.T) { in(t, c, func(h *house) { body(h, h.lead) }) })
}

package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
	"github.com/millrace-dev/millrace/gateway/httpapi"
)

// town is two gateways that share their seal key, each with a broker of its own; what one can't do it passes to the other.
type town struct {
	here, there *house
	passed      *way
}

// way leads from one gateway to the other.
type way struct {
	to      *httpapi.Handler
	subject string // in place of the seal, if it is not ""
	seen    int
}

func (w *way) Pass(ctx context.Context, session, seal string, frame []byte) ([]byte, error) {
	w.seen++
	if w.subject != "" {
		seal = ""
	}
	return w.to.Pass(ctx, session, seal, w.subject, frame)
}

func settle(t *testing.T) *town {
	t.Helper()
	raise := func(elsewhere httpapi.Elsewhere) (*house, *httpapi.Handler) {
		broker, wire := gatewaytest.NewBroker(), gatewaytest.Wire()
		g, err := gateway.New(gateway.Config{SealKey: []byte("0123456789abcdef"), Log: slog.New(slog.DiscardHandler)}, broker, wire)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		api := httpapi.New(httpapi.Config{Elsewhere: elsewhere}, g, doorman{})
		api.Mount(mux)
		h := &house{T: t, broker: broker, gateway: g, wire: wire, server: httptest.NewServer(mux)}
		t.Cleanup(func() {
			h.server.Close()
			g.Close()
			broker.Close()
		})
		return h, api
	}
	there, api := raise(nil)
	w := &way{to: api}
	here, _ := raise(w)
	return &town{here: here, there: there, passed: w}
}

// seated is a session whose peer has got its first words.
func (h *house) seated(subject string) (p *gatewaytest.Peer, path, cursor string) {
	h.Helper()
	grant, err := doorman{}.Authenticate(h.Context(), subject)
	if err != nil {
		h.Fatal(err)
	}
	p = gatewaytest.Seat{Broker: h.broker, Gateway: h.gateway, Wire: h.wire}.Connect(h, gateway.Opening{Grant: grant})
	h.Cleanup(p.Cut)
	return p, fmt.Sprintf("/v1/sessions/%s/commands", p.Session.ID()), p.Session.Seal()
}

type peerOf struct {
	*testing.T
	*gatewaytest.Peer
}

func (p peerOf) until(what string, there func() bool) {
	p.Helper()
	for !there() {
		select {
		case <-p.Over():
			p.Fatalf("the session ended without %s", what)
		case <-p.Context().Done():
			p.Fatalf("there is no %s", what)
		default:
		}
	}
}

// Protocol 6.6.
func TestACommandReachesTheSessionByAnyGateway(t *testing.T) {
	s := settle(t)
	for name, door := range map[string]*house{"its own": s.there, "another": s.here} {
		t.Run(name, func(t *testing.T) {
			p, path, cursor := s.there.seated("alice")
			auth := []string{"Authorization", "Bearer alice", "Millrace-Cursor", cursor}
			door.wants(http.StatusAccepted, "{}", "POST", path, `{"id":7,"join":{"topic":"room","data":{"a":1}}}`, auth...)
			peer := peerOf{t, p}
			peer.until("joined", func() bool { return len(gatewaytest.Frames[gateway.Joined](p)) == 1 })
			door.wants(http.StatusOK, `{"re":8,"published":{"topic":"room"`, "POST", path, `{"id":8,"broadcast":{"topic":"room","data":"hi"}}`, auth...)
			peer.until("the event", func() bool { return slices.Contains(p.Texts("room"), `"hi"`) })
			door.wants(http.StatusOK, `"presence":{"topic":"room","members":[{"session":"`+p.Session.ID()+`","subject":"alice","data":{"a":1}`,
				"POST", path, `{"presence":{"topic":"room"}}`, auth...)
			door.wants(http.StatusForbidden, "not a member", "POST", path, `{"broadcast":{"topic":"other","data":"hi"}}`, auth...)
			door.wants(http.StatusAccepted, "{}", "POST", path, `{"unsubscribe":{"topic":"room"}}`, auth...)
			peer.until("unsubscribed", func() bool { return len(gatewaytest.Frames[gateway.Unsubscribed](p)) == 1 })
			door.wants(http.StatusOK, `"published":{"topic":"b"`, "POST", path, `{"publish":{"topic":"b","data":1}}`, auth...)
			if e := lastEvent(door, "b"); e.Sender.Session != p.Session.ID() || e.Sender.Subject != "alice" {
				t.Errorf("the sender is %+v", e.Sender)
			}
			door.wants(http.StatusOK, `"history"`, "POST", path, `{"history":{"topic":"b"}}`, auth...)
			door.wants(http.StatusOK, `"pong"`, "POST", path, `{"ping":{}}`, auth...)
			door.wants(http.StatusBadRequest, "dance", "POST", path, `{"dance":{}}`, auth...)
			p.Check(t)
		})
	}
	if s.passed.seen == 0 {
		t.Error("nothing was passed on")
	}
}

func lastEvent(h *house, topic string) *millrace.Event {
	h.Helper()
	page, err := h.broker.History(h.Context(), topic, millrace.Range{Backward: true, Limit: 1})
	if err != nil || len(page.Events) != 1 {
		h.Fatalf("%+v, %v", page, err)
	}
	return page.Events[0]
}

func TestWhoIsNotTheSessionsPeerLearnsNothingAtAnyGateway(t *testing.T) {
	s := settle(t)
	_, path, cursor := s.there.seated("alice")
	_, _, others := s.there.seated("alice")
	leave := `{"leave":{"topic":"room"}}`
	for name, headers := range map[string][]string{
		"another subject": {"Authorization", "Bearer reader", "Millrace-Cursor", cursor},
		"no cursor":       {"Authorization", "Bearer alice"},
		"another session": {"Authorization", "Bearer alice", "Millrace-Cursor", others},
		"a forged seal":   {"Authorization", "Bearer alice", "Millrace-Cursor", strings.ToUpper(cursor[:1]) + "." + cursor[2:]},
	} {
		for _, door := range []*house{s.here, s.there} {
			if resp, body := door.ask("POST", path, leave, headers...); resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s %s", name, resp.Status, body)
			}
		}
	}
	if s.passed.seen > 0 {
		t.Errorf("%d strangers' commands were passed on", s.passed.seen)
	}
	auth := []string{"Authorization", "Bearer alice", "Millrace-Cursor", cursor}
	s.passed.subject = "reader"
	s.here.wants(http.StatusNotFound, "no such session", "POST", path, leave, auth...)
	s.passed.subject = "alice"
	s.here.wants(http.StatusAccepted, "{}", "POST", path, leave, auth...)
}

// A session that has come back is not commanded by what its peer had before, at any gateway.
func TestTheCursorOfAFormerConnectionIsNoAuthority(t *testing.T) {
	s := settle(t)
	p, path, cursor := s.there.seated("alice")
	p.Cut()
	<-p.Session.Done()
	grant, err := doorman{}.Authenticate(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	again := gatewaytest.Seat{Broker: s.there.broker, Gateway: s.there.gateway, Wire: s.there.wire}.Connect(t, gateway.Opening{Grant: grant, Cursor: cursor})
	t.Cleanup(again.Cut)
	if again.Session.ID() != p.Session.ID() {
		t.Fatal("the session did not come back")
	}
	for _, door := range []*house{s.here, s.there} {
		door.wants(http.StatusNotFound, "no such session", "POST", path, `{"leave":{"topic":"room"}}`, "Authorization", "Bearer alice", "Millrace-Cursor", cursor)
		door.wants(http.StatusAccepted, "{}", "POST", path, `{"leave":{"topic":"room"}}`, "Authorization", "Bearer alice", "Millrace-Cursor", again.Session.Seal())
	}
}

func TestASessionThatIsNowhereIsNotFound(t *testing.T) {
	s := settle(t)
	p, path, cursor := s.there.seated("alice")
	p.Cut()
	<-p.Session.Done()
	s.here.wants(http.StatusNotFound, "no such session", "POST", path, `{"leave":{"topic":"room"}}`, "Authorization", "Bearer alice", "Millrace-Cursor", cursor)
}

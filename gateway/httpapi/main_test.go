package httpapi_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
	"github.com/millrace-dev/millrace/gateway/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// doorman knows the peers by their token's own text.
type doorman struct{}

func (doorman) Authenticate(_ context.Context, token string) (*millrace.Grant, error) {
	switch token {
	case "", "alice":
		return &millrace.Grant{Subject: token, Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionAll}}}, nil
	case "reader":
		return &millrace.Grant{Subject: token, Rules: []millrace.Rule{{Pattern: "**", Actions: millrace.ActionHistory}}}, nil
	}
	return nil, millrace.Errorf(millrace.ReasonUnauthorized, "the token does not hold")
}

type house struct {
	*testing.T
	broker  *gatewaytest.Broker
	gateway *gateway.Gateway
	wire    *gateway.Wire // of the tests that open sessions
	server  *httptest.Server
}

// build returns a gateway that takes 1,000 bytes of data.
func build(t *testing.T) *house {
	t.Helper()
	broker := gatewaytest.NewBroker()
	g, err := gateway.New(gateway.Config{MaxEventBytes: 1000, Log: slog.New(slog.DiscardHandler)}, broker, gatewaytest.Wire())
	if err != nil {
		t.Fatal(err)
	}
	origins, err := httpapi.NewOrigins([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	httpapi.New(httpapi.Config{Origins: origins, Timeout: time.Second}, g, doorman{}).Mount(mux)
	h := &house{T: t, broker: broker, gateway: g, server: httptest.NewServer(mux)}
	t.Cleanup(func() {
		h.server.Close()
		g.Close()
		broker.Close()
	})
	return h
}

// ask sends a request with headers in pairs of name and value.
func (h *house) ask(method, path, body string, headers ...string) (*http.Response, string) {
	h.Helper()
	req, err := http.NewRequest(method, h.server.URL+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.server.Client().Do(req)
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	return resp, string(b)
}

// wants checks the status of an answer, and that it has a part.
func (h *house) wants(status int, part, method, path, body string, headers ...string) string {
	h.Helper()
	resp, got := h.ask(method, path, body, headers...)
	if resp.StatusCode != status || !strings.Contains(got, part) {
		h.Errorf("%s %s: got %s %s; want %d with %s", method, path, resp.Status, got, status, part)
	}
	return got
}

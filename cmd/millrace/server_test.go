package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestForeignHostNamesAreRefusedWhereNoTokenIsNeeded(t *testing.T) {
	h := localHosts(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for host, want := range map[string]int{
		"127.0.0.1:7480": http.StatusNoContent, "localhost:7480": http.StatusNoContent, "localhost": http.StatusNoContent,
		"[::1]:7480": http.StatusNoContent, "[::1]": http.StatusNoContent, "127.8.8.8": http.StatusNoContent,
		"evil.example:7480": http.StatusForbidden, "evil.example": http.StatusForbidden, "10.0.0.1:7480": http.StatusForbidden,
		"localhost.evil.example": http.StatusForbidden, "": http.StatusForbidden,
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/events", http.NoBody)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %q is answered with %d, want %d", host, w.Code, want)
		}
	}
}

func TestAServerSaysWhereItListensAndStopsItsPartsInOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stopped []string
	fake := func(what string) part {
		done := make(chan struct{})
		return part{
			what: what, addr: "127.0.0.1:0",
			serve: func(l net.Listener) error {
				<-done
				return l.Close()
			},
			stop: func() {
				stopped = append(stopped, what)
				close(done)
			},
		}
	}
	var out bytes.Buffer
	ready := writeFunc(func(b []byte) (int, error) {
		if strings.HasSuffix(string(b), " ready\n") {
			cancel()
		}
		return out.Write(b)
	})
	if err := serve(ctx, "dev", ready, slog.New(slog.DiscardHandler), fake("http"), fake("grpc")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || lines[2] != "millrace dev ready" {
		t.Fatalf("output %q", out.String())
	}
	for i, what := range []string{"http", "grpc"} {
		if !strings.HasPrefix(lines[i], "listening "+what+" 127.0.0.1:") || strings.HasSuffix(lines[i], ":0") {
			t.Errorf("line %q does not tell where %s listens", lines[i], what)
		}
	}
	if strings.Join(stopped, " ") != "http grpc" {
		t.Errorf("stopped in the order %v", stopped)
	}
}

func TestAPartThatFailsEndsTheServer(t *testing.T) {
	broken := errors.New("broken")
	p := part{
		what: "http", addr: "127.0.0.1:0", stop: func() {},
		serve: func(l net.Listener) error { return errors.Join(broken, l.Close()) },
	}
	if err := serve(t.Context(), "dev", &bytes.Buffer{}, slog.New(slog.DiscardHandler), p); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestAnAddressInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out bytes.Buffer
	p := part{what: "grpc", addr: l.Addr().String(), stop: func() {}, serve: func(net.Listener) error { return nil }}
	err = serve(t.Context(), "broker", &out, slog.New(slog.DiscardHandler), p)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || strings.Contains(out.String(), "ready") {
		t.Errorf("error %v, output %q", err, out.String())
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(b []byte) (int, error) { return f(b) }

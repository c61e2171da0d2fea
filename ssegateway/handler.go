// Package ssegateway is the way in by Server-Sent Events: GET /v1/events, for a bare EventSource and for curl -N.
//
// On HTTP/1.1 the connection is taken over from the HTTP server and nothing of net/http is kept: the session's loop
// writes to the socket, and one goroutine waits to read the peer's end. On HTTP/2, where connections are shared, the
// handler's goroutine stays and every write takes the plain path.
package ssegateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/gateway/socket"
)

// Config is what the handler can be told. Zero fields take their defaults.
type Config struct {
	Origins *httpapi.Origins // pages that may connect; default: those of the same host
	Socket  socket.Config
}

// Handler serves /v1/events. It may be used concurrently.
type Handler struct {
	// Static.
	config  Config
	gateway *gateway.Gateway
	wire    *gateway.Wire
	auth    gateway.Authenticator

	readers socket.Readers
}

// New returns the handler of a gateway that was made with the wire. Close ends it.
func New(c Config, g *gateway.Gateway, wire *gateway.Wire, auth gateway.Authenticator) *Handler {
	if c.Socket.StallTimeout <= 0 {
		c.Socket.StallTimeout = time.Minute // which the plain path also needs to know
	}
	return &Handler{config: c, gateway: g, wire: wire, auth: auth}
}

// Close takes no more connections and waits for the readers of those at hand. The gateway must be closed before, or they
// go on. It may take as long as a peer may linger. Streams on HTTP/2 are the server's to wait for.
func (h *Handler) Close() { h.readers.Close() }

// ServeHTTP makes a session of a request.
//
// Any status but 200 ends an EventSource for good. So only what the peer must not try again unchanged is answered by a
// status; whoever may come back gets a stream that says when.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.config.Origins.Admit(w.Header(), r); err != nil {
		httpapi.WriteError(w, err)
		return
	}
	if r.Method != http.MethodGet {
		httpapi.OtherMethod(w, r, http.MethodGet)
		return
	}
	o, err := h.opening(r)
	switch {
	case err == nil:
		h.open(w, r, o)
	case err.Reason.Outcome().Retryable:
		h.refuse(w, o.Cursor, err)
	default:
		httpapi.WriteError(w, err)
	}
}

// opening reads what the peer wants and may. A Last-Event-ID is newer than a cursor in the URL, which stays the same over
// the reconnects of an EventSource.
func (h *Handler) opening(r *http.Request) (gateway.Opening, *millrace.Error) {
	o, refusal := httpapi.ReadOpening(r.URL.Query())
	if refusal != nil {
		return o, refusal
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		o.Cursor = last
	}
	grant, err := h.auth.Authenticate(r.Context(), httpapi.Token(r))
	if err != nil {
		return o, millrace.AsError(err)
	}
	o.Grant = grant
	if err := h.gateway.Check(o); err != nil {
		return o, millrace.AsError(err)
	}
	return o, nil
}

func (h *Handler) open(w http.ResponseWriter, r *http.Request, o gateway.Opening) {
	if r.ProtoMajor != 1 {
		h.share(w, r, o)
		return
	}
	if !h.readers.Enter() {
		h.refuse(w, o.Cursor, millrace.Errorf(millrace.ReasonDraining, "the gateway is gone"))
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.readers.Leave()
		if errors.Is(err, http.ErrNotSupported) {
			h.share(w, r, o)
		}
		return // or else the connection is gone
	}
	transport, s, refusal := h.begin(r.Context(), conn, responseHead(w.Header()), o)
	// What has to be done once is done here, so that the goroutine which stays never needs a larger stack for it.
	go func() {
		defer h.readers.Leave()
		defer conn.Close() // whatever it fails with, the connection is gone
		switch {
		case s != nil:
			drain(conn)
			s.Gone()
		case refusal != nil && transport.Write(refusal) == nil:
			transport.Close()
			drain(conn)
		}
	}()
}

// begin opens a session on a connection of its own. It returns what to say if there is none, nil if the peer is gone.
func (h *Handler) begin(ctx context.Context, conn net.Conn, head []byte, o gateway.Opening) (t *socket.Conn, s *gateway.Session, refusal []byte) {
	t, err := socket.New(conn, h.config.Socket)
	if err != nil || t.Write(head) != nil {
		return t, nil, nil
	}
	s, err = h.gateway.Open(ctx, o, h.wire, t)
	if err != nil {
		return t, nil, appendRefusal(nil, o.Cursor, httpapi.Advised(millrace.AsError(err)))
	}
	return t, s, nil
}

// refuse answers with a stream that says when to come back.
func (h *Handler) refuse(w http.ResponseWriter, cursor string, err *millrace.Error) {
	writeHead(w)
	_, _ = w.Write(appendRefusal(nil, cursor, httpapi.Advised(err))) // fails only if the peer is gone
}

// drain reads until the peer's end. It has nothing to say on this connection, so little room is enough.
func drain(conn net.Conn) {
	var b [64]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
	}
}

// share serves a session on a connection that has others too, in the handler's goroutine.
func (h *Handler) share(w http.ResponseWriter, r *http.Request, o gateway.Opening) {
	writeHead(w)
	t := newStream(w, h.config.Socket.StallTimeout)
	defer t.wait()
	s, err := h.gateway.Open(r.Context(), o, h.wire, t)
	if err != nil {
		_ = t.Write(appendRefusal(nil, o.Cursor, httpapi.Advised(millrace.AsError(err)))) // fails only if the peer is gone
		return
	}
	select {
	case <-s.Done():
	case <-r.Context().Done():
		s.Gone()
		<-s.Done()
	}
}

// setHead adds the header of an event stream: nothing on its way may keep, change or collect it.
func setHead(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
}

func writeHead(w http.ResponseWriter) {
	setHead(w.Header())
	w.WriteHeader(http.StatusOK)
}

// responseHead returns the head of the response on HTTP/1.1. The body ends with the connection.
func responseHead(h http.Header) []byte {
	setHead(h)
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\n")
	if err := h.Write(&b); err != nil {
		panic("write to memory: " + err.Error()) // a buffer never fails
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

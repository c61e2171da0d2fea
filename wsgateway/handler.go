// Package wsgateway is the way in by WebSocket: GET /v1/ws, for browsers and whatever else speaks RFC 6455.
//
// gorilla/websocket does the handshake. From then on the package frames and unframes by itself: what a session says is
// framed by its [Wires] once for everyone who gets it, and only the session's loop may write, whereas the library answers
// pings and bad frames on its own and frames for each connection anew; and its reading half takes as much memory as all
// the rest of an idle connection. Nothing of net/http is kept either. A connection costs one goroutine, which waits to
// read.
package wsgateway

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/gateway/socket"
)

// Config is what the handler can be told. Zero fields take their defaults.
type Config struct {
	Origins *httpapi.Origins // pages that may connect; default: those of the same host
	Timeout time.Duration    // how long the broker may take to answer a command; default 10 s
	Socket  socket.Config
}

// Handler serves /v1/ws. It may be used concurrently.
type Handler struct {
	// Static.
	config   Config
	gateway  *gateway.Gateway
	wires    Wires
	auth     gateway.Authenticator
	ctx      context.Context // of all openings and commands
	cancel   context.CancelFunc
	messages sync.Pool // of *bytes.Buffer: what is being read

	readers socket.Readers
}

// New returns the handler of a gateway that was made with the wires. Close ends it.
func New(c Config, g *gateway.Gateway, wires Wires, auth gateway.Authenticator) *Handler {
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	h := &Handler{config: c, gateway: g, wires: wires, auth: auth}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Close gives up the openings and commands under way, takes no more connections and waits for the readers of those at hand. The gateway
// must be closed before, or they go on. It may take as long as a peer may linger.
func (h *Handler) Close() {
	h.cancel()
	h.readers.Close()
}

// ServeHTTP makes a session of a request. It returns after the handshake.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.config.Origins.Admit(w.Header(), r); err != nil {
		httpapi.WriteError(w, err)
		return
	}
	if r.Method != http.MethodGet {
		httpapi.OtherMethod(w, r, http.MethodGet)
		return
	}
	protocol, token, err := readProtocols(r)
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	opening, refusal := h.opening(r, token)
	if !h.readers.Enter() {
		httpapi.WriteError(w, millrace.Errorf(millrace.ReasonDraining, "the gateway is gone"))
		return
	}
	p := h.upgrade(w, r, protocol)
	if p == nil {
		h.readers.Leave()
		return
	}
	refusal = p.open(opening, refusal)
	// What has to be done once is done here, so that the goroutine which stays never needs a larger stack for it.
	go func() {
		defer h.readers.Leave()
		p.serve(refusal)
	}()
}

// message returns an empty buffer, which goes back to messages.
func (h *Handler) message() *bytes.Buffer {
	b, ok := h.messages.Get().(*bytes.Buffer)
	if !ok {
		return new(bytes.Buffer)
	}
	b.Reset()
	return b
}

// opening reads what the peer wants and may. Errors are told after the handshake, for a page can't see how one failed.
func (h *Handler) opening(r *http.Request, token string) (gateway.Opening, *millrace.Error) {
	if t := httpapi.Token(r); t != "" {
		token = t
	}
	grant, err := h.auth.Authenticate(r.Context(), token)
	if err != nil {
		return gateway.Opening{}, millrace.AsError(err)
	}
	o, refusal := httpapi.ReadOpening(r.URL.Query())
	o.Grant = grant
	return o, refusal
}

// upgrade does the handshake. It returns nil if it failed, which is then answered.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, protocol string) *peer {
	header := http.Header{}
	if protocol != "" {
		header.Set("Sec-WebSocket-Protocol", protocol)
	}
	upgrader := websocket.Upgrader{
		CheckOrigin: func(*http.Request) bool { return true }, // was checked above
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			err := millrace.Errorf(millrace.ReasonBadRequest, "%v", reason)
			if status >= http.StatusInternalServerError {
				err = millrace.Errorf(millrace.ReasonUnsupported, "this connection can't become a WebSocket").WithCause(reason)
			}
			httpapi.WriteError(w, err)
		},
	}
	ws, err := upgrader.Upgrade(w, r, header)
	if err != nil {
		return nil
	}
	conn := ws.NetConn() // the rest of the library's connection is let go
	transport, err := socket.New(conn, h.config.Socket)
	if err != nil {
		_ = conn.Close() // the peer is gone already
		return nil
	}
	p := &peer{handler: h, conn: conn, transport: transport, form: formJSON(), wire: h.wires.JSON}
	if protocol == ProtocolProtobuf {
		p.form, p.wire = formProtobuf(), h.wires.Protobuf
	}
	return p
}

// bearerPrefix starts a subprotocol that is a token, for pages, which can set no other header.
const bearerPrefix = "bearer."

// readProtocols chooses the first subprotocol that is known, "" if none was asked for, and finds the token among them.
func readProtocols(r *http.Request) (protocol, token string, err *millrace.Error) {
	var others []string
	for _, p := range websocket.Subprotocols(r) {
		switch {
		case strings.HasPrefix(p, bearerPrefix):
			token = p[len(bearerPrefix):]
		case p != ProtocolJSON && p != ProtocolProtobuf:
			others = append(others, p)
		case protocol == "":
			protocol = p
		}
	}
	switch {
	case protocol != "":
		return protocol, token, nil
	case token != "":
		// A browser fails a connection whose answer names none of the protocols that it asked for.
		return "", "", millrace.Errorf(millrace.ReasonBadRequest, "beside the token ask for %s or %s", ProtocolJSON, ProtocolProtobuf)
	case len(others) > 0:
		return "", "", millrace.Errorf(millrace.ReasonBadRequest, "the subprotocols are %s and %s, not %.200q", ProtocolJSON, ProtocolProtobuf, others)
	}
	return "", "", nil
}

// Package httpapi is what both gateways serve over plain HTTP: publish, history, members, commands of event
// streams, health. It
// also has what every way in over HTTP shares: the list of origins, the place of the token, the URL that a session is
// opened with, and the form of an error.
package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// Config is what the endpoints can be told. Zero fields take their defaults.
type Config struct {
	Origins *Origins      // pages that may use the endpoints; default: those of the same host
	Timeout time.Duration // how long the broker may take to answer; default 10 s
}

// Handler serves the endpoints. It may be used concurrently.
type Handler struct {
	config  Config
	gateway *gateway.Gateway
	auth    gateway.Authenticator
}

// New returns the endpoints of a gateway.
func New(c Config, g *gateway.Gateway, auth gateway.Authenticator) *Handler {
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	return &Handler{config: c, gateway: g, auth: auth}
}

// Mount adds the endpoints to a mux, and what answers all other paths under /v1/.
func (h *Handler) Mount(mux *http.ServeMux) {
	mux.Handle("/healthz", route{http.MethodGet: h.healthy})
	mux.Handle("/readyz", route{http.MethodGet: h.ready})
	mux.Handle("/v1/topics/{topic}/events", h.admit(route{http.MethodGet: h.history, http.MethodPost: h.publish}))
	mux.Handle("/v1/topics/{topic}/members", h.admit(route{http.MethodGet: h.members}))
	mux.Handle("/v1/sessions/{session}/commands", h.admit(route{http.MethodPost: h.command}))
	mux.Handle("/v1/", h.admit(http.HandlerFunc(NotFound)))
}

// NotFound answers a request for something that there is not.
func NotFound(w http.ResponseWriter, r *http.Request) {
	WriteError(w, millrace.Errorf(millrace.ReasonNotFound, "there is nothing at %.200q", r.URL.Path))
}

// route is what one path does by method.
type route map[string]http.HandlerFunc

func (t route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if serve, ok := t[method]; ok {
		serve(w, r)
		return
	}
	var list []string
	for m := range t {
		list = append(list, m)
	}
	slices.Sort(list)
	OtherMethod(w, r, strings.Join(list, ", "))
}

// OtherMethod answers a request with none of a path's methods: a browser that asks what a page may do is told, and
// anything else is refused.
func OtherMethod(w http.ResponseWriter, r *http.Request, methods string) {
	w.Header().Set("Allow", methods)
	if r.Method == http.MethodOptions {
		preflight(w.Header(), methods)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	writeError(w, http.StatusMethodNotAllowed, millrace.Errorf(millrace.ReasonUnsupported, "this path has only %s", methods))
}

// admit lets requests through that their page may make.
func (h *Handler) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.config.Origins.Admit(w.Header(), r); err != nil {
			WriteError(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// grant returns what the peer may do.
func (h *Handler) grant(r *http.Request) (*millrace.Grant, *millrace.Error) {
	grant, err := h.auth.Authenticate(r.Context(), Token(r))
	if err != nil {
		return nil, millrace.AsError(err)
	}
	return grant, nil
}

// bounded returns the request's context with the time that the broker has.
func (h *Handler) bounded(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), h.config.Timeout)
}

func (h *Handler) healthy(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, []byte(`{"status":"ok"}`))
}

func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	if err := h.gateway.Ready(); err != nil {
		WriteError(w, millrace.AsError(err))
		return
	}
	writeJSON(w, http.StatusOK, []byte(`{"status":"ready"}`))
}

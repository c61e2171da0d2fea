package httpapi

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/frame"
)

// Advised returns the error with advice when to come back, if the peer may: spread, so that peers which were refused
// together do not come back together.
func Advised(err *millrace.Error) *millrace.Error {
	if !err.Reason.Outcome().Retryable || err.RetryAfter > 0 {
		return err
	}
	advised := *err
	advised.RetryAfter = time.Second + rand.N(4*time.Second)
	return &advised
}

// WriteError answers a request with an error: its status by the table, and a body such as
// {"error":{"reason":"topic_invalid","message":"…"}}.
func WriteError(w http.ResponseWriter, err *millrace.Error) {
	writeError(w, err.Reason.Outcome().HTTP, err)
}

func writeError(w http.ResponseWriter, status int, err *millrace.Error) {
	h := w.Header()
	if err.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((err.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	body := frame.AppendError([]byte(`{"error":`), err)
	writeJSON(w, status, append(body, '}'))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // fails if the peer is gone, and then there is nobody to tell
}

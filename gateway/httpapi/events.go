package httpapi

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
)

// Request headers; but for the cursor each may be a query parameter instead.
const (
	headerCursor    = "Millrace-Cursor"
	headerID        = "Millrace-Event-Id"
	headerName      = "Millrace-Event-Name"
	headerKey       = "Millrace-Event-Key"
	headerTombstone = "Millrace-Event-Tombstone"
	headerExpect    = "Millrace-Expect"
)

// publish stores the body as the data of an event.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request) {
	grant, err := h.grant(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	p, err := h.readEvent(w, r)
	if err != nil {
		WriteError(w, err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	ack, failed := h.gateway.Publish(ctx, gateway.Publisher{Grant: grant}, p)
	if failed != nil {
		WriteError(w, millrace.AsError(failed))
		return
	}
	writeJSON(w, http.StatusOK, frame.AppendBody(nil, gateway.Published{Ack: ack}))
}

func (h *Handler) readEvent(w http.ResponseWriter, r *http.Request) (millrace.Publish, *millrace.Error) {
	e := &millrace.Event{
		Topic:       r.PathValue("topic"),
		ID:          parameter(r, headerID, "id"),
		Name:        parameter(r, headerName, "name"),
		Key:         parameter(r, headerKey, "key"),
		ContentType: contentType(r),
	}
	p := millrace.Publish{Event: e}
	if text := parameter(r, headerExpect, "expect"); text != "" {
		expect, err := millrace.ParsePosition(text)
		if err != nil {
			return p, millrace.Errorf(millrace.ReasonBadRequest, "expect is OFFSET-MARK, not %.64q", text)
		}
		p.Expect = &expect
	}
	var err *millrace.Error
	if e.Tombstone, err = readSwitch("tombstone", parameter(r, headerTombstone, "tombstone")); err != nil {
		return p, err
	}
	e.Data, err = readBody(w, r, h.gateway.MaxEventBytes())
	return p, err
}

// contentType returns the body's type. What curl and forms say when nobody told them says nothing.
func contentType(r *http.Request) string {
	switch text := r.Header.Get("Content-Type"); text {
	case "application/json", "application/x-www-form-urlencoded":
		return ""
	default:
		return text
	}
}

func parameter(r *http.Request, header, name string) string {
	if v := r.Header.Get(header); v != "" {
		return v
	}
	return r.URL.Query().Get(name)
}

func readBody(w http.ResponseWriter, r *http.Request, most int) ([]byte, *millrace.Error) {
	tooLarge := millrace.Errorf(millrace.ReasonTooLarge, "the body has more than %d bytes", most)
	if r.ContentLength > int64(most) {
		return nil, tooLarge
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(most)))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge
		}
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the body can't be read").WithCause(err)
	}
	return b, nil
}

// history reads a page of a topic's log.
func (h *Handler) history(w http.ResponseWriter, r *http.Request) {
	grant, err := h.grant(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	asked, err := readRange(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	topic := r.PathValue("topic")
	ctx, cancel := h.bounded(r)
	defer cancel()
	page, failed := h.gateway.History(ctx, grant, topic, asked)
	if failed != nil {
		WriteError(w, millrace.AsError(failed))
		return
	}
	writeJSON(w, http.StatusOK, frame.AppendBody(nil, gateway.History{Topic: topic, Page: page}))
}

// readRange reads start (or after, for short), limit, order and state.
func readRange(r *http.Request) (millrace.Range, *millrace.Error) {
	var asked millrace.Range
	query := r.URL.Query()
	switch order := query.Get("order"); order {
	case "", "asc":
	case "desc":
		asked.Backward = true
	default:
		return asked, millrace.Errorf(millrace.ReasonBadRequest, "order is asc or desc, not %.64q", order)
	}
	start := query.Get("start")
	if after := query.Get("after"); after != "" {
		if start != "" {
			return asked, millrace.Errorf(millrace.ReasonBadRequest, "after and start can't both be given")
		}
		start = "after=" + after
	}
	if start == "" && !asked.Backward {
		start = "earliest"
	}
	var err *millrace.Error
	if asked.Start, err = ReadStart(start); err != nil {
		return asked, err
	}
	if asked.State, err = readSwitch("state", query.Get("state")); err != nil {
		return asked, err
	}
	asked.Limit, err = readLimit(query.Get("limit"))
	return asked, err
}

// readLimit reads how much is wanted at most; 0, for nothing, leaves it to the server.
func readLimit(text string) (int, *millrace.Error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
	if err != nil || n == 0 {
		return 0, millrace.Errorf(millrace.ReasonBadRequest, "limit is a number from 1, not %.64q", text)
	}
	return int(n), nil
}

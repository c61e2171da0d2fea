package httpapi

import (
	"crypto/subtle"
	"net/http"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
)

// command runs a command in a session that this gateway holds, for a peer that can't send on its own connection. What
// changes the session's topics and memberships is answered on that connection, like all news of them; the rest is answered
// here.
func (h *Handler) command(w http.ResponseWriter, r *http.Request) {
	grant, err := h.grant(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	s, err := h.session(r, grant)
	if err != nil {
		WriteError(w, err)
		return
	}
	b, err := readBody(w, r, h.gateway.MaxFrameBytes())
	if err != nil {
		WriteError(w, err)
		return
	}
	id, c, err := frame.DecodeJSON(b)
	if err != nil {
		WriteError(w, err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	switch c := c.(type) {
	case gateway.PublishEvent:
		ack, err := h.gateway.Publish(ctx, gateway.Publisher{Grant: grant, Session: s.ID()}, c.Publish)
		answer(w, id, gateway.Published{Ack: ack}, err)
	case gateway.ReadHistory:
		page, err := h.gateway.History(ctx, grant, c.Topic, c.Range)
		answer(w, id, gateway.History{Topic: c.Topic, Page: page}, err)
	case gateway.Broadcast:
		ack, err := s.Broadcast(ctx, grant, c.Publish)
		answer(w, id, gateway.Published{Ack: ack}, err)
	case gateway.ReadMembers:
		page, err := s.ReadMembers(ctx, grant, c.Topic, c.Range)
		answer(w, id, gateway.Presence{Topic: c.Topic, Page: page}, err)
	case gateway.Ping:
		answer(w, id, gateway.Pong{}, nil)
	default:
		s.Pass(id, c)
		writeJSON(w, http.StatusAccepted, []byte("{}"))
	}
}

func answer(w http.ResponseWriter, id uint32, f gateway.Frame, err error) {
	if err != nil {
		WriteError(w, millrace.AsError(err))
		return
	}
	writeJSON(w, http.StatusOK, frame.AppendJSON(nil, id, f))
}

// session returns the session that the path names, if the peer is its: it needs the same subject and the session's
// cursor, since others may know the id. Whoever is not learns nothing, not even whether there is such a session.
func (h *Handler) session(r *http.Request, grant *millrace.Grant) (*gateway.Session, *millrace.Error) {
	none := millrace.Errorf(millrace.ReasonNotFound, "there is no such session here, or %s is not its cursor", headerCursor)
	cursor, err := millrace.ParseCursor(r.Header.Get(headerCursor))
	if err != nil {
		return nil, millrace.AsError(err)
	}
	s, ok := h.gateway.Session(r.PathValue("session"))
	if !ok || s.Subject() != grant.Subject || subtle.ConstantTimeCompare([]byte(s.Seal()), []byte(cursor.Seal)) == 0 {
		return nil, none
	}
	return s, nil
}

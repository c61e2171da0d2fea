package httpapi

import (
	"context"
	"crypto/subtle"
	"net/http"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
)

// Elsewhere is the gateways that hold the sessions which this one does not.
type Elsewhere interface {
	// Pass hands a frame of a session's peer, a ClientFrame in protobuf, to the gateway that holds the session and takes the
	// seal for its present one. It returns how it was answered: a ServerFrame in protobuf, or nothing if the session's own
	// connection is told. The error is a *millrace.Error; ReasonNotFound says that no gateway has the session with that seal. It
	// may be called concurrently.
	Pass(ctx context.Context, session, seal string, frame []byte) (answer []byte, err error)
}

// command runs a command in a session, wherever it is, for a peer that can't send on its own connection. What changes the
// session's topics and memberships is answered on that connection, like all news of them; the rest is answered here.
func (h *Handler) command(w http.ResponseWriter, r *http.Request) {
	grant, err := h.grant(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	p, err := h.posted(r, grant)
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
		ack, err := h.gateway.Publish(ctx, gateway.Publisher{Grant: grant, Session: p.session}, c.Publish)
		answer(w, id, gateway.Published{Ack: ack}, err)
	case gateway.ReadHistory:
		page, err := h.gateway.History(ctx, grant, c.Topic, c.Range)
		answer(w, id, gateway.History{Topic: c.Topic, Page: page}, err)
	case gateway.Ping:
		answer(w, id, gateway.Pong{}, nil)
	default:
		var f gateway.Frame
		var err error
		if p.here != nil {
			f, err = do(ctx, p.here, grant, id, c)
		} else {
			f, err = h.pass(ctx, p, b)
		}
		if err == nil && f == told {
			writeJSON(w, http.StatusAccepted, []byte("{}"))
			return
		}
		answer(w, id, f, err)
	}
}

func answer(w http.ResponseWriter, id uint32, f gateway.Frame, err error) {
	if err != nil {
		WriteError(w, millrace.AsError(err))
		return
	}
	writeJSON(w, http.StatusOK, frame.AppendJSON(nil, id, f))
}

// told is the answer to what the session's own connection is told.
var told gateway.Frame = gateway.Done{}

// do runs a command in a session of this gateway, for its peer with a grant, and returns the answer.
func do(ctx context.Context, s *gateway.Session, grant *millrace.Grant, id uint32, c gateway.Command) (gateway.Frame, error) {
	switch c := c.(type) {
	case gateway.Broadcast:
		ack, err := s.Broadcast(ctx, grant, c.Publish)
		return gateway.Published{Ack: ack}, err
	case gateway.ReadMembers:
		page, err := s.ReadMembers(ctx, grant, c.Topic, c.Range)
		return gateway.Presence{Topic: c.Topic, Page: page}, err
	case gateway.PublishEvent, gateway.ReadHistory, gateway.Ping:
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "it is answered by the gateway that it came to")
	default:
		s.Pass(id, c)
		return told, nil
	}
}

// post is a command's session.
type post struct {
	session string
	seal    string
	here    *gateway.Session // nil if another gateway has it
}

// posted returns the session that the path names, if the peer is its: it needs the same subject and the session's
// cursor, since others may know the id. Whoever is not learns nothing, not even whether there is such a session.
func (h *Handler) posted(r *http.Request, grant *millrace.Grant) (post, *millrace.Error) {
	cursor, err := millrace.ParseCursor(r.Header.Get(headerCursor))
	if err != nil {
		return post{}, millrace.AsError(err)
	}
	p := post{session: r.PathValue("session"), seal: cursor.Seal}
	if s, ok := h.gateway.Session(p.session); ok {
		p.here = s
		if s.Subject() != grant.Subject || !owns(s, p.seal) {
			return post{}, errNoSession
		}
		return p, nil
	}
	if h.config.Elsewhere == nil || !h.gateway.Sealed(p.seal, p.session, grant.Subject) {
		return post{}, errNoSession
	}
	return p, nil
}

var errNoSession = millrace.Errorf(millrace.ReasonNotFound, "there is no such session, or %s is not its cursor", headerCursor)

// owns reports whether a seal is that of the session as it is now connected.
func owns(s *gateway.Session, seal string) bool {
	return subtle.ConstantTimeCompare([]byte(s.Seal()), []byte(seal)) == 1
}

// pass runs a command in a session of another gateway, and returns the answer.
func (h *Handler) pass(ctx context.Context, p post, body []byte) (gateway.Frame, error) {
	b, refusal := frame.ToProtobuf(body)
	if refusal != nil {
		return nil, refusal
	}
	b, err := h.config.Elsewhere.Pass(ctx, p.session, p.seal, b)
	if err != nil || len(b) == 0 {
		return told, err
	}
	f, refusal := frame.DecodeAnswer(b)
	if refusal != nil {
		return nil, refusal
	}
	return f, nil
}

// Pass runs a command of a session's peer that came in at another gateway, a ClientFrame in protobuf. The authority is the
// seal or, if there is none, the subject of a token that the other gateway has verified; what the session may do is by its
// own grant. It returns the answer, a ServerFrame in protobuf, or nothing if the session's own connection is told. The error
// is a *millrace.Error; ReasonNotFound says that the session is not here or the authority does not hold.
func (h *Handler) Pass(ctx context.Context, session, seal, subject string, b []byte) ([]byte, error) {
	s, ok := h.gateway.Session(session)
	switch {
	case !ok, seal != "" && !owns(s, seal), seal == "" && (subject == "" || s.Subject() != subject):
		return nil, errNoSession
	}
	id, c, refusal := frame.DecodeProtobuf(b)
	if refusal != nil {
		return nil, refusal
	}
	f, err := do(ctx, s, s.Grant(), id, c)
	if err != nil || f == told {
		return nil, err
	}
	return frame.AppendProtobuf(nil, id, f), nil
}

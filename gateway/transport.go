package gateway

import (
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// Transport carries bytes to one peer. The session is its only writer and calls one of TryWrite and Write at a time.
// What can be read from the peer is not the transport's matter: its reader calls the session.
type Transport interface {
	// TryWrite hands over as much of b as the peer takes without waiting, and returns how many bytes that was: 0 with a
	// nil error if none. It must not keep b.
	TryWrite(b []byte) (int, error)

	// Write hands over all of b and waits as long as the peer makes progress; a peer that takes nothing for long is an
	// error. It must not keep b. Close ends the wait.
	Write(b []byte) error

	// Close ends the connection once what was handed over is on its way. It must not wait and may be called at any time,
	// more than once.
	Close()
}

// MaxWires is how many wires one gateway may speak.
const MaxWires = tail.Forms

// Wire is one form of the client protocol: how what a gateway says becomes bytes. Its functions are pure, append to dst,
// and may be called concurrently. What goes to many is encoded once per wire and the same bytes go to every session, so
// they can't depend on the session.
type Wire struct {
	Name string // for metrics and logs; before a hyphen, if there is one, stands the transport

	// AppendEvent, AppendGap and AppendAdvanced append the shared bytes of an event, of a gap and of what was passed over. In
	// class ephemeral neither event nor gap has a position.
	AppendEvent    func(dst []byte, e *millrace.Event) []byte
	AppendGap      func(dst []byte, g *millrace.Gap) []byte
	AppendAdvanced func(dst []byte, a *Advanced) []byte

	// AppendMembers appends the shared bytes of changes of members. On no wire do they have a lead.
	AppendMembers func(dst []byte, m *MemberChanges) []byte

	// AppendLead appends what must stand before the shared bytes for one session on a wire whose frames
	// carry the whole session's cursor: others is the cursor without the event's own topic. Nil if frames carry just
	// their own topic's piece.
	AppendLead func(dst, others []byte) []byte

	// AppendFrame appends a frame for one session, any but Advanced and MemberChanges. re is the id of the command that it answers, or 0. cursor is the
	// session's cursor after the frame; it is given only if AppendLead is set.
	AppendFrame func(dst []byte, re uint32, f Frame, cursor []byte) []byte

	// AppendClose appends the last bytes of a session, which tell the peer why it ends. A nil error is an ordinary end.
	AppendClose func(dst []byte, err *millrace.Error) []byte

	Ping         []byte        // sent each PingInterval; immutable
	PingInterval time.Duration // how often; whole seconds
	PongTimeout  time.Duration // how long a peer may then be silent before it is stale; 0: peers on this wire don't answer
}

// chunk returns an entry's bytes on the wire, which has an index among the gateway's, encoded at the first call.
func (w *Wire) chunk(index int, e *tail.Entry) []byte {
	if b, ok := e.Bytes(index); ok {
		return b
	}
	var b []byte
	switch {
	case e.Gap != nil:
		b = w.AppendGap(nil, e.Gap)
	case e.Moved != nil:
		b = w.AppendAdvanced(nil, (*Advanced)(e.Moved))
	default:
		b = w.AppendEvent(make([]byte, 0, len(e.Event.Data)+256), e.Event)
	}
	e.SetBytes(index, b)
	return b
}

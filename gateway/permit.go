package gateway

import (
	"slices"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/seal"
)

// Sealed reports whether a seal was made for a session and its subject, by this gateway or another one with the same key:
// whether its bearer, whose subject the caller has verified, is or was the session's peer.
func (g *Gateway) Sealed(text, session, subject string) bool {
	h, ok := g.sealer.Open(text, subject)
	return ok && h.ID.String() == session
}

// permitBytes is what a permit takes in a cursor, separator included.
const permitBytes = len(",") + seal.PermitBytes

// permit returns what says in the session's cursors that an operator gave it a topic or pattern.
func (s *Session) permit(topic string) string {
	return s.gateway.sealer.Permit(s.name, s.grant.Subject, topic)
}

// permitted returns the topics and patterns that an operator gave the session. Those that a pattern brought are not among
// them.
func (s *Session) permitted() []string {
	var names []string
	for _, w := range s.wildcards {
		if w.want.permitted {
			names = append(names, w.name())
		}
	}
	for _, sub := range s.subs {
		if sub.permitted && (sub.wildcard == nil || !sub.wildcard.want.permitted) {
			names = append(names, sub.topic())
		}
	}
	return names
}

// hasPermit reports whether a subscription of a cursor is one that an operator gave the session, itself or by its pattern. A
// permit that is good for nothing is passed over: the grant then decides.
func (s *Session) hasPermit(c Subscribe) bool {
	if len(c.permits) == 0 {
		return false
	}
	return slices.Contains(c.permits, s.permit(c.Topic)) || c.Pattern != "" && slices.Contains(c.permits, s.permit(c.Pattern))
}

// give notes that an operator wants the session to have a topic that it has already.
func (s *Session) give(sub *subscription) *millrace.Error {
	if sub.permitted {
		return nil
	}
	n := permitBytes
	if s.beginning()+n > maxBeginning || s.wire.AppendLead != nil && len(s.seal)+permitBytes*len(s.permitted())+s.load.bytes()+n > millrace.MaxCursorBytes {
		return errBeginning
	}
	sub.permitted, s.stale = true, true
	return nil
}

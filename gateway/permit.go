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

// permission is what an operator gave a session in a topic or a pattern. More includes less.
type permission uint8

const (
	permitSubscribe permission = iota + 1
	permitJoin
)

// gift is a permission in one topic or pattern.
type gift struct {
	topic string
	what  permission
}

// permitBytes is what a permit takes in a cursor, separator included.
const permitBytes = len(",") + seal.PermitBytes

// permit returns what says in the session's cursors that an operator gave it something.
func (s *Session) permit(g gift) string {
	return s.gateway.sealer.Permit(byte(g.what), s.name, s.grant.Subject, g.topic)
}

// given returns what operators gave the session. Topics that a pattern brought are not among it.
func (s *Session) given() []gift {
	var gifts []gift
	for _, w := range s.wildcards {
		if w.want.permitted != 0 {
			gifts = append(gifts, gift{w.name(), w.want.permitted})
		}
	}
	for _, sub := range s.subs {
		if sub.permitted != 0 && (sub.wildcard == nil || sub.wildcard.want.permitted == 0) {
			gifts = append(gifts, gift{sub.topic(), sub.permitted})
		}
	}
	return gifts
}

// permittedBy returns what an operator gave the session of a subscription that comes from a cursor, itself or by its pattern. A
// permit that is good for nothing is passed over: the grant then decides.
func (s *Session) permittedBy(c Subscribe) permission {
	has := func(topic string, what permission) bool {
		return topic != "" && slices.Contains(c.permits, s.permit(gift{topic, what}))
	}
	switch {
	case len(c.permits) == 0:
		return 0
	case has(c.Topic, permitJoin):
		return permitJoin
	case has(c.Topic, permitSubscribe), has(c.Pattern, permitSubscribe):
		return permitSubscribe
	}
	return 0
}

// give notes that an operator gave the session something in a topic that it has already.
func (s *Session) give(sub *subscription, what permission) *millrace.Error {
	n := permitBytes
	switch {
	case sub.permitted >= what:
		return nil
	case sub.permitted != 0:
		n = 0
	}
	if s.beginning()+n > maxBeginning || s.wire.AppendLead != nil && len(s.seal)+permitBytes*len(s.given())+s.load.bytes()+n > millrace.MaxCursorBytes {
		return errBeginning
	}
	sub.permitted, s.stale = what, true
	return nil
}

package rpc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Authenticator turns a token into what its bearer may do. An empty token is that of an anonymous caller. The error is a
// *millrace.Error that says nothing of the token's text. It may be called concurrently.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*millrace.Grant, error)
}

// caller is who makes a call. It is immutable.
type caller struct {
	grant   *millrace.Grant
	trusted bool   // may speak for others
	address string // of the connection's other end
}

// principal scopes the ids of the caller's events. A gateway names those of its peers in the same way, so that an event
// that is tried again at another door is still the same one.
func (c *caller) principal() string {
	if c.grant.Subject == "" {
		return "anonymous"
	}
	return "subject:" + c.grant.Subject
}

// authenticate finds out who holds a token.
func (s *Server) authenticate(ctx context.Context, token string) (*caller, *millrace.Error) {
	var grant *millrace.Grant
	switch {
	case token == "" && s.config.Anonymous != nil:
		grant = s.config.Anonymous
	case s.config.Authenticator == nil:
		return nil, millrace.Errorf(millrace.ReasonUnauthorized, "this server takes no tokens; come without one")
	default:
		g, err := s.config.Authenticator.Authenticate(ctx, token)
		if err != nil {
			return nil, millrace.AsError(err)
		}
		grant = g
	}
	c := &caller{grant: grant, trusted: s.trusts(grant)}
	if p, ok := peer.FromContext(ctx); ok {
		c.address = p.Addr.String()
	}
	return c, nil
}

// trusts reports whether the holder of a grant may speak for others. Where nobody is named, that is only who needs no
// token for anything: then there is nobody to be told apart from.
func (s *Server) trusts(g *millrace.Grant) bool {
	if s.config.Trusted != nil {
		return slices.Contains(s.config.Trusted, g.Subject)
	}
	return g.Subject == "" && slices.Contains(g.Rules, millrace.Rule{Pattern: "**", Actions: millrace.ActionAll})
}

// identify finds out who makes a call, by the token in its metadata.
func (s *Server) identify(ctx context.Context) (*caller, *millrace.Error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch len(values) {
	case 0:
		return s.authenticate(ctx, "")
	case 1:
	default:
		return nil, millrace.Errorf(millrace.ReasonUnauthorized, "the metadata has more than one authorization")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || token == "" {
		return nil, millrace.Errorf(millrace.ReasonUnauthorized, `the metadata's authorization is not "Bearer TOKEN"`)
	}
	return s.authenticate(ctx, token)
}

type callerKey struct{}

// callerOf returns who makes the call of a context that guard made.
func callerOf(ctx context.Context) *caller {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok {
		panic("rpc: a call came past its guard")
	}
	return c
}

// allow reports why a caller may not do something on a topic, or nil.
func (c *caller) allow(a millrace.Action, what, topic string) *millrace.Error {
	if err := millrace.ValidateTopic(topic); err != nil {
		return millrace.AsError(err)
	}
	if !c.grant.Allows(a, topic) && !c.sees(a, topic) {
		return millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to %s %q", what, topic)
	}
	return nil
}

// allowAll reports why a caller may not do something on a topic, or on all topics that a pattern covers, or nil.
func (c *caller) allowAll(a millrace.Action, what, topic string) *millrace.Error {
	pattern := millrace.Pattern(topic)
	if pattern.IsTopic() {
		return c.allow(a, what, topic)
	}
	if err := pattern.Validate(); err != nil {
		return millrace.AsError(err)
	}
	if !c.grant.AllowsAll(a, pattern) && !c.sees(a, topic) {
		return millrace.Errorf(millrace.ReasonForbidden, "the grant does not allow to %s all of %q", what, topic)
	}
	return nil
}

// sees reports whether a caller may read a lifecycle log, or all that a pattern covers, although its grant does not name
// it: a gateway, which tells its sessions of members, and who may see the members that the log adds up to.
func (c *caller) sees(a millrace.Action, topic string) bool {
	if a&^(millrace.ActionSubscribe|millrace.ActionHistory) != 0 {
		return false
	}
	of, ok := strings.CutPrefix(topic, millrace.PresenceTopic(""))
	switch {
	case topic == millrace.SessionsTopic:
		return c.trusted
	case !ok:
		return false
	}
	return c.trusted || c.grant.AllowsAll(millrace.ActionPresence, millrace.Pattern(of))
}

// Members are held in the name of a gateway or of a session, which can't be the same.
const (
	gatewayHolder = "gateway:"
	sessionHolder = "session:"
)

// Bounds of what a peer calls itself.
const (
	maxInstanceBytes = 64
	maxPeerBytes     = broker.MaxNameBytes - len(gatewayHolder) - len("64 ") - maxInstanceBytes
)

// standing returns the session of a link and in whose name its members are held. Those of a gateway are held in the
// name of its process, whatever its session, so that a process which takes the place of another does not dismiss the other's
// members, who may be on their way back. Who else names itself is the same session over its reconnects, which nobody has who has not
// both the subject and the name; it is held in a name that no gateway can have.
func standing(subject string, hello *millracev1.Hello) (session, holder string) {
	switch peer := hello.GetPeer(); {
	case peer == "":
		session = rand.Text()
	case hello.GetGateway():
		// The length keeps the two apart, as below.
		return rand.Text(), fmt.Sprintf("%s%d %s%s", gatewayHolder, len(hello.GetInstance()), hello.GetInstance(), peer)
	default:
		// The length keeps the two apart, wherever one ends.
		sum := sha256.Sum256(fmt.Appendf(nil, "session %d %s%s", len(subject), subject, peer))
		session = base32.StdEncoding.EncodeToString(sum[:15])
	}
	return session, sessionHolder + session
}

package rpc

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// Sessions are those of one gateway: of one that has a link to the broker, or of one in the broker's own process.
type Sessions interface {
	// Command has the gateway do something with its sessions and waits for the result until ctx ends. It takes ownership of
	// the message. The error is a *millrace.Error: what the gateway says why it did not (not_found if it has no such session),
	// or full, unavailable, deadline or canceled, with which nothing is known. It may be called concurrently.
	Command(ctx context.Context, m *millracev1.SessionCommand) (*millracev1.SessionResult, error)
}

// door is one gateway: the newest of its links, as others are on their way out.
type door struct {
	Sessions

	peer   string // its id; "" for one that has none
	name   string // for people: the id, or else the address
	opened time.Time
}

// doors returns all gateways, but for that of a link if there is one. Gateways without a peer id are told apart by their
// connection.
func (s *Server) doors(except *link) []door {
	s.mu.Lock()
	defer s.mu.Unlock()
	type key struct{ peer, address string }
	keyOf := func(l *link) key {
		if peer := l.greeting().GetPeer(); peer != "" {
			return key{peer: peer}
		}
		return key{address: l.call.who().address}
	}
	newest := map[key]door{}
	for peer, sessions := range s.config.Local {
		newest[key{peer: peer}] = door{Sessions: sessions, peer: peer, name: peer}
	}
	for l := range s.links {
		if !l.greeting().GetGateway() {
			continue
		}
		k := keyOf(l)
		if known, ok := newest[k]; !ok || l.call.opened.After(known.opened) {
			newest[k] = door{Sessions: l, peer: k.peer, name: k.peer + k.address, opened: l.call.opened}
		}
	}
	if except != nil {
		delete(newest, keyOf(except))
	}
	all := make([]door, 0, len(newest))
	for _, d := range newest {
		all = append(all, d)
	}
	return all
}

// heard is what one gateway answered.
type heard struct {
	from   string
	result *millracev1.SessionResult // nil if there is an error
	err    *millrace.Error
}

// silent reports whether the gateway is not known to have done anything: it could not be asked, or did not answer.
func (h heard) silent() bool { return h.err != nil && h.err.Reason.Outcome().Retryable }

// ask asks all of the doors at once, each by a message of its own, and hands their answers to each as they come, one at a
// time, until that says enough, for no longer than CommandTimeout. It returns when nobody is asked any more.
func (s *Server) ask(ctx context.Context, doors []door, m func() *millracev1.SessionCommand, each func(h heard) (enough bool)) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.config.CommandTimeout, errSilent)
	defer cancel()
	var asking sync.WaitGroup
	answers := make(chan heard, len(doors))
	for _, d := range doors {
		asking.Go(func() {
			result, err := d.Command(ctx, m())
			answers <- heard{from: d.name, result: result, err: millrace.AsError(err)}
		})
	}
	for range doors {
		if each(<-answers) {
			break
		}
	}
	cancel()
	asking.Wait()
}

// lastWord is the part of a caller's time that is left for the answer to get to it.
const lastWord = 10

// command has all gateways do something with the sessions of a target, on the caller's authority, and sums up what they
// did. The kind is shared by the messages.
func (s *admin) command(ctx context.Context, to *millracev1.SessionTarget, set func(*millracev1.SessionCommand)) (*millracev1.SessionOutcome, error) {
	target := wire.ParseTarget(to)
	if err := target.Validate(); err != nil {
		return nil, err
	}
	within := ctx
	if at, ok := ctx.Deadline(); ok {
		left := time.Until(at)
		var cancel context.CancelFunc
		within, cancel = context.WithDeadline(ctx, at.Add(-left/lastWord))
		defer cancel()
	}
	who := callerOf(ctx).grant.Subject
	message := func() *millracev1.SessionCommand {
		m := &millracev1.SessionCommand{Authority: &millracev1.SessionCommand_Operator{Operator: who}}
		wire.SetTarget(m, target)
		set(m)
		return m
	}
	outcome := &millracev1.SessionOutcome{}
	var refusal *millrace.Error
	s.ask(within, s.doors(nil), message, func(h heard) bool {
		switch {
		case h.err == nil:
			outcome.Count += h.result.GetCount()
		case h.silent():
			outcome.MissingPeers = append(outcome.MissingPeers, h.from)
		case h.err.Reason != millrace.ReasonNotFound:
			refusal = h.err
		}
		return false
	})
	slices.Sort(outcome.MissingPeers)
	switch {
	case ctx.Err() != nil:
		return nil, millrace.AsError(context.Cause(ctx))
	case outcome.GetCount() > 0:
		return outcome, nil
	case refusal != nil:
		return nil, refusal
	case len(outcome.GetMissingPeers()) > 0:
		return outcome, nil
	}
	if frame := message().GetFrame(); frame.GetUnsubscribe() != nil || frame.GetLeave() != nil {
		return nil, millrace.Errorf(millrace.ReasonNotFound, "no live %.200s had it", target)
	}
	return nil, millrace.Errorf(millrace.ReasonNotFound, "no gateway has live %.200s", target)
}

// byFrame is command for what a session would ask by a frame.
func (s *admin) byFrame(ctx context.Context, to *millracev1.SessionTarget, frame *millracev1.ClientFrame) (*millracev1.SessionOutcome, error) {
	return s.command(ctx, to, func(m *millracev1.SessionCommand) { m.Kind = &millracev1.SessionCommand_Frame{Frame: frame} })
}

// SubscribeSession implements millracev1.AdminServiceServer.
func (s *admin) SubscribeSession(ctx context.Context, r *millracev1.SubscribeSessionRequest) (*millracev1.SubscribeSessionResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	want, refusal := wire.ParseSubscription(r.GetSubscription())
	if refusal != nil {
		return nil, refusal
	}
	if err := millrace.Pattern(want.Topic).Validate(); err != nil {
		return nil, err
	}
	outcome, err := s.byFrame(ctx, r.GetTarget(), wire.SubscribeFrame(want))
	if err != nil {
		return nil, err
	}
	return &millracev1.SubscribeSessionResponse{Outcome: outcome}, nil
}

// UnsubscribeSession implements millracev1.AdminServiceServer.
func (s *admin) UnsubscribeSession(ctx context.Context, r *millracev1.UnsubscribeSessionRequest) (*millracev1.UnsubscribeSessionResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	if err := millrace.Pattern(r.GetTopic()).Validate(); err != nil {
		return nil, err
	}
	outcome, err := s.byFrame(ctx, r.GetTarget(), wire.UnsubscribeFrame(r.GetTopic()))
	if err != nil {
		return nil, err
	}
	return &millracev1.UnsubscribeSessionResponse{Outcome: outcome}, nil
}

// JoinSession implements millracev1.AdminServiceServer.
func (s *admin) JoinSession(ctx context.Context, r *millracev1.JoinSessionRequest) (*millracev1.JoinSessionResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	if err := millrace.ValidateTopic(r.GetTopic()); err != nil {
		return nil, err
	}
	if len(r.GetData()) > 0 && !json.Valid(r.GetData()) {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the member's data is not a JSON text")
	}
	outcome, err := s.byFrame(ctx, r.GetTarget(), wire.JoinFrame(r.GetTopic(), r.GetData()))
	if err != nil {
		return nil, err
	}
	return &millracev1.JoinSessionResponse{Outcome: outcome}, nil
}

// LeaveSession implements millracev1.AdminServiceServer.
func (s *admin) LeaveSession(ctx context.Context, r *millracev1.LeaveSessionRequest) (*millracev1.LeaveSessionResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	if err := millrace.ValidateTopic(r.GetTopic()); err != nil {
		return nil, err
	}
	outcome, err := s.byFrame(ctx, r.GetTarget(), wire.LeaveFrame(r.GetTopic()))
	if err != nil {
		return nil, err
	}
	return &millracev1.LeaveSessionResponse{Outcome: outcome}, nil
}

// maxWordBytes bounds what the peers of a disconnected session are told.
const maxWordBytes = 1024

// Disconnect implements millracev1.AdminServiceServer.
func (s *admin) Disconnect(ctx context.Context, r *millracev1.DisconnectRequest) (*millracev1.DisconnectResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	why := &millrace.Error{Reason: millrace.Reason(r.GetReason()), Message: r.GetMessage()}
	if why.Reason == "" {
		why.Reason = millrace.ReasonForbidden
	}
	if why.Message == "" {
		why.Message = "an operator ended the session"
	}
	switch {
	case why.Reason.Outcome().Reason != why.Reason:
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "%.100q is not a reason", r.GetReason())
	case len(why.Message) > maxWordBytes:
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the message has %d bytes; at most %d are allowed", len(why.Message), maxWordBytes)
	}
	outcome, err := s.command(ctx, r.GetTarget(), func(m *millracev1.SessionCommand) {
		m.Kind = &millracev1.SessionCommand_Disconnect{Disconnect: wire.Error(why)}
	})
	if err != nil {
		return nil, err
	}
	return &millracev1.DisconnectResponse{Outcome: outcome}, nil
}

// Route hands a command that came to one gateway, for a session that it does not hold, to all others; the first that has
// the session answers for it. The sender's authority is for the owner of the session to check, so that of an operator is
// none here. It is for a gateway in the broker's own process; others ask by their links. The error is a *millrace.Error.
func (s *Server) Route(ctx context.Context, m *millracev1.SessionCommand) (*millracev1.SessionResult, error) {
	return s.route(ctx, nil, m)
}

func (s *Server) route(ctx context.Context, from *link, m *millracev1.SessionCommand) (*millracev1.SessionResult, error) {
	if err := routable(m); err != nil {
		return nil, err
	}
	var last heard
	away := false
	message := func() *millracev1.SessionCommand {
		return &millracev1.SessionCommand{Target: m.GetTarget(), Authority: m.GetAuthority(), Kind: m.GetKind()}
	}
	answered := false
	s.ask(ctx, s.doors(from), message, func(h heard) bool {
		switch {
		case h.err == nil:
		case h.silent():
			away = true
			return false
		case h.err.Reason == millrace.ReasonNotFound, h.err.Reason == millrace.ReasonUnsupported:
			return false // likewise a gateway of an older version, which has it or not
		}
		last, answered = h, true
		return true
	})
	switch {
	case answered && last.err != nil:
		return nil, last.err
	case answered:
		return last.result, nil
	case ctx.Err() != nil:
		return nil, millrace.AsError(context.Cause(ctx))
	case away:
		return nil, millrace.Errorf(millrace.ReasonUnavailable, "no gateway that answered has the session; not all did")
	}
	return nil, millrace.Errorf(millrace.ReasonNotFound, "no gateway of this broker has the session")
}

// routable reports why a command can't be of a gateway, or nil.
func routable(m *millracev1.SessionCommand) error {
	switch {
	case m.GetOperator() != "":
		return millrace.Errorf(millrace.ReasonForbidden, "only the broker speaks for operators")
	case m.GetSeal() == "" && m.GetVerifiedSubject() == "":
		return millrace.Errorf(millrace.ReasonUnauthorized, "a command to a session needs its seal or its subject, verified")
	case m.GetSession() == "":
		return millrace.Errorf(millrace.ReasonBadRequest, "a gateway asks for one session")
	case m.GetFrame() == nil:
		return millrace.Errorf(millrace.ReasonBadRequest, "a gateway asks by a frame")
	}
	return wire.ParseTarget(m).Validate()
}

// maxRouted bounds the commands of one link that are under way to other gateways, or whose replies it has not taken. More
// are refused as full.
const maxRouted = 64

// pass returns what the writer is to do about a command of the link's peer for another gateway.
func (l *link) pass(id uint32, m *millracev1.SessionCommand) func() {
	refuse := func(err *millrace.Error) func() {
		return func() {
			l.writer.answer(&millracev1.Reply{Id: id, Outcome: &millracev1.Reply_Error{Error: wire.Error(err)}})
		}
	}
	if !l.greeting().GetGateway() {
		return refuse(millrace.Errorf(millrace.ReasonForbidden, "only a gateway gives commands to sessions"))
	}
	if l.routed.Add(1) > maxRouted {
		l.routed.Add(-1)
		return refuse(millrace.Errorf(millrace.ReasonFull, "%d commands are under way already", maxRouted))
	}
	return func() {
		l.writer.answering++ // before it is asked, or the answer could come first
		l.call.server.work.Go(func() { l.forward(id, m, refuse) })
	}
}

// forward routes a command and has the writer answer it.
func (l *link) forward(id uint32, m *millracev1.SessionCommand, refuse func(*millrace.Error) func()) {
	result, err := l.call.server.route(l.call.ctx, l, m)
	say := refuse(millrace.AsError(err))
	if err == nil {
		say = func() {
			l.writer.answer(&millracev1.Reply{Id: id, Outcome: &millracev1.Reply_Session{Session: &millracev1.SessionResult{
				Id: m.GetId(), Frame: result.GetFrame(), Count: result.GetCount(),
			}}})
		}
	}
	l.writer.orders.ask(func() {
		say()
		l.writer.answered()
		l.writer.afterOut = append(l.writer.afterOut, func() { l.routed.Add(-1) })
	})
}

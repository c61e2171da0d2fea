package sdk

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// Command is what is asked, through the broker, of the sessions that a link holds.
type Command struct {
	// Operator is who asks: the subject of an operator whose token the broker checked, "" for one without a token. A
	// PassFrame is not of an operator.
	Operator string

	Ask Ask
}

// Ask is one kind of command: one of the types below.
type Ask interface{ ask() }

// The kinds of command. Those to a target are done for all of its sessions that there are; ReasonNotFound says that there
// was none.
type (
	// Drain asks to send all sessions elsewhere, evenly over the window, and to take no new ones.
	Drain struct {
		Window time.Duration // 0: as the link's owner has it
		Within time.Duration // cut off who is left then; 0: as the link's owner has it
	}

	// SubscribeSessions asks to subscribe sessions, whatever their grants are.
	SubscribeSessions struct {
		Target millrace.Target
		Want   millrace.Subscription
	}

	// UnsubscribeSessions asks to end a subscription of sessions.
	UnsubscribeSessions struct {
		Target millrace.Target
		Topic  string // or a pattern
	}

	// JoinSessions asks to make sessions members of a topic, whatever their grants are, and to subscribe them to it.
	JoinSessions struct {
		Target millrace.Target
		Topic  string
		Data   []byte // what the members show of themselves: a JSON text, or empty
	}

	// LeaveSessions asks to end a membership of sessions. Their subscriptions stay.
	LeaveSessions struct {
		Target millrace.Target
		Topic  string
	}

	// DisconnectSessions asks to end sessions and to tell their peers why.
	DisconnectSessions struct {
		Target millrace.Target
		Err    *millrace.Error
	}

	// PassFrame asks to do what the peer of a session asks, which came in at another gateway. It is answered by
	// Outcome.Frame. The link's owner must check the authority, and say ReasonNotFound where it does not hold, as if there was
	// no such session.
	PassFrame struct {
		Session string
		Seal    string // the session's seal: the authority, or else
		Subject string // the subject of a token that the other gateway has verified
		Frame   []byte // a ClientFrame in protobuf
	}
)

func (Drain) ask()               {}
func (SubscribeSessions) ask()   {}
func (UnsubscribeSessions) ask() {}
func (JoinSessions) ask()        {}
func (LeaveSessions) ask()       {}
func (DisconnectSessions) ask()  {}
func (PassFrame) ask()           {}

// Outcome is what came of a command.
type Outcome struct {
	Sessions int    // that it reached
	Frame    []byte // how a PassFrame was answered: a ServerFrame in protobuf, empty if the session's own connection is told
}

// CommandHandler does what a command asks. An error tells who asked why it was not done; what is no *millrace.Error is
// told as a fault. It may be called for several commands of a stream at a time, may wait, and must return when ctx ends,
// which is when nobody waits for the answer any more.
type CommandHandler func(ctx context.Context, c Command) (Outcome, error)

// HandleCommands hands commands to h. Without it, and if they are of a kind that this version does not know, they are
// answered as unsupported. It is for a link that is opened AsGateway and names its peer.
func HandleCommands(h CommandHandler) LinkOption { return func(l *Link) { l.handler = h } }

// Answer does what a message of a broker asks, and returns the message that answers it. It is for a gateway in the broker's
// own process; a link does it by itself.
func (h CommandHandler) Answer(ctx context.Context, m *millracev1.SessionCommand) *millracev1.SessionResult {
	c, refusal := readCommand(m)
	if refusal != nil {
		return &millracev1.SessionResult{Id: m.GetId(), Error: wire.Error(refusal)}
	}
	return h.answer(ctx, m.GetId(), c)
}

func (h CommandHandler) answer(ctx context.Context, id uint64, c Command) *millracev1.SessionResult {
	result := &millracev1.SessionResult{Id: id}
	outcome, err := h(ctx, c)
	if err == nil && len(outcome.Frame) > 0 {
		result.Frame = &millracev1.ServerFrame{}
		err = proto.Unmarshal(outcome.Frame, result.Frame)
	}
	if err != nil {
		return &millracev1.SessionResult{Id: id, Error: wire.Error(millrace.AsError(err))}
	}
	result.Count = uint32(outcome.Sessions)
	return result
}

// Bounds of a stream's commands.
const (
	// maxAtOnce is how many commands the handler does at a time.
	maxAtOnce = 16

	// maxAsked is how many commands may wait for the handler beside those. More are refused as full.
	maxAsked = 48

	// maxResults is how many results may wait to be sent. A broker that asks on and on and does not take the answers loses
	// the stream.
	maxResults = 256

	// commandTime is how long a command may take. A broker waits no longer, unless it is told to.
	commandTime = 10 * time.Second
)

// readCommand returns what the broker asks.
func readCommand(m *millracev1.SessionCommand) (Command, *millrace.Error) {
	c := Command{Operator: m.GetOperator()}
	_, operator := m.GetAuthority().(*millracev1.SessionCommand_Operator)
	target := wire.ParseTarget(m)
	var err *millrace.Error
	switch kind := m.GetKind().(type) {
	case *millracev1.SessionCommand_Drain:
		if !operator {
			return c, millrace.Errorf(millrace.ReasonUnauthorized, "only an operator may drain a gateway")
		}
		if m.GetTarget() != nil {
			return c, millrace.Errorf(millrace.ReasonBadRequest, "a gateway is drained as a whole")
		}
		c.Ask = Drain{
			Window: time.Duration(kind.Drain.GetWindowMs()) * time.Millisecond,
			Within: time.Duration(kind.Drain.GetEndsInMs()) * time.Millisecond,
		}
		return c, nil
	case *millracev1.SessionCommand_Disconnect:
		if !operator {
			return c, millrace.Errorf(millrace.ReasonUnauthorized, "only an operator may disconnect sessions")
		}
		why := wire.ParseError(kind.Disconnect)
		if why == nil {
			why = millrace.Errorf(millrace.ReasonForbidden, "an operator ended the session")
		}
		c.Ask = DisconnectSessions{Target: target, Err: why}
	case *millracev1.SessionCommand_Frame:
		if operator {
			c.Ask, err = readFrame(target, kind.Frame)
		} else {
			c.Ask, err = passed(target, m)
		}
	default:
		return c, millrace.Errorf(millrace.ReasonUnsupported, "this gateway knows no command of that kind")
	}
	if err == nil {
		err = millrace.AsError(target.Validate())
	}
	return c, err
}

// readFrame returns what an operator asks of sessions by a frame.
func readFrame(target millrace.Target, m *millracev1.ClientFrame) (Ask, *millrace.Error) {
	switch kind := m.GetKind().(type) {
	case *millracev1.ClientFrame_Subscribe:
		f := kind.Subscribe
		want, err := wire.ParseSubscription(&millracev1.Subscription{
			Topic: f.GetTopic(), Start: f.GetStart(), Filter: f.GetFilter(), MaxRate: f.GetMaxRate(),
		})
		return SubscribeSessions{Target: target, Want: want}, err
	case *millracev1.ClientFrame_Unsubscribe:
		return UnsubscribeSessions{Target: target, Topic: kind.Unsubscribe.GetTopic()}, nil
	case *millracev1.ClientFrame_Join:
		return JoinSessions{Target: target, Topic: kind.Join.GetTopic(), Data: kind.Join.GetData()}, nil
	case *millracev1.ClientFrame_Leave:
		return LeaveSessions{Target: target, Topic: kind.Leave.GetTopic()}, nil
	}
	return nil, millrace.Errorf(millrace.ReasonUnsupported, "an operator can't ask that of a session")
}

// passed returns what came in at another gateway.
func passed(target millrace.Target, m *millracev1.SessionCommand) (Ask, *millrace.Error) {
	if m.GetSeal() == "" && m.GetVerifiedSubject() == "" {
		return nil, millrace.Errorf(millrace.ReasonUnauthorized, "nobody says on whose authority this is")
	}
	if target.Session == "" {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "a frame is for one session")
	}
	frame, err := proto.Marshal(m.GetFrame())
	if err != nil {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the frame can't be read").WithCause(err)
	}
	return PassFrame{Session: target.Session, Seal: m.GetSeal(), Subject: m.GetVerifiedSubject(), Frame: frame}, nil
}

// asked is a command on its way to the handler.
type asked struct {
	id      uint64
	command Command
}

// ask passes a command on to the handler, or refuses it.
func (s *linkStream) ask(m *millracev1.SessionCommand) {
	c, refusal := readCommand(m)
	switch {
	case s.link.handler == nil:
		refusal = millrace.Errorf(millrace.ReasonUnsupported, "this peer takes no commands")
	case refusal == nil:
		select {
		case s.asked <- asked{id: m.GetId(), command: c}:
			return
		default:
			refusal = millrace.Errorf(millrace.ReasonFull, "%d commands wait already", maxAsked)
		}
	}
	s.answer(&millracev1.SessionResult{Id: m.GetId(), Error: wire.Error(refusal)})
}

// obey has the handler do what is asked, some commands at a time, until the stream ends.
func (s *linkStream) obey() {
	turns := make(chan struct{}, maxAtOnce)
	for {
		select {
		case turns <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		select {
		case a := <-s.asked:
			s.workers.Go(func() {
				ctx, cancel := context.WithTimeout(s.ctx, commandTime)
				defer cancel()
				s.answer(s.link.handler.answer(ctx, a.id, a.command))
				<-turns
			})
		case <-s.ctx.Done():
			return
		}
	}
}

// answer makes the sender send a result.
func (s *linkStream) answer(r *millracev1.SessionResult) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if len(s.results) >= maxResults {
		s.cancel(fault("the broker takes no answers to its commands"))
		return
	}
	s.results = append(s.results, r)
	signal(s.wake)
}

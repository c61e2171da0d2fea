package sdk

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// Command is what is asked, through the broker, of the sessions that a link holds.
type Command struct {
	Operator string // who asks: the subject of an operator whose token the broker checked, "" for one without a token
	Ask      Ask
}

// Ask is one kind of command: so far a Drain.
type Ask interface{ ask() }

// Drain asks to send all sessions elsewhere, evenly over the window, and to take no new ones.
type Drain struct {
	Window time.Duration // 0: as the link's owner has it
	Within time.Duration // cut off who is left then; 0: as the link's owner has it
}

func (Drain) ask() {}

// Outcome is what came of a command.
type Outcome struct {
	Sessions int // that it reached
}

// CommandHandler does what a command asks. An error tells who asked why it was not done; what is no *millrace.Error is
// told as a fault. It is called for one command after the other of a stream, may wait, and must return when ctx ends,
// which is when nobody can be answered any more.
type CommandHandler func(ctx context.Context, c Command) (Outcome, error)

// HandleCommands hands commands to h. Without it, and if they are of a kind that this version does not know, they are
// answered as unsupported. It is for a link that is opened AsGateway and names its peer.
func HandleCommands(h CommandHandler) LinkOption { return func(l *Link) { l.handler = h } }

// Bounds of a stream's commands.
const (
	// maxAsked is how many commands may wait for the handler. More are refused as full.
	maxAsked = 16

	// maxResults is how many results may wait to be sent. A broker that asks on and on and does not take the answers loses
	// the stream.
	maxResults = 256
)

// readCommand returns what the broker asks.
func readCommand(m *millracev1.SessionCommand) (Command, *millrace.Error) {
	operator, ok := m.GetAuthority().(*millracev1.SessionCommand_Operator)
	switch drain, isDrain := m.GetKind().(*millracev1.SessionCommand_Drain); {
	case !isDrain:
		return Command{}, millrace.Errorf(millrace.ReasonUnsupported, "this gateway knows no command of that kind")
	case !ok:
		return Command{}, millrace.Errorf(millrace.ReasonUnauthorized, "only an operator may drain a gateway")
	case m.GetTarget() != nil:
		return Command{}, millrace.Errorf(millrace.ReasonBadRequest, "a gateway is drained as a whole")
	default:
		return Command{Operator: operator.Operator, Ask: Drain{
			Window: time.Duration(drain.Drain.GetWindowMs()) * time.Millisecond,
			Within: time.Duration(drain.Drain.GetEndsInMs()) * time.Millisecond,
		}}, nil
	}
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

// obey has the handler do what is asked, until the stream ends.
func (s *linkStream) obey() {
	for {
		select {
		case a := <-s.asked:
			result := &millracev1.SessionResult{Id: a.id}
			outcome, err := s.link.handler(s.ctx, a.command)
			if err != nil {
				result.Error = wire.Error(millrace.AsError(err))
			} else {
				result.Count = uint32(outcome.Sessions)
			}
			s.answer(result)
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

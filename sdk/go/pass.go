package sdk

import (
	"context"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	"github.com/millrace-dev/millrace/sdk/go/internal/membership"
)

const (
	// firstPass is the first id of the commands that are passed on. Those of others are below.
	firstPass = membership.MaxID + 1

	// maxPasses is how many may be without an answer at a time. More are refused as full.
	maxPasses = 64

	// maxPassBytes is the largest command that is passed on, and about what one request carries of them: less than what any
	// broker takes.
	maxPassBytes = 1 << 20
)

// passes are the frames that a link passes on and that have no answer. Link.mu protects them.
type passes struct {
	last    uint32 // the newest id, less firstPass
	waiting []*passing
	flying  map[uint32]*passing
}

// passing is one frame on its way to the gateway that holds its session.
type passing struct {
	command *millracev1.Command
	size    int                    // of the command, in bytes
	answer  chan *millracev1.Reply // has room for it
	stream  *linkStream            // that it was sent on
}

// Pass hands a frame of a session's peer to the gateway that holds the session, through the broker, and returns how it was
// answered. It is for a link that is opened AsGateway, and for a session that its owner does not hold itself. ReasonNotFound
// says that no gateway has the session, or that the frame comes without authority over it.
//
// It is sent once: where the stream ends before the answer it fails as unavailable, and nothing is known of it.
func (l *Link) Pass(ctx context.Context, f PassFrame) (Outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTime, unavailable("the broker did not answer in time", nil))
	defer cancel()
	p, err := l.pass(f)
	if err != nil {
		return Outcome{}, err
	}
	select {
	case r := <-p.answer:
		return outcomeOf(r)
	case <-ctx.Done():
		l.recall(p)
		return Outcome{}, endOf(ctx)
	case <-l.ctx.Done():
		l.recall(p)
		return Outcome{}, endOf(l.ctx)
	}
}

// pass makes the sender send a frame.
func (l *Link) pass(f PassFrame) (*passing, error) {
	m := &millracev1.SessionCommand{}
	wire.SetTarget(m, millrace.Target{Session: f.Session})
	if f.Seal != "" {
		m.Authority = &millracev1.SessionCommand_Seal{Seal: f.Seal}
	} else {
		m.Authority = &millracev1.SessionCommand_VerifiedSubject{VerifiedSubject: f.Subject}
	}
	frame := &millracev1.ClientFrame{}
	if err := proto.Unmarshal(f.Frame, frame); err != nil {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the frame can't be read").WithCause(err)
	}
	m.Kind = &millracev1.SessionCommand_Frame{Frame: frame}
	if err := (millrace.Target{Session: f.Session}).Validate(); err != nil {
		return nil, err
	}
	size := proto.Size(m)
	if size > maxPassBytes {
		return nil, millrace.Errorf(millrace.ReasonTooLarge, "the frame takes %d bytes; another gateway is given at most %d", size, maxPassBytes)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &l.passes
	if len(q.waiting)+len(q.flying) >= maxPasses {
		return nil, millrace.Errorf(millrace.ReasonFull, "%d frames are on their way to other gateways already", maxPasses)
	}
	q.last = (q.last + 1) & math.MaxInt32
	p := &passing{
		command: &millracev1.Command{Id: firstPass + q.last, Kind: &millracev1.Command_SessionCommand{SessionCommand: m}},
		size:    size,
		answer:  make(chan *millracev1.Reply, 1),
	}
	q.waiting = append(q.waiting, p)
	if l.stream != nil {
		signal(l.stream.wake)
	}
	return p, nil
}

// recall gives a frame up.
func (l *Link) recall(p *passing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.passes.flying, p.command.GetId())
	l.passes.waiting = slices.DeleteFunc(l.passes.waiting, func(o *passing) bool { return o == p })
}

// take appends what is to be sent on a stream.
func (q *passes) take(s *linkStream, commands []*millracev1.Command) []*millracev1.Command {
	if q.flying == nil {
		q.flying = map[uint32]*passing{}
	}
	for bytes := 0; len(q.waiting) > 0 && bytes < maxPassBytes; {
		p := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		p.stream = s
		q.flying[p.command.GetId()] = p
		commands = append(commands, p.command)
		bytes += p.size
	}
	return commands
}

// returned hands an answer to whoever waits for it.
func (s *linkStream) returned(r *millracev1.Reply) {
	if r.GetId() < firstPass {
		return
	}
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if p := s.link.passes.flying[r.GetId()]; p != nil && p.stream == s {
		delete(s.link.passes.flying, r.GetId())
		p.answer <- r
	}
}

// unanswered tells those who wait for answers of a stream that has ended.
func (s *linkStream) unanswered() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	for id, p := range s.link.passes.flying {
		if p.stream == s {
			delete(s.link.passes.flying, id)
			p.answer <- &millracev1.Reply{Outcome: &millracev1.Reply_Error{Error: wire.Error(unavailable("the stream ended before the answer", nil))}}
		}
	}
}

// outcomeOf reads an answer.
func outcomeOf(r *millracev1.Reply) (Outcome, error) {
	if err := wire.ParseError(r.GetError()); err != nil {
		return Outcome{}, err
	}
	result := r.GetSession()
	o := Outcome{Sessions: int(result.GetCount())}
	if result.GetFrame() == nil {
		return o, nil
	}
	frame, err := proto.Marshal(result.GetFrame())
	if err != nil {
		return Outcome{}, fault("the broker's answer can't be read")
	}
	o.Frame = frame
	return o, nil
}

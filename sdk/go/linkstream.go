package sdk

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
)

const (
	// commandsPerRequest keeps a request far below what any broker takes.
	commandsPerRequest = 256

	// maxAlias is the last alias that the peer of a link may choose.
	maxAlias = math.MaxInt32
)

// linkStream is one Join stream: a goroutine that receives, one that sends, one that does what is asked of the link's
// owner if there is a handler for it, and the aliases that hold on it. What is to be sent follows from the state of the
// topics and members, so a stream that does not move holds no growing queue.
type linkStream struct {
	// Static.
	link    *Link
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    func() // gives the connection back
	stream  grpc.BidiStreamingClient[millracev1.JoinRequest, millracev1.JoinResponse]
	wake    chan struct{} // signalled when there is something to send
	goaway  chan *millracev1.Goaway
	welcome *millracev1.Welcome // static from greet on
	asked   chan asked          // commands for the handler
	lost    chan struct{}       // closed when the stream has ended
	err     error               // why; read after lost

	workers sync.WaitGroup

	// Protected by Link.mu.
	aliases   map[uint32]*track
	last      uint32   // the newest alias
	wanted    []*track // to be subscribed; those that ended meanwhile are passed over
	unwanted  []uint32 // aliases to be unsubscribed; each was sent, so there are no more than the stream took
	postponed []repair
	results   []*millracev1.SessionResult // of commands; to be sent
}

// repair is a topic that is to be subscribed anew, later.
type repair struct {
	track *track
	at    time.Time
}

// greet opens the stream: hello and welcome.
func (s *linkStream) greet(broker millracev1.BrokerServiceClient, hello *millracev1.Hello) error {
	stream, err := broker.Join(s.ctx)
	if err != nil {
		return err
	}
	s.stream = stream
	first := &millracev1.JoinRequest{Commands: []*millracev1.Command{{Kind: &millracev1.Command_Hello{Hello: hello}}}}
	// If sending fails, receiving tells why.
	_ = stream.Send(first)
	response, err := stream.Recv()
	switch {
	case err != nil:
		return err
	case len(response.GetUpdates()) == 0 || response.GetUpdates()[0].GetWelcome() == nil:
		return fault("the broker did not begin with a welcome")
	}
	s.welcome = response.GetUpdates()[0].GetWelcome()
	s.announce(response.GetUpdates())
	return nil
}

// run starts the stream's goroutines, once it is the one at hand.
func (s *linkStream) run() {
	s.workers.Go(func() {
		defer close(s.lost)
		s.err = causeOr(s.ctx, s.receive())
		s.cancel(s.err)
	})
	s.workers.Go(s.send)
	if s.link.handler != nil {
		s.workers.Go(s.obey)
	}
}

// stop ends the stream and waits for its goroutines.
func (s *linkStream) stop() {
	s.cancel(errMoved)
	s.workers.Wait()
	s.unanswered()
	s.done()
}

func (s *linkStream) receive() error {
	for s.link.queue.Room(s.ctx) {
		response, err := s.stream.Recv()
		if err != nil {
			return err
		}
		s.announce(response.GetUpdates())
		s.take(response.GetUpdates())
	}
	return context.Cause(s.ctx)
}

// announce passes on what is about the link: a goaway to its session, of which one is enough, commands, and
// answers to what was passed on.
func (s *linkStream) announce(updates []*millracev1.Update) {
	for _, u := range updates {
		if g := u.GetGoaway(); g != nil {
			select {
			case s.goaway <- g:
			default:
			}
		}
		if c := u.GetSessionCommand(); c != nil {
			s.ask(c)
		}
		if r := u.GetReply(); r != nil {
			s.returned(r)
		}
	}
}

// take hands what came to the application, unless another stream has taken this one's place.
func (s *linkStream) take(updates []*millracev1.Update) {
	l := s.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream != s {
		return
	}
	var items []item
	for _, u := range updates {
		if reply := u.GetReply(); reply != nil {
			s.replied(reply)
			continue
		}
		t := s.aliases[u.GetAlias()]
		if t == nil {
			continue
		}
		if refusal := wire.ParseError(u.GetRefused()); refusal != nil {
			items = s.refused(items, t, refusal)
			continue
		}
		var err *millrace.Error
		if items, err = t.receive(items, u); err != nil {
			l.client.config.log.Warn("a topic is subscribed anew", "topic", t.want.Topic, "reason", err.Error())
			s.unsubscribe(t)
			s.repair(t, err)
		}
	}
	l.queue.Put(items)
}

// refused ends a subscription that the broker refused. One that it held before, and refuses only for now, is tried again.
func (s *linkStream) refused(items []item, t *track, why *millrace.Error) []item {
	delete(s.aliases, t.alias)
	t.alias = 0
	if t.attached && why.Reason.Outcome().Retryable {
		s.repair(t, why)
		return t.detach(items, why)
	}
	t.refused = true
	return t.tell(items, millrace.Update{Kind: millrace.UpdateRefused, Err: why})
}

// subscribe makes the sender ask for a topic. Link.mu is held.
func (s *linkStream) subscribe(t *track) {
	t.alias = 0
	s.wanted = append(s.wanted, t)
	signal(s.wake)
}

// unsubscribe makes the sender give a topic up, if it is held. What still comes for it has an alias that nobody knows.
// Link.mu is held.
func (s *linkStream) unsubscribe(t *track) {
	if t.alias == 0 {
		return
	}
	delete(s.aliases, t.alias)
	s.unwanted = append(s.unwanted, t.alias)
	t.alias = 0
	signal(s.wake)
}

// repair subscribes to a topic anew from its last good position: at once, and then less and less often if that does not
// help. Link.mu is held.
func (s *linkStream) repair(t *track, why *millrace.Error) {
	t.failures++
	if t.failures == 1 && why.RetryAfter == 0 {
		s.subscribe(t)
		return
	}
	s.postponed = append(s.postponed, repair{track: t, at: time.Now().Add(why.RetryAfter + drive.Delay(s.link.backoff, t.failures, chance()))})
	signal(s.wake)
}

// send sends what the state of the topics asks for until the stream ends. If sending fails, receiving tells why.
func (s *linkStream) send() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
			return
		}
		for {
			commands, due := s.commands()
			if !due.IsZero() {
				timer.Reset(time.Until(due))
			}
			if len(commands) == 0 {
				break
			}
			if err := s.stream.Send(&millracev1.JoinRequest{Commands: commands}); err != nil {
				return
			}
		}
	}
}

// commands returns what is to be sent next, and when postponed repairs are due.
func (s *linkStream) commands() (commands []*millracev1.Command, due time.Time) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	now := time.Now()
	s.postponed = slices.DeleteFunc(s.postponed, func(r repair) bool {
		switch {
		case r.track.ended:
			return true
		case !r.at.After(now):
			s.wanted = append(s.wanted, r.track)
			return true
		case due.IsZero() || r.at.Before(due):
			due = r.at
		}
		return false
	})
	for _, r := range s.results { // there are no more of them than fit
		commands = append(commands, &millracev1.Command{Kind: &millracev1.Command_SessionResult{SessionResult: r}})
	}
	s.results = nil
	if s.link.stream == s {
		commands = s.link.passes.take(s, commands)
	}
	n := min(len(s.unwanted), commandsPerRequest)
	for _, alias := range s.unwanted[:n] {
		commands = append(commands, &millracev1.Command{Kind: &millracev1.Command_Unsubscribe{Unsubscribe: &millracev1.Unsubscribe{Alias: alias}}})
	}
	s.unwanted = s.unwanted[n:]
	for len(s.wanted) > 0 && len(commands) < commandsPerRequest {
		t := s.wanted[0]
		s.wanted[0] = nil
		s.wanted = s.wanted[1:]
		if t.ended {
			continue
		}
		if s.last == maxAlias {
			s.cancel(unavailable("the link has used up its aliases", nil))
			return nil, due
		}
		s.last++
		t.alias = s.last
		s.aliases[t.alias] = t
		commands = append(commands, &millracev1.Command{Kind: &millracev1.Command_Subscribe{Subscribe: t.request(t.alias)}})
	}
	more, later := s.sayMembers(now, commandsPerRequest-len(commands))
	if due.IsZero() || !later.IsZero() && later.Before(due) {
		due = later
	}
	return append(commands, more...), due
}

package rpc

import (
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc/internal/intake"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// linkVersion is the version of the link's protocol that the broker speaks.
const linkVersion = 1

// orderCommands is how many commands the reader hands to the writer at once, so that what comes of them fits into a
// message that any peer takes.
const orderCommands = 256

// Join implements millracev1.BrokerServiceServer. Four goroutines serve a link: the reader takes up commands, the writer
// owns the subscriptions and sends, the publisher stores what the reader took in, and one keeps the memberships.
func (s *service) Join(stream grpc.BidiStreamingServer[millracev1.JoinRequest, millracev1.JoinResponse]) error {
	c, err := s.open(stream)
	if err != nil {
		return err
	}
	l := &link{
		call:    c,
		writer:  newWriter(c),
		intake:  newPostings(&s.config),
		greeted: make(chan struct{}),
	}
	l.writer.answering = 2 // the publisher, and who keeps the memberships
	l.members = newMembership(l, &s.config)
	s.mu.Lock()
	s.links[l] = struct{}{}
	s.mu.Unlock()
	s.work.Go(l.read)
	s.work.Go(l.writer.write)
	s.work.Go(l.publish)
	s.work.Go(l.members.run)
	l.attend()
	s.mu.Lock()
	delete(s.links, l)
	s.mu.Unlock()
	return c.close()
}

// link is one Join.
type link struct {
	// Static.
	call    *call
	writer  *writer
	intake  *intake.Intake[posting]
	members *membership
	greeted chan struct{} // closed by the reader when the welcome is under way

	// Static from the hello on.
	session string // the link's own
	holder  string // in whose name members are held

	commands commands
	routed   atomic.Int32 // commands of the peer that are under way to other gateways

	mu    sync.Mutex
	hello *millracev1.Hello // protected by mu; nil until there was one
}

// attend waits for the link's end and sees to what is to be said on the way there.
func (l *link) attend() {
	c := l.call
	patience := time.NewTimer(c.server.config.HelloTimeout)
	defer patience.Stop()
	select {
	case <-l.greeted:
	case <-patience.C:
		c.end(millrace.Errorf(millrace.ReasonStale, "there was no hello for %v", c.server.config.HelloTimeout))
		return
	case <-c.ctx.Done():
		return
	}
	select {
	case <-c.left:
		l.writer.orders.ask(l.writer.goaway)
		<-c.ctx.Done()
	case <-c.ctx.Done():
	}
}

// read takes up commands until the peer has no more or the call ends.
func (l *link) read() {
	c := l.call
	defer l.intake.Close()
	defer l.members.intake.Close()
	for {
		r := new(millracev1.JoinRequest)
		if err := c.stream.RecvMsg(r); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			c.end(err)
			return
		}
		if err := l.takeUp(r.GetCommands()); err != nil {
			c.end(err)
			return
		}
	}
}

// takeUp takes up the commands of a message. What is for the writer goes there in the order of the message, and so do the
// events for the publisher and what is said of memberships; the three do not wait for each other, as a subscription says
// itself from where it holds, and who broadcasts waits for the ack of the join. An error ends the link.
func (l *link) takeUp(commands []*millracev1.Command) error {
	var orders []func()
	var postings []posting
	var wishes []wish
	for _, m := range commands {
		if hello := m.GetHello(); hello != nil || !l.welcomed() {
			order, err := l.greet(hello)
			if err != nil {
				return err
			}
			orders = append(orders, order)
			continue
		}
		if p, ok := postingOf(m); ok {
			postings = append(postings, p)
			continue
		}
		if w, ok := wishOf(m); ok {
			wishes = append(wishes, w)
			continue
		}
		order, err := l.order(m)
		if err != nil {
			return err
		}
		orders = append(orders, order)
		if m.GetRefresh() != nil {
			wishes = append(wishes, wish{kind: wishRecheck})
		}
	}
	for some := range slices.Chunk(orders, orderCommands) {
		err := l.writer.orders.askInTurn(func() {
			for _, order := range some {
				order()
			}
		})
		if err != nil {
			return err
		}
	}
	if len(postings) > 0 {
		if err := l.intake.Put(l.call.ctx, postings); err != nil {
			return err
		}
	}
	if len(wishes) > 0 {
		return l.members.intake.Put(l.call.ctx, wishes)
	}
	return nil
}

func (l *link) welcomed() bool { return l.greeting() != nil }

// greet answers the first command.
func (l *link) greet(hello *millracev1.Hello) (func(), error) {
	if hello == nil {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the link's first command is not a hello")
	}
	// Who names no version, as by hand, speaks any.
	if hello.GetMinVersion() > linkVersion || hello.GetMaxVersion() < linkVersion && hello.GetMaxVersion() != 0 {
		return nil, millrace.Errorf(millrace.ReasonUnsupported, "the peer speaks versions %d to %d of the link; this broker speaks %d",
			hello.GetMinVersion(), hello.GetMaxVersion(), linkVersion)
	}
	if hello.GetGateway() && !l.call.who().trusted {
		return nil, millrace.Errorf(millrace.ReasonForbidden, "the token is not that of a gateway")
	}
	if n := len(hello.GetPeer()); n > maxPeerBytes {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the peer id has %d bytes; at most %d are allowed", n, maxPeerBytes)
	}
	if n := len(hello.GetInstance()); n > maxInstanceBytes {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the peer's instance has %d bytes; at most %d are allowed", n, maxInstanceBytes)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hello != nil {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "the link has a second hello")
	}
	l.hello = hello
	l.session, l.holder = standing(l.call.who().grant.Subject, hello)
	return func() {
		config := &l.call.server.config
		w := l.writer
		w.session = l.session
		w.limited, w.credit = hello.GetCreditBytes() > 0, clampCredit(hello.GetCreditBytes())
		w.out.Update(&millracev1.Update{Kind: &millracev1.Update_Welcome{Welcome: &millracev1.Welcome{
			Version:         linkVersion,
			Session:         l.session,
			Broker:          config.Broker,
			LeaseMs:         wire.Millis(l.call.server.broker.LeaseTerm()),
			MaxMessageBytes: uint32(config.MaxMessageBytes),
			MaxEventBytes:   uint32(config.MaxEventBytes),
		}}})
		close(l.greeted)
	}, nil
}

// speaks reports whether the peer may speak for any session.
func (l *link) speaks(who *caller) bool { return who.trusted && l.greeting().GetGateway() }

// order returns what the writer is to do about a command.
func (l *link) order(m *millracev1.Command) (func(), error) {
	w := l.writer
	switch kind := m.GetKind().(type) {
	case *millracev1.Command_Subscribe:
		alias := kind.Subscribe.GetAlias()
		if alias == 0 || alias > math.MaxInt32 {
			return nil, millrace.Errorf(millrace.ReasonBadRequest, "alias %d is not from 1 to %d", alias, math.MaxInt32)
		}
		return func() {
			if _, taken := w.topics[alias]; taken {
				l.call.end(millrace.Errorf(millrace.ReasonBadRequest, "alias %d is used twice", alias))
				return
			}
			w.subscribe(alias, parseWanted(kind.Subscribe))
		}, nil
	case *millracev1.Command_Unsubscribe:
		return func() { w.unsubscribe(kind.Unsubscribe.GetAlias()) }, nil
	case *millracev1.Command_Credit:
		return func() { w.credit = min(w.credit, maxCredit) + clampCredit(kind.Credit.GetBytes()) }, nil
	case *millracev1.Command_Refresh:
		return l.refresh(m.GetId(), kind.Refresh.GetToken()), nil
	case *millracev1.Command_SessionResult:
		l.commands.settle(kind.SessionResult)
		return func() {}, nil
	case *millracev1.Command_SessionCommand:
		return l.pass(m.GetId(), kind.SessionCommand), nil
	case *millracev1.Command_Receipt:
		return func() {}, nil // nothing waits for receipts
	default:
		return func() {
			w.answer(&millracev1.Reply{Id: m.GetId(), Outcome: &millracev1.Reply_Error{
				Error: wire.Error(millrace.Errorf(millrace.ReasonUnsupported, "this broker does not do that on a link")),
			}})
		}, nil
	}
}

// refresh takes a new token, and ends the subscriptions that it does not cover.
func (l *link) refresh(id uint32, token string) func() {
	c := l.call
	before := c.who()
	now, err := c.server.authenticate(c.ctx, token)
	switch {
	case err != nil:
	case now.grant.Subject != before.grant.Subject:
		err = millrace.Errorf(millrace.ReasonForbidden, "the new token is of another subject")
	case l.greeting().GetGateway() && !now.trusted:
		err = millrace.Errorf(millrace.ReasonForbidden, "the new token is not that of a gateway")
	}
	if err != nil {
		c.server.report("Join", before, err)
		return func() {
			l.writer.answer(&millracev1.Reply{Id: id, Outcome: &millracev1.Reply_Error{Error: wire.Error(err)}})
		}
	}
	c.watch(now)
	return func() {
		l.writer.recheck()
		l.writer.answer(&millracev1.Reply{Id: id})
	}
}

// publish stores what the reader takes in, all that waits at once, and has it answered in order.
func (l *link) publish() {
	c, w := l.call, l.writer
	for {
		select {
		case <-l.intake.News():
		case <-c.ctx.Done():
			return
		}
		batch, more := l.intake.Take()
		if len(batch) > 0 {
			who := c.who()
			for i := range batch {
				if p := &batch[i]; p.broadcast {
					p.refusal = l.members.mayBroadcast(who, p.event.GetTopic())
				}
			}
			acks := c.server.store(c.ctx, who, l.session, batch)
			c.server.reportAcks("Join", who, acks)
			l.answer(batch, acks)
		}
		if !more {
			w.orders.ask(w.answered)
			return
		}
	}
}

// answer has the writer reply to publish commands. There is room for others once the replies are sent.
func (l *link) answer(batch []posting, acks []millrace.Ack) {
	w := l.writer
	for len(batch) > 0 {
		n := min(len(batch), orderCommands)
		some, answers := batch[:n], acks[:n]
		w.orders.ask(func() {
			for i, p := range some {
				if p.number != 0 {
					w.answer(&millracev1.Reply{Id: p.number, Outcome: &millracev1.Reply_Ack{Ack: wire.Ack(answers[i])}})
				}
			}
			w.afterOut = append(w.afterOut, func() { l.intake.Done(some) })
		})
		batch, acks = batch[n:], acks[n:]
	}
}

// maxCredit keeps credit to what can be counted.
const maxCredit = math.MaxInt64 / 2

func clampCredit(bytes uint64) int64 { return int64(min(bytes, maxCredit)) }

package rpc

import (
	"context"
	"sync"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// commands are what the broker asked of the peer of a link, to do with its sessions, and has no result of yet. They end
// with their link: a peer that comes back on another one is asked anew by whoever still wants it.
type commands struct {
	mu   sync.Mutex
	last uint64           // protected by mu; the newest id
	owed map[uint64]*owed // protected by mu; by id
}

// owed is the result of one command.
type owed struct {
	result chan *millracev1.SessionResult // has room for it

	// Protected by commands.mu.
	sent bool // the command is on its way
	left bool // nobody waits for the result any more
}

// maxCommands bounds the commands of one link that have no result yet, and those that wait to be sent with them. More
// are refused as full.
const maxCommands = 64

// errSilent is what a gateway is told of that does not answer.
var errSilent = millrace.Errorf(millrace.ReasonDeadline, "the gateway did not answer in time")

// Command implements Sessions: it asks the link's peer, and waits no longer than CommandTimeout. It gives the command its
// id.
func (l *link) Command(ctx context.Context, m *millracev1.SessionCommand) (*millracev1.SessionResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.call.server.config.CommandTimeout, errSilent)
	defer cancel()
	o, err := l.give(m)
	if err != nil {
		return nil, err
	}
	defer l.commands.leave(m.Id, o)
	select {
	case result := <-o.result:
		if err := wire.ParseError(result.GetError()); err != nil {
			return nil, err
		}
		return result, nil
	case <-l.call.ctx.Done():
		return nil, millrace.Errorf(millrace.ReasonUnavailable, "the gateway's link ended before it answered").WithCause(context.Cause(l.call.ctx))
	case <-ctx.Done():
		return nil, millrace.AsError(context.Cause(ctx))
	}
}

// give has the writer send a command.
func (l *link) give(m *millracev1.SessionCommand) (*owed, error) {
	c := &l.commands
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.owed) >= maxCommands {
		return nil, millrace.Errorf(millrace.ReasonFull, "the gateway has %d commands to answer; it takes no more", maxCommands)
	}
	c.last++
	m.Id = c.last
	o := &owed{result: make(chan *millracev1.SessionResult, 1)}
	if c.owed == nil {
		c.owed = map[uint64]*owed{}
	}
	c.owed[m.Id] = o
	l.writer.orders.ask(func() {
		if c.send(m.Id, o) {
			l.writer.out.Update(&millracev1.Update{Kind: &millracev1.Update_SessionCommand{SessionCommand: m}})
		}
	})
	return o, nil
}

// send notes that a command is on its way, unless nobody waits for it any more.
func (c *commands) send(id uint64, o *owed) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.sent = true
	if o.left {
		delete(c.owed, id)
	}
	return !o.left
}

// leave notes that nobody waits for a result any more. A command that waits to be sent keeps its place until its turn.
func (c *commands) leave(id uint64, o *owed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.left = true
	if o.sent {
		delete(c.owed, id)
	}
}

// settle hands a result to whoever waits for it. One that nobody waits for is of no use to anyone.
func (c *commands) settle(m *millracev1.SessionResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.owed[m.GetId()]
	if o == nil || o.left {
		return
	}
	select {
	case o.result <- m:
	default: // a second one counts for nothing
	}
}

// gateway returns the sessions of the gateway with a peer id.
func (s *Server) gateway(peer string) (Sessions, error) {
	for _, d := range s.doors(nil) {
		if d.peer == peer {
			return d, nil
		}
	}
	return nil, millrace.Errorf(millrace.ReasonNotFound, "no gateway with the peer id %.100q has a link to this broker", peer)
}

// greeting returns the link's hello, nil if there was none yet.
func (l *link) greeting() *millracev1.Hello {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hello
}

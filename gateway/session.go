package gateway

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/door"
)

// Session is one peer's subscriptions over its connection. Its reader, a goroutine of the wire's package, calls it with what
// the peer says; all that is written to the peer is written by the session's loop.
type Session struct {
	// Static.
	gateway    *Gateway
	loop       *loop
	wire       *Wire
	wireIndex  int
	transport  Transport
	grant      *millrace.Grant
	name       string // its id
	seal       string
	heartbeats bool
	generation uint32        // 1, and one more each time that the session has come back
	came       uint32        // generation of the seal that it came back with; 0 if it did not
	ordinal    uint64        // of its opening, among the gateway's
	done       chan struct{} // closed when the session is over

	heard atomic.Int64 // when the peer was last heard of: a time.Duration since the gateway started
	met   atomic.Bool  // the peer was heard of, so it knows the session's seal

	// Owned by the loop.
	subs      []*subscription
	wildcards []*wildcard
	load      load            // of the subs and wildcards
	stale     bool            // prefix has to be written anew: see refresh
	prefix    string          // what the session's cursors begin with
	fresh     bool            // the peer was not told the prefix yet
	stalled   []*subscription // not live, waiting for the socket
	moved     *subscription   // the topic that moved last, and that lead is of; nil if it no longer holds
	lead      []byte          // see appendLead
	outbox    outbox
	blocked   bool            // a flusher writes what the socket did not take
	ending    bool            // nothing more is said
	ended     bool            // it is in no list any more
	owing     []chan struct{} // of those who wait for the socket to take an answer; closed when it has
	slot      int             // in the loop's wheel
	index     int             // in the slot
	pingAt    int64
	oldAt     int64 // when the session has lasted long enough; 0: never
}

// ID returns the session's id. It is public.
func (s *Session) ID() string { return s.name }

// Subject returns who the peer is, "" for an anonymous one.
func (s *Session) Subject() string { return s.grant.Subject }

// Seal returns the first item of the session's cursors, which only its peer knows.
func (s *Session) Seal() string { return s.seal }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Heard notes that something came from the peer. For the reader.
func (s *Session) Heard() {
	s.hear()
	if !s.met.Load() {
		s.met.Store(true)
	}
}

// hear notes a sign of life.
func (s *Session) hear() { s.heard.Store(int64(s.gateway.elapsed())) }

// resumed reports whether the session goes on from a former connection.
func (s *Session) resumed() bool { return s.came > 0 }

// Do runs a command of the peer and answers it with a frame that carries re. It returns when the answer is on its way,
// so that a peer which does not read its answers is not read from either. It may be called concurrently.
func (s *Session) Do(ctx context.Context, re uint32, c Command) {
	switch c := c.(type) {
	case PublishEvent:
		ack, err := s.gateway.Publish(ctx, Publisher{Grant: s.grant, Session: s.name}, c.Publish)
		if err != nil {
			s.Refuse(re, millrace.AsError(err))
			return
		}
		s.call(func() { s.say(re, Published{Ack: ack}) })
	case ReadHistory:
		page, err := s.gateway.History(ctx, s.grant, c.Topic, c.Range)
		if err != nil {
			s.Refuse(re, millrace.AsError(err))
			return
		}
		s.call(func() { s.say(re, History{Topic: c.Topic, Page: page}) })
	case Broadcast:
		ack, err := s.Broadcast(ctx, s.grant, c.Publish)
		if err != nil {
			s.Refuse(re, millrace.AsError(err))
			return
		}
		s.call(func() { s.say(re, Published{Ack: ack}) })
	case ReadMembers:
		page, err := s.ReadMembers(ctx, s.grant, c.Topic, c.Range)
		if err != nil {
			s.Refuse(re, millrace.AsError(err))
			return
		}
		s.call(func() { s.say(re, Presence{Topic: c.Topic, Page: page}) })
	case Join, Update, Leave:
		s.await(ctx, re, c)
	default:
		s.call(func() { s.obey(re, c) })
	}
}

// Pass hands the session a command that its loop can do or begin, any but PublishEvent, Broadcast, ReadHistory and ReadMembers,
// and waits until the loop has, but neither for the upstream nor for the answer to be taken: for commands that come by another
// way than the session's own connection, whose caller a peer that does not read must not hold up. The answers that wait for
// the peer are bounded, and so are the changes of a membership that wait for the upstream.
func (s *Session) Pass(re uint32, c Command) {
	obeyed := make(chan struct{})
	s.loop.post(call(func() {
		s.obey(re, c)
		close(obeyed)
	}))
	select {
	case <-obeyed:
	case <-s.done:
	}
}

// obey does what a command asks of the session alone.
func (s *Session) obey(re uint32, c Command) {
	switch c := c.(type) {
	case Subscribe:
		s.subscribe(re, c)
	case SubscribeAll:
		for _, one := range c {
			s.subscribe(re, one)
		}
	case Unsubscribe:
		s.unsubscribe(re, c.Topic)
	case Join, Update, Leave:
		s.seek(re, c, nil)
	case Ping:
		s.say(re, Pong{})
	case WirePing:
		s.say(re, WirePong(c))
	}
}

// Refuse answers a command, or what could not be read as one, with an error. For the reader.
func (s *Session) Refuse(re uint32, err *millrace.Error) {
	s.call(func() { s.say(re, Failed{Err: err}) })
}

// End ends the session and tells the peer why; nil is an ordinary end. It does not wait. Its memberships end at once if the
// peer can't come back unchanged with that error, else after Config.Grace unless it does.
func (s *Session) End(err *millrace.Error) {
	s.loop.post(call(func() { s.end(err) }))
}

// Closed ends the session because the peer said that it does not come back: its memberships end at once. It does not wait.
func (s *Session) Closed() {
	s.loop.post(call(func() { s.conclude(nil, departure{reason: millrace.LeftClosed}) }))
}

// Gone says that the connection is gone. For the reader; it must be its last call.
func (s *Session) Gone() {
	s.loop.post(call(s.lost))
}

// call runs f on the loop and waits until what f said was taken, or the session is over.
func (s *Session) call(f func()) {
	answered := make(chan struct{})
	s.loop.post(call(func() {
		f()
		s.owing = append(s.owing, answered)
		s.settle()
	}))
	select {
	case <-answered:
	case <-s.done:
	}
}

// settle lets those go on who wait for an answer to be taken, if nothing is in their way.
func (s *Session) settle() {
	if s.blocked {
		return
	}
	for _, answered := range s.owing {
		close(answered)
	}
	s.owing = nil
}

// end says the last words. The connection is closed when they were taken, or after one more interval.
func (s *Session) end(err *millrace.Error) { s.conclude(err, departing(err)) }

// conclude is end, with what becomes of the memberships.
func (s *Session) conclude(err *millrace.Error, d departure) {
	if s.ending {
		return
	}
	s.depart(d)
	words := s.wire.AppendClose(nil, err)
	if s.blocked {
		s.outbox.bytes = append(s.outbox.bytes, words...)
	} else {
		s.offerShared(words)
	}
	s.ending = true
	s.pingAt = s.gateway.clock.Load() + seconds(s.wire.PingInterval)
	s.leave()
	if !s.blocked {
		s.over()
	}
}

// lost ends a session whose connection is gone.
func (s *Session) lost() {
	if !s.ending {
		s.depart(departing(nil))
	}
	s.ending = true
	s.leave()
	s.over()
}

// leave takes the session out of all topics.
func (s *Session) leave() {
	for len(s.subs) > 0 {
		s.drop(s.subs[len(s.subs)-1])
	}
	for len(s.wildcards) > 0 {
		s.dropWildcard(s.wildcards[0])
	}
}

// over lets go of the connection and of the session.
func (s *Session) over() {
	if s.ended {
		return
	}
	s.ended = true
	s.loop.wheel.remove(s)
	s.outbox = outbox{}
	s.transport.Close()
	s.gateway.forget(s)
	close(s.done)
}

// goAway tells the peer to come back, which a load balancer in between makes to be elsewhere, and ends the session.
func (s *Session) goAway(why string) {
	err := millrace.Errorf(millrace.ReasonDraining, "%s", why)
	err.RetryAfter = door.Return()
	s.say(0, Goaway{Err: err})
	s.end(err)
}

// leaver is a session to a drain.
type leaver struct{ *Session }

// GoAway implements door.Peer.
func (s leaver) GoAway() { s.loop.post(call(func() { s.goAway("the gateway is going away") })) }

// Cut implements door.Peer. A loop sees to it at once, and to its own end too.
func (s leaver) Cut() { s.loop.post(call(s.lost)) }

// tick looks after the session at its time in the wheel and returns when to look again.
func (s *Session) tick(now int64) int64 {
	w := s.wire
	if s.ending {
		if now >= s.pingAt {
			s.lost()
		}
		return s.pingAt
	}
	if e := s.grant.Expires; !e.IsZero() && time.Until(e) <= 0 {
		s.end(millrace.Errorf(millrace.ReasonTokenExpired, "the token's time is up"))
		return s.pingAt
	}
	if s.oldAt > 0 && now >= s.oldAt {
		s.goAway("the connection is old enough")
		return s.pingAt
	}
	// While the socket is full no ping is sent, so no answer can be expected: whether the peer still takes something is for
	// the transport's Write to say.
	if w.PongTimeout > 0 && !s.blocked && s.gateway.elapsed() >= s.staleAt() {
		s.end(millrace.Errorf(millrace.ReasonStale, "nothing was heard for %v", w.PingInterval+w.PongTimeout))
		return s.pingAt
	}
	if now >= s.pingAt {
		s.pingAt = now + seconds(w.PingInterval)
		if s.heartbeats && !s.blocked {
			s.say(0, Heartbeat{})
		}
		s.offerShared(w.Ping)
	}
	return s.due(now)
}

// staleAt is when a peer that says nothing more is stale, since the gateway started.
func (s *Session) staleAt() time.Duration {
	return time.Duration(s.heard.Load()) + s.wire.PingInterval + s.wire.PongTimeout
}

// due is when to look after the session again.
func (s *Session) due(now int64) int64 {
	next := s.pingAt
	if e := s.grant.Expires; !e.IsZero() {
		next = min(next, seconds(s.gateway.elapsed()+time.Until(e)))
	}
	if s.oldAt > 0 {
		next = min(next, s.oldAt)
	}
	if s.wire.PongTimeout > 0 {
		next = min(next, seconds(s.staleAt()))
	}
	return max(next, now+1)
}

// oldAt is when a session that begins now is old enough to go, in seconds since the gateway started; 0 is never. Sessions
// that began together, as after a restart, end up to a tenth of the age sooner or later, so that they do not stay together.
func (g *Gateway) oldAt() int64 {
	age := g.config.MaxSessionAge
	if age <= 0 {
		return 0
	}
	return seconds(g.elapsed() + age - age/10 + rand.N(age/5+1))
}

// seconds is a time in whole seconds, rounded up, at least one.
func seconds(d time.Duration) int64 { return int64((max(d, 1) + time.Second - 1) / time.Second) }

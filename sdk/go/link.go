package sdk

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
	"github.com/millrace-dev/millrace/sdk/go/internal/membership"
	"github.com/millrace-dev/millrace/sdk/go/internal/queue"
)

// patience is how long a link tries to publish events while the broker can't be reached. Whoever waits for the answer
// can wait no longer for the rest of what it has to say.
const patience = 5 * time.Second

// Link is subscriptions and memberships that come and go over one stream, as a gateway or a bot has them. While the broker is
// out of reach the topics are detached; they go on from their positions when it is back. Members are told to it anew then.
//
// All methods may be called concurrently, Next by one goroutine at a time. Events are shared and must not be changed.
type Link struct {
	// Static.
	client   *Client
	backoff  Backoff
	gateway  bool
	peer     string
	instance string         // tells the link from one before it with the same peer
	handler  CommandHandler // nil for none
	driver   *drive.Driver
	queue    *queue.Queue[item]
	ctx      context.Context // ends with the link
	end      context.CancelCauseFunc
	done     chan struct{} // closed when nothing runs any more

	mu      sync.Mutex
	topics  map[string]*track    // protected by mu, as are the tracks; patterns among them
	stream  *linkStream          // protected by mu; the one at hand, nil while there is none
	members *membership.Registry // protected by mu
	own     string               // protected by mu; the link's own session, "" until it was welcomed once
	passes  passes               // protected by mu
}

// LinkOption changes what a link is.
type LinkOption func(*Link)

// AsGateway says that the link holds sessions of others. The broker wants a token that allows it.
func AsGateway() LinkOption { return func(l *Link) { l.gateway = true } }

// WithPeer gives the link's peer an id, by which operators and the broker know it over its reconnects. Two links must not
// have the same one at a time: commands would reach the newer alone, and bots would end each other. A gateway may take the id
// of one that is gone; the members of that one stay for the lease term, for them to come back. Default: a random one for each link.
func WithPeer(id string) LinkOption { return func(l *Link) { l.peer = id } }

// Link opens a link, and returns at once. It lives until Close or the end of the client. Unless WithBackoff said
// otherwise it comes back sooner than others do: its backoff begins at 50 ms and is at most 2 s, as many wait behind it.
func (c *Client) Link(opts ...LinkOption) (*Link, error) {
	b := c.config.backoff
	if b.Base == 0 {
		b.Base = 50 * time.Millisecond
	}
	if b.Cap == 0 {
		b.Cap = max(2*time.Second, b.Base)
	}
	b = drive.WithDefaults(b)
	l := &Link{
		client: c, backoff: b, peer: rand.Text(), instance: rand.Text(), driver: drive.New(b, c.config.log, "link"), queue: newQueue(c.config.queue),
		done: make(chan struct{}), topics: map[string]*track{},
		members: membership.New(func(failures int) time.Duration { return drive.Delay(b, failures, chance()) }),
	}
	for _, o := range opts {
		o(l)
	}
	l.ctx, l.end = context.WithCancelCause(c.ctx)
	err := c.enlist(func() {
		defer close(l.done)
		why := l.driver.Drive(l.ctx, func(ctx context.Context) *millrace.Error { return streamError(l.session(ctx)) })
		l.end(why)
		l.queue.Close(why)
	})
	if err != nil {
		l.end(err)
		return nil, err
	}
	return l, nil
}

// Close ends the link and waits until nothing of it runs. It may be called more than once.
//
// A bot's members leave first, if the broker is there; those of a gateway stay for as long as the broker lets them, so that
// their sessions may go on elsewhere.
func (l *Link) Close() {
	if !l.gateway {
		l.depart()
	}
	l.end(closed("the link"))
	<-l.done
}

// Status returns how the link stands, and why.
func (l *Link) Status() Status { return l.driver.Status() }

// Subscribe asks for a topic or a pattern and returns at once; what comes of it arrives through Next. It fails with
// ReasonConflict if it is subscribed already, and if the link is closed.
//
// Of a pattern come the topics that it covers, each once: what is wanted of these is to be subscribed. A topic that was
// born while the broker was out of reach is told with the zero position, as one that is born now.
func (l *Link) Subscribe(want millrace.Subscription) error {
	topic := want.Topic
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return endOf(l.ctx)
	}
	if l.topics[topic] != nil {
		return millrace.Errorf(millrace.ReasonConflict, "topic %q is subscribed already", topic)
	}
	t := newTrack(want)
	l.topics[topic] = t
	if !utf8.ValidString(topic) {
		// It can't be put into a message: the stream would end with it, and so would the next.
		t.refused = true
		l.queue.Put(t.tell(nil, millrace.Update{Kind: millrace.UpdateRefused, Err: millrace.AsError(millrace.ValidateTopic(topic))}))
		return nil
	}
	if l.stream != nil {
		l.stream.subscribe(t)
	}
	return nil
}

// Unsubscribe ends the subscription to a topic or pattern; one that is not subscribed is left alone. A call of Next that
// begins after Unsubscribe has returned tells nothing of it: what that tells of the topic is of a later Subscribe.
func (l *Link) Unsubscribe(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[topic]
	if t == nil {
		return
	}
	l.forget(t)
	if l.stream != nil {
		l.stream.unsubscribe(t)
	}
}

// forget lets go of a track. l.mu is held.
func (l *Link) forget(t *track) {
	t.ended = true
	delete(l.topics, t.want.Topic)
}

// Next returns the updates that have come, at least one, in order for each topic. It waits for the first until ctx ends.
// An error is final unless ctx has ended. The caller owns the slice.
func (l *Link) Next(ctx context.Context) ([]millrace.Update, error) {
	for {
		items, err := l.queue.Take(ctx)
		if err != nil {
			return nil, err
		}
		if updates := l.current(items); len(updates) > 0 {
			return updates, nil
		}
	}
}

// current returns the updates of topics that are still subscribed.
func (l *Link) current(items []item) []millrace.Update {
	updates := make([]millrace.Update, 0, len(items))
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range items {
		t := items[i].track
		switch u := items[i].update; {
		case t.ended:
		case u.Kind == millrace.UpdateRefused:
			l.forget(t)
			updates = append(updates, u)
		default:
			updates = append(updates, u)
		}
	}
	return updates
}

// Publish stores events and answers each alone, in the order of the batch. It takes ownership of the events. If all have
// an id, the batch is tried again for a few seconds while the broker can't be reached; else it is sent at most once, so
// that nothing is stored twice. The error says that nothing is known of any of them.
func (l *Link) Publish(ctx context.Context, batch []millrace.Publish) ([]millrace.Ack, error) {
	for _, p := range batch {
		if p.Event.ID == "" {
			return l.client.publish(ctx, batch, l.client.once)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, unavailable("the broker can't be reached", nil))
	defer cancel()
	return l.client.publish(ctx, batch, l.client.retry)
}

// History reads a part of a topic's log, whole, or fails. It is tried once.
func (l *Link) History(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error) {
	return l.client.history(ctx, topic, r, l.client.once)
}

// session is one stream after the other for as long as each is there before the one before it ends.
func (l *Link) session(ctx context.Context) error {
	s, err := l.open(ctx)
	if err != nil {
		l.leave(nil, streamError(err))
		return err
	}
	l.adopt(s)
	move := time.NewTimer(0)
	move.Stop()
	defer move.Stop()
	for {
		select {
		case g := <-s.goaway:
			move.Reset(time.Until(l.driver.Step(goaway(g)).At))
		case <-move.C:
			next, err := l.open(ctx)
			if err != nil {
				move.Reset(time.Until(l.driver.Step(drive.Input{Kind: drive.Unmoved, Err: streamError(err)}).At))
				continue
			}
			l.adopt(next)
			s.stop()
			s = next
		case <-s.lost:
			l.leave(s, streamError(s.err))
			s.stop()
			return s.err
		}
	}
}

// adopt makes a stream the one at hand, and moves all topics and members to it.
func (l *Link) adopt(s *linkStream) {
	l.driver.Step(drive.Input{Kind: drive.Connected})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream = s
	l.own = s.welcome.GetSession()
	l.members.Open(int(s.welcome.GetMaxMessageBytes()))
	signal(s.wake)
	for _, t := range l.topics {
		if !t.refused {
			s.subscribe(t)
		}
	}
	s.run()
}

// leave tells the application that all topics are out of reach.
func (l *Link) leave(s *linkStream, why *millrace.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == s {
		l.stream = nil
		l.members.Lost()
	}
	if l.ctx.Err() != nil {
		return
	}
	var items []item
	for _, t := range l.topics {
		if !t.refused {
			items = t.detach(items, why)
		}
	}
	l.queue.Put(items)
}

// open opens a stream and waits for the broker's welcome.
func (l *Link) open(ctx context.Context) (*linkStream, error) {
	ctx, broker, done, err := l.client.try(ctx)
	if err != nil {
		return nil, err
	}
	s := &linkStream{
		link: l, done: done, wake: make(chan struct{}, 1),
		asked: make(chan asked, maxAsked), aliases: map[uint32]*track{}, goaway: make(chan *millracev1.Goaway, 1), lost: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	impatient := time.AfterFunc(l.client.config.connect, func() {
		s.cancel(unavailable("the broker did not answer in time", nil))
	})
	err = s.greet(broker, &millracev1.Hello{
		MinVersion: linkVersion, MaxVersion: linkVersion, Peer: l.peer, Agent: l.client.config.agent, Gateway: l.gateway, Instance: l.instance,
	})
	if !impatient.Stop() && err == nil {
		err = context.Cause(s.ctx)
	}
	if err != nil {
		err = causeOr(s.ctx, err)
		s.stop()
		return nil, err
	}
	return s, nil
}

// linkVersion is the one version of the link's protocol that there is.
const linkVersion = 1

package sdk

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	"github.com/millrace-dev/millrace/sdk/go/internal/drive"
)

const (
	// maxInFlight bounds the events of a publisher that are not acked, sent or not.
	maxInFlight = 1024

	// requestOverhead is more than what a request has beside its events, and eventOverhead what each has in it beside
	// itself.
	requestOverhead = 16
	eventOverhead   = 8

	// One request of a publish stream carries what has gathered, up to these bounds, give or take an event.
	eventsPerRequest = 128
	bytesPerRequest  = 256 << 10
)

// Publisher publishes over one stream, without waiting for one ack before the next event. If the stream is cut off it is
// opened anew and what was not acked is sent again; by its id each event is stored once.
//
// All methods may be called concurrently. Events of one topic are stored in the order in which Publish was called.
type Publisher struct {
	// Static.
	client *Client
	driver *drive.Driver
	ctx    context.Context // ends with the publisher
	end    context.CancelCauseFunc
	done   chan struct{} // closed when nothing runs any more

	mu      sync.Mutex
	flying  []*Pending    // protected by mu; not acked, in order, maxInFlight at most
	sent    int           // protected by mu; how many of them went out on the stream at hand
	acked   uint64        // protected by mu; events of the stream at hand that were acked
	window  int           // protected by mu; how many may be out on the stream at hand
	event   int           // protected by mu; largest data that the broker takes, in bytes; 0: not known
	message int           // protected by mu; largest request that it takes, in bytes; 0: not known
	wake    chan struct{} // signalled when there may be something to send
	changed chan struct{} // protected by mu; closed and replaced when flying gets shorter
}

// Pending is an event that is on its way. Its methods may be called concurrently.
type Pending struct {
	publish millrace.Publish
	done    chan struct{}
	ack     millrace.Ack // read after done
	err     error        // read after done
}

// Ack waits for the broker's answer until ctx ends. A nil error means that the event is stored. Else the error is why
// not, or why nothing is known of it; publishing it again with its id is safe.
func (p *Pending) Ack(ctx context.Context) (millrace.Ack, error) {
	select {
	case <-p.done:
		return p.ack, p.err
	case <-ctx.Done():
		return millrace.Ack{}, endOf(ctx)
	}
}

func (p *Pending) settle(ack millrace.Ack, err *millrace.Error) {
	p.ack = ack
	if err != nil {
		p.err = err
	}
	close(p.done)
}

// Publisher opens a publish stream, and returns at once. It lives until Close or the end of the client.
func (c *Client) Publisher() (*Publisher, error) {
	p := &Publisher{
		client: c, driver: drive.New(c.config.backoff, c.config.log, "publisher"), done: make(chan struct{}),
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	p.ctx, p.end = context.WithCancelCause(c.ctx)
	err := c.enlist(func() {
		defer close(p.done)
		why := p.driver.Drive(p.ctx, func(ctx context.Context) *millrace.Error { return streamError(p.session(ctx)) })
		p.end(why)
		p.abandon(why)
	})
	if err != nil {
		p.end(err)
		return nil, err
	}
	return p, nil
}

// Publish sends an event, of which it takes ownership; one without an id is given one. It waits while too many are on
// their way, until ctx ends. The answer is in the Pending. The error says that the event was not sent. A stream stores each
// event alone, so none can be tied to the one before.
func (p *Publisher) Publish(ctx context.Context, publish millrace.Publish) (*Pending, error) {
	if publish.Tied {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "on a stream no event is tied to the one before; PublishBatch can do that")
	}
	if err := sendable(publish); err != nil {
		return nil, err
	}
	if publish.Event.ID == "" {
		mintIDs([]millrace.Publish{publish})
	}
	pending := &Pending{publish: publish, done: make(chan struct{})}
	for {
		p.mu.Lock()
		if p.ctx.Err() != nil {
			p.mu.Unlock()
			return nil, endOf(p.ctx)
		}
		if len(p.flying) < maxInFlight {
			p.flying = append(p.flying, pending)
			p.mu.Unlock()
			signal(p.wake)
			return pending, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-p.ctx.Done():
		case <-ctx.Done():
			return nil, endOf(ctx)
		}
	}
}

// Flush waits until all events that were sent before are answered, or ctx ends. What the answers are is in each Pending.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	flying := slices.Clone(p.flying)
	p.mu.Unlock()
	for _, pending := range flying {
		select {
		case <-pending.done:
		case <-ctx.Done():
			return endOf(ctx)
		}
	}
	return nil
}

// Close ends the publisher and waits until nothing of it runs. Of events that are still on their way nothing is known
// then: call Flush first. It may be called more than once.
func (p *Publisher) Close() {
	p.end(closed("the publisher"))
	<-p.done
}

// Status returns how the publisher stands, and why.
func (p *Publisher) Status() Status { return p.driver.Status() }

// abandon answers everything that is on its way, once nothing will be acked any more.
func (p *Publisher) abandon(why *millrace.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pending := range p.flying {
		pending.settle(millrace.Ack{}, why)
	}
	p.flying = nil
}

// session is one publish stream, from its opening to its end.
func (p *Publisher) session(ctx context.Context) error {
	ctx, broker, done, err := p.client.try(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	stream, err := broker.PublishStream(ctx)
	if err != nil {
		cancel(nil)
		return err
	}
	p.mu.Lock()
	p.sent, p.acked, p.window, p.event, p.message = 0, 0, 0, 0, 0
	p.mu.Unlock()
	var sender sync.WaitGroup
	sender.Go(func() { p.send(ctx, stream) })
	err = p.receive(ctx, stream, cancel)
	cancel(err)
	sender.Wait()
	return err
}

type publishStream = grpc.BidiStreamingClient[millracev1.PublishStreamRequest, millracev1.PublishStreamResponse]

// receive takes acks until the stream ends.
func (p *Publisher) receive(ctx context.Context, stream publishStream, cancel context.CancelCauseFunc) error {
	live, leaving := false, false
	late := time.AfterFunc(time.Hour, func() { cancel(errMoved) })
	late.Stop()
	defer late.Stop()
	for {
		response, err := stream.Recv()
		switch {
		case err != nil:
			return causeOr(ctx, err)
		case !live:
			live = true
			p.driver.Step(drive.Input{Kind: drive.Connected})
		}
		if g := response.GetGoaway(); g != nil {
			p.driver.Step(goaway(g))
			leaving = true
			if ends := g.GetEndsInMs(); ends > 0 {
				late.Reset(time.Duration(ends) * time.Millisecond)
			}
		}
		inFlight, err := p.take(response, leaving)
		switch {
		case err != nil:
			return err
		case leaving && inFlight == 0:
			return errMoved
		}
		signal(p.wake)
	}
}

// take takes a response and returns how many events are out on the stream.
func (p *Publisher) take(response *millracev1.PublishStreamResponse, leaving bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := response.GetWindow(); w > 0 {
		p.window = int(min(w, maxInFlight))
	}
	if leaving {
		p.window = 0
	}
	p.event = max(p.event, int(response.GetMaxEventBytes()))
	p.message = max(p.message, int(response.GetMaxMessageBytes()))
	acks := response.GetAcks()
	switch {
	case len(acks) == 0:
		return p.sent, nil
	case response.GetSequence() != p.acked+1 || len(acks) > p.sent:
		return 0, fault("the broker acked events %d to %d; %d to %d were waiting", response.GetSequence(), response.GetSequence()+uint64(len(acks))-1, p.acked+1, p.acked+uint64(p.sent))
	}
	for i, m := range acks {
		ack := wire.ParseAck(m)
		p.flying[i].settle(ack, ack.Err)
		p.flying[i] = nil
	}
	p.flying = p.flying[len(acks):]
	p.sent -= len(acks)
	p.acked += uint64(len(acks))
	p.shortened()
	return p.sent, nil
}

// shortened tells those who wait for room that flying got shorter. p.mu is held.
func (p *Publisher) shortened() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// send sends what the window lets through until the stream ends. If sending fails, receiving tells why.
func (p *Publisher) send(ctx context.Context, stream publishStream) {
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		for request := p.next(); request != nil; request = p.next() {
			if err := stream.Send(request); err != nil {
				return
			}
		}
	}
}

// next returns what is to be sent now; nil if there is nothing or the window is full.
func (p *Publisher) next() *millracev1.PublishStreamRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.flying), p.window) - p.sent
	if n <= 0 {
		return nil
	}
	request := &millracev1.PublishStreamRequest{Sequence: p.acked + uint64(p.sent) + 1}
	for size := requestOverhead; n > 0 && len(request.Events) < eventsPerRequest && size < bytesPerRequest; n-- {
		m := wire.NewEvent(p.flying[p.sent].publish)
		more := eventOverhead + proto.Size(m)
		if err := p.tooLarge(m, requestOverhead+more); err != nil {
			p.refuse(err)
			continue
		}
		if p.message > 0 && size+more > p.message && len(request.Events) > 0 {
			break
		}
		request.Events = append(request.Events, m)
		size += more
		p.sent++
	}
	if len(request.Events) == 0 {
		return nil
	}
	return request
}

// tooLarge reports why the broker would not take an event in a request of its own, of so many bytes. Sent all the same
// it could end the stream, and with it the publisher. p.mu is held.
func (p *Publisher) tooLarge(m *millracev1.NewEvent, bytes int) *millrace.Error {
	switch data := len(m.GetData()); {
	case p.event > 0 && data > p.event:
		return millrace.Errorf(millrace.ReasonTooLarge, "the event's data has %d bytes; the broker takes at most %d", data, p.event)
	case p.message > 0 && bytes > p.message:
		return millrace.Errorf(millrace.ReasonTooLarge, "the event takes a message of %d bytes; the broker takes at most %d", bytes, p.message)
	}
	return nil
}

// refuse answers the event that is next to be sent. p.mu is held.
func (p *Publisher) refuse(err *millrace.Error) {
	pending := p.flying[p.sent]
	p.flying = slices.Delete(p.flying, p.sent, p.sent+1)
	pending.settle(millrace.Ack{Topic: pending.publish.Event.Topic, Err: err}, err)
	p.shortened()
	signal(p.wake) // the window may let others through now
}

package peer

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// Door is how a publisher publishes.
type Door int

// The doors.
const (
	DoorStream    Door = iota // the SDK's publish stream, many events on their way at a time
	DoorUnary                 // the SDK's call, some events at a time
	DoorHTTP                  // POST, one after the other, at any gateway
	DoorWebSocket             // frames, one after the other, at any gateway
)

// Doors is how many doors there are.
const Doors = 4

// String returns the door's name.
func (d Door) String() string {
	return [...]string{"publish stream", "publish call", "POST", "WebSocket"}[d]
}

// Publisher publishes at a pace, tries again under the same id until it is answered, and enters what it was answered.
type Publisher struct {
	// Static.
	world  *World
	id     uint32
	door   Door
	token  string
	topics []string
	every  time.Duration
	bursts chan Burst

	// Owned by Run.
	chance *rand.Rand
	serial uint32
}

// Burst is many events of one topic at once.
type Burst struct {
	Topic  string
	Events int
	Bytes  int // of each
}

// PublisherPlan is what a publisher is to be.
type PublisherPlan struct {
	ID     uint32 // its own; 0 is taken
	Door   Door
	Token  string
	Topics []string
	Every  time.Duration // mean time between two events; 0: only bursts
	Seed   uint64
}

// NewPublisher makes a publisher.
func NewPublisher(w *World, p PublisherPlan) *Publisher {
	return &Publisher{
		world: w, id: p.ID, door: p.Door, token: p.Token, topics: p.Topics, every: p.Every, bursts: make(chan Burst, maxBursts),
		chance: rand.New(rand.NewPCG(p.Seed, 0x9b)),
	}
}

// maxBursts is how many bursts may wait for their turn.
const maxBursts = 8

// Burst asks for a burst, unless too many are waiting.
func (p *Publisher) Burst(b Burst) {
	select {
	case p.bursts <- b:
	default:
	}
}

// publication is an event on its way.
type publication struct {
	id    ledger.Ident
	topic string
	data  []byte
}

// sender publishes events and enters their acks. It gives up only when ctx ends or they are refused for good, of which it
// complains.
type sender interface {
	send(ctx context.Context, batch []publication)

	// close waits until all is answered or the ctx of send has ended.
	close()
}

// Run publishes until pace ends. What is on its way then goes on until ctx ends.
func (p *Publisher) Run(ctx, pace context.Context) {
	s, err := p.sender(ctx)
	if err != nil {
		p.world.Complain("publisher %d can't begin: %v", p.id, err)
		return
	}
	defer s.close()
	for {
		var tick <-chan time.Time
		if p.every > 0 {
			tick = time.After(time.Duration((0.5 + p.chance.Float64()) * float64(p.every)))
		}
		select {
		case <-pace.Done():
			return
		case b := <-p.bursts:
			for range b.Events {
				if pace.Err() == nil {
					s.send(ctx, []publication{p.next(b.Topic, b.Bytes)})
				}
			}
		case <-tick:
			s.send(ctx, p.some())
		}
	}
}

func (p *Publisher) sender(ctx context.Context) (sender, error) {
	switch p.door {
	case DoorStream:
		return newStreamSender(ctx, p.world, p.token)
	case DoorUnary:
		return newCallSender(p.world, p.token)
	case DoorHTTP:
		return newPostSender(p.world, p.token, p.chance), nil
	default:
		return newFrameSender(p.world, p.token, p.chance), nil
	}
}

// some returns one event, or a few where they go together.
func (p *Publisher) some() []publication {
	n := 1
	if p.door == DoorUnary {
		n += p.chance.IntN(4)
	}
	batch := make([]publication, n)
	for i := range batch {
		batch[i] = p.next(pick(p.chance, p.topics), 80+p.chance.IntN(400))
	}
	return batch
}

// next makes an event and enters it.
func (p *Publisher) next(topic string, size int) publication {
	p.serial++
	id := ledger.Ident{Publisher: p.id, Serial: p.serial}
	e := publication{id: id, topic: topic, data: newPayload(id, topic, size)}
	p.world.Book.Intend(ledger.Publication{Ident: id, Topic: topic, Digest: digest(e.data)})
	return e
}

// event returns the event as the SDK wants it.
func (e *publication) event() *millrace.Event {
	return &millrace.Event{Topic: e.topic, ID: e.name(), Name: "chaos", Data: e.data}
}

// Close publishes one event to each topic, as the last that comes, and waits until all are stored.
func Close(ctx context.Context, w *World, token string, topics []string) error {
	p := NewPublisher(w, PublisherPlan{ID: 0, Token: token})
	s, err := newCallSender(w, token)
	if err != nil {
		return err
	}
	defer s.close()
	for _, topic := range topics {
		s.send(ctx, []publication{p.next(topic, 80)})
	}
	return ctx.Err()
}

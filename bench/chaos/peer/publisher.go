package peer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
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
	late   map[string]time.Duration

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
	Late   map[string]time.Duration // when topics are born, since Run; the others are at once
	Every  time.Duration            // mean time between two events; 0: only bursts
	Seed   uint64
}

// NewPublisher makes a publisher.
func NewPublisher(w *World, p PublisherPlan) *Publisher {
	return &Publisher{
		world: w, id: p.ID, door: p.Door, token: p.Token, topics: p.Topics, every: p.Every, late: p.Late, bursts: make(chan Burst, maxBursts),
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
	ledger.Publication

	data []byte // nil for a tombstone
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
	began := time.Now()
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
			s.send(ctx, p.some(time.Since(began)))
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
func (p *Publisher) some(since time.Duration) []publication {
	n := 1
	if p.door == DoorUnary {
		n += p.chance.IntN(4)
	}
	batch := make([]publication, n)
	for i := range batch {
		topic := pick(p.chance, p.topics)
		for p.late[topic] > since {
			topic = pick(p.chance, p.topics)
		}
		batch[i] = p.next(topic, 80+p.chance.IntN(400))
	}
	return batch
}

// What keys a topic of class latest has: so many live, and any number that are only ever deleted.
const liveKeys = 20

// next makes an event and enters it. In class latest now and then it is a tombstone, half of them of keys that never had
// anything else, so that there are always some to be let go of when there is no room.
func (p *Publisher) next(topic string, size int) publication {
	p.serial++
	e := publication{Publication: ledger.Publication{
		Ident: ledger.Ident{Publisher: p.id, Serial: p.serial}, Topic: topic, Lane: 1 + p.serial%lanes,
	}}
	switch ClassOf(topic) {
	case ledger.Latest:
		e.Key = fmt.Sprintf("k%d", p.chance.IntN(liveKeys))
		if p.chance.IntN(12) == 0 {
			e.Tombstone = true
			if p.chance.IntN(2) == 0 {
				e.Key = fmt.Sprintf("gone-%d-%d", p.id, p.serial)
			}
		}
	case ledger.Ephemeral:
		e.Retried = p.door == DoorStream || p.door == DoorUnary
	}
	if p.door == DoorHTTP { // a POST has no headers for events
		e.Lane = 0
	}
	if e.Tombstone {
		e.Digest = digest([]byte(e.Key))
	} else {
		e.data = newPayload(e.Ident, topic, e.Key, size)
		e.Digest = digest(e.data)
	}
	p.world.Book.Intend(e.Publication)
	return e
}

// once reports whether the event may not be sent again: in class ephemeral it would come twice.
func (e *publication) once() bool { return ClassOf(e.Topic) == ledger.Ephemeral && !e.Retried }

// kind is the event's name, by which filters may choose.
func (e *publication) kind() string { return [...]string{"even", "odd"}[e.Serial%2] }

// lane is the value of the event's header; empty if it has none.
func (e *publication) lane() string {
	if e.Lane == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(e.Lane), 10)
}

// lanes is how many values the header lane has, from 1.
const lanes = 5

// event returns the event as the SDK wants it.
func (e *publication) event() *millrace.Event {
	event := &millrace.Event{Topic: e.Topic, ID: e.name(), Name: e.kind(), Key: e.Key, Tombstone: e.Tombstone, Data: e.data}
	if lane := e.lane(); lane != "" {
		event.Headers = []millrace.Header{{Name: "lane", Value: lane}}
	}
	return event
}

// Close publishes one event to each topic, as the last that comes, and waits until all are stored.
func Close(ctx context.Context, w *World, token string, topics []string) error {
	p := NewPublisher(w, PublisherPlan{ID: 0, Door: DoorUnary, Token: token})
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

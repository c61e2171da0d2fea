package brokertest

import (
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// lookout is a watcher that keeps what it is told.
type lookout struct {
	mu   sync.Mutex
	seen map[string][]millrace.Position
}

func (o *lookout) Matched(topic string, head millrace.Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[string][]millrace.Position{}
	}
	o.seen[topic] = append(o.seen[topic], head)
}

// told returns how often a topic was told, and the head that it had first.
func (o *lookout) told(topic string) (times int, head millrace.Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if list := o.seen[topic]; len(list) > 0 {
		return len(list), list[0]
	}
	return 0, millrace.Position{}
}

func (b bench) watch() {
	l := b.open(b.T, broker.Rule{Pattern: "typing:*", Class: millrace.ClassEphemeral}, broker.Rule{})
	there := b.put(l, "chat:1", 3)
	b.put(l, "other", 1)
	chats, typing := new(lookout), new(lookout)
	stop, err := l.Watch(b.Context(), "chat:*", chats)
	if err != nil {
		b.Fatal(err)
	}
	stopTyping, err := l.Watch(b.Context(), "typing:*", typing)
	if err != nil {
		b.Fatal(err)
	}
	defer stopTyping()
	if n, head := chats.told("chat:1"); n != 1 || head != there[2].Position {
		b.Fatalf("the topic that there is was told %d times, at %s", n, head)
	}
	r := newRecorder()
	if _, stop, err := l.Follow(b.Context(), "chat:2", r); err != nil { // which gives birth to nothing
		b.Fatal(err)
	} else {
		defer stop()
	}
	if n, _ := chats.told("chat:2"); n > 0 {
		b.Fatal("a topic that nobody published to was told")
	}
	b.put(l, "chat:2", 2)
	b.put(l, "chat:1", 1)
	b.put(l, "chat:2:deep", 1)
	if n, head := chats.told("chat:2"); n != 1 || !head.IsZero() {
		b.Fatalf("the topic that was born was told %d times, at %s", n, head)
	}
	for _, topic := range []string{"other", "chat:2:deep"} {
		if n, _ := chats.told(topic); n > 0 {
			b.Fatalf("%s was told", topic)
		}
	}
	for range 2 {
		if ack := b.append(l, millrace.Publish{Event: Event("typing:1", 1)}); ack.Err != nil {
			b.Fatal(ack.Err)
		}
	}
	if n, head := typing.told("typing:1"); n != 2 || !head.IsZero() {
		b.Fatalf("the ephemeral topic was told %d times, at %s", n, head)
	}
	stop()
	stop()
	b.put(l, "chat:3", 1)
	if n, _ := chats.told("chat:3"); n > 0 {
		b.Fatal("a watcher that was stopped was told")
	}
	_, err = l.Watch(canceled(b.Context()), "chat:*", chats)
	b.refused(err, millrace.ReasonCanceled)
}

func (b bench) watchRace() {
	l := b.open(b.T)
	const topics, watchers = 500, 20
	var births sync.WaitGroup
	births.Go(func() {
		for i := range topics {
			l.Append(b.Context(), []millrace.Publish{{Event: Event(topicName(i), 1)}})
		}
	})
	var lookouts []*lookout
	for range watchers {
		o := new(lookout)
		stop, err := l.Watch(b.Context(), "t:*", o)
		if err != nil {
			b.Fatal(err)
		}
		defer stop() //nolint:gocritic // a watcher is to stay until all are compared
		lookouts = append(lookouts, o)
	}
	births.Wait()
	for i, o := range lookouts {
		for j := range topics {
			if n, _ := o.told(topicName(j)); n == 0 {
				b.Fatalf("watcher %d was not told of %s", i, topicName(j))
			}
		}
	}
}

// Package ledger holds a pub/sub backbone to its promise: whole or told. Publishers enter what they are about to publish
// and what was acked; subscribers enter what they saw and every gap that they were told. [Book.Check] then says what the
// one side did that the other does not bear out.
//
// # What is promised
//
// A subscriber of a topic holds a position. Whatever comes next must follow exactly on it: the event at the next offset
// of the same lineage, or a gap or an advance that begins there. So a subscriber that took no wrong step from where it
// attached and stands at the topic's head has got everything or was told what it did not get. Only the steps are kept,
// runs of events as one, which makes the record of millions of deliveries small, and lets the checker judge it afterwards,
// when it knows more than the subscriber could.
//
// # What is true
//
// Nobody is asked what the log contained. An ack says that an event stands at an offset with a mark. A mark is a random
// number of one event, so where two subscribers disagree on what an event follows on, one was led astray, and the word
// of the event itself, which says the mark before it where the wire carries that, counts before that of whoever was sent
// it. Marks that follow on each other are one lineage. Where nobody saw the link, lineages are joined by their epoch: the
// one running the test says when logs were lost, by [Book.Lose], and all that surely happened between two losses is of
// one lineage.
//
// The package does no I/O, knows no time and has no chance in it: the same entries give the same report.
package ledger

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace-dev/millrace"
)

// Config is what the books know of the logs beforehand.
type Config struct {
	// Keeps returns how many of its newest events, or in class latest how many keys, the log of a topic keeps, so that a
	// gap that tells what is kept as trimmed is found out. 0, and so a nil Keeps, is not known. It is called once a topic.
	Keeps func(topic string) uint64

	// MarksPerEvent says how many times as many marks the log keeps, by which it tells old positions apart. Default: 8.
	MarksPerEvent uint64
}

// Ident names what was published, by who did and how many publishes they had made before. It must be in the payload.
type Ident struct{ Publisher, Serial uint32 }

// Publication is an event as its publisher knows it, before it has a position.
type Publication struct {
	Ident

	Topic     string
	Key       string // what it is about, in topics of class latest
	Lane      uint32 // something that filters may choose by; 0: it has none
	Tombstone bool   // deletes its key
	Retried   bool   // in class ephemeral, which stores nothing: may be sent again, and so come twice or late
	Digest    uint64 // of the payload, by whatever function publishers and subscribers agree on
}

// Book is the record of one run. Its methods may be called concurrently.
type Book struct {
	config Config
	epoch  atomic.Uint32

	mu    sync.Mutex
	pages map[string]*page // protected by mu
}

// New opens an empty book.
func New(c Config) *Book {
	c.MarksPerEvent = cmp.Or(c.MarksPerEvent, 8)
	if c.Keeps == nil {
		c.Keeps = func(string) uint64 { return 0 }
	}
	return &Book{config: c, pages: map[string]*page{}}
}

// Intend enters an event that is about to be published, before its first try. It may or may not get stored from then on.
// An ident must be entered once.
func (b *Book) Intend(p Publication) {
	pg := b.page(p.Topic)
	pg.mu.Lock()
	defer pg.mu.Unlock()
	pg.intents[p.Ident] = &intent{Publication: p, epoch: b.epoch.Load()}
}

// Ack enters that an event is stored at a position. That the same event is acked at several positions is for Check to judge.
func (b *Book) Ack(topic string, id Ident, at millrace.Position) {
	pg := b.page(topic)
	pg.mu.Lock()
	defer pg.mu.Unlock()
	e := pg.entry(at, b.epoch.Load())
	e.acked = true
	pg.name(e, id)
}

// Pass enters that an event of class ephemeral was acked.
func (b *Book) Pass(topic string, id Ident) {
	pg := b.page(topic)
	pg.mu.Lock()
	defer pg.mu.Unlock()
	if in := pg.intents[id]; in != nil {
		in.passed = true
	}
}

// Lose enters that all logs may have been lost, whole. It must be called after what kept them is gone and before
// anything new can be stored.
func (b *Book) Lose() { b.epoch.Add(1) }

// Chain opens the record of one subscriber of one topic. The subscriber's name and transport are for people.
func (b *Book) Chain(subscriber, transport, topic string, want Expectation) *Chain {
	pg := b.page(topic)
	c := &Chain{book: b, page: pg, subscriber: subscriber, transport: transport, want: want}
	pg.mu.Lock()
	defer pg.mu.Unlock()
	pg.chains = append(pg.chains, c)
	return c
}

// Behind returns the chains that are not at the newest position of their topic that is known to be in a log that was not
// lost. When publishers have ended, it gets empty as the last subscriber arrives.
func (b *Book) Behind() []*Chain {
	var behind []*Chain
	for _, pg := range b.sorted() {
		pg.mu.Lock()
		head, chains := pg.newest(b.epoch.Load()), slices.Clone(pg.chains)
		pg.mu.Unlock()
		for _, c := range chains {
			if c.want.Class != Ephemeral && head != nil && c.Held() != head.at {
				behind = append(behind, c)
			}
		}
	}
	return behind
}

func (b *Book) page(topic string) *page {
	b.mu.Lock()
	defer b.mu.Unlock()
	pg := b.pages[topic]
	if pg == nil {
		pg = &page{topic: topic, keeps: b.config.Keeps(topic), entries: map[uint64]*entry{}, intents: map[Ident]*intent{}}
		b.pages[topic] = pg
	}
	return pg
}

// sorted returns all pages by topic.
func (b *Book) sorted() []*page {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*page, 0, len(b.pages))
	for _, pg := range b.pages {
		all = append(all, pg)
	}
	slices.SortFunc(all, func(a, b *page) int { return cmp.Compare(a.topic, b.topic) })
	return all
}

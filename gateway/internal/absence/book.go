// Package absence keeps the memberships of sessions whose connection is gone, for a while: a peer that comes back in time has
// not left.
package absence

import (
	"slices"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
)

// Absent is a session that may come back.
type Absent struct {
	Session    string
	Generation uint32
	Reason     string   // with which it leaves if it does not
	Topics     []string // that it is a member of. The book does not change the slice, which sessions may share
}

// Book has the sessions that are away. Its methods may be called concurrently. The zero Book is not of use.
type Book struct {
	grace time.Duration
	leave func(millrace.MemberChange)

	mu      sync.Mutex
	byID    map[string]*entry // protected by mu
	waiting []*entry          // protected by mu; in the order in which their time is up
}

type entry struct {
	Absent
	until time.Duration
}

// NewBook returns a book that keeps each session for the grace time. It then calls leave for each of its topics, which must
// neither wait nor call the book.
func NewBook(grace time.Duration, leave func(millrace.MemberChange)) *Book {
	return &Book{grace: grace, leave: leave, byID: map[string]*entry{}}
}

// Add notes that a session is away from now on. What it left unclaimed when it was away before stays with it.
func (b *Book) Add(now time.Duration, a Absent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if former := b.byID[a.Session]; former != nil {
		for _, topic := range former.Topics {
			if !slices.Contains(a.Topics, topic) {
				a.Topics = append(slices.Clip(a.Topics), topic)
			}
		}
		former.Topics = nil
	}
	n := &entry{Absent: a, until: now + b.grace}
	b.byID[a.Session] = n
	b.waiting = append(b.waiting, n)
}

// Generation returns that of a session which is away, 0 if it is not.
func (b *Book) Generation(session string) uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.byID[session]; n != nil {
		return n.Generation
	}
	return 0
}

// Claim says that a session has come back and goes on as a member of a topic: it does not leave that topic for having been
// away. What is asked for the session in the topic from then on comes behind any leave.
func (b *Book) Claim(session, topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.byID[session]
	if n == nil || !slices.Contains(n.Topics, topic) {
		return
	}
	n.Topics = slices.DeleteFunc(slices.Clone(n.Topics), func(t string) bool { return t == topic })
	if len(n.Topics) == 0 {
		delete(b.byID, session)
	}
}

// Sweep lets those leave whose time is up.
func (b *Book) Sweep(now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for ; n < len(b.waiting) && b.waiting[n].until <= now; n++ {
		gone := b.waiting[n]
		b.waiting[n] = nil
		if b.byID[gone.Session] == gone {
			delete(b.byID, gone.Session)
		}
		for _, topic := range gone.Topics {
			b.leave(millrace.MemberChange{
				Kind: millrace.MemberLeave, Topic: topic, Member: millrace.Member{Session: gone.Session},
				Generation: gone.Generation, Reason: gone.Reason,
			})
		}
	}
	if b.waiting = b.waiting[n:]; len(b.waiting) == 0 {
		b.waiting = nil
	}
}

package ledger

import (
	"sync"

	"github.com/millrace-dev/millrace"
)

// page is all that is known of one topic.
type page struct {
	topic string
	keeps uint64 // newest events that the log keeps; 0: not known

	mu      sync.Mutex
	entries map[uint64]*entry // by mark
	intents map[Ident]*intent
	claims  []claim // of what events follow on, beside the first of each
	faults  []fault // what is wrong whatever is learned later
	head    *entry  // the newest of the newest epoch
	chains  []*Chain
}

// intent is an event that somebody wanted to publish.
type intent struct {
	Publication

	epoch  uint32 // when it was first tried
	passed bool   // it was acked, in class ephemeral
}

// entry is one mark: what stands where in some lineage of the topic.
type entry struct {
	at     millrace.Position
	id     Ident
	named  bool // id is known
	acked  bool
	seen   bool   // by a subscriber
	digest uint64 // of what was seen

	prev     uint64 // the mark that it follows on; 0: not known
	sure     bool   // prev is the event's own word
	claimant *Chain // whose word prev is, if not

	// It was stored not before since and not after until.
	since, until uint32
}

// claim is that a subscriber was given an event as what follows on a mark.
type claim struct {
	mark, prev uint64
	by         *Chain
	own        bool // it is the event's own word
}

// fault is a violation that needs no judgement.
type fault struct {
	kind   Kind
	by     *Chain // nil: not a subscriber's
	detail string
}

// entry returns the entry of a position that is known to exist in an epoch. pg.mu is held.
func (pg *page) entry(at millrace.Position, epoch uint32) *entry {
	e := pg.entries[at.Mark]
	if e == nil {
		e = &entry{at: at, until: epoch}
		pg.entries[at.Mark] = e
	}
	if e.at != at {
		pg.faults = append(pg.faults, fault{kind: Altered, detail: "mark " + at.String() + " also stands at " + e.at.String()})
	}
	e.until = min(e.until, epoch)
	return e
}

// name says which event an entry is. pg.mu is held.
func (pg *page) name(e *entry, id Ident) {
	if e.named {
		if e.id != id {
			pg.faults = append(pg.faults, fault{kind: Altered, detail: describe(e.id) + " and " + describe(id) + " are both said to stand at " + e.at.String()})
		}
		return
	}
	e.named, e.id = true, id
	if in := pg.intents[id]; in != nil {
		e.since = in.epoch
	}
	if h := pg.head; h == nil || e.since > h.since || e.since == h.since && e.at.Offset > h.at.Offset {
		pg.head = e
	}
}

// newest returns the entry with the highest offset that was surely stored in an epoch, nil if none was. pg.mu is held.
func (pg *page) newest(epoch uint32) *entry {
	if pg.head == nil || pg.head.since != epoch {
		return nil
	}
	return pg.head
}

// see enters that a subscriber was given an event, as what follows on the mark held; 0 if it does not follow.
func (pg *page) see(by *Chain, d *Delivery, held uint64, epoch uint32) {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	e := pg.entry(d.At, epoch)
	pg.name(e, d.Ident)
	switch in := pg.intents[d.Ident]; {
	case in == nil:
		pg.faults = append(pg.faults, fault{Altered, by, describe(d.Ident) + " at " + d.At.String() + " was published by nobody"})
	case in.Digest != d.Digest:
		pg.faults = append(pg.faults, fault{Altered, by, describe(d.Ident) + " at " + d.At.String() + " is not what was published"})
	}
	e.seen, e.digest = true, d.Digest
	if held != 0 {
		pg.link(e, claim{mark: d.At.Mark, prev: held, by: by})
	}
	if d.Prev != 0 {
		pg.link(e, claim{mark: d.At.Mark, prev: d.Prev, by: by, own: true})
	}
}

// link takes a claim for the entry's predecessor or, if there is another, keeps it for later. pg.mu is held.
func (pg *page) link(e *entry, c claim) {
	switch {
	case e.prev == c.prev:
		e.sure = e.sure || c.own
	case e.prev == 0:
		e.prev, e.sure, e.claimant = c.prev, c.own, c.by
	case c.own && !e.sure:
		pg.claims = append(pg.claims, claim{mark: c.mark, prev: e.prev, by: e.claimant})
		e.prev, e.sure, e.claimant = c.prev, true, c.by
	default:
		pg.claims = append(pg.claims, c)
	}
}

// content enters an event without a position.
func (pg *page) content(by *Chain, d *Delivery) {
	pg.mu.Lock()
	defer pg.mu.Unlock()
	if in := pg.intents[d.Ident]; in == nil || in.Digest != d.Digest {
		pg.faults = append(pg.faults, fault{Altered, by, describe(d.Ident) + " is not what was published"})
	}
}

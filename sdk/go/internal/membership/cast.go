package membership

import (
	"cmp"
	"slices"

	"github.com/millrace-dev/millrace"
)

// Cast is an event on its way to a topic, on the strength of a membership.
type Cast struct {
	Done chan struct{} // closed when it is answered
	Ack  millrace.Ack  // what the answer is; to be read after Done

	publish millrace.Publish
	key     key
	size    int    // in bytes, of its command
	place   uint64 // in the order of all
	id      uint32 // on the stream at hand
}

// casts are the broadcasts without an answer, in order. Those of one topic are sent in that order.
type casts struct {
	waiting []*Cast          // to be sent
	flying  map[uint32]*Cast // sent on the stream at hand
	last    uint64           // the newest place
}

// Broadcast asks for an event to be stored as a member's. It is sent once the broker knows of the member on the stream at
// hand, and again on the next one if that ends, so it must have an id. size is that of its command, in bytes.
func (r *Registry) Broadcast(p millrace.Publish, session string, size int) *Cast {
	r.casts.last++
	c := &Cast{Done: make(chan struct{}), publish: p, key: key{p.Event.Topic, session}, size: size, place: r.casts.last}
	r.casts.waiting = append(r.casts.waiting, c)
	return c
}

// Recall gives a broadcast up: it is not sent any more, if it was not yet.
func (r *Registry) Recall(c *Cast) {
	delete(r.casts.flying, c.id)
	r.casts.waiting = slices.DeleteFunc(r.casts.waiting, func(other *Cast) bool { return other == c })
}

func (c *Cast) answer(ack millrace.Ack) {
	c.Ack = ack
	close(c.Done)
}

// lost puts back what was under way.
func (q *casts) lost() {
	for _, c := range q.flying {
		c.id = 0
		q.waiting = append(q.waiting, c)
	}
	clear(q.flying)
	slices.SortFunc(q.waiting, func(a, b *Cast) int { return cmp.Compare(a.place, b.place) })
}

// next appends what is to be sent next. Those that wait for a join, or for the stream to know of it, stay.
func (q *casts) next(r *Registry, out []Command, commands, bytes int) []Command {
	stay := q.waiting[:0]
	for _, c := range q.waiting {
		switch s := r.seats[c.key]; {
		case s == nil || s.leaves() || !s.held && len(s.asks) == 0:
			c.answer(millrace.Ack{Topic: c.key.topic, Err: millrace.Errorf(millrace.ReasonForbidden, "the link has not joined %s", c.key.topic)})
		case r.limit > 0 && c.size > r.limit:
			c.answer(millrace.Ack{Topic: c.key.topic, Err: tooLarge(c.size, r.limit)})
		case !s.held || !s.told || len(out) >= commands || bytes <= 0:
			stay = append(stay, c)
		default:
			c.id = r.mint()
			if q.flying == nil {
				q.flying = map[uint32]*Cast{}
			}
			q.flying[c.id] = c
			out = append(out, Command{ID: c.id, Broadcast: &c.publish})
			bytes -= c.size
		}
	}
	clear(q.waiting[len(stay):])
	q.waiting = stay
	return out
}

// reply takes the answer to a broadcast, if it is one.
func (q *casts) reply(id uint32, a Answer) {
	c := q.flying[id]
	if c == nil {
		return
	}
	delete(q.flying, id)
	ack := a.Ack
	if a.Err != nil {
		ack = millrace.Ack{Topic: c.key.topic, Err: a.Err}
	}
	c.answer(ack)
}

func tooLarge(bytes, limit int) *millrace.Error {
	return millrace.Errorf(millrace.ReasonTooLarge, "it takes a message of %d bytes; the broker takes at most %d", bytes, limit)
}

package rpc

import (
	"context"
	"sync"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// intake is the events that a peer has sent on a stream and that are not acked yet: those that wait to be stored, and
// those that are being stored. It holds as much as its window; who puts more waits, reads no further meanwhile, and so
// holds the peer back. One goroutine puts, another takes.
type intake struct {
	// Static.
	maxEvents int
	maxBytes  int

	news chan struct{} // has an item if something was put, or it was closed, since the taker last looked
	room chan struct{} // has an item if something left since the putter last looked

	mu     sync.Mutex
	queue  []posting // protected by mu
	events int       // protected by mu; in the queue or being stored
	bytes  int       // protected by mu; that the same bring along
	closed bool      // protected by mu; nothing more will be put
}

// posting is one event that a peer asks to be stored, under the number that its answer will have.
type posting struct {
	number uint32
	event  *millracev1.NewEvent
	tied   bool // to the one before it
}

func newIntake(c *Config) *intake {
	return &intake{
		maxEvents: c.WindowEvents,
		maxBytes:  c.WindowBytes,
		news:      make(chan struct{}, 1),
		room:      make(chan struct{}, 1),
	}
}

// put adds postings when there is room for them; more than ever fit wait for it to be empty. It fails when ctx ends.
func (q *intake) put(ctx context.Context, batch []posting) error {
	bytes := bytesOf(batch)
	for !q.tryPut(batch, bytes) {
		select {
		case <-q.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	signal(q.news)
	return nil
}

func (q *intake) tryPut(batch []posting, bytes int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.events > 0 && (q.events+len(batch) > q.maxEvents || q.bytes+bytes > q.maxBytes) {
		return false
	}
	q.queue = append(q.queue, batch...)
	q.events += len(batch)
	q.bytes += bytes
	return true
}

// close says that nothing more will be put.
func (q *intake) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signal(q.news)
}

// take returns all that waits, and whether there may be more later.
func (q *intake) take() (batch []posting, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch, q.queue = q.queue, nil
	return batch, !q.closed
}

// done says that postings were answered.
func (q *intake) done(batch []posting) {
	q.mu.Lock()
	q.events -= len(batch)
	q.bytes -= bytesOf(batch)
	q.mu.Unlock()
	signal(q.room)
}

func bytesOf(batch []posting) int {
	n := 0
	for i := range batch {
		n += bytesIn(batch[i].event)
	}
	return n
}

// headerBytes approximates what a header occupies beside its texts.
const headerBytes = 64

// bytesIn returns what an event that nobody has checked yet brings along, in bytes: all of it, since none of it is
// bounded but by the message.
func bytesIn(m *millracev1.NewEvent) int {
	n := len(m.GetData()) + len(m.GetTopic()) + len(m.GetId()) + len(m.GetName()) + len(m.GetKey()) + len(m.GetContentType()) +
		len(m.GetSender().GetSession()) + len(m.GetSender().GetSubject()) + len(m.GetPrincipal())
	for _, h := range m.GetHeaders() {
		n += headerBytes + len(h.GetName()) + len(h.GetValue())
	}
	return n
}

// signal puts an item into a channel that holds one, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// store stores what a caller has sent and answers each event alone, in order. session is the caller's own, if it has one.
func (s *Server) store(ctx context.Context, who *caller, session string, batch []posting) []millrace.Ack {
	acks := make([]millrace.Ack, len(batch))
	admitted := make([]millrace.Publish, 0, len(batch))
	places := make([]int, 0, len(batch))
	for i := 0; i < len(batch); {
		end := i + 1
		for end < len(batch) && batch[end].tied {
			end++
		}
		var err *millrace.Error
		admitted, err = who.admitTied(admitted, session, batch[i:end])
		for ; i < end; i++ {
			if err != nil {
				acks[i] = millrace.Ack{Topic: batch[i].event.GetTopic(), Err: err}
				continue
			}
			places = append(places, i)
		}
	}
	if len(admitted) == 0 {
		return acks
	}
	stored, err := s.broker.Publish(ctx, admitted)
	for n, i := range places {
		if err != nil {
			acks[i] = millrace.Ack{Topic: batch[i].event.GetTopic(), Err: millrace.AsError(err)}
			continue
		}
		acks[i] = stored[n]
	}
	return acks
}

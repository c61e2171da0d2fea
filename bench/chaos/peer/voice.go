package peer

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace"
)

// voice is what a subscriber says in its own session and does not want to hear: live, in replay and after it came back,
// since a session that resumes is the same. Only whoever comes back to a gateway that still takes the old connection for
// alive is another session, and may hear itself (docs/rough-edges.md). It belongs to the goroutine that reads.
//
// It waits for each answer and, as nobody knows when an event without one is stored, is silent for good if one was lost.
type voice struct {
	publisher *Publisher
	topics    []string
	waiting   *publication // nil: not for an answer

	session string
	another atomic.Bool // it has been more than one session
}

// enter says which session the subscriber is.
func (v *voice) enter(session string) {
	if v == nil {
		return
	}
	if v.session != "" && v.session != session {
		v.another.Store(true)
	}
	v.session = session
}

func newVoice(w *World, id uint32, topics []string, chance *rand.Rand) *voice {
	p := NewPublisher(w, PublisherPlan{ID: id, Door: DoorWebSocket, Seed: chance.Uint64()})
	return &voice{publisher: p, topics: topics}
}

// speak says something now and then.
func (v *voice) speak(conn *websocket.Conn) error {
	if v == nil || v.waiting != nil || len(v.topics) == 0 || v.publisher.chance.IntN(4) > 0 {
		return nil
	}
	e := v.publisher.next(pick(v.publisher.chance, v.topics), 100)
	v.waiting = &e
	if err := conn.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	return conn.WriteMessage(websocket.TextMessage, e.frame(e.Serial, true))
}

// hear takes an answer.
func (v *voice) hear(f *frame) {
	if v == nil || v.waiting == nil || f.Re != v.waiting.Serial || f.Published == nil {
		return
	}
	v.publisher.world.settle(v.waiting, millrace.Ack{Position: millrace.Position(f.Published.Position)}, nil)
	v.waiting = nil
}

package peer

import (
	"strings"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// jar is the pieces of a cursor as a peer of a WebSocket keeps them.
type jar struct {
	told      bool   // a session was opened
	beginning string // seal and options, as they were told
	names     []string
	pieces    map[string]millrace.Piece
}

// newJar begins with the pieces of a cursor, or else with topics that were not told to hold yet: a cursor that lacks one
// asks for it no more.
func newJar(c millrace.Cursor, topics []string) *jar {
	j := &jar{pieces: map[string]millrace.Piece{}}
	for _, p := range c.Pieces {
		j.put(p)
	}
	if len(c.Pieces) == 0 {
		for _, topic := range topics {
			j.put(millrace.Piece{Topic: topic})
		}
	}
	return j
}

func (j *jar) put(p millrace.Piece) {
	if _, known := j.pieces[p.Topic]; !known {
		j.names = append(j.names, p.Topic)
	}
	j.pieces[p.Topic] = p
}

// keep takes what a frame says of the cursor.
func (j *jar) keep(f *frame) {
	at := func(topic string, p position) {
		if ClassOf(topic) != ledger.Ephemeral { // zero is a position: of a log that was lost, where there is no new one yet
			j.put(millrace.Piece{Topic: topic, Position: millrace.Position(p), Attached: true})
		}
	}
	switch {
	case f.Connected != nil:
		j.told, j.beginning = true, f.Connected.Cursor
	case f.Subscribed != nil:
		if f.Subscribed.Cursor != "" {
			j.beginning = f.Subscribed.Cursor
		}
		j.subscribed(f.Subscribed)
	case f.Event != nil:
		at(f.Event.Topic, f.Event.Position)
	case f.Advanced != nil:
		at(f.Advanced.Topic, f.Advanced.Position)
	case f.Gap != nil:
		at(f.Gap.Topic, f.Gap.Until)
	}
}

// subscribed takes the piece of a topic or pattern. A position that is absent and one that is zero look alike here; both
// are told apart by what else the frame says.
func (j *jar) subscribed(p *place) {
	_, known := j.pieces[p.Topic]
	switch {
	case strings.Contains(p.Topic, "*"):
		j.put(millrace.Piece{Topic: p.Topic, Attached: !p.Pending})
	case !p.Pending && p.Class != "ephemeral":
		j.put(millrace.Piece{Topic: p.Topic, Position: millrace.Position(p.Position), Attached: true})
	case !known:
		j.put(millrace.Piece{Topic: p.Topic})
	}
}

func (j *jar) cursor() string {
	c := millrace.Cursor{Seal: j.beginning}
	for _, name := range j.names {
		c.Pieces = append(c.Pieces, j.pieces[name])
	}
	return c.String()
}
